//! One message there, the answer back. The runtime is the plugin's own: of the host's it knows nothing.

mod grpc;
mod http;

use crate::answer::{Kind, Refusal, told};
use crate::config::{ConfigError, Destination, Protocol};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::codegen::http::HeaderMap;

/// A way to the receiver. Nothing is connected before the first message.
pub(crate) struct Transport {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    timeout: Duration,
}

enum Client {
    Grpc(grpc::Client),
    Http(http::Client),
}

/// What the receiver took.
#[derive(Debug)]
pub(crate) struct Accepted {
    rejected: i64,
    message: String,
}

impl Accepted {
    fn new(response: ExportProfilesServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self { rejected: partial.rejected_profiles, message: partial.error_message }
    }

    /// What was taken in part must not be sent again, so the log is all that is left.
    pub(crate) fn tell(&self) {
        match (self.rejected, self.message.as_str()) {
            (0, "") => {}
            (0, message) => tracing::warn!("the receiver took it and says: {}", told(message)),
            (rejected, message) => {
                tracing::warn!(rejected, "the receiver rejected some profiles: {}", told(message));
            }
        }
    }
}

impl Transport {
    /// Reads certificates; connects to nothing.
    pub(crate) fn new(destination: &Destination) -> Result<Self, ConfigError> {
        // Connections are kept alive between messages, so a thread is always there for them.
        let mut threads = Builder::new_multi_thread();
        threads.worker_threads(1).max_blocking_threads(2).thread_name("otlp").enable_all();
        let runtime = threads.build().map_err(|error| ConfigError::Threads(error.to_string()))?;
        let client = {
            let _inside = runtime.enter();
            match destination.protocol {
                Protocol::Grpc => Client::Grpc(grpc::Client::new(destination)?),
                Protocol::HttpProtobuf => Client::Http(http::Client::new(destination)?),
            }
        };
        Ok(Self { runtime: Some(runtime), client, timeout: destination.timeout })
    }

    /// Sends a message and waits for the answer.
    pub(crate) fn send(&self, message: Vec<u8>, headers: HeaderMap) -> Result<Accepted, Refusal> {
        let Some(runtime) = &self.runtime else {
            return Err(Refusal::new(Kind::Unreachable, "the plugin is ending"));
        };
        let answer = async {
            match &self.client {
                Client::Grpc(client) => client.send(message, headers).await,
                Client::Http(client) => client.send(message, headers).await,
            }
        };
        let late = || {
            let milliseconds = self.timeout.as_millis();
            Refusal::new(Kind::Unreachable, format!("no answer within {milliseconds} ms (`timeout_ms`)"))
        };
        runtime
            .block_on(async { tokio::time::timeout(self.timeout, answer).await })
            .unwrap_or_else(|_| Err(late()))
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // A name that is being looked up may take minutes; nobody waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An error with all of its causes, which say more than it does.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = Vec::new();
    for cause in causes {
        let text = cause.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    told(&texts.join(": "))
}
