//! Notices of exec and exit by raw tracepoints, where perf's side-band gives none.

use super::ids::Ids;
use super::notice::{Notice, NoticeKind};
use aya::maps::{MapData, RingBuf};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader};
use stacksonde_ebpf::{LIFECYCLE_EXEC, LIFECYCLE_EXIT, parse_lifecycle_notice};
use std::os::fd::{AsRawFd, RawFd};

/// Programs of `notices.bpf.c` and the tracepoints that they go on.
const PROGRAMS: [(&str, &str); 2] = [("on_exec", "sched_process_exec"), ("on_exit", "sched_process_exit")];

/// The programs, attached, and their ring. Dropping it removes them from the kernel.
pub(super) struct Lifecycle {
    ring: RingBuf<MapData>,
    /// Owns programs and links.
    _object: Ebpf,
}

impl Lifecycle {
    /// Loads and attaches; notices come from now on. An object apart from the sampler's, so that what is
    /// refused here costs nothing there.
    pub(super) fn load(ids: Ids) -> anyhow::Result<Self> {
        let constants = ids.constants();
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        constants.set(&mut loader);
        let mut object = loader.load(stacksonde_ebpf::notices())?;
        for (name, tracepoint) in PROGRAMS {
            let found =
                object.program_mut(name).ok_or_else(|| anyhow::anyhow!("this build has no `{name}`"))?;
            let program: &mut RawTracePoint = found.try_into()?;
            program.load()?;
            program.attach(tracepoint)?;
        }
        let map = object.take_map("notices").ok_or_else(|| anyhow::anyhow!("this build has no `notices`"))?;
        Ok(Self { ring: RingBuf::try_from(map)?, _object: object })
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
