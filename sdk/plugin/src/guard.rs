//! No panic leaves a plugin: it would end the host's process.
//!
//! Whatever an author wrote runs inside [`call`]: functions, constructors, destructors. A panic becomes
//! a [`Fault`] of kind `POISONED`; its payload is forgotten, because dropping it could panic again.

use crate::forward;
use stacksonde_abi::abi_stable::std_types::ROption::RNone;
use stacksonde_abi::abi_stable::std_types::RResult::{self, RErr, ROk};
use stacksonde_abi::{Fault, FaultKind};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, PoisonError};

thread_local! {
    /// True if this thread is inside [`call`], which will report a panic.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// The place of the last panic inside [`call`].
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`, code of the plugin's author; `what` names it in messages.
pub(crate) fn call<R>(what: &str, body: impl FnOnce() -> Result<R, Fault>) -> RResult<R, Fault> {
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    GUARDED.set(outer);
    match result {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(fault)) => RErr(fault),
        Err(payload) => {
            let message = describe(what, payload.as_ref());
            std::mem::forget(payload);
            RErr(fault(FaultKind::POISONED, message))
        }
    }
}

/// A fault without a time.
pub(crate) fn fault(kind: FaultKind, message: String) -> Fault {
    Fault { kind, message: message.into(), after_ms: RNone }
}

/// Tells the host of panics on the plugin's own threads, and remembers the place of the others.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(hook));
}

fn hook(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
    if GUARDED.get() {
        PLACE.set(place);
    } else {
        let place = place.unwrap_or_else(|| "an unknown place".into());
        let message = text(info.payload());
        forward::error(&format!("a thread of the plugin panicked at {place}: {message}"));
    }
}

fn describe(what: &str, payload: &(dyn Any + Send)) -> String {
    let message = text(payload);
    match PLACE.take() {
        Some(place) => format!("{what} panicked at {place}: {message}"),
        None => format!("{what} panicked: {message}"),
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

/// An author's value behind the boundary: every use of it, and its end, goes through [`call`].
pub(crate) struct Guarded<T> {
    value: Option<T>,
    instance: String,
    poisoned: bool,
}

impl<T> Guarded<T> {
    /// Makes the value with `make`, as `instance` (its name in what it logs).
    pub(crate) fn create(instance: String, make: impl FnOnce() -> Result<T, Fault>) -> Result<Self, Fault> {
        let made = forward::as_instance(&instance, || call("create", make));
        let value = made.into_result()?;
        Ok(Self { value: Some(value), instance, poisoned: false })
    }

    /// Calls `body` with the value, unless an earlier call panicked.
    pub(crate) fn call<R>(
        &mut self,
        what: &str,
        body: impl FnOnce(&mut T) -> Result<R, Fault>,
    ) -> RResult<R, Fault> {
        let Some(value) = self.value.as_mut().filter(|_| !self.poisoned) else {
            return RErr(fault(FaultKind::POISONED, format!("{what} called after a panic or after the end")));
        };
        let result = forward::as_instance(&self.instance, || call(what, || body(value)));
        self.poisoned = matches!(&result, RErr(fault) if fault.kind == FaultKind::POISONED);
        result
    }

    /// Drops the value.
    pub(crate) fn close(&mut self) -> RResult<(), Fault> {
        let value = self.value.take();
        forward::as_instance(&self.instance, || {
            call("drop", || {
                drop(value);
                Ok(())
            })
        })
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if let RErr(fault) = self.close() {
            forward::error(&fault.message);
        }
    }
}

/// A [`Guarded`] for objects with methods that take `&self`; the lock is never contended.
pub(crate) struct Shared<T>(Mutex<Guarded<T>>);

impl<T> Shared<T> {
    pub(crate) fn new(guarded: Guarded<T>) -> Self {
        Self(Mutex::new(guarded))
    }

    /// As [`Guarded::call`].
    pub(crate) fn call<R>(
        &self,
        what: &str,
        body: impl FnOnce(&mut T) -> Result<R, Fault>,
    ) -> RResult<R, Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).call(what, body)
    }

    /// As [`Guarded::close`].
    pub(crate) fn close(&self) -> RResult<(), Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("not today");
        }
    }

    #[test]
    fn a_panic_becomes_a_fault_and_poisons_the_value() {
        let mut value = Guarded::create("test".into(), || Ok(1)).ok().unwrap();
        let fault = value.call::<()>("export", |_| panic!("boom {}", 7)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::POISONED);
        assert!(fault.message.contains("export panicked") && fault.message.contains("boom 7"), "{fault:?}");
        assert_eq!(value.call("flush", |_| Ok(())).unwrap_err().kind, FaultKind::POISONED);
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_forgotten() {
        let fault = call::<()>("create", || std::panic::panic_any(PanicsInDrop)).unwrap_err();
        assert!(fault.message.contains("(no message)"), "{fault:?}");
    }

    #[test]
    fn a_destructor_that_panics_is_an_answer() {
        let mut value = Guarded::create("test".into(), || Ok(PanicsInDrop)).ok().unwrap();
        assert!(value.close().unwrap_err().message.contains("not today"));
        assert!(value.close().is_ok(), "the value is gone");
    }
}
