//! The threads by which a process can be looked at.

use std::io;

/// Threads that are tried of those that a process has.
const OTHERS_MAX: usize = 16;

/// Asks by a task of a process that still has memory, files and a root: the main thread may have ended while others go
/// on, and all of `/proc/<pid>` that is not of that thread alone is empty then. `tid` is a thread that is known. The
/// answer of the first task for which `ask` finds something; an error if it fails otherwise, or there is no such task.
pub(crate) fn by_living_task<T>(
    pid: u32,
    tid: u32,
    mut ask: impl FnMut(u32) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let mut gone = None;
    let mut try_task = |task| match ask(task) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            gone = Some(error);
            Ok(None)
        }
        other => other,
    };
    if let Some(found) = try_task(pid)? {
        return Ok(Some(found));
    }
    // Another process may have the thread's id by now.
    if tid != pid
        && std::fs::exists(format!("/proc/{pid}/task/{tid}"))?
        && let Some(found) = try_task(tid)?
    {
        return Ok(Some(found));
    }
    // The thread that was sampled may be gone, too.
    let others = match std::fs::read_dir(format!("/proc/{pid}/task")) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Err(error),
        others => others.into_iter().flatten(),
    };
    for task in others.flatten().take(OTHERS_MAX) {
        let task = task.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(task) = task.filter(|task| *task != pid && *task != tid)
            && let Some(found) = try_task(task)?
        {
            return Ok(Some(found));
        }
    }
    gone.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_the_known_tasks_first_and_then_others() {
        let pid = std::process::id();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || ended.recv().is_ok());
        let mut asked = Vec::new();
        let nothing = by_living_task(pid, 1, |task| {
            asked.push(task);
            Ok(None::<()>)
        });
        assert!(nothing.unwrap().is_none() && asked[0] == pid && asked.len() > 1, "{asked:?}");
        assert!(!asked.contains(&1), "it is not a thread of ours");
        let found = by_living_task(pid, pid, |task| {
            if task == pid { Err(io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(Some(task)) }
        });
        assert!(found.unwrap().is_some_and(|task| task != pid));
        drop(end);
        other.join().unwrap();
    }

    #[test]
    fn a_failure_ends_the_search() {
        let denied = || io::Error::from_raw_os_error(libc::EPERM);
        let mut asked = 0;
        let refused = by_living_task(std::process::id(), 1, |_| {
            asked += 1;
            Err::<Option<()>, _>(denied())
        });
        assert_eq!((refused.unwrap_err().raw_os_error(), asked), (Some(libc::EPERM), 1));
    }
}
