//! Plugins through the C door: the structures of `sdk/c/stacksonde_plugin.h`, and an exporter behind the same
//! object as those in Rust, so that everything above treats both alike.
//!
//! Structures that may grow begin with their size; a field that lies beyond it is not read.

use super::{Refusal, callbacks};
use abi_stable::erased_types::TD_Opaque;
use abi_stable::std_types::{RBox, ROption, RResult, RSlice};
use stacksonde_abi::{ExporterObject, ExporterObject_TO, Fault, FaultKind, Level, abi_stable};
use stacksonde_plugin::{Offer, Wants};
use std::ffi::{c_char, c_void};
use std::path::Path;

/// The symbol that every plugin of this door exports.
pub(super) const SYMBOL: &str = "stacksonde_plugin_c_1";
/// Of that symbol.
pub(super) type EntryFunction = unsafe extern "C" fn() -> *const Exporter;

/// `struct stacksonde_text`, `struct stacksonde_bytes`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    ptr: *const u8,
    len: u64,
}

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() as u64 }
    }

    /// # Safety
    ///
    /// `ptr` points to `len` bytes that live through `'a`, or `len` is 0.
    unsafe fn text<'a>(self) -> std::borrow::Cow<'a, str> {
        if self.len == 0 || self.ptr.is_null() {
            return "".into();
        }
        // SAFETY: the caller's promise; what is longer than memory cannot be there.
        let bytes = unsafe { std::slice::from_raw_parts(self.ptr, usize::try_from(self.len).unwrap_or(0)) };
        String::from_utf8_lossy(bytes)
    }
}

/// `struct stacksonde_error`.
#[repr(C)]
pub(super) struct Error {
    size: u32,
    kind: u32,
    after_ms: u64,
    message: *mut c_char,
    message_room: u64,
    message_len: u64,
}

/// `struct stacksonde_offer`.
#[repr(C)]
struct COffer {
    size: u32,
    format: u32,
    max_bytes: u64,
    interval_ms: u64,
    names_available: u32,
    reserved: u32,
}

/// `struct stacksonde_wants`.
#[repr(C)]
struct CWants {
    size: u32,
    names: u32,
    max_bytes: u64,
    min_interval_ms: u64,
}

/// `struct stacksonde_host`.
#[repr(C)]
pub(super) struct Host {
    size: u64,
    enabled: extern "C" fn(level: u32) -> i32,
    event: unsafe extern "C" fn(level: u32, instance: Bytes, message: Bytes),
}

static HOST: Host = Host { size: size_of::<Host>() as u64, enabled, event };

fn level(number: u32) -> Level {
    Level(u8::try_from(number).unwrap_or(u8::MAX))
}

extern "C" fn enabled(number: u32) -> i32 {
    callbacks::is_enabled(level(number)).into()
}

/// # Safety
///
/// Both texts are as the header says.
unsafe extern "C" fn event(number: u32, instance: Bytes, message: Bytes) {
    // SAFETY: the plugin's promise, which the header states.
    let (instance, message) = unsafe { (instance.text(), message.text()) };
    callbacks::tell(level(number), "c", &instance, &message);
}

/// `struct stacksonde_exporter`: what a plugin of this door is.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Exporter {
    size: u64,
    init: Option<unsafe extern "C" fn(&Host, &mut Error) -> i32>,
    negotiate: Option<unsafe extern "C" fn(Bytes, &COffer, &mut CWants, &mut Error) -> i32>,
    create: Option<unsafe extern "C" fn(Bytes, Bytes, &mut *mut c_void, &mut Error) -> i32>,
    export_batch: Option<unsafe extern "C" fn(*mut c_void, Bytes, &mut Error) -> i32>,
    flush: Option<unsafe extern "C" fn(*mut c_void, &mut Error) -> i32>,
    shutdown: Option<unsafe extern "C" fn(*mut c_void, &mut Error) -> i32>,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// Returns the size that a structure states of itself.
#[expect(clippy::cast_possible_truncation, reason = "structures of some tens of bytes")]
const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

/// The largest sentence of a plugin, in bytes.
const MESSAGE: usize = 1024;

/// Makes a call that may fail, with an error that it can fill in.
fn attempt(call: impl FnOnce(&mut Error) -> i32) -> Result<(), Fault> {
    let mut message = [0u8; MESSAGE];
    let mut error = Error {
        size: size::<Error>(),
        kind: 0,
        after_ms: 0,
        message: message.as_mut_ptr().cast(),
        message_room: MESSAGE as u64,
        message_len: 0,
    };
    if call(&mut error) == 0 {
        return Ok(());
    }
    let kind = if error.kind == 1 { FaultKind::RETRYABLE } else { FaultKind::PERMANENT };
    let length = usize::try_from(error.message_len).map_or(MESSAGE, |length| length.min(MESSAGE));
    let said = String::from_utf8_lossy(&message[..length]);
    let said = if said.is_empty() { "it failed and gave no reason".into() } else { said };
    let after_ms = if error.after_ms == 0 { ROption::RNone } else { ROption::RSome(error.after_ms) };
    Err(Fault { kind, message: said.as_ref().into(), after_ms })
}

impl Exporter {
    /// Takes what `entry` returns, as far as it is known here, and tells the plugin what it may call.
    ///
    /// # Safety
    ///
    /// `entry` is the symbol [`SYMBOL`] of a loaded library that is never unloaded, and what it returns is as the
    /// header says.
    pub(super) unsafe fn start(path: &Path, entry: EntryFunction) -> Result<Self, Refusal> {
        let refuse = |reason: &str| Refusal::Init { path: path.into(), reason: reason.into() };
        // SAFETY: the caller's promise.
        let table = unsafe { entry() };
        if table.is_null() || !table.is_aligned() {
            return Err(refuse("its exporter is nowhere"));
        }
        // SAFETY: a table begins with its size.
        let size = unsafe { table.cast::<u64>().read() };
        if size < size_of::<Self>() as u64 {
            return Err(refuse("its exporter is smaller than that of version 1.0"));
        }
        // SAFETY: it is at least as large as ours; what a later version appended stays unread.
        let table = unsafe { table.read() };
        if table.create.is_none() || table.export_batch.is_none() || table.destroy.is_none() {
            return Err(refuse("its exporter lacks create, export_batch or destroy"));
        }
        if let Some(init) = table.init {
            // SAFETY: the function is as the header says; `HOST` lives forever.
            attempt(|error| unsafe { init(&HOST, error) }).map_err(|fault| refuse(&fault.message))?;
        }
        Ok(table)
    }

    /// Offers, and returns what the exporter wants.
    pub(super) fn negotiate(&self, config: &str, offer: &Offer) -> Result<Wants, Fault> {
        let Some(negotiate) = self.negotiate else { return Ok(Wants::default()) };
        let offer = COffer {
            size: size::<COffer>(),
            format: 1,
            max_bytes: offer.max_bytes,
            interval_ms: offer.interval_ms,
            names_available: offer.names_available.into(),
            reserved: 0,
        };
        let mut wants = CWants { size: size::<CWants>(), names: 1, max_bytes: 0, min_interval_ms: 0 };
        // SAFETY: the function is as the header says; everything lives through the call.
        attempt(|error| unsafe { negotiate(Bytes::new(config.as_bytes()), &offer, &mut wants, error) })?;
        Ok(Wants {
            format: None,
            max_bytes: Some(wants.max_bytes).filter(|bytes| *bytes > 0),
            names: wants.names != 0,
            min_interval_ms: wants.min_interval_ms,
        })
    }

    /// Makes the instance `name`.
    pub(super) fn create(
        &self,
        name: &str,
        config: &str,
    ) -> Result<ExporterObject_TO<'static, RBox<()>>, Fault> {
        let mut state = std::ptr::null_mut();
        if let Some(create) = self.create {
            let (name, config) = (Bytes::new(name.as_bytes()), Bytes::new(config.as_bytes()));
            // SAFETY: the function is as the header says; everything lives through the call.
            attempt(|error| unsafe { create(name, config, &mut state, error) })?;
        }
        Ok(ExporterObject_TO::from_value(Instance { exporter: *self, state: Some(State(state)) }, TD_Opaque))
    }
}

/// The state that `create` left for the other calls; it may be null.
struct State(*mut c_void);

// SAFETY: the header says that an instance's functions are called one at a time; the host makes all calls on the
// instance's own thread.
unsafe impl Send for State {}

struct Instance {
    exporter: Exporter,
    /// `None` after `destroy`.
    state: Option<State>,
}

type Plain = unsafe extern "C" fn(*mut c_void, &mut Error) -> i32;

impl Instance {
    fn call(&self, function: Option<Plain>) -> RResult<(), Fault> {
        let (Some(function), Some(state)) = (function, &self.state) else { return RResult::ROk(()) };
        // SAFETY: the function is as the header says, and the instance was not destroyed.
        attempt(|error| unsafe { function(state.0, error) }).into()
    }
}

impl ExporterObject for Instance {
    fn export(&mut self, batch: RSlice<'_, u8>) -> RResult<(), Fault> {
        let (Some(export), Some(state)) = (self.exporter.export_batch, &self.state) else {
            return RResult::ROk(());
        };
        let batch = Bytes::new(batch.as_slice());
        // SAFETY: the function is as the header says, the instance was not destroyed, and the batch lives
        // through the call.
        attempt(|error| unsafe { export(state.0, batch, error) }).into()
    }

    fn flush(&mut self) -> RResult<(), Fault> {
        self.call(self.exporter.flush)
    }

    fn shutdown(&mut self) -> RResult<(), Fault> {
        self.call(self.exporter.shutdown)
    }

    fn close(&mut self) -> RResult<(), Fault> {
        if let (Some(destroy), Some(state)) = (self.exporter.destroy, self.state.take()) {
            // SAFETY: the function is as the header says, and this is the last call with this instance.
            unsafe { destroy(state.0) };
        }
        RResult::ROk(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _closed = self.close();
    }
}
