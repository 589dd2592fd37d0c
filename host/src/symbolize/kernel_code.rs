//! Code that the kernel got since we began: BPF programs and what leads to them, as its events report.

use crate::bpf::{Notice, NoticeKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pieces of code that are remembered; of more the oldest is forgotten.
const PIECES_MAX: usize = 4096;

/// The pieces, by address. What is gone stays as far as nothing else takes its place: it may have been sampled before, and
/// the name of its neighbour below would be wrong.
#[derive(Clone, Debug, Default)]
pub struct KernelCode {
    pieces: BTreeMap<u64, Piece>,
    /// Counts what came.
    last: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    end: u64,
    name: Arc<str>,
    /// The number of its coming.
    number: u64,
}

impl KernelCode {
    /// Takes in an event.
    pub fn notice(&mut self, notice: &Notice) {
        let NoticeKind::KernelCode { start, bytes, name, is_gone: false } = &notice.kind else { return };
        let end = start.saturating_add((*bytes).into());
        // Pieces do not overlap, so those that this takes the place of stand side by side.
        let before = self.pieces.range(..end).rev();
        let replaced: Vec<u64> =
            before.take_while(|(_, piece)| piece.end > *start).map(|(start, _)| *start).collect();
        for old in replaced {
            let Some(piece) = self.pieces.remove(&old) else { continue };
            if old < *start {
                self.pieces.insert(old, Piece { end: *start, ..piece.clone() });
            }
            if piece.end > end {
                self.pieces.insert(end, piece);
            }
        }
        while self.pieces.len() >= PIECES_MAX
            && let Some(oldest) =
                self.pieces.iter().min_by_key(|(_, piece)| piece.number).map(|(start, _)| *start)
        {
            self.pieces.remove(&oldest);
        }
        self.last += 1;
        self.pieces.insert(*start, Piece { end, name: name.as_str().into(), number: self.last });
    }

    /// Returns the name of the piece at an address.
    pub fn name_at(&self, address: u64) -> Option<&str> {
        let (_, piece) = self.pieces.range(..=address).next_back()?;
        (address < piece.end).then_some(&piece.name)
    }

    /// Returns how many pieces came so far.
    pub fn count(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(code: &mut KernelCode, start: u64, bytes: u32, name: &str, is_gone: bool) {
        let kind = NoticeKind::KernelCode { start, bytes, name: name.into(), is_gone };
        code.notice(&Notice { time_ns: 1, pid: 1, tid: 1, kind });
    }

    #[test]
    fn the_last_that_came_to_a_place_is_there_and_nothing_reaches_beyond_its_end() {
        let mut code = KernelCode::default();
        tell(&mut code, 100, 50, "first", false);
        tell(&mut code, 150, 50, "second", false);
        assert_eq!(
            [99, 100, 149, 150, 199, 200].map(|at| code.name_at(at)),
            [None, Some("first"), Some("first"), Some("second"), Some("second"), None]
        );
        tell(&mut code, 100, 50, "first", true);
        assert_eq!(code.name_at(120), Some("first"), "it was there when it was sampled");
        tell(&mut code, 120, 40, "third", false);
        assert_eq!(
            [110, 120, 159, 160].map(|at| code.name_at(at)),
            [Some("first"), Some("third"), Some("third"), Some("second")]
        );
        tell(&mut code, 125, 5, "fourth", false);
        assert_eq!(
            [124, 125, 130].map(|at| code.name_at(at)),
            [Some("third"), Some("fourth"), Some("third")],
            "what is left of a piece lies on both sides"
        );
        assert_eq!(code.count(), 4);
    }

    #[test]
    fn any_number_of_pieces_takes_bounded_room() {
        let mut code = KernelCode::default();
        for number in 0..2 * PIECES_MAX as u64 {
            tell(&mut code, number * 64, 64, "x", false);
        }
        assert_eq!(code.pieces.len(), PIECES_MAX);
        assert!(code.name_at(0).is_none() && code.name_at(64 * (2 * PIECES_MAX as u64 - 1)).is_some());
    }
}
