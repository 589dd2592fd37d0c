//! The agent's health, for those who watch it: a supervisor, a probe, Prometheus.
//!
//! ```text
//! vitals   what was sampled and lost so far, and when; kept by the publisher, read by anyone
//! verdict  from that and the exporters: is the agent of use?
//! metrics  all of it as Prometheus text
//! request  what was asked for, from the bytes of an HTTP request
//! server   answers on a socket, on a thread of its own
//! client   asks it
//! notify   readiness and watchdog of systemd
//! ```
//!
//! Nothing here is on the way of a sample.

mod client;
mod metrics;
mod notify;
mod request;
mod server;
mod verdict;
mod vitals;

pub use client::ask;
pub(crate) use client::parse as parse_answer;
pub use notify::Notifier;
pub(crate) use request::{Request, parse as parse_request, receive as receive_request};
pub use server::{Listen, Server};
pub use verdict::Verdict;
pub use vitals::{Vitals, VitalsNow};

use crate::plugins::Exporters;

/// All that is known of a running agent.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Of sampling.
    pub vitals: Vitals,
    /// Of exporters.
    pub exporters: Exporters,
}

impl Watched {
    /// Judges whether the agent does its work.
    pub fn verdict(&self) -> Verdict {
        let exporters = self.exporters.watch();
        let exporters = exporters.iter().map(|exporter| verdict::OfExporter {
            name: exporter.name(),
            required: exporter.is_required(),
            health: exporter.health(),
        });
        verdict::verdict(&self.vitals.now(), exporters)
    }

    /// Tells whether sampling goes on, whatever becomes of the samples.
    pub fn samples_flow(&self) -> bool {
        verdict::sampling(&self.vitals.now()).is_none()
    }

    fn metrics(&self) -> String {
        let exporters = self.exporters.watch();
        let exporters: Vec<_> = exporters.iter().map(|it| (it.name(), it.counters(), it.health())).collect();
        metrics::text(&self.vitals.now(), &exporters, metrics::own_process())
    }
}
