//! The only room that touches BPF and perf descriptors and raw kernel bytes.
//!
//! Upwards go typed values: [`RawSample`]s and [`Notice`]s in time order, and what the kernel
//! says it ticked ([`Ticks`]). Everything above runs in tests without root.

mod accounting;
mod confirm;
mod cpus;
mod early;
mod idle;
mod ids;
mod lifecycle;
mod memlock;
mod merge;
mod notice;
mod opener;
mod perf;
mod period;
mod reader;
mod sample;
mod sampler;
mod settings;
mod shared;
mod sideband;
mod tables;
mod trial;

pub use accounting::{Frames, Interval, Ticks};
pub use confirm::{IdFacts, OwnNamespace, confirm_entry_registers, confirm_ids};
pub use cpus::{online_cpus, parse_cpu_list};
pub use early::EarlyStack;
pub(crate) use early::read_process;
pub use idle::{CpuTimes, parse_cpu_times};
pub use ids::Ids;
pub use lifecycle::parse_lifecycle;
pub use memlock::raise as raise_memlock;
pub use merge::Event;
pub use notice::{BadRecord, Identity, Notice, NoticeKind, parse_notice};
pub use opener::{confine_admin, release_admin};
pub use period::{Changes, Course, LARGEST_SPREAD, Periods};
pub use reader::{Haste, Message, Reader, Stop, messages};
pub(crate) use reader::{clock_ns, monotonic_ns};
pub use sample::{RawSample, Registers, Rest, StackCopy};
pub use sampler::{LoadError, Sampler};
pub use settings::{Notices, Settings, StackCopies, UserWalk};
pub use shared::SharedWords;
pub use tables::{TableMemory, TableSizes};
pub use trial::{Trial, ask_bpf, ask_perf, attempt};
