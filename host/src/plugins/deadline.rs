//! Questions to a plugin, each with a deadline.

use super::thread;
use abi_stable::std_types::{RResult, RString};
use serde::de::DeserializeOwned;
use stacksonde_abi::{Fault, FaultKind, abi_stable};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;
use std::{fmt, io};

/// The longest time for an answer of an offset provider or a safety check.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Why a call into a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The plugin has no such role.
    #[error("plugin `{plugin}` has no {role}: check the configuration")]
    NoRole {
        /// The plugin's name.
        plugin: String,
        /// The role.
        role: &'static str,
    },
    /// The plugin said no.
    #[error("`{name}`: {message}")]
    Failed {
        /// The plugin or instance.
        name: String,
        /// Its message.
        message: String,
    },
    /// The plugin panicked.
    #[error("`{name}`: {message}; report it to the plugin's author")]
    Panicked {
        /// The plugin or instance.
        name: String,
        /// The panic's message and place.
        message: String,
    },
    /// The plugin did not return in time. Its thread is left behind.
    #[error("`{name}`: {what} did not return within {} s; it is not called again", .after.as_secs_f32())]
    Deadline {
        /// The plugin or instance.
        name: String,
        /// The call that was made.
        what: &'static str,
        /// The time it had.
        after: Duration,
    },
    /// An earlier call did not return.
    #[error("`{name}`: is not called again, because an earlier call did not return")]
    Abandoned {
        /// The plugin or instance.
        name: String,
    },
    /// The plugin's answer makes no sense.
    #[error("`{name}`: answered {what} with something else: {reason}")]
    Nonsense {
        /// The plugin or instance.
        name: String,
        /// The call that was made.
        what: &'static str,
        /// Why it is nonsense.
        reason: String,
    },
    /// No thread to call it on.
    #[error("`{name}`: cannot start a thread for it: {error}")]
    Thread {
        /// The plugin or instance.
        name: String,
        /// The kernel's error.
        error: io::Error,
    },
}

impl PluginError {
    /// Converts a plugin's fault, its answer instead of a result.
    pub(super) fn from_fault(name: &str, fault: Fault) -> Self {
        let (name, message) = (name.to_owned(), fault.message.into());
        match fault.kind {
            FaultKind::POISONED => Self::Panicked { name, message },
            _ => Self::Failed { name, message },
        }
    }
}

type Request<T> = Box<dyn FnOnce(&mut T) + Send>;

/// An object of a plugin on a thread of its own, so that a call that never returns costs that thread only.
pub(super) struct Answerer<T> {
    name: String,
    requests: SyncSender<Request<T>>,
}

impl<T> fmt::Debug for Answerer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: 'static> Answerer<T> {
    /// Makes the object with `make`, on its thread.
    pub(super) fn start(
        name: &str,
        make: impl FnOnce() -> RResult<T, Fault> + Send + 'static,
    ) -> Result<Self, PluginError> {
        let (requests, inbox) = mpsc::sync_channel::<Request<T>>(1);
        let (made, is_made) = mpsc::sync_channel(1);
        thread::spawn(name, move || match make() {
            RResult::ROk(mut object) => {
                let _ = made.send(Ok(()));
                inbox.iter().for_each(|request| request(&mut object));
            }
            RResult::RErr(fault) => drop(made.send(Err(fault))),
        })
        .map_err(|error| PluginError::Thread { name: name.into(), error })?;
        let answerer = Self { name: name.into(), requests };
        match is_made.recv_timeout(ANSWER) {
            Ok(Ok(())) => Ok(answerer),
            Ok(Err(fault)) => Err(PluginError::from_fault(name, fault)),
            Err(error) => Err(answerer.unanswered("create", error)),
        }
    }

    /// Calls `ask` with the object, on its thread, and reads its JSON answer.
    pub(super) fn ask<R: DeserializeOwned>(
        &self,
        what: &'static str,
        ask: impl FnOnce(&mut T) -> RResult<RString, Fault> + Send + 'static,
    ) -> Result<R, PluginError> {
        let (answer, is_answered) = mpsc::sync_channel(1);
        let request: Request<T> = Box::new(move |object| drop(answer.send(ask(object))));
        self.requests.try_send(request).map_err(|_| PluginError::Abandoned { name: self.name.clone() })?;
        match is_answered.recv_timeout(ANSWER) {
            Ok(RResult::ROk(text)) => self.read(what, &text),
            Ok(RResult::RErr(fault)) => Err(PluginError::from_fault(&self.name, fault)),
            Err(error) => Err(self.unanswered(what, error)),
        }
    }

    /// Calls `order` with the object, on its thread, for its effect.
    pub(super) fn order(
        &self,
        what: &'static str,
        order: impl FnOnce(&mut T) -> RResult<(), Fault> + Send + 'static,
    ) -> Result<(), PluginError> {
        self.ask(what, move |object| order(object).map(|()| RString::from("null")))
    }

    fn read<R: DeserializeOwned>(&self, what: &'static str, text: &str) -> Result<R, PluginError> {
        serde_json::from_str(text).map_err(|error| self.nonsense(what, error.to_string()))
    }

    pub(super) fn nonsense(&self, what: &'static str, reason: String) -> PluginError {
        PluginError::Nonsense { name: self.name.clone(), what, reason }
    }

    fn unanswered(&self, what: &'static str, error: RecvTimeoutError) -> PluginError {
        let name = self.name.clone();
        match error {
            RecvTimeoutError::Timeout => PluginError::Deadline { name, what, after: ANSWER },
            RecvTimeoutError::Disconnected => PluginError::Abandoned { name },
        }
    }
}
