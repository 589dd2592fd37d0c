//! Small files under `/proc/<pid>`: bytes in, values out. The kernel's text is bytes: names of programs and cgroups are
//! whatever somebody called them.

use super::labels::{container_id, pod_uid};
use super::living::by_living_task;
use super::reader::{Unseen, reason};
use std::io;
use std::path::PathBuf;

/// The mark that the kernel appends to the path of a cgroup that was removed (kernel/cgroup/cgroup.c, `proc_cgroup_show`).
const DELETED: &[u8] = b" (deleted)";

/// Finds the path in `/proc/<pid>/cgroup` (cgroups(7)): the one that names a container, or a pod of Kubernetes, in
/// whichever hierarchy that is; else that of the default hierarchy where it says more than `/`; else of the first other
/// line that does.
///
/// On hosts with hierarchies of both versions runtimes put containers into those of version 1 only, and the default
/// hierarchy has the runtime's own cgroup.
pub(crate) fn cgroup_path(text: &[u8]) -> Option<Vec<u8>> {
    let default = default_cgroup_path(text);
    let all: Vec<&[u8]> = default.into_iter().chain(lines(text).filter_map(path_in_line)).collect();
    // Ids are ASCII, whatever else is in the path.
    let names =
        |name: fn(&str) -> bool| all.iter().copied().find(move |path| name(&String::from_utf8_lossy(path)));
    names(|path| container_id(path).is_some())
        .or_else(|| names(|path| pod_uid(path).is_some()))
        .or_else(|| names(|path| path.contains("kubepods")))
        .or_else(|| all.iter().copied().find(|path| *path != b"/"))
        .or(default)
        .map(<[u8]>::to_vec)
}

/// Reads the path of a process's cgroup; `None` if it is gone or says none.
pub(crate) fn cgroup_of(pid: u32, tid: u32) -> io::Result<Option<Vec<u8>>> {
    let read = |task| {
        let text = std::fs::read(format!("/proc/{task}/cgroup"))?;
        Ok(cgroup_path(&text))
    };
    // Of a main thread that has ended version 1 says `/`, whatever the other threads are in.
    let below_root = |task| Ok(read(task)?.filter(|path| path != b"/"));
    match there(by_living_task(pid, tid, below_root))?.flatten() {
        None => Ok(there(read(pid))?.flatten()),
        path => Ok(path),
    }
}

/// Tells whether a cgroup's path says by itself which container it is of.
pub(crate) fn names_container(path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path);
    container_id(&path).is_some() || pod_uid(&path).is_some()
}

/// The path in the default hierarchy (version 2).
pub(crate) fn default_cgroup_path(text: &[u8]) -> Option<&[u8]> {
    lines(text).find(|line| line.starts_with(b"0::")).and_then(path_in_line)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// `HIERARCHY:CONTROLLERS:PATH`
fn path_in_line(line: &[u8]) -> Option<&[u8]> {
    let path = line.splitn(3, |byte| *byte == b':').nth(2)?;
    Some(path.strip_suffix(DELETED).unwrap_or(path)).filter(|path| path.starts_with(b"/"))
}

/// A field of `/proc/<pid>/stat` (proc(5)), counted from 1, after the name in parentheses, which may hold anything.
pub(crate) fn stat_field(stat: &[u8], number: usize) -> Option<u64> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut words = stat[after..].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    str::from_utf8(words.nth(number.checked_sub(3)?)?).ok()?.parse().ok()
}

/// The parent's id in `/proc/<pid>/stat`.
pub(crate) fn parent_in_stat(stat: &[u8]) -> Option<u32> {
    stat_field(stat, 4).and_then(|parent| u32::try_from(parent).ok())
}

/// The facts that tell a process from another one of the same id, and a program from the one before it.
pub(super) type Incarnation = (u64, Option<PathBuf>);

/// Reads that of a process; `None` if there is none of this id. An error if that cannot be found out.
pub(super) fn incarnation(pid: u32) -> io::Result<Option<Incarnation>> {
    let Some(stat) = there(std::fs::read(format!("/proc/{pid}/stat")))? else { return Ok(None) };
    // When it started, in ticks since boot.
    let Some(start) = stat_field(&stat, 22) else { return Ok(None) };
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4b3f1c8a9d2e7f60514233aabbccddeeff00112233445566778899aabbccddee";

    #[test]
    fn the_line_that_names_a_container_says_the_cgroup() {
        let pod = "/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666";
        let runtime = "0::/system.slice/containerd.service\n";
        for (text, path) in [
            (
                format!("12:memory:/docker/{ID}\n1:name=systemd:/system.slice/x\n{runtime}"),
                format!("/docker/{ID}"),
            ),
            (format!("2:cpu,cpuacct:/\n1:name=systemd:/docker/{ID}\n{runtime}"), format!("/docker/{ID}")),
            (format!("{runtime}3:memory:{pod}\n"), pod.into()),
            (format!("{runtime}3:memory:{pod}\n1:name=systemd:{pod}/{ID}\n"), format!("{pod}/{ID}")),
            (format!("4:cpu:/kubepods/besteffort\n{runtime}"), "/kubepods/besteffort".into()),
            // The default hierarchy comes first where several do.
            (format!("4:cpu:/docker/{ID}\n0::/machine/{ID}\n"), format!("/machine/{ID}")),
            (format!("4:cpu:/a\n{runtime}"), "/system.slice/containerd.service".into()),
            ("4:cpu:/\n3:memory:/b\n0::/\n".into(), "/b".into()),
            ("0::/\n".into(), "/".into()),
            ("0::/a:b/c\n".into(), "/a:b/c".into()),
            ("0::/a (deleted)\n".into(), "/a".into()),
        ] {
            assert_eq!(cgroup_path(text.as_bytes()).unwrap(), path.as_bytes(), "{text}");
        }
        for text in ["", "\n", "0::", "x", "1:2"] {
            assert_eq!(cgroup_path(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn names_are_bytes() {
        assert_eq!(cgroup_path(b"0::/a/\xff\xc3\n").unwrap(), b"/a/\xff\xc3");
        let stat = b"77 (a) b\xc3) S 42 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 2\n";
        assert_eq!((parent_in_stat(stat), stat_field(stat, 22)), (Some(42), Some(99887)));
        for stat in [&b""[..], b"1 (x", b"1 (x)", b"1 (x) S", b"1 (x) S \xff"] {
            assert_eq!(parent_in_stat(stat), None, "{stat:?}");
        }
    }
}
