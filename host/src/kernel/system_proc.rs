//! Files of `/proc` that describe the system rather than a process.
//!
//! A `/proc` that is mounted with `subset=pid` (systemd's `ProcSubset=pid`) it has none of them, and in containers other
//! file systems are mounted over some (lxcfs). They are then read from an instance of proc that nobody else sees, where
//! the process may make one (CAP_SYS_ADMIN).

use crate::system_call::{file_system_of, opened};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

/// `enum fsconfig_command` in include/uapi/linux/mount.h.
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

static INSTANCE: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// Makes an instance of proc where `/proc` has nothing but processes. It must be called before CAP_SYS_ADMIN is dropped.
pub fn prepare_system_files() {
    if std::fs::metadata("/proc/stat").is_err() {
        instance();
    }
}

/// Opens a file of proc, the kernel's own where another one was mounted over it.
///
/// # Errors
///
/// There is none, or it may not be read.
pub fn system_file(name: &str) -> io::Result<File> {
    let shown = File::open(format!("/proc/{name}"));
    if shown.as_ref().is_ok_and(is_procs) {
        return shown;
    }
    instance().and_then(|folder| open_below(folder, name)).map_or(shown, Ok)
}

/// Opens the list of the kernel's symbols; what is mounted over it is what somebody wants to be read.
///
/// # Errors
///
/// There is none, or it may not be read.
pub fn open_kallsyms() -> io::Result<File> {
    File::open("/proc/kallsyms").or_else(|_| system_file("kallsyms"))
}

fn is_procs(file: &File) -> bool {
    file_system_of(file).is_ok_and(|kind| kind == libc::PROC_SUPER_MAGIC)
}

fn instance() -> Option<&'static OwnedFd> {
    INSTANCE
        .get_or_init(|| mount().inspect_err(|error| tracing::debug!(%error, "no instance of proc")).ok())
        .as_ref()
}

/// Mounts proc nowhere: it ends with its descriptor (fsopen(2), Linux 5.2).
fn mount() -> io::Result<OwnedFd> {
    // SAFETY: a name that ends with a zero and flags in, a new descriptor or -1 out.
    let context = unsafe { opened(libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), libc::FSOPEN_CLOEXEC)) }?;
    let (context, none) = (context.as_raw_fd(), std::ptr::null::<u8>());
    // SAFETY: the descriptor is open; this command takes no key and no value.
    let created = unsafe { libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_CMD_CREATE, none, none, 0) };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    // SAFETY: the descriptor is open, the rest are plain numbers; a new descriptor or -1 comes out.
    unsafe { opened(libc::syscall(libc::SYS_fsmount, context, libc::FSMOUNT_CLOEXEC, attributes)) }
}

fn open_below(folder: &OwnedFd, name: &str) -> Option<File> {
    let name = std::ffi::CString::new(name).ok()?;
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the descriptor is open and the name ends with a zero; a new descriptor or -1 comes out.
    unsafe { opened(libc::openat(folder.as_raw_fd(), name.as_ptr(), flags)) }.map(File::from).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn an_instance_of_our_own_says_the_same() {
        let mut text = String::new();
        system_file("version").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, std::fs::read_to_string("/proc/version").unwrap());
        // Only where that is allowed.
        let Ok(instance) = mount() else { return };
        let mut same = String::new();
        open_below(&instance, "version").unwrap().read_to_string(&mut same).unwrap();
        assert_eq!(same, text);
        assert!(open_below(&instance, "nothing").is_none());
    }
}
