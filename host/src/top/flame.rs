//! A flame graph in the cells of a terminal, the root on top: the first rows are those that are always there.

use super::labels::Label;
use super::tree::{NodeId, Tree};

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Which.
    pub(super) node: NodeId,
    /// Row, from the root's, 0.
    pub(super) row: u16,
    /// First column.
    pub(super) x: u16,
    /// Columns, at least one.
    pub(super) width: u16,
}

/// The frames below `root`, and itself, that are at least a column wide and within `height` rows.
pub(super) fn layout(tree: &Tree, root: NodeId, width: u16, height: u16) -> Vec<Frame> {
    let mut frames = Vec::new();
    let whole = tree.total(root);
    if whole == 0 || width == 0 || height == 0 {
        return frames;
    }
    let column = |samples: u64| {
        let column = u128::from(samples) * u128::from(width) / u128::from(whole);
        u16::try_from(column).unwrap_or(width)
    };
    // Frames whose children are to be placed, with the samples to the left of them.
    let mut open = vec![(root, 0_u64, 0_u16)];
    while let Some((node, left, row)) = open.pop() {
        let (x, end) = (column(left), column(left + tree.total(node)));
        if end > x {
            frames.push(Frame { node, row, x, width: end - x });
            if row + 1 < height {
                let mut left = left;
                for child in tree.children_in_order(node) {
                    open.push((child, left, row + 1));
                    left += tree.total(child);
                }
            }
        }
    }
    frames.sort_by_key(|frame| (frame.row, frame.x));
    frames
}

/// From a frame to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the caller.
    Out,
    /// To the hottest that it calls.
    In,
    /// To the one on the left.
    Left,
    /// To the one on the right.
    Right,
}

/// Returns the path to which a step leads from `path`, not above `base`; the same path if nothing is there.
pub(super) fn step(tree: &Tree, path: &[Label], base: &[Label], step: Step) -> Vec<Label> {
    let Some(at) = nearest(tree, path) else { return base.to_vec() };
    let here = tree.path(at);
    let siblings = |offset: isize| -> Option<Vec<Label>> {
        if here.len() <= base.len() {
            return None;
        }
        let parent = tree.find(&here[..here.len() - 1])?;
        let order = tree.children_in_order(parent);
        let place = order.iter().position(|child| *child == at)?;
        order.get(place.checked_add_signed(offset)?).map(|sibling| tree.path(*sibling))
    };
    let there = match step {
        Step::Out if here.len() > base.len() => Some(here[..here.len() - 1].to_vec()),
        Step::Out => None,
        Step::In => {
            let hottest = tree.children_in_order(at).into_iter().max_by_key(|child| tree.total(*child));
            hottest.map(|child| tree.path(child))
        }
        Step::Left => siblings(-1),
        Step::Right => siblings(1),
    };
    there.unwrap_or(here)
}

/// The place of `path`, or of as much of it as there still is.
pub(super) fn nearest(tree: &Tree, path: &[Label]) -> Option<NodeId> {
    (0..=path.len()).rev().find_map(|length| tree.find(&path[..length]))
}
