//! Hands the plugin's `tracing` events to the host.
//!
//! A plugin carries its own copy of `tracing`, whose events nobody would see. Each event is made one
//! line and given to the host with the name of the instance that it happened in; what happens on
//! threads that the plugin started itself carries the plugin's name. Spans are not forwarded.

use stacksonde_abi::abi_stable::std_types::RStr;
use stacksonde_abi::{HostRef, Level};
use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Write};
use std::sync::OnceLock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

struct Host {
    callbacks: HostRef,
    plugin: String,
}

static HOST: OnceLock<Host> = OnceLock::new();

thread_local! {
    static INSTANCE: RefCell<String> = const { RefCell::new(String::new()) };
    /// Set while the host handles an event, so that a plugin linked into the host cannot answer itself.
    static FORWARDING: Cell<bool> = const { Cell::new(false) };
}

/// Starts forwarding. Called once; a subscriber that the author set himself stays.
pub(crate) fn start(callbacks: HostRef, plugin: String) {
    if HOST.set(Host { callbacks, plugin }).is_ok() {
        let _ = tracing::subscriber::set_global_default(Forward);
    }
}

/// Runs `body`; what it logs carries the name `instance`.
pub(crate) fn as_instance<R>(instance: &str, body: impl FnOnce() -> R) -> R {
    let outer = INSTANCE.replace(instance.to_owned());
    let result = body();
    INSTANCE.set(outer);
    result
}

/// Tells the host of an error in the plugin's own machinery.
pub(crate) fn error(message: &str) {
    send(Level::ERROR, env!("CARGO_CRATE_NAME"), message);
}

fn send(level: Level, target: &str, message: &str) {
    let Some(host) = HOST.get() else { return };
    let _ = INSTANCE.try_with(|instance| {
        let instance = instance.borrow();
        let name = if instance.is_empty() { host.plugin.as_str() } else { instance.as_str() };
        (host.callbacks.event())(level, RStr::from(target), RStr::from(name), RStr::from(message));
    });
}

/// The subscriber of the plugin's copy of `tracing`.
struct Forward;

impl Subscriber for Forward {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The host may change its filter; it is asked each time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        HOST.get().is_some_and(|host| {
            metadata.is_event()
                && !FORWARDING.get()
                && (host.callbacks.enabled())(level(metadata), RStr::from(metadata.target()))
        })
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let outer = FORWARDING.replace(true);
        send(level(event.metadata()), event.metadata().target(), &(line.message + &line.fields));
        FORWARDING.set(outer);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::ERROR,
        tracing::Level::WARN => Level::WARN,
        tracing::Level::INFO => Level::INFO,
        tracing::Level::DEBUG => Level::DEBUG,
        tracing::Level::TRACE => Level::TRACE,
    }
}

/// An event as one line: its message, then its fields as `name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a `String` cannot fail; a `Debug` that does leaves its field cut short.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
