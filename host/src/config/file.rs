//! Reads one file, and decides whether it may say which libraries are loaded.

use super::layer::Layer;
use super::problem::Problem;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A longer file is not a configuration.
const LONGEST: u64 = 1 << 20;

/// Reads `path`.
///
/// A file that sets `plugins.*` decides what code runs with the agent's rights, so nobody else may be able to
/// write it: it must be a regular file that belongs to root or to the user that the agent runs as, writable by
/// its owner alone. The other keys can do no such harm, so a file without `plugins.*` may be anything that can
/// be read, `/dev/stdin` included.
pub(super) fn read(path: &Path) -> Result<Layer, Problem> {
    let unreadable = |reason: String| Problem::Unreadable { file: path.into(), reason };
    // `Display` of the error ends in "(os error 2)", which helps nobody.
    let system = |error: std::io::Error| {
        let text = error.to_string();
        unreadable(text.split(" (os error").next().unwrap_or_default().to_lowercase())
    };
    let file = File::open(path).map_err(system)?;
    // Of the open file, so that it cannot be exchanged between check and use.
    let metadata = file.metadata().map_err(system)?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(system)?;
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable(format!("it is longer than {LONGEST} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        unreadable(format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    let layer = Layer::from_toml(path, &text)?;
    if layer.values.contains_key("plugins")
        && let Some((reason, remedy)) = distrust(path, &metadata)
    {
        return Err(Problem::Untrusted { file: path.into(), reason, remedy });
    }
    Ok(layer)
}

/// Why the file is not to be trusted, and what to do.
fn distrust(path: &Path, metadata: &Metadata) -> Option<(String, String)> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    // SAFETY: takes nothing, touches no memory of ours, cannot fail.
    let user = unsafe { libc::geteuid() };
    let path = path.display();
    if !metadata.is_file() {
        return Some(("is not a regular file".into(), "put these keys into a regular file".into()));
    }
    if metadata.uid() != 0 && metadata.uid() != user {
        let (owner, trusted) = (metadata.uid(), if user == 0 { "root" } else { "root or you" });
        let reason = format!("belongs to user {owner}, not to {trusted}");
        return Some((reason, format!("run `chown root {path}`")));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        let reason = format!("others than its owner can write it (mode {:04o})", metadata.mode() & 0o7777);
        return Some((reason, format!("run `chmod go-w {path}`")));
    }
    None
}
