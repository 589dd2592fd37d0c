//! One message there, the answer back. The runtime is the plugin's own: of the host's it knows nothing.

mod connect;
mod grpc;
mod hints;
mod http;
mod tls;

use crate::acceptance::Accepted;
use crate::answer::{Kind, Refusal, told};
use crate::config::{ConfigError, Destination, Protocol};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tonic::codegen::http::HeaderMap;

/// A way to the receiver. Nothing is connected before the first message.
pub(crate) struct Transport {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    timeout: Duration,
    /// As it is called in messages.
    proxy: Option<String>,
    protocol: Protocol,
    is_secure: bool,
}

/// When a message must have its answer.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// The refusal of a receiver that did not answer by then.
    fn missed(self) -> Refusal {
        let milliseconds = self.timeout.as_millis();
        Refusal::new(Kind::Unreachable, format!("no answer within {milliseconds} ms (`timeout_ms`)"))
    }
}

enum Client {
    Grpc(grpc::Client),
    Http(Box<http::Client>),
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
                Protocol::HttpProtobuf => Client::Http(Box::new(http::Client::new(destination)?)),
            }
        };
        let proxy = destination.proxy.as_ref().map(ToString::to_string);
        Ok(Self {
            runtime: Some(runtime),
            client,
            timeout: destination.timeout,
            proxy,
            protocol: destination.protocol,
            is_secure: destination.uri.scheme_str() == Some("https"),
        })
    }

    /// Sends a message and waits for the answer.
    pub(crate) fn send(&self, message: Vec<u8>, headers: HeaderMap) -> Result<Accepted, Refusal> {
        let Some(runtime) = &self.runtime else {
            return Err(Refusal::new(Kind::Unreachable, "the plugin is ending"));
        };
        let deadline = Deadline { at: Instant::now() + self.timeout, timeout: self.timeout };
        let answer = async {
            match &self.client {
                Client::Grpc(client) => client.send(message, headers, deadline).await,
                Client::Http(client) => client.send(message, headers, deadline).await,
            }
        };
        runtime.block_on(answer).map_err(|refusal| self.with_proxy(refusal))
    }

    /// Names the proxy where it may be to blame.
    fn with_proxy(&self, refusal: Refusal) -> Refusal {
        match &self.proxy {
            Some(proxy)
                if matches!(refusal.kind, Kind::Unreachable | Kind::Retryable(_))
                    && !refusal.message.contains(proxy.as_str()) =>
            {
                Refusal { message: format!("{} (through {proxy})", refusal.message), ..refusal }
            }
            _ => refusal,
        }
    }

    /// Adds what may be wrong with the endpoint to a failure before anything was ever answered there.
    pub(crate) fn explained(&self, refusal: Refusal) -> Refusal {
        let hint = match refusal.kind {
            Kind::Unreachable => hints::hint(&refusal.message, self.protocol, self.is_secure),
            _ => "",
        };
        Refusal { message: format!("{}{hint}", refusal.message), ..refusal }
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
