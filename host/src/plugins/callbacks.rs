//! The functions of this host that plugins may call: the log.

use abi_stable::prefix_type::WithMetadata;
use abi_stable::std_types::RStr;
use stacksonde_abi::{Host, HostRef, Level, abi_stable};

const CALLBACKS: &WithMetadata<Host> = &WithMetadata::new(Host { enabled, event });

/// Handed to every plugin.
pub(super) const HOST: HostRef = HostRef(CALLBACKS.static_as_prefix());

/// Events of plugins have the target `plugin`, which a filter can name: `info,plugin=debug`. Where in the
/// plugin they come from is their field `source`.
const TARGET: &str = "plugin";

extern "C" fn enabled(level: Level, _target: RStr<'_>) -> bool {
    is_enabled(level)
}

/// Tells whether the log wants events of plugins of this level.
pub(super) fn is_enabled(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(target: TARGET, tracing::Level::ERROR),
        Level::WARN => tracing::enabled!(target: TARGET, tracing::Level::WARN),
        Level::INFO => tracing::enabled!(target: TARGET, tracing::Level::INFO),
        Level::DEBUG => tracing::enabled!(target: TARGET, tracing::Level::DEBUG),
        _ => tracing::enabled!(target: TARGET, tracing::Level::TRACE),
    }
}

extern "C" fn event(level: Level, target: RStr<'_>, instance: RStr<'_>, message: RStr<'_>) {
    tell(level, target.as_str(), instance.as_str(), message.as_str());
}

/// Puts an event of a plugin into the log.
pub(super) fn tell(level: Level, source: &str, instance: &str, message: &str) {
    match level {
        Level::ERROR => tracing::error!(target: TARGET, instance, source, "{message}"),
        Level::WARN => tracing::warn!(target: TARGET, instance, source, "{message}"),
        Level::INFO => tracing::info!(target: TARGET, instance, source, "{message}"),
        Level::DEBUG => tracing::debug!(target: TARGET, instance, source, "{message}"),
        _ => tracing::trace!(target: TARGET, instance, source, "{message}"),
    }
}
