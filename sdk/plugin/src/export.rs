//! [`export_plugin!`](crate::export_plugin): from an author's types to the symbol and the note that the
//! host looks for.

use crate::manifest::Manifest;
use crate::{Exporter, OffsetProvider, SafetyCheck, forward, guard, role};
use stacksonde_abi::abi_stable::std_types::ROption::{RNone, RSome};
use stacksonde_abi::abi_stable::std_types::RResult;
use stacksonde_abi::{Fault, HostRef, Plugin};

/// Makes a shared library of this crate a plugin.
///
/// ```ignore
/// stacksonde_plugin::export_plugin! {
///     manifest: "plugin.json",   // next to Cargo.toml
///     exporter: MyExporter,      // and/or:
///     offset_provider: MyProvider,
///     safety_check: MyCheck,
/// }
/// ```
///
/// An exporter implements [`Exporter`](crate::Exporter). An offset provider implements
/// [`OffsetProvider`](crate::OffsetProvider) and `Default`, a safety check
/// [`SafetyCheck`](crate::SafetyCheck) and `Default`: there is one of each, made by the host when it
/// first asks.
///
/// The macro also defines `STACKSONDE_MANIFEST`, the manifest as the library carries it, for
/// [`testing::check_manifest`](crate::testing::check_manifest).
///
/// The crate needs `crate-type = ["cdylib"]`, and `"rlib"` besides if its own tests or benches link
/// it. The exported symbol contains the name of the crate, so two plugins linked into one program
/// do not clash. A build with `panic = "abort"` is an error: panics are contained by unwinding.
#[macro_export]
macro_rules! export_plugin {
    (manifest: $manifest:literal, $first:ident : $First:ty $(, $role:ident : $Role:ty)* $(,)?) => {
        $crate::manifest_note! { $manifest, $first $(, $role)* }

        const _: () = {
            use $crate::__private as private;

            extern "C" fn init(host: private::HostRef) -> private::RResult<(), private::Fault> {
                private::init(host, STACKSONDE_MANIFEST)
            }

            const PLUGIN: private::Plugin = {
                let plugin = private::plugin(init);
                let plugin = $crate::plugin_role!(plugin, $first, $First);
                $(let plugin = $crate::plugin_role!(plugin, $role, $Role);)*
                plugin
            };
            const ROOT: &private::WithMetadata<private::Plugin> = &private::WithMetadata::new(PLUGIN);

            private::export_root!(private::PluginRef, private::PluginRef(ROOT.static_as_prefix()), Yes);
        };
    };
}

/// Composes the manifest of roles and puts it into its note.
#[doc(hidden)]
#[macro_export]
macro_rules! manifest_note {
    ($manifest:literal, $first:ident $(, $role:ident)*) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a Stacksonde plugin contains its panics by unwinding: remove `panic = \"abort\"` from the profile"
        );

        /// The manifest as the shared library carries it.
        #[allow(unreachable_pub, reason = "the macro may be used in a private module")]
        pub const STACKSONDE_MANIFEST: &str = {
            use $crate::__private as private;

            const PARTS: &[&str] = &[
                "{\"schema\":", private::SCHEMA,
                ",\"build\":{\"abi\":\"", private::ABI_VERSION,
                "\",\"target\":\"", private::TARGET,
                "\",\"panic\":\"", private::PANIC,
                "\",\"kinds\":[\"", $crate::plugin_kind!($first), $("\",\"", $crate::plugin_kind!($role),)*
                "\"],\"version\":\"", env!("CARGO_PKG_VERSION"),
                "\",\"entry\":\"", private::entry_symbol!(env!("CARGO_CRATE_NAME")),
                "\"},\"plugin\":",
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest)),
                "}",
            ];
            const TEXT: [u8; private::padded(PARTS)] = private::join(PARTS);

            #[used]
            #[unsafe(link_section = ".note.stacksonde")]
            static NOTE: private::Note<{ TEXT.len() }> = private::Note::new(TEXT);

            match ::core::str::from_utf8(&TEXT) {
                Ok(text) => text,
                Err(_) => unreachable!(),
            }
        };
    };
}

/// The kind that a manifest names for a role of `export_plugin!`.
#[doc(hidden)]
#[macro_export]
macro_rules! plugin_kind {
    (exporter) => {
        "exporter"
    };
    (offset_provider) => {
        "offset-provider"
    };
    (safety_check) => {
        "safety-check"
    };
    ($other:ident) => {
        compile_error!(concat!(
            "no role `",
            stringify!($other),
            "`: a plugin is an `exporter`, `offset_provider` or `safety_check`"
        ))
    };
}

/// Adds a role to a plugin.
#[doc(hidden)]
#[macro_export]
macro_rules! plugin_role {
    ($plugin:ident, exporter, $Type:ty) => {
        private::with_exporter::<$Type>($plugin)
    };
    ($plugin:ident, offset_provider, $Type:ty) => {
        private::with_offset_provider::<$Type>($plugin)
    };
    ($plugin:ident, safety_check, $Type:ty) => {
        private::with_safety_check::<$Type>($plugin)
    };
    ($plugin:ident, $other:ident, $Type:ty) => {
        $plugin
    };
}

/// A plugin without a role.
pub const fn plugin(init: extern "C" fn(HostRef) -> RResult<(), Fault>) -> Plugin {
    Plugin { init, offset_provider: RNone, safety_check: RNone, exporter: RNone }
}

/// `plugin` that exports through `E`.
pub const fn with_exporter<E: Exporter>(plugin: Plugin) -> Plugin {
    Plugin { exporter: RSome(role::exporter::Entry::<E>::REF), ..plugin }
}

/// `plugin` that finds offsets through `P`.
pub const fn with_offset_provider<P: OffsetProvider + Default>(plugin: Plugin) -> Plugin {
    Plugin { offset_provider: RSome(role::provider::create::<P>), ..plugin }
}

/// `plugin` that judges hazards through `C`.
pub const fn with_safety_check<C: SafetyCheck + Default>(plugin: Plugin) -> Plugin {
    Plugin { safety_check: RSome(role::check::create::<C>), ..plugin }
}

/// The first call into a plugin: its events and panics are told to the host from here on.
pub fn init(host: HostRef, manifest: &str) -> RResult<(), Fault> {
    guard::call("init", || {
        let name = serde_json::from_str::<Manifest>(manifest).map(|manifest| manifest.plugin.name);
        forward::start(host, name.unwrap_or_else(|_| "plugin".into()));
        guard::install_hook();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::{Answer, Capabilities, OffsetProvider, Readiness, SafetyCheck, Verdict};

    #[derive(Default)]
    struct Both;

    impl OffsetProvider for Both {
        fn provides(&self) -> Vec<String> {
            Vec::new()
        }
        fn probe(&mut self, _: &Capabilities) -> Readiness {
            Readiness::Ready { cost_us: 0, confidence: 0 }
        }
        fn discover(&mut self, _: &[String]) -> Vec<Answer> {
            Vec::new()
        }
    }

    impl SafetyCheck for Both {
        fn hazards(&self) -> Vec<String> {
            Vec::new()
        }
        fn assess(&mut self, _: &str, _: [u32; 3], _: &Capabilities) -> Verdict {
            Verdict::Unproven { reason: String::new() }
        }
    }

    crate::export_plugin! {
        manifest: "src/testing/plugin.json",
        offset_provider: Both,
        safety_check: Both,
    }

    #[test]
    fn the_composed_manifest_parses() {
        let manifest: crate::Manifest = serde_json::from_str(STACKSONDE_MANIFEST).unwrap();
        assert_eq!(manifest.build.abi, "1.0");
        assert_eq!(manifest.build.kinds, ["offset-provider", "safety-check"]);
        assert_eq!(manifest.build.panic, "unwind");
        assert_eq!(manifest.build.entry, "stacksonde_plugin_1_stacksonde_plugin");
        assert_eq!(manifest.plugin.name, "example");
        assert_eq!(manifest.version(), env!("CARGO_PKG_VERSION"));
        assert_eq!(STACKSONDE_MANIFEST.len() % 4, 0);
    }
}
