//! Shared libraries as plugins: judged before any of their code runs, contained while it does.
//!
//! ```text
//! discover   a name from the config, in the configured directories              find
//! verify     who owns the file, who can write to it, what it asks of the loader  verify, pin, elf
//! inspect    the manifest, read from an ELF note                                 manifest
//! policy     schema, ABI, target, panic mode, kinds, needs                       policy
//! config     every instance's keys against the schema in the manifest           schema
//!            -- up to here no code of the plugin has run; `plugin list` and `plugin info` stop --
//! load       dlopen of the very descriptor that was checked                      load, c
//! layout     the older side's types against the newer side's                     layout
//! init       the plugin is told what it may call                                 callbacks
//! negotiate, create, run, drain, shut down                                       entry, exporter, supervise
//! ```
//!
//! Offset providers and safety checks answer questions within a deadline ([`OffsetProvider`],
//! [`SafetyCheck`]); each exporter instance has a supervised thread ([`ExporterInstance`]).
//! Nothing is ever unloaded.

mod backlog;
mod c;
mod callbacks;
mod check;
pub mod conformance;
mod deadline;
mod elf;
mod entry;
mod exporter;
mod find;
mod interval;
mod layout;
mod load;
mod loss;
mod manifest;
mod pin;
mod policy;
mod provider;
mod refusal;
mod running;
mod schema;
mod spool;
mod supervise;
mod thread;
mod verify;

pub use check::SafetyCheck;
pub use deadline::PluginError;
pub use elf::ElfError;
pub use exporter::{ExporterCounters, ExporterInstance, ExporterSettings, ExporterWatch, Health};
pub use find::{find, inspect, list};
pub use load::{Plugin, load};
pub use loss::Dropped;
pub use manifest::{Door, Inspected, Manifest};
pub(crate) use manifest::{parse as parse_manifest, read as read_library};
pub use policy::{BATCH_FORMAT, check_config, check_needs};
pub use provider::OffsetProvider;
pub use refusal::Refusal;
pub use running::{Ended, Exporters};
pub(crate) use schema::check as check_schema;
pub use spool::SpoolSettings;
pub(crate) use spool::read_file as read_spooled;
pub use verify::FileRules;
