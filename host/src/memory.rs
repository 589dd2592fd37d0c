//! Memory of this process, as its operator sees it.

/// Gives the system back what was freed: after work that takes much for a moment. The C library keeps it otherwise,
/// and what is resident stays at its peak.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a plain call, on any thread at any time (malloc_trim(3), MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// All threads allocate from the same few arenas; by default the C library makes up to eight a CPU, each of which
/// keeps what it once held. To be called before there are threads.
pub fn few_arenas() {
    const ARENAS: libc::c_int = 2;
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
