//! Fuzz targets: plain functions of bytes.

use super::keys::Keys;
use super::layer::Layer;
use super::load::combine;
use std::path::Path;

/// Loads `data` as a config file; up to a zero byte, if there is one, and what follows it as a second file.
pub fn fuzz_config(data: &[u8]) {
    let keys = Keys::new();
    let (mut layers, mut problems) = (Vec::new(), Vec::new());
    for text in data.splitn(2, |byte| *byte == 0) {
        match Layer::from_toml(Path::new("fuzz.toml"), &String::from_utf8_lossy(text)) {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(problem),
        }
    }
    match combine(&keys, layers, problems) {
        Ok(config) => assert_eq!(config.validate(), [], "what was loaded is valid"),
        Err(error) => assert_eq!(error.to_string().lines().count(), error.problems.len(), "{error}"),
    }
}
