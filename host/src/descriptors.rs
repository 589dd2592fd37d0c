//! The limit of open files.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// The limit that we were started with.
static BEFORE: OnceLock<libc::rlimit> = OnceLock::new();

/// Raises our limit to the highest that we may have: the files of all programs that are sampled in an interval are held,
/// and the usual limit is there for programs that use select(2), which we do not.
pub fn raise_limit() {
    let Ok(now) = limit() else { return };
    BEFORE.get_or_init(|| now);
    let highest = libc::rlimit { rlim_cur: now.rlim_max, ..now };
    // SAFETY: the structure outlives the call.
    if now.rlim_cur < now.rlim_max && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const highest) } != 0
    {
        tracing::debug!(limit = now.rlim_cur, error = %io::Error::last_os_error(), "the limit of open files stays");
    }
}

/// Has a command start with the limit that we were started with.
pub fn restore_limit(command: &mut Command) {
    let Some(before) = BEFORE.get().copied() else { return };
    let restore = move || {
        // SAFETY: the structure outlives the call, which may be made between fork and exec (signal-safety(7)).
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const before) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the call above allocates nothing and takes no lock.
    unsafe { command.pre_exec(restore) };
}

/// Counts half of the descriptors that we may have beside those that are open: the other half is for what comes and goes.
pub(crate) fn to_spare() -> usize {
    let Ok(limit) = limit() else { return usize::MAX };
    // Where we cannot look there are few, or none is left.
    let open = std::fs::read_dir("/proc/self/fd").map_or(64, Iterator::count);
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX).saturating_sub(open) / 2
}

fn limit() -> io::Result<libc::rlimit> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) } {
        0 => Ok(now),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_for_us_and_not_for_commands() {
        let before = limit().unwrap();
        raise_limit();
        let after = limit().unwrap();
        assert_eq!((after.rlim_cur, after.rlim_max), (before.rlim_max, before.rlim_max));
        let mut command = Command::new("sh");
        restore_limit(command.args(["-c", "ulimit -Sn"]));
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert_eq!(said.trim(), before.rlim_cur.to_string());
        let to_spare = to_spare();
        assert!(to_spare > 0 && u64::try_from(to_spare).unwrap() < after.rlim_cur);
    }
}
