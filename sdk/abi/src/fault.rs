//! Why a call into a plugin did not do what was asked.

use abi_stable::std_types::{ROption, RString};
use abi_stable::StableAbi;

/// The possible reactions of the host to a [`Fault`].
///
/// A number, not an enum: a newer plugin may say one that an older host does not know. The host takes
/// such a number for [`FaultKind::PERMANENT`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct FaultKind(pub u8);

impl FaultKind {
    /// The same call may succeed later.
    pub const RETRYABLE: Self = Self(1);
    /// The same call will never succeed; other calls may.
    pub const PERMANENT: Self = Self(2);
    /// The plugin panicked: the object answers nothing more but `close`.
    pub const POISONED: Self = Self(3);
}

/// Why a call into a plugin did not do what was asked.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, StableAbi)]
pub struct Fault {
    /// The possible reaction of the host.
    pub kind: FaultKind,
    /// A sentence for the operator.
    pub message: RString,
    /// Not before this many milliseconds from now; for [`FaultKind::RETRYABLE`].
    pub after_ms: ROption<u64>,
}
