//! Authors' traits behind the objects that cross: one file a role.

pub(crate) mod check;
pub(crate) mod exporter;
pub(crate) mod provider;

use crate::guard;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stacksonde_abi::abi_stable::std_types::{RStr, RString};
use stacksonde_abi::{Fault, FaultKind};

/// Parses JSON that the host sent; `what` names it in the fault.
fn from_json<T: DeserializeOwned>(what: &str, text: RStr<'_>) -> Result<T, Fault> {
    serde_json::from_str(text.as_str())
        .map_err(|error| guard::fault(FaultKind::PERMANENT, format!("{what} cannot be read: {error}")))
}

fn to_json(value: &impl Serialize) -> Result<RString, Fault> {
    serde_json::to_string(value)
        .map(RString::from)
        .map_err(|error| guard::fault(FaultKind::PERMANENT, format!("the answer cannot be written: {error}")))
}
