//! Everything that crosses between the host and a plugin.
