//! Facts about the running kernel: its capabilities, its version, its known bugs.

mod deny;
mod known_bugs;
mod namespace;
mod probe;
mod proc_mount;
mod refusal;
mod standing;
mod system_proc;
mod version;

pub use deny::{UnknownCapability, check_denied, deny};
pub use known_bugs::has_probe_read_bug;
pub use namespace::PidNamespace;
pub use probe::{btf_available, known_names, probe};
pub use proc_mount::{ProcMount, parse_proc_mount};
pub use system_proc::{open_kallsyms, prepare_system_files, system_file};
pub use version::{KernelVersion, Source, Version, VersionRange};
#[doc(hidden)]
pub(crate) use version::{in_uname_version, in_vdso, in_version_signature};
