//! The limit of locked memory, to which kernels before 5.11 charge BPF's maps. Newer ones do not, so it is
//! never touched before the kernel has refused something.

use std::io;

/// Raises our own limit as far as we may: without bound where we have CAP_SYS_RESOURCE, else to the hard
/// limit. An error if that is not above what it was.
pub fn raise() -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if now.rlim_cur == libc::RLIM_INFINITY {
        return Err(io::Error::other("the limit of locked memory has no bound already"));
    }
    let unbound = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let hard = libc::rlimit { rlim_cur: now.rlim_max, rlim_max: now.rlim_max };
    // SAFETY: plain values.
    let set = |limit: &libc::rlimit| unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, limit) } == 0;
    if set(&unbound) || (hard.rlim_cur > now.rlim_cur && set(&hard)) {
        tracing::debug!(
            from = now.rlim_cur,
            "raised our limit of locked memory, since the kernel refused a map"
        );
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
