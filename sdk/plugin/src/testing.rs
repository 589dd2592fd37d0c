//! For authors' own tests: golden batches and checks of the manifest, without a host.
