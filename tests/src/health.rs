//! The answers of an agent at its socket of `[health]`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Returns the answer to `GET path`; it is empty while nobody listens.
///
/// # Panics
///
/// If the answer breaks off.
pub fn get(socket: &Path, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = UnixStream::connect(socket) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
    }
    answer
}

/// Reads a metric of an exporter, by its name after `stacksonde_exporter_`.
///
/// # Panics
///
/// If the answer breaks off.
pub fn metric(socket: &Path, name: &str, exporter: &str) -> Option<u64> {
    value(socket, &format!("{name}{{exporter=\"{exporter}\"}} "))
}

/// Reads how many batches an exporter did not take for this reason.
///
/// # Panics
///
/// If the answer breaks off.
pub fn dropped(socket: &Path, exporter: &str, reason: &str) -> Option<u64> {
    value(socket, &format!("batches_dropped_total{{exporter=\"{exporter}\",reason=\"{reason}\"}} "))
}

fn value(socket: &Path, key: &str) -> Option<u64> {
    let metrics = get(socket, "/metrics");
    let key = format!("stacksonde_exporter_{key}");
    metrics.lines().find_map(|line| line.strip_prefix(&key))?.parse().ok()
}
