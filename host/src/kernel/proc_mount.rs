//! The mount of `/proc`: it may hide processes, and everything else.

/// Options of the mount of `/proc` (Documentation/filesystems/proc.rst, "Mount options").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcMount {
    /// `hidepid`, where it hides something: `2`, `invisible`.
    pub hidepid: Option<String>,
    /// `subset=pid`: there is nothing but processes.
    pub only_processes: bool,
}

impl ProcMount {
    /// Reads them.
    pub fn read() -> Self {
        parse_proc_mount(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }
}

/// Finds the mount on `/proc` that covers the others in `/proc/self/mountinfo` (proc(5)).
pub fn parse_proc_mount(mountinfo: &[u8]) -> ProcMount {
    let options = |line: &[u8]| {
        // The name of what is mounted may be any bytes.
        let line = String::from_utf8_lossy(line);
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let is_proc = mount.split(' ').nth(4)? == "/proc" && system.next()? == "proc";
        is_proc.then(|| system.nth(1).map(str::to_owned)).flatten()
    };
    let options = mountinfo.split(|byte| *byte == b'\n').filter_map(options).next_back().unwrap_or_default();
    let value =
        |name: &str| options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    ProcMount {
        hidepid: value("hidepid").filter(|hidden| !matches!(*hidden, "0" | "off")).map(str::to_owned),
        only_processes: value("subset") == Some("pid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_on_proc_counts() {
        let plain = "24 30 0:22 / /proc rw,relatime shared:5 - proc proc rw\n";
        let hidden = "99 30 0:50 / /proc rw - proc proc rw,gid=7,hidepid=invisible,subset=pid\n";
        let other = "98 30 0:51 / /mnt/proc rw - proc proc rw,hidepid=2\n97 30 0:52 / /proc/\\377 rw - fuse \u{ff} x\n";
        let read = |text: &[&str]| parse_proc_mount(text.concat().as_bytes());
        assert_eq!(read(&[plain, other]), ProcMount::default());
        let expected = ProcMount { hidepid: Some("invisible".into()), only_processes: true };
        assert_eq!(read(&[plain, hidden, other]), expected);
        assert_eq!(read(&[hidden, plain]), ProcMount::default());
        assert_eq!(parse_proc_mount(b"1 2 3 4 /proc x - proc proc hidepid=off"), ProcMount::default());
        let odd = b"99 30 0:50 / /proc rw - proc \xff rw,hidepid=2";
        assert_eq!(parse_proc_mount(odd).hidepid.as_deref(), Some("2"));
        assert_eq!(parse_proc_mount(b"\xff - \n/proc"), ProcMount::default());
    }
}
