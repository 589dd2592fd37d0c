//! An [`Exporter`] behind its object.

use super::{from_json, to_json};
use crate::guard::{self, Guarded};
use crate::{Exporter, Failure, Instance, Offer};
use serde::de::DeserializeOwned;
use stacksonde_abi::abi_stable::erased_types::TD_Opaque;
use stacksonde_abi::abi_stable::prefix_type::WithMetadata;
use stacksonde_abi::abi_stable::std_types::{RBox, ROption, RResult, RSlice, RStr, RString};
use stacksonde_abi::{ExporterEntry, ExporterEntryRef, ExporterObject, ExporterObject_TO, Fault, FaultKind};
use stacksonde_batch::Batch;
use std::marker::PhantomData;

/// The constructor of instances of `E`.
pub(crate) struct Entry<E>(PhantomData<E>);

impl<E: Exporter> Entry<E> {
    const VALUE: &'static WithMetadata<ExporterEntry> =
        &WithMetadata::new(ExporterEntry { negotiate: negotiate::<E>, create: create::<E> });
    pub(crate) const REF: ExporterEntryRef = ExporterEntryRef(Self::VALUE.static_as_prefix());
}

struct Adapter<E>(Guarded<E>);

extern "C" fn negotiate<E: Exporter>(config: RStr<'_>, offer: RStr<'_>) -> RResult<RString, Fault> {
    guard::call("negotiate", || {
        let offer: Offer = from_json("the offer", offer)?;
        let wants = E::negotiate(&read_config(config)?, &offer).map_err(permanent)?;
        to_json(&wants)
    })
}

extern "C" fn create<E: Exporter>(
    instance: RStr<'_>,
    config: RStr<'_>,
) -> RResult<ExporterObject_TO<'static, RBox<()>>, Fault> {
    from_json("the instance", instance)
        .and_then(|instance: Instance| {
            Guarded::create(instance.name.clone(), || {
                E::create(instance, read_config(config)?).map_err(permanent)
            })
        })
        .map(|guarded| ExporterObject_TO::from_value(Adapter(guarded), TD_Opaque))
        .into()
}

impl<E: Exporter> ExporterObject for Adapter<E> {
    fn export(&mut self, batch: RSlice<'_, u8>) -> RResult<(), Fault> {
        self.0.call("export", |exporter| {
            let batch = Batch::parse(batch.as_slice())
                .map_err(|error| permanent(format!("the batch cannot be read: {error}")))?;
            exporter.export(&batch).map_err(Fault::from)
        })
    }

    fn flush(&mut self) -> RResult<(), Fault> {
        self.0.call("flush", |exporter| exporter.flush().map_err(Fault::from))
    }

    fn shutdown(&mut self) -> RResult<(), Fault> {
        self.0.call("shutdown", |exporter| exporter.shutdown().map_err(Fault::from))
    }

    fn close(&mut self) -> RResult<(), Fault> {
        self.0.close()
    }
}

/// The instance's section. An exporter without configuration may say `()`, which JSON spells `null`.
pub(crate) fn read_config<C: DeserializeOwned>(text: RStr<'_>) -> Result<C, Fault> {
    match serde_json::from_str(text.as_str()) {
        Ok(config) => Ok(config),
        Err(_) if text.as_str() == "{}" && serde_json::from_str::<C>("null").is_ok() => {
            from_json("the config", RStr::from("null"))
        }
        Err(error) => Err(permanent(format!("config: {error}"))),
    }
}

fn permanent(message: String) -> Fault {
    guard::fault(FaultKind::PERMANENT, message)
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Permanent(message) => permanent(message),
            Failure::Retryable { message, after } => Self {
                kind: FaultKind::RETRYABLE,
                message: message.into(),
                after_ms: after.map_or(ROption::RNone, |after| {
                    ROption::RSome(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
                }),
            },
        }
    }
}
