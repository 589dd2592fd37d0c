//! Functions of the host that a plugin may call.

use abi_stable::std_types::RStr;
use abi_stable::StableAbi;

/// The level of an event: the levels of `tracing`, as a number.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct Level(pub u8);

impl Level {
    /// Something failed.
    pub const ERROR: Self = Self(1);
    /// Something is not as it should be.
    pub const WARN: Self = Self(2);
    /// Events for an operator.
    pub const INFO: Self = Self(3);
    /// Events for an author.
    pub const DEBUG: Self = Self(4);
    /// All there is.
    pub const TRACE: Self = Self(5);
}

/// Functions of the host that a plugin may call, from any thread and at any time after `init`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostRef, prefix_fields = HostPrefix)))]
#[sabi(missing_field(option))]
pub struct Host {
    /// Tells whether the host would keep an event of this level and target.
    pub enabled: extern "C" fn(level: Level, target: RStr<'_>) -> bool,
    /// Takes an event: level, target (a module path), instance (or the plugin's name), message.
    #[sabi(last_prefix_field)]
    pub event: extern "C" fn(level: Level, target: RStr<'_>, instance: RStr<'_>, message: RStr<'_>),
}
