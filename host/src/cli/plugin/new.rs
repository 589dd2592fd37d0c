//! `stacksonde plugin new`: a crate that builds, with a test that runs it the way the host does.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Arguments of `stacksonde plugin new`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The plugin's name: lower-case letters, digits and hyphens. Its crate is written into a folder of this name.
    name: String,
    /// The role that it takes.
    #[arg(long, value_enum, default_value_t = Kind::Exporter)]
    kind: Kind,
    /// A checkout of Stacksonde, whose SDK the crate then uses by its path; else by the repository's address.
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Exporter,
    OffsetProvider,
    SafetyCheck,
}

impl Kind {
    /// Text of `plugin.json` and of `src/lib.rs`.
    fn templates(self) -> (&'static str, &'static str) {
        match self {
            Self::Exporter => (include_str!("new/exporter.json.txt"), include_str!("new/exporter.rs.txt")),
            Self::OffsetProvider => {
                (include_str!("new/offset-provider.json.txt"), include_str!("new/offset-provider.rs.txt"))
            }
            Self::SafetyCheck => {
                (include_str!("new/safety-check.json.txt"), include_str!("new/safety-check.rs.txt"))
            }
        }
    }
}

/// Writes the crate into a new folder of the working directory, and says what to do next.
pub(super) fn write(arguments: &Arguments) -> anyhow::Result<String> {
    let Arguments { name, kind, sdk } = arguments;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(plain) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        bail!(
            "`{name}` is not a name for a plugin: use lower-case letters, digits and hyphens, a letter first"
        );
    }
    let mut dependencies = vec![sdk_dependency(sdk.as_deref())?];
    if *kind == Kind::Exporter {
        dependencies.push("schemars = \"1\"\nserde = { version = \"1\", features = [\"derive\"] }".into());
        dependencies.push("\n[dev-dependencies]\nserde_json = \"1\"".into());
    }
    let (manifest, source) = kind.templates();
    let fill = |text: &str| {
        text.replace("{name}", name)
            .replace("{Type}", &type_name(name))
            .replace("{dependencies}", &dependencies.join("\n"))
    };
    let folder = Path::new(name);
    std::fs::create_dir(folder).with_context(|| format!("cannot make the folder {name}"))?;
    std::fs::create_dir(folder.join("src")).with_context(|| format!("cannot make the folder {name}/src"))?;
    for (file, text) in [
        ("Cargo.toml", include_str!("new/Cargo.toml.txt")),
        ("plugin.json", manifest),
        ("src/lib.rs", source),
        (".gitignore", "/target\n"),
    ] {
        let path = folder.join(file);
        std::fs::write(&path, fill(text)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let library = format!("target/release/lib{}.so", name.replace('-', "_"));
    let keys = if *kind == Kind::Exporter { " --set path=/tmp/lines" } else { "" };
    Ok(format!(
        "wrote {name}; next:\n  cd {name}\n  cargo test\n  cargo build --release\n  \
         stacksonde plugin check --trust-any-plugin-owner {library}{keys}\n"
    ))
}

/// The line of `Cargo.toml` that names the SDK.
fn sdk_dependency(checkout: Option<&Path>) -> anyhow::Result<String> {
    let Some(checkout) = checkout else {
        return Ok(format!("stacksonde-plugin = {{ git = \"{}\" }}", env!("CARGO_PKG_REPOSITORY")));
    };
    let sdk = checkout
        .join("sdk/plugin")
        .canonicalize()
        .with_context(|| format!("no SDK in {}: --sdk takes a checkout of Stacksonde", checkout.display()))?;
    let Some(path) = sdk.to_str() else { bail!("the path {} is not UTF-8", sdk.display()) };
    Ok(format!("stacksonde-plugin = {{ path = {path:?} }}"))
}

/// `my-exporter` -> `MyExporter`.
fn type_name(name: &str) -> String {
    let mut words = name.split('-').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    words.by_ref().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_as_types_are() {
        assert_eq!(type_name("my-exporter2"), "MyExporter2");
        assert_eq!(type_name("a--b"), "AB");
    }

    #[test]
    fn a_name_that_is_none_is_refused_before_anything_is_written() {
        for name in ["../x", "A", "1a", "", "a_b", "a b"] {
            let arguments = Arguments { name: name.into(), kind: Kind::Exporter, sdk: None };
            assert!(write(&arguments).unwrap_err().to_string().contains("not a name for a plugin"), "{name}");
        }
    }
}
