//! What small files under `/proc/<pid>` say.

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

/// The fourth field of `/proc/<pid>/stat`, after the name in parentheses, which may hold anything.
pub(crate) fn parent_in_stat(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// What tells a process from another one of the same id, and a program from the one before it.
pub(super) type Incarnation = (u64, Option<PathBuf>);

/// That of a process; `None` if there is none of this id.
pub(super) fn incarnation(pid: u32) -> Option<Incarnation> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some((start_in_stat(&stat)?, std::fs::read_link(format!("/proc/{pid}/exe")).ok()))
}

/// The 22nd field of `/proc/<pid>/stat`: when the process started, in ticks since boot.
fn start_in_stat(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
