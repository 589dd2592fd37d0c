//! The only room that touches BPF and perf descriptors and raw kernel bytes.
//!
//! Upwards go typed values: [`RawSample`]s and [`Notice`]s in time order, and what the kernel
//! says it ticked ([`Ticks`]). Everything above runs in tests without root.

mod books;
mod confirm;
mod idle;
mod ids;
mod lifecycle;
mod memlock;
mod merge;
mod notice;
mod perf;
mod reader;
mod sampler;
mod sideband;
mod trial;

pub use books::{Interval, Ticks};
pub use confirm::{IdFacts, OwnNamespace, confirm_entry_registers, confirm_ids};
pub use idle::parse_idle_times;
pub use ids::Ids;
pub use lifecycle::parse_lifecycle;
pub use memlock::raise as raise_memlock;
pub use merge::Event;
pub use notice::{BadRecord, Identity, Notice, NoticeKind, parse_notice};
pub use perf::online_cpus;
pub use reader::{Message, Reader, Stop};
pub(crate) use reader::{clock_ns, monotonic_ns};
pub use sampler::{LoadError, Notices, Sampler, Settings};
pub use trial::{Trial, attempt};

/// One sample, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The CPU that was sampled.
    pub cpu: u32,
    /// Id of the task's cgroup in the default hierarchy; 0 if unknown.
    pub cgroup_id: u64,
    /// Name of the thread, zero padded.
    pub comm: [u8; 16],
    /// Addresses in the kernel, leaf first.
    pub kernel: Box<[u64]>,
    /// Addresses in the process, leaf first.
    pub user: Box<[u64]>,
    /// How the user part ended: a value of [`stacksonde_ebpf::user_end`].
    pub user_end: u8,
    /// How the kernel part ended: a value of [`stacksonde_ebpf::kernel_end`].
    pub kernel_end: u8,
}

impl From<&stacksonde_ebpf::sample::Record<'_>> for RawSample {
    fn from(record: &stacksonde_ebpf::sample::Record<'_>) -> Self {
        let head = &record.head;
        Self {
            time_ns: head.time_ns,
            pid: head.pid,
            tid: head.tid,
            cpu: head.cpu,
            cgroup_id: head.cgroup_id,
            comm: head.comm,
            kernel: record.kernel_frames().collect(),
            user: record.user_frames().collect(),
            user_end: head.user_end,
            kernel_end: head.kernel_end,
        }
    }
}
