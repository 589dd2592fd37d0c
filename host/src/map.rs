//! Hash tables: that of what every sample goes through, and what they take.

/// As the standard library's, with a hash that takes a fraction of the time, and as hard to foresee: its seed is random.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Bytes of an entry of a hash table, the standard library's too, which is three quarters full; without what it points at.
pub(crate) const fn entry_bytes<T>() -> usize {
    (size_of::<T>() + 1) * 4 / 3
}
