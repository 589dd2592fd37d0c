//! The plugin's role.

use crate::acceptance::Accepted;
use crate::answer::{Kind, Refusal};
use crate::config::{Config, Destination, LEAST_MESSAGE_BYTES, Symbolize};
use crate::convert::Messages;
use crate::transport::Transport;
use stacksonde_plugin::batch::{Batch, FORMAT};
use stacksonde_plugin::{Exporter, Failure, Instance, Offer, Wants};

/// Sends each batch as one message, or as several.
pub struct OtlpExport {
    destination: Destination,
    with_times: bool,
    /// Bytes of the largest message; less than was configured after a receiver took no such message.
    most: usize,
    /// Made when it is first needed, and again after a connection broke.
    transport: Option<Transport>,
    /// Set once an answer came, so that it is the right port.
    has_answered: bool,
    progress: Progress,
}

/// The progress of a batch, so that a second try does not repeat what was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    run_id: [u8; 16],
    sequence: u64,
    /// The first item that was not accepted.
    item: usize,
}

impl Exporter for OtlpExport {
    type Config = Config;

    fn negotiate(config: &Config, offer: &Offer) -> Result<Wants, String> {
        config.destination(&variable).map_err(|error| error.to_string())?;
        let format = FORMAT.to_string();
        if !offer.formats.contains(&format) {
            let offered = offer.formats.join(", ");
            return Err(format!("reads batch format {format}, and the host offers only: {offered}"));
        }
        Ok(Wants { format: Some(format), names: config.symbolize == Symbolize::Local, ..Wants::default() })
    }

    fn create(_instance: Instance, config: Config) -> Result<Self, String> {
        let destination = config.destination(&variable).map_err(|error| error.to_string())?;
        // What is wrong with files is told now, not when the first profile is ready.
        destination.headers().map_err(|error| error.to_string())?;
        let transport = Transport::new(&destination).map_err(|error| error.to_string())?;
        Ok(Self {
            most: config.message_bytes(),
            with_times: config.timestamps.unwrap_or(true),
            transport: Some(transport),
            has_answered: false,
            destination,
            progress: Progress::default(),
        })
    }

    fn export(&mut self, batch: &Batch<'_>) -> Result<(), Failure> {
        let header = batch.header();
        let mut at = Progress { run_id: header.run_id, sequence: header.sequence, item: 0 };
        if (self.progress.run_id, self.progress.sequence) == (at.run_id, at.sequence) {
            at = self.progress;
        }
        let messages = Messages::new(batch, self.with_times);
        let mut refused = None;
        while let Some(message) = messages.next(at.item, self.most) {
            match self.send(message.bytes.clone()) {
                Ok(accepted) => {
                    accepted.tell();
                    at.item = message.end;
                }
                Err(Refusal { kind: Kind::TooLarge, message: said })
                    if message.items > 1 && self.shrinks(message.bytes.len()) =>
                {
                    tracing::warn!(
                        "messages of {} bytes are too large for the receiver, so they will be of at most {}; set \
                         `max_message_bytes` to what it takes: {said}",
                        message.bytes.len(),
                        self.most
                    );
                }
                Err(refusal) => match refusal.kind {
                    Kind::Retryable(after) => {
                        self.progress = at;
                        return Err(Failure::Retryable { message: refusal.message, after });
                    }
                    Kind::Unreachable => {
                        self.progress = at;
                        self.transport = None;
                        return Err(Failure::Retryable { message: refusal.message, after: None });
                    }
                    Kind::Hopeless => return Err(Failure::Permanent(refusal.message)),
                    // The other parts may well be taken.
                    Kind::TooLarge | Kind::Permanent => {
                        refused.get_or_insert(refusal.message);
                        at.item = message.end;
                    }
                },
            }
        }
        self.progress = at;
        refused.map_or(Ok(()), |message| Err(Failure::Permanent(message)))
    }
}

impl OtlpExport {
    fn send(&mut self, message: Vec<u8>) -> Result<Accepted, Refusal> {
        // Both may be repaired on disk while the agent runs, and then the same batch can go.
        let later = |error: crate::config::ConfigError| Refusal::new(Kind::Unreachable, error.to_string());
        let headers = self.destination.headers().map_err(later)?;
        let transport = match self.transport.take() {
            Some(transport) => transport,
            None => Transport::new(&self.destination).map_err(later)?,
        };
        let transport = self.transport.insert(transport);
        let answer = transport.send(message, headers);
        self.has_answered |= !answer.as_ref().is_err_and(|refusal| refusal.kind == Kind::Unreachable);
        if self.has_answered { answer } else { answer.map_err(|refusal| transport.explained(refusal)) }
    }

    /// Halves the size of messages and tells whether they can be smaller than `bytes`.
    fn shrinks(&mut self, bytes: usize) -> bool {
        let least = LEAST_MESSAGE_BYTES as usize;
        let before = self.most.min(bytes);
        self.most = (before / 2).max(least);
        self.most < before
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
