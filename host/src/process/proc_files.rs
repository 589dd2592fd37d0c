//! What small files under `/proc/<pid>` say.

use super::living::by_living_task;
use super::reader::{Unseen, reason};
use std::io;
use std::path::PathBuf;

/// The path in `/proc/<pid>/cgroup`: of the default hierarchy where it says more than `/`, else of the
/// first other line that does.
pub(crate) fn cgroup_path(text: &str) -> Option<String> {
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let default = text.lines().find_map(|line| line.strip_prefix("0::"));
    default
        .filter(|path| *path != "/")
        .or_else(|| paths().find(|path| *path != "/"))
        .or(default)
        .map(str::to_owned)
}

/// Reads the path of a process's cgroup; `None` if it is gone or says none.
pub(crate) fn cgroup_of(pid: u32, tid: u32) -> io::Result<Option<String>> {
    let read = |task| {
        let text = std::fs::read(format!("/proc/{task}/cgroup"))?;
        Ok(cgroup_path(&String::from_utf8_lossy(&text)))
    };
    // Of a main thread that has ended version 1 says `/`, whatever the other threads are in.
    let below_root = |task| Ok(read(task)?.filter(|path| path != "/"));
    match there(by_living_task(pid, tid, below_root))?.flatten() {
        None => Ok(there(read(pid))?.flatten()),
        path => Ok(path),
    }
}

/// The fourth field of `/proc/<pid>/stat`, after the name in parentheses, which may hold anything.
pub(crate) fn parent_in_stat(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// What tells a process from another one of the same id, and a program from the one before it.
pub(super) type Incarnation = (u64, Option<PathBuf>);

/// Reads that of a process; `None` if there is none of this id. An error if that cannot be found out.
pub(super) fn incarnation(pid: u32) -> io::Result<Option<Incarnation>> {
    let Some(stat) = there(std::fs::read(format!("/proc/{pid}/stat")))? else { return Ok(None) };
    let Some(start) = start_in_stat(&String::from_utf8_lossy(&stat)) else { return Ok(None) };
    Ok(Some((start, there(std::fs::read_link(format!("/proc/{pid}/exe")))?)))
}

/// Takes what is gone, and what we may not see, for `None`; an error is left for what may be seen another time.
pub(crate) fn there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied || reason(&error) == Unseen::Gone => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The 22nd field of `/proc/<pid>/stat`: when the process started, in ticks since boot.
fn start_in_stat(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
