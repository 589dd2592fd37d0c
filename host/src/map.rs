//! The table of what every sample goes through.

/// As the standard library's, with a hash that takes a fraction of the time, and as hard to foresee: its seed is random.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
