//! The labels of stacks, each text once, for as long as it is used.

use crate::map::entry_bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The label of one level of a stack. Texts are harmless to a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// All processes.
    All,
    /// A process under a name.
    Process {
        /// Its id; 0 if it is not in our pid namespace.
        pid: u32,
        /// Its name.
        comm: Arc<str>,
    },
    /// Here frames are missing, for this reason.
    Incomplete(Arc<str>),
    /// A function of a program or library.
    User(Arc<str>),
    /// A function of the kernel.
    Kernel(Arc<str>),
}

impl Label {
    /// Returns the text that is shown for it.
    pub fn text(&self) -> String {
        match self {
            Self::All => "all".into(),
            Self::Process { pid: 0, comm } => comm.to_string(),
            Self::Process { pid, comm } => format!("{comm} ({pid})"),
            Self::Incomplete(reason) => format!("[incomplete: {reason}]"),
            Self::User(name) => name.to_string(),
            Self::Kernel(name) => format!("{name} [k]"),
        }
    }

    /// Its name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Process { comm: text, .. }
            | Self::Incomplete(text)
            | Self::User(text)
            | Self::Kernel(text) => text,
        }
    }

    /// Tells whether it is a function.
    pub fn is_function(&self) -> bool {
        matches!(self, Self::User(_) | Self::Kernel(_))
    }
}

/// Bytes of an entry beside its text, twice in the tables.
const ENTRY_BYTES: usize = size_of::<Entry>() + entry_bytes::<(Label, u32)>() + 16;

#[derive(Debug)]
struct Entry {
    label: Label,
    uses: u32,
}

/// Labels, numbered.
#[derive(Debug, Default)]
pub(super) struct Labels {
    entries: Vec<Entry>,
    index: HashMap<Label, u32>,
    free: Vec<u32>,
    bytes: usize,
}

impl Labels {
    /// The number of a label, used once more.
    pub(super) fn acquire(&mut self, label: Label) -> u32 {
        if let Some(id) = self.index.get(&label).copied() {
            self.again(id);
            return id;
        }
        self.bytes += ENTRY_BYTES + label.name().len();
        let entry = Entry { label: label.clone(), uses: 1 };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                // Bounded far below 2^32 by the budget of bytes.
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(label, id);
        id
    }

    /// One more use of what is in use.
    pub(super) fn again(&mut self, id: u32) {
        self.entries[id as usize].uses += 1;
    }

    /// One use less; without any it is forgotten.
    pub(super) fn release(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.uses -= 1;
        if entry.uses == 0 {
            self.bytes -= ENTRY_BYTES + entry.label.name().len();
            self.index.remove(&entry.label);
            entry.label = Label::All;
            self.free.push(id);
        }
    }

    pub(super) fn get(&self, id: u32) -> &Label {
        &self.entries[id as usize].label
    }

    pub(super) fn find(&self, label: &Label) -> Option<u32> {
        self.index.get(label).copied()
    }

    /// One more than the highest number.
    pub(super) fn numbers(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes that all of them take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_forgotten_with_its_last_use_and_its_number_given_anew() {
        let mut labels = Labels::default();
        let user = |name: &str| Label::User(name.into());
        let a = labels.acquire(user("a"));
        assert_eq!(labels.acquire(user("a")), a);
        assert_ne!(labels.acquire(Label::Kernel("a".into())), a);
        let before = labels.bytes();
        let b = labels.acquire(user("b"));
        labels.release(b);
        assert_eq!((labels.bytes(), labels.find(&user("b"))), (before, None));
        labels.release(a);
        assert_eq!(labels.find(&user("a")), Some(a));
        assert_eq!(labels.acquire(user("c")), b);
    }
}
