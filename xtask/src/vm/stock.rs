//! Kernels as Debian ships them.

use super::archive::Archive;
use super::cache::Cache;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// A line of kernels, each version of which is a package of its own.
#[derive(Debug)]
pub(super) struct Stock {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// The beginning of the packages' names, up to the number that counts up.
    pub(super) prefix: &'static str,
    /// The end of their names.
    pub(super) suffix: &'static str,
}

/// The image of the newest of the line.
pub(super) fn image(stock: &Stock, archive: &Archive, cache: &Cache) -> anyhow::Result<PathBuf> {
    let package = newest(archive.kernels(), stock).with_context(|| {
        format!("no package {}*{} in Debian's archive: {}", stock.prefix, stock.suffix, stock.name)
    })?;
    let name = format!("stock/{package}_{}", archive.version(package)?);
    let image = cache.path(&name);
    if image.exists() {
        return Ok(image);
    }
    let folder = cache.empty_folder("unpacked")?;
    archive.unpack(package, &folder)?;
    let image = cache.keep(&find_image(&folder)?, &name)?;
    cache.empty_folder("unpacked")?;
    Ok(image)
}

/// The package with the highest number between prefix and suffix.
fn newest<'a>(packages: &'a [String], stock: &Stock) -> Option<&'a str> {
    let number = |package: &str| -> Option<Vec<u32>> {
        let middle = package.strip_prefix(stock.prefix)?.strip_suffix(stock.suffix)?;
        // A revision such as `+deb14` is not of the kernel's number.
        middle.split('+').next()?.split('.').map(|part| part.parse().ok()).collect()
    };
    let numbered = packages.iter().filter_map(|package| Some((number(package)?, package)));
    numbered.max().map(|(_, package)| package.as_str())
}

/// `/boot/vmlinuz-*`, or with the modules since Debian 14.
fn find_image(folder: &Path) -> anyhow::Result<PathBuf> {
    for place in ["boot", "usr/lib/modules", "lib/modules"] {
        let Ok(entries) = std::fs::read_dir(folder.join(place)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("vmlinuz-") {
                return Ok(path);
            }
            if path.join("vmlinuz").is_file() {
                return Ok(path.join("vmlinuz"));
            }
        }
    }
    bail!("no kernel image in the package: neither /boot/vmlinuz-* nor /usr/lib/modules/*/vmlinuz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_newest_of_a_line_and_of_no_other() {
        let packages = [
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-rt-amd64",
            "linux-image-6.12.90+deb13-cloud-amd64",
            "linux-image-6.12.118+deb13-cloud-amd64",
            "linux-image-6.12.119+deb12-cloud-amd64",
            "linux-binary-unsigned-8.0.1+deb14-cloud-amd64",
            "linux-binary-7.2.9+deb14-cloud-amd64",
            "linux-binary-7.2.13+deb14-cloud-amd64",
        ]
        .map(String::from);
        let of = |prefix, suffix| newest(&packages, &Stock { name: "", prefix, suffix });
        assert_eq!(of("linux-image-6.1.0-", "-cloud-amd64"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(
            of("linux-image-6.12.", "+deb13-cloud-amd64"),
            Some("linux-image-6.12.118+deb13-cloud-amd64")
        );
        assert_eq!(of("linux-binary-", "-cloud-amd64"), Some("linux-binary-7.2.13+deb14-cloud-amd64"));
        assert_eq!(of("linux-image-7.", "-cloud-amd64"), None);
    }
}
