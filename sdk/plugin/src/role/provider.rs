//! An [`OffsetProvider`] behind its object.

use super::{from_json, to_json};
use crate::guard::{self, Guarded, Shared};
use crate::{Capabilities, OffsetProvider};
use stacksonde_abi::abi_stable::erased_types::TD_Opaque;
use stacksonde_abi::abi_stable::std_types::{RBox, RResult, RStr, RString};
use stacksonde_abi::{Fault, FaultKind, ProviderObject, ProviderObject_TO};

struct Adapter<P>(Shared<P>);

/// Makes the provider.
pub(crate) extern "C" fn create<P: OffsetProvider + Default>()
-> RResult<ProviderObject_TO<'static, RBox<()>>, Fault> {
    Guarded::create(String::new(), || Ok(P::default()))
        .map(|guarded| ProviderObject_TO::from_value(Adapter(Shared::new(guarded)), TD_Opaque))
        .into()
}

impl<P: OffsetProvider> ProviderObject for Adapter<P> {
    fn provides(&self) -> RResult<RString, Fault> {
        self.0.call("provides", |provider| to_json(&provider.provides()))
    }

    fn probe(&mut self, capabilities: RStr<'_>) -> RResult<RString, Fault> {
        self.0.call("probe", |provider| {
            let capabilities: Capabilities = from_json("the list of capabilities", capabilities)?;
            to_json(&provider.probe(&capabilities))
        })
    }

    fn discover(&mut self, queries: RStr<'_>) -> RResult<RString, Fault> {
        self.0.call("discover", |provider| {
            let queries: Vec<String> = from_json("the list of queries", queries)?;
            to_json(&provider.discover(&queries))
        })
    }

    fn configure(&mut self, config: RStr<'_>) -> RResult<(), Fault> {
        self.0.call("configure", |provider| {
            let config = from_json("the configuration", config)?;
            provider.configure(&config).map_err(|message| guard::fault(FaultKind::PERMANENT, message))
        })
    }

    fn close(&mut self) -> RResult<(), Fault> {
        self.0.close()
    }
}
