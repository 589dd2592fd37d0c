//! Process events from perf's side band: bytes in, values out.
//!
//! Layouts are those of `include/uapi/linux/perf_event.h` (enum perf_event_type) with
//! `sample_id_all` and `sample_type = TID | TIME`: every record ends in {u32 pid, u32 tid, u64 time}.

/// Something happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The kind of event.
    pub kind: NoticeKind,
}

impl Notice {
    /// Returns how many other events this one reports as lost.
    pub fn lost(&self) -> u64 {
        match self.kind {
            NoticeKind::Lost { count } => count,
            _ => 0,
        }
    }
}

/// Something that happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The thread was started by a thread of `parent`; a new process if `pid` equals `tid`.
    Fork {
        /// Process id of the parent.
        parent: u32,
    },
    /// The process runs another program from now on; its mappings are gone.
    Exec {
        /// The new name.
        comm: String,
        /// True if an event for each of its mappings comes after it.
        mappings_follow: bool,
    },
    /// The thread has another name.
    Name {
        /// The new name.
        comm: String,
    },
    /// An executable mapping.
    Map {
        /// First address.
        start: u64,
        /// One past the last address.
        end: u64,
        /// Offset in the file.
        file_offset: u64,
        /// The file's identity.
        identity: Identity,
        /// Path as the process sees it, or a name such as `[vdso]` or `//anon`.
        path: String,
    },
    /// The thread ended; the process too if `pid` equals `tid`.
    Exit,
    /// The kernel has new code of its own, or some less: a BPF program, a trampoline. It concerns no process.
    KernelCode {
        /// First address.
        start: u64,
        /// Bytes of it.
        bytes: u32,
        /// Its name.
        name: String,
        /// Set if it is no longer there.
        is_gone: bool,
    },
    /// The kernel dropped this many events.
    Lost {
        /// Their number.
        count: u64,
    },
}

/// The file's identity, which tells two files of one path apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// Inode number.
    pub inode: u64,
}

/// Why bytes are not a perf record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a perf record of type {kind} and {bytes} bytes is too short for its fields")]
pub struct BadRecord {
    /// `perf_event_header.type`.
    pub kind: u32,
    /// Bytes of the record.
    pub bytes: usize,
}

const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
const RECORD_KSYMBOL: u32 = 17;
const KSYMBOL_UNREGISTER: u16 = 1;
const MISC_COMM_EXEC: u16 = 1 << 13;

/// Reads one record, header included. `None` for a kind of record that says nothing to us.
pub fn parse_notice(record: &[u8]) -> Result<Option<Notice>, BadRecord> {
    let mut fields = Fields { rest: record };
    let bad = |kind| BadRecord { kind, bytes: record.len() };
    let (Some(kind), Some(misc), Some(_size)) = (fields.u32(), fields.u16(), fields.u16()) else {
        return Err(bad(0));
    };
    if !matches!(kind, RECORD_LOST | RECORD_COMM | RECORD_EXIT | RECORD_FORK | RECORD_MMAP2 | RECORD_KSYMBOL)
    {
        return Ok(None);
    }
    fields.notice(kind, misc).map(Some).ok_or_else(|| bad(kind))
}

/// The bytes of a record that are still to be read.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn notice(&mut self, kind: u32, misc: u16) -> Option<Notice> {
        let mut trailer = Fields { rest: self.take_last(16)? };
        let (last_pid, last_tid, time_ns) = (trailer.u32()?, trailer.u32()?, trailer.u64()?);
        if kind == RECORD_LOST {
            let (_id, count) = (self.u64()?, self.u64()?);
            return Some(Notice { time_ns, pid: last_pid, tid: last_tid, kind: NoticeKind::Lost { count } });
        }
        if kind == RECORD_KSYMBOL {
            let (start, bytes, _kind, flags) = (self.u64()?, self.u32()?, self.u16()?, self.u16()?);
            let is_gone = flags & KSYMBOL_UNREGISTER != 0;
            let kind = NoticeKind::KernelCode { start, bytes, name: self.text(), is_gone };
            return Some(Notice { time_ns, pid: last_pid, tid: last_tid, kind });
        }
        let pid = self.u32()?;
        if matches!(kind, RECORD_FORK | RECORD_EXIT) {
            let (parent, tid) = (self.u32()?, self.u32()?);
            let kind = if kind == RECORD_FORK { NoticeKind::Fork { parent } } else { NoticeKind::Exit };
            return Some(Notice { time_ns, pid, tid, kind });
        }
        let tid = self.u32()?;
        let kind = match kind {
            RECORD_COMM if misc & MISC_COMM_EXEC != 0 => {
                NoticeKind::Exec { comm: self.text(), mappings_follow: true }
            }
            RECORD_COMM => NoticeKind::Name { comm: self.text() },
            _ => self.map()?,
        };
        Some(Notice { time_ns, pid, tid, kind })
    }

    fn map(&mut self) -> Option<NoticeKind> {
        let (start, bytes, file_offset) = (self.u64()?, self.u64()?, self.u64()?);
        let mut identity = Fields { rest: self.take(24)? };
        let _protection_and_flags = self.u64()?;
        let identity = Identity { major: identity.u32()?, minor: identity.u32()?, inode: identity.u64()? };
        let end = start.checked_add(bytes)?;
        Some(NoticeKind::Map { start, end, file_offset, identity, path: self.text() })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn take_last(&mut self, length: usize) -> Option<&'a [u8]> {
        let (rest, taken) = self.rest.split_at_checked(self.rest.len().checked_sub(length)?)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    /// The rest, up to the first zero.
    fn text(&mut self) -> String {
        let end = self.rest.iter().position(|byte| *byte == 0).unwrap_or(self.rest.len());
        String::from_utf8_lossy(&self.rest[..end]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, misc: u16, body: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [&kind.to_ne_bytes()[..], &misc.to_ne_bytes(), &0u16.to_ne_bytes()].concat();
        bytes.extend(body.concat());
        bytes.extend([&7u32.to_ne_bytes()[..], &8u32.to_ne_bytes(), &99u64.to_ne_bytes()].concat());
        bytes
    }

    fn mapping(identity: [u8; 24]) -> Vec<u8> {
        let numbers = [0x1000u64.to_ne_bytes(), 0x2000u64.to_ne_bytes(), 0x300u64.to_ne_bytes()].concat();
        let ids = [7u32.to_ne_bytes(), 8u32.to_ne_bytes()].concat();
        record(RECORD_MMAP2, 0, &[&ids, &numbers, &identity, &[0; 8], b"/bin/x\0\0"])
    }

    #[test]
    fn reads_a_mapping_with_device_and_inode() {
        let mut identity = [0; 24];
        (identity[0], identity[4], identity[8]) = (8, 1, 77);
        let notice = parse_notice(&mapping(identity)).unwrap().unwrap();
        assert_eq!((notice.pid, notice.tid, notice.time_ns), (7, 8, 99));
        let NoticeKind::Map { start, end, file_offset, identity, path } = notice.kind else { panic!() };
        assert_eq!((start, end, file_offset, path.as_str()), (0x1000, 0x3000, 0x300, "/bin/x"));
        assert_eq!(identity, Identity { major: 8, minor: 1, inode: 77 });
    }

    #[test]
    fn tells_an_exec_from_a_new_name() {
        let ids = [7u32.to_ne_bytes(), 8u32.to_ne_bytes()].concat();
        let kind = |misc| {
            let bytes = record(RECORD_COMM, misc, &[&ids, b"sh\0\0\0\0\0\0"]);
            parse_notice(&bytes).unwrap().unwrap().kind
        };
        assert_eq!(kind(MISC_COMM_EXEC), NoticeKind::Exec { comm: "sh".into(), mappings_follow: true });
        assert_eq!(kind(0), NoticeKind::Name { comm: "sh".into() });
    }

    #[test]
    fn names_the_parent_of_a_fork() {
        let body: Vec<u8> = [10u32, 5, 11, 5].iter().flat_map(|id| id.to_ne_bytes()).collect();
        let notice = parse_notice(&record(RECORD_FORK, 0, &[&body, &[0; 8]])).unwrap().unwrap();
        assert_eq!((notice.pid, notice.tid), (10, 11));
        assert_eq!(notice.kind, NoticeKind::Fork { parent: 5 });
    }

    #[test]
    fn refuses_short_records_and_skips_unknown_ones() {
        assert!(parse_notice(&[]).is_err());
        assert!(parse_notice(&record(RECORD_MMAP2, 0, &[&[0; 20]])).is_err());
        assert_eq!(parse_notice(&record(99, 0, &[])), Ok(None));
    }

    #[test]
    fn names_the_kernel_s_own_new_code() {
        let numbers =
            [&0xffff_ffff_c012_3000_u64.to_ne_bytes()[..], &0x80u32.to_ne_bytes(), &1u16.to_ne_bytes()];
        for (flags, is_gone) in [(0u16, false), (1, true)] {
            let body = [&numbers.concat()[..], &flags.to_ne_bytes(), b"bpf_prog_x\0\0\0\0\0\0"];
            let notice = parse_notice(&record(RECORD_KSYMBOL, 0, &body)).unwrap().unwrap();
            let name = "bpf_prog_x".into();
            let start = 0xffff_ffff_c012_3000;
            assert_eq!(notice.kind, NoticeKind::KernelCode { start, bytes: 0x80, name, is_gone });
        }
    }
}
