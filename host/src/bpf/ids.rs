//! Translation of pids into our own pid namespace: the constants of `ebpf/bpf/ids.h`.

use super::confirm::{IdFacts, OwnNamespace};
use stacksonde_ebpf::object::Unloaded;

/// The way in which ids become those of our own pid namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// We are in the initial namespace: they are ours already.
    #[default]
    Initial,
    /// By offsets: of every task in our namespace or in one within it.
    Facts {
        /// Offsets of the ids.
        facts: IdFacts,
        /// Our namespace.
        namespace: OwnNamespace,
    },
    /// By `bpf_get_ns_current_pid_tgid`: of tasks directly in our namespace.
    Helper {
        /// Device of the namespace's file.
        device: u64,
        /// Inode of the namespace's file.
        inode: u64,
    },
    /// By no way: no id is better than a wrong one.
    Hidden,
}

/// The constants, for as long as a loader borrows them.
pub(super) struct Constants {
    small: [(&'static str, u32); 7],
    large: [(&'static str, u64); 3],
}

impl Ids {
    pub(super) fn constants(self) -> Constants {
        let (by, facts, namespace, file) = match self {
            Self::Initial => (0, IdFacts::default(), OwnNamespace::default(), (0, 0)),
            Self::Facts { facts, namespace } => (1, facts, namespace, (0, 0)),
            Self::Helper { device, inode } => {
                (2, IdFacts::default(), OwnNamespace::default(), (device, inode))
            }
            Self::Hidden => (3, IdFacts::default(), OwnNamespace::default(), (0, 0)),
        };
        Constants {
            small: [
                ("ids_by", by),
                ("task_struct_group_leader", facts.group_leader),
                ("task_struct_thread_pid", facts.thread_pid),
                ("pid_level", facts.level),
                ("pid_numbers", facts.numbers),
                ("upid_nr", facts.nr),
                ("namespace_level", namespace.level),
            ],
            large: [
                ("namespace_address", namespace.address),
                ("namespace_device", file.0),
                ("namespace_inode", file.1),
            ],
        }
    }
}

impl Constants {
    /// Puts them into an object.
    pub(super) fn set(&self, object: &mut Unloaded) {
        for (name, value) in &self.small {
            object.set_u32(name, *value);
        }
        for (name, value) in &self.large {
            object.set_u64(name, *value);
        }
    }
}
