//! Exec and exit events by raw tracepoints, where perf's side band reports none.

use super::ids::Ids;
use super::notice::{Notice, NoticeKind};
use aya::maps::{Map, MapData, RingBuf};
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT;
use stacksonde_ebpf::object::Unloaded;
use stacksonde_ebpf::raw::open_raw_tracepoint;
use stacksonde_ebpf::{LIFECYCLE_EXEC, LIFECYCLE_EXIT, parse_lifecycle_notice};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Programs of `notices.bpf.c` and the tracepoints that they go on.
const PROGRAMS: [(&str, &CStr); 2] = [("on_exec", c"sched_process_exec"), ("on_exit", c"sched_process_exit")];

/// The programs, attached, and their ring. Dropping it removes them from the kernel.
pub(super) struct Lifecycle {
    ring: RingBuf<MapData>,
    /// Keep the programs where they are attached.
    _attached: Vec<OwnedFd>,
}

impl Lifecycle {
    /// Loads and attaches; events come from now on. An object apart from the sampler's, so that what is
    /// refused here costs nothing there.
    pub(super) fn load(ids: Ids) -> anyhow::Result<Self> {
        let mut object = Unloaded::parse(stacksonde_ebpf::notices())?;
        ids.constants().set(&mut object);
        let mut object = object.create()?;
        let mut attached = Vec::new();
        for (name, tracepoint) in PROGRAMS {
            let program = object.load_program(name, BPF_PROG_TYPE_RAW_TRACEPOINT)?;
            attached.push(open_raw_tracepoint(tracepoint, program.as_fd())?);
        }
        let map = object.take_map("notices").ok_or_else(|| anyhow::anyhow!("this build has no `notices`"))?;
        let ring = RingBuf::try_from(Map::RingBuf(MapData::from_fd(map)?))?;
        Ok(Self { ring, _attached: attached })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Takes everything out of the ring. Returns the number of records that could not be read.
    pub(super) fn drain(&mut self, notices: &mut Vec<Notice>) -> u64 {
        let mut bad = 0;
        while let Some(record) = self.ring.next() {
            match parse_lifecycle(&record) {
                Some(notice) => notices.push(notice),
                None => bad += 1,
            }
        }
        bad
    }
}

/// Reads a record of the lifecycle programs; `None` if it is none.
pub fn parse_lifecycle(record: &[u8]) -> Option<Notice> {
    let raw = parse_lifecycle_notice(record)?;
    let kind = match raw.kind {
        LIFECYCLE_EXEC => {
            let end = raw.comm.iter().position(|byte| *byte == 0).unwrap_or(raw.comm.len());
            NoticeKind::Exec {
                comm: String::from_utf8_lossy(&raw.comm[..end]).into_owned(),
                mappings_follow: false,
            }
        }
        LIFECYCLE_EXIT => NoticeKind::Exit,
        _ => return None,
    };
    Some(Notice { time_ns: raw.time_ns, pid: raw.pid, tid: raw.tid, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32) -> Vec<u8> {
        let mut bytes = 9u64.to_ne_bytes().to_vec();
        bytes.extend([7u32, 8, kind, 0].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(b"busy\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes
    }

    #[test]
    fn reads_exec_and_exit_and_nothing_else() {
        let exec = NoticeKind::Exec { comm: "busy".into(), mappings_follow: false };
        assert_eq!(parse_lifecycle(&record(1)), Some(Notice { time_ns: 9, pid: 7, tid: 8, kind: exec }));
        assert_eq!(parse_lifecycle(&record(2)).map(|notice| notice.kind), Some(NoticeKind::Exit));
        assert_eq!(parse_lifecycle(&record(3)), None);
        assert_eq!(parse_lifecycle(&record(1)[..39]), None);
    }
}
