//! Objects that mappings show, each once: thousands of mappings show a few hundred files.

use super::Mapped;
use std::collections::HashSet;
use std::sync::Arc;

/// Files and other things that mappings show, while a mapping shows them.
#[derive(Debug, Default)]
pub(super) struct MappedFiles {
    known: HashSet<Arc<Mapped>>,
    /// The number that were left when those that no mapping shows were last removed.
    left: usize,
}

impl MappedFiles {
    /// The one that equals `mapped`.
    pub(super) fn one(&mut self, mapped: Mapped) -> Arc<Mapped> {
        /// So few are not worth a look.
        const FEW: usize = 256;
        if let Some(known) = self.known.get(&mapped) {
            return Arc::clone(known);
        }
        if self.known.len() >= 2 * self.left + FEW {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.known.shrink_to_fit();
            self.left = self.known.len();
        }
        let new = Arc::new(mapped);
        self.known.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Identity;

    fn mapped(inode: u64) -> Mapped {
        Mapped { path: "/a".into(), identity: Identity { major: 1, minor: 1, inode } }
    }

    #[test]
    fn equal_ones_are_one_and_unused_ones_go() {
        let mut files = MappedFiles::default();
        let kept = files.one(mapped(0));
        assert!(Arc::ptr_eq(&kept, &files.one(mapped(0))));
        for inode in 1..10_000 {
            files.one(mapped(inode));
        }
        assert!(files.known.len() < 300);
        assert!(Arc::ptr_eq(&kept, &files.one(mapped(0))));
    }
}
