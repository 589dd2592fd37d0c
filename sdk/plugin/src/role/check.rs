//! A [`SafetyCheck`] behind its object.

use super::{from_json, to_json};
use crate::guard::{Guarded, Shared};
use crate::{Capabilities, SafetyCheck};
use stacksonde_abi::abi_stable::erased_types::TD_Opaque;
use stacksonde_abi::abi_stable::std_types::{RBox, RResult, RStr, RString};
use stacksonde_abi::{Fault, SafetyCheckObject, SafetyCheckObject_TO};

struct Adapter<C>(Shared<C>);

/// Makes the check.
pub(crate) extern "C" fn create<C: SafetyCheck + Default>()
-> RResult<SafetyCheckObject_TO<'static, RBox<()>>, Fault> {
    Guarded::create(String::new(), || Ok(C::default()))
        .map(|guarded| SafetyCheckObject_TO::from_value(Adapter(Shared::new(guarded)), TD_Opaque))
        .into()
}

impl<C: SafetyCheck> SafetyCheckObject for Adapter<C> {
    fn hazards(&self) -> RResult<RString, Fault> {
        self.0.call("hazards", |check| to_json(&check.hazards()))
    }

    fn assess(
        &mut self,
        hazard: RStr<'_>,
        major: u32,
        minor: u32,
        patch: u32,
        capabilities: RStr<'_>,
    ) -> RResult<RString, Fault> {
        self.0.call("assess", |check| {
            let capabilities: Capabilities = from_json("the list of capabilities", capabilities)?;
            to_json(&check.assess(hazard.as_str(), [major, minor, patch], &capabilities))
        })
    }

    fn close(&mut self) -> RResult<(), Fault> {
        self.0.close()
    }
}
