//! Stacks as a tree, root first, with the samples of what is in the window.

use super::labels::{Label, Labels};
use crate::map::entry_bytes;
use std::collections::HashMap;

/// A place in the tree.
pub(super) type NodeId = u32;

/// The root, under which are processes.
pub(super) const ROOT: NodeId = 0;

#[derive(Debug, Default)]
struct Node {
    label: u32,
    parent: NodeId,
    /// Samples of stacks that go through here.
    total: u64,
    /// Samples of stacks that end here.
    own: u64,
    children: Vec<NodeId>,
}

/// Bytes of a node, with its places in the tables.
const NODE_BYTES: usize = size_of::<Node>() + entry_bytes::<((NodeId, u32), NodeId)>() + 8;

/// The tree.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    index: HashMap<(NodeId, u32), NodeId>,
    pub(super) labels: Labels,
}

impl Default for Tree {
    fn default() -> Self {
        let mut labels = Labels::default();
        let root = Node { label: labels.acquire(Label::All), ..Node::default() };
        Self { nodes: vec![root], free: Vec::new(), index: HashMap::new(), labels }
    }
}

impl Tree {
    /// Adds samples of a stack, root first, if so many bytes in all are enough for it. Its end is given back to
    /// [`Tree::remove`].
    pub(super) fn add(&mut self, path: &[u32], count: u64, budget: usize) -> Option<NodeId> {
        let known = self.known(path);
        let new = path.len() - known.len();
        if new > 0 && self.bytes() + new * NODE_BYTES > budget {
            return None;
        }
        let mut at = known.last().copied().unwrap_or(ROOT);
        for label in &path[known.len()..] {
            at = self.child(at, *label);
        }
        self.nodes[at as usize].own += count;
        self.climb(at, |node| node.total += count);
        Some(at)
    }

    /// Takes back samples that were added.
    pub(super) fn remove(&mut self, end: NodeId, count: u64) {
        let node = &mut self.nodes[end as usize];
        node.own = node.own.saturating_sub(count);
        let mut empty = Vec::new();
        let mut at = end;
        loop {
            let node = &mut self.nodes[at as usize];
            node.total = node.total.saturating_sub(count);
            if at == ROOT {
                break;
            }
            if node.total == 0 {
                empty.push(at);
            }
            at = node.parent;
        }
        // The end first, so that each has no child any more.
        for id in empty {
            let Node { label, parent, .. } = std::mem::take(&mut self.nodes[id as usize]);
            self.nodes[parent as usize].children.retain(|child| *child != id);
            self.index.remove(&(parent, label));
            self.labels.release(label);
            self.free.push(id);
        }
    }

    /// As much of a path as there is.
    fn known(&self, path: &[u32]) -> Vec<NodeId> {
        let mut nodes = Vec::with_capacity(path.len());
        let mut at = ROOT;
        for label in path {
            let Some(next) = self.index.get(&(at, *label)) else { break };
            at = *next;
            nodes.push(at);
        }
        nodes
    }

    fn child(&mut self, parent: NodeId, label: u32) -> NodeId {
        self.labels.again(label);
        let node = Node { label, parent, ..Node::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                // Bounded far below 2^32 by the budget of bytes.
                NodeId::try_from(self.nodes.len() - 1).unwrap_or(NodeId::MAX)
            }
        };
        self.nodes[parent as usize].children.push(id);
        self.index.insert((parent, label), id);
        id
    }

    fn climb(&mut self, from: NodeId, mut with: impl FnMut(&mut Node)) {
        let mut at = from;
        loop {
            let node = &mut self.nodes[at as usize];
            with(node);
            if at == ROOT {
                return;
            }
            at = node.parent;
        }
    }

    /// Returns the bytes that all of it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.labels.bytes() + (self.nodes.len() - self.free.len()) * NODE_BYTES
    }

    /// The place that this path of labels below the root leads to.
    pub(super) fn find(&self, path: &[Label]) -> Option<NodeId> {
        path.iter().try_fold(ROOT, |at, label| {
            let label = self.labels.find(label)?;
            self.index.get(&(at, label)).copied()
        })
    }

    /// The labels from below the root to a place.
    pub(super) fn path(&self, to: NodeId) -> Vec<Label> {
        let mut path = Vec::new();
        let mut at = to;
        while at != ROOT {
            path.push(self.label(at).clone());
            at = self.nodes[at as usize].parent;
        }
        path.reverse();
        path
    }

    pub(super) fn label(&self, id: NodeId) -> &Label {
        self.labels.get(self.nodes[id as usize].label)
    }

    pub(super) fn label_id(&self, id: NodeId) -> u32 {
        self.nodes[id as usize].label
    }

    pub(super) fn total(&self, id: NodeId) -> u64 {
        self.nodes[id as usize].total
    }

    pub(super) fn own(&self, id: NodeId) -> u64 {
        self.nodes[id as usize].own
    }

    pub(super) fn children(&self, id: NodeId) -> &[NodeId] {
        &self.nodes[id as usize].children
    }

    /// The children in the order in which they are drawn: by name, so that they keep their places.
    pub(super) fn children_in_order(&self, id: NodeId) -> Vec<NodeId> {
        let mut children = self.children(id).to_vec();
        children.sort_by(|a, b| {
            let (a, b) = (self.label(*a), self.label(*b));
            a.name().cmp(b.name()).then_with(|| a.cmp(b))
        });
        children
    }

    /// Calls `visit` with everything from a place on down: with `true` before what is below it, with `false` after.
    pub(super) fn walk(&self, from: NodeId, mut visit: impl FnMut(NodeId, bool)) {
        // With the number of children that were visited.
        let mut path = vec![(from, 0)];
        visit(from, true);
        while let Some((id, visited)) = path.last_mut() {
            match self.children(*id).get(*visited) {
                Some(child) => {
                    *visited += 1;
                    visit(*child, true);
                    path.push((*child, 0));
                }
                None => {
                    visit(*id, false);
                    path.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(tree: &mut Tree, names: &[&str]) -> Vec<u32> {
        names.iter().map(|name| tree.labels.acquire(Label::User((*name).into()))).collect()
    }

    #[test]
    fn what_was_added_and_taken_back_leaves_nothing() {
        let mut tree = Tree::default();
        let empty = tree.bytes();
        let (ab, ac) = (stack(&mut tree, &["a", "b"]), stack(&mut tree, &["a", "c"]));
        let first = tree.add(&ab, 3, usize::MAX).unwrap();
        let second = tree.add(&ac, 2, usize::MAX).unwrap();
        assert_eq!(tree.add(&ab, 1, usize::MAX), Some(first));
        ab.iter().chain(&ac).for_each(|label| tree.labels.release(*label));
        assert_eq!((tree.total(ROOT), tree.total(first), tree.own(second)), (6, 4, 2));
        let path = tree.path(first);
        assert_eq!(tree.find(&path), Some(first));
        tree.remove(first, 4);
        assert_eq!((tree.total(ROOT), tree.find(&path), tree.children(ROOT).len()), (2, None, 1));
        tree.remove(second, 2);
        assert_eq!((tree.total(ROOT), tree.children(ROOT).len(), tree.bytes()), (0, 0, empty));
    }

    #[test]
    fn what_is_over_the_budget_is_not_taken_and_what_is_known_always_is() {
        let mut tree = Tree::default();
        let path = stack(&mut tree, &["a", "b"]);
        assert!(tree.add(&path, 1, usize::MAX).is_some());
        let full = tree.bytes();
        let other = stack(&mut tree, &["a", "x"]);
        assert!(tree.add(&path, 1, full).is_some());
        assert!(tree.add(&other, 1, full).is_none());
        assert_eq!((tree.total(ROOT), tree.children(ROOT).len()), (2, 1));
    }

    #[test]
    fn a_walk_enters_each_once_and_leaves_it_after_its_children() {
        let mut tree = Tree::default();
        for names in [&["a", "b"][..], &["a", "c"], &["d"]] {
            let path = stack(&mut tree, names);
            tree.add(&path, 1, usize::MAX);
        }
        let mut steps = String::new();
        tree.walk(ROOT, |id, entering| {
            steps.push_str(if entering { "" } else { "/" });
            steps.push_str(tree.label(id).name());
        });
        assert_eq!(steps, "allab/bc/c/ad/d/all");
    }
}
