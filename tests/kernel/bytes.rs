//! Names are bytes: those of processes, which the kernel cuts anywhere, and those of cgroups.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, Spinners};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[test]
fn a_child_whose_name_is_cut_inside_a_character_is_still_a_child() {
    kernel_tier!();
    let spinners = Spinners::new();
    // Fifteen bytes of it are kept, the last of which is the first half of a character.
    let program = spinners.called("aaaaaaaaaaaaaaé");
    let script = format!("'{}' 0 60 & wait", program.display());
    let mut shell = Command::new("sh");
    let shell = Running::start(shell.args(["-c", &script]).stdout(Stdio::null()));
    let children = format!("/proc/{0}/task/{0}/children", shell.pid());
    let child = loop {
        let text = std::fs::read_to_string(&children).unwrap();
        match text.split_whitespace().next().map(str::to_owned) {
            Some(child)
                if std::fs::read(format!("/proc/{child}/comm"))
                    .is_ok_and(|comm| comm == b"aaaaaaaaaaaaaa\xc3\n") =>
            {
                break child;
            }
            _ => std::thread::yield_now(),
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let (_, stacks) = Installed::from_environment()
        .unwrap()
        .record(folder.path(), &["-d", "2", "-F", "99", "-p", &shell.pid()]);
    // SAFETY: plain numbers; it is the child of a shell that waits for it.
    unsafe { libc::kill(child.parse().unwrap(), libc::SIGKILL) };
    assert!(stacks.with_frame(|frame| frame == "spin" || frame == "main").samples() > 0, "{stacks:?}");
}

/// Finds the mount of the default hierarchy of cgroups.
fn cgroups() -> Option<PathBuf> {
    let text = std::fs::read("/proc/self/mountinfo").unwrap();
    stacksonde::filter::parse_mounts(&text).filter(|(root, _)| root == b"/").map(|(_, point)| point)
}

#[test]
fn a_cgroup_with_a_name_that_is_no_text_is_excluded_with_its_parent() {
    kernel_tier!();
    let Some(point) = cgroups() else { return };
    let parent = point.join(format!("stacksonde-bytes-{}", std::process::id()));
    let cgroup = parent.join(OsStr::from_bytes(b"a\xff\xc3"));
    std::fs::create_dir_all(&cgroup).unwrap();
    let spinners = Spinners::new();
    let busy = spinners.spin("in_cgroup", 0);
    std::fs::write(cgroup.join("cgroup.procs"), busy.pid()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let denied = format!("/{}", parent.file_name().unwrap().to_str().unwrap());
    let (output, stacks) = Installed::from_environment()
        .unwrap()
        .record(folder.path(), &["-d", "2", "-F", "99", "--deny-cgroup", &denied]);
    drop(busy);
    while std::fs::remove_dir(&cgroup).is_err() {
        std::thread::yield_now();
    }
    std::fs::remove_dir(&parent).unwrap();
    assert_eq!(stacks.of("in_cgroup").samples(), 0, "{}", String::from_utf8_lossy(&output.stdout));
}
