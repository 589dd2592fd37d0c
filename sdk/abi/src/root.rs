//! The root of everything that crosses: one [`Plugin`] a shared library.

use crate::{ExporterObject_TO, Fault, HostRef, ProviderObject_TO, SafetyCheckObject_TO};
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, ROption, RResult, RStr, RString};
use abi_stable::{package_version_strings, StableAbi};

/// The roles that a plugin offers. One that it does not take is `RNone`.
///
/// Function pointers are written out: `abi_stable` does not see through type aliases.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginPrefix)))]
#[sabi(missing_field(option))]
pub struct Plugin {
    /// Called once, before anything else, with what the plugin may call in the host.
    pub init: extern "C" fn(host: HostRef) -> RResult<(), Fault>,
    /// Makes the offset provider.
    pub offset_provider: ROption<extern "C" fn() -> RResult<ProviderObject_TO<'static, RBox<()>>, Fault>>,
    /// Makes the safety check.
    pub safety_check: ROption<extern "C" fn() -> RResult<SafetyCheckObject_TO<'static, RBox<()>>, Fault>>,
    /// Negotiates with and makes instances of the exporter.
    #[sabi(last_prefix_field)]
    pub exporter: ROption<ExporterEntryRef>,
}

/// The constructor of an exporter's instances.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ExporterEntryRef, prefix_fields = ExporterEntryPrefix)))]
#[sabi(missing_field(option))]
pub struct ExporterEntry {
    /// From an instance's config (JSON) and the host's offer (JSON) to what it wants (JSON).
    pub negotiate: extern "C" fn(config: RStr<'_>, offer: RStr<'_>) -> RResult<RString, Fault>,
    /// From the instance (JSON) and its config (JSON) to the instance.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(
        instance: RStr<'_>,
        config: RStr<'_>,
    ) -> RResult<ExporterObject_TO<'static, RBox<()>>, Fault>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "stacksonde_plugin";
    const NAME: &'static str = "stacksonde_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The exported symbol of a plugin built from the crate `$crate_name`.
///
/// Each plugin has a symbol of its own, so that two of them can be linked into one program (a test);
/// its manifest says which.
#[macro_export]
macro_rules! entry_symbol {
    ($crate_name:expr) => {
        concat!("stacksonde_plugin_1_", $crate_name)
    };
}

/// Exports `$module`, a `PrefixRef` of a root module of type `$Ref`, under the symbol of the crate.
#[doc(hidden)]
#[macro_export]
macro_rules! export_root {
    ($Ref:ty, $module:expr, $layout:ident) => {
        #[export_name = concat!("stacksonde_plugin_1_", env!("CARGO_CRATE_NAME"))]
        #[doc(hidden)]
        pub static STACKSONDE_PLUGIN: $crate::abi_stable::library::LibHeader = {
            extern "C" fn root() -> $crate::abi_stable::library::RootModuleResult {
                let module: $Ref = $module;
                // SAFETY: the prefix is erased here and restored by the host, after it has compared
                // the layout that travels in the same header.
                $crate::abi_stable::std_types::ROk(unsafe { module.0.cast() })
            }
            // SAFETY: `root` returns a prefix that was cast from a `$Ref`.
            unsafe {
                $crate::abi_stable::library::LibHeader::from_constructor::<$Ref>(
                    root,
                    $crate::abi_stable::library::CheckTypeLayout::$layout,
                )
            }
        };
    };
}
