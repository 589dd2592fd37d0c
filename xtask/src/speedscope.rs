//! The real speedscope, for the test that it opens our files: fetched once from npm, and kept outside of the checkout.

use crate::npm::Package;
use crate::run::cache;
use std::path::PathBuf;

const SPEEDSCOPE: Package = Package {
    name: "speedscope",
    version: "1.25.0",
    sha512: "7297fd1d64d97f58a32d7049ae4f3b55eff9e2d9d8c7aae57f48144e1be7de8a24ea1eb784b5d539088c7f8e0f4fe5e8579d3770f7ef7e24f980fe6fa23a7a02",
};

/// Fetches it, if that was not done yet, and returns the folder with its page.
pub(crate) fn fetch() -> anyhow::Result<PathBuf> {
    Ok(SPEEDSCOPE.fetch(&cache()?.join("npm"))?.join("dist/release"))
}
