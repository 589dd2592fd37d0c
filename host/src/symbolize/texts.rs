//! Texts of one look-up, each once and within a budget: thousands of addresses share a function, a function its file,
//! and how long names are is for others to say.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes that a text takes beside its characters, about.
const TEXT_BYTES: usize = 48;

/// The texts.
#[derive(Debug)]
pub struct Texts {
    known: RefCell<HashSet<Arc<str>>>,
    left: Cell<usize>,
    refused: Cell<bool>,
}

impl Texts {
    /// None yet, and `bytes` at most.
    pub fn within(bytes: usize) -> Self {
        Self { known: RefCell::default(), left: Cell::new(bytes), refused: Cell::new(false) }
    }

    /// The one that equals `text`; `None` if there is no room for it.
    pub fn one(&self, text: &str) -> Option<Arc<str>> {
        if let Some(known) = self.known.borrow().get(text) {
            return Some(Arc::clone(known));
        }
        let Some(left) = self.left.get().checked_sub(text.len() + TEXT_BYTES) else {
            self.refused.set(true);
            return None;
        };
        self.left.set(left);
        let new: Arc<str> = text.into();
        self.known.borrow_mut().insert(Arc::clone(&new));
        Some(new)
    }

    /// Tells whether there was no room for some.
    pub fn refused(&self) -> bool {
        self.refused.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_and_no_more_than_there_is_room_for() {
        let texts = Texts::within(3 * (TEXT_BYTES + 1));
        let first = texts.one("a").unwrap();
        assert!(
            Arc::ptr_eq(&first, &texts.one("a").unwrap()) && texts.one("b").is_some() && !texts.refused()
        );
        assert!(texts.one("far too long").is_none() && texts.refused());
        assert!(texts.one("c").is_some() && texts.one("d").is_none() && texts.one("a").is_some());
    }
}
