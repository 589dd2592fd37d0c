//! Stacks of frames, and their values.

use std::collections::HashMap;
use std::io::{self, Write};

/// The kind of a frame; decides its colour, and whether a level can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A process, by its name.
    Process = 0,
    /// A thread.
    Thread = 1,
    /// A function of a program.
    User = 2,
    /// A function of the kernel.
    Kernel = 3,
    /// A remark in place of frames that are not there: `[incomplete: reason]`.
    Remark = 4,
}

/// Stacks with what they weigh, in memory in proportion to the frames of the stacks that were added.
#[derive(Debug, Default)]
pub struct Graph {
    numbers: HashMap<(Kind, u32, Box<str>), u32>,
    modules: HashMap<Box<str>, u32>,
    stacks: Vec<(Box<[u32]>, u64)>,
}

impl Graph {
    /// A graph without stacks.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a frame, for [`Graph::stack`]: the same for the same name, kind and module. The module is the
    /// file that the function is of, as people should read it; empty for none.
    pub fn frame(&mut self, name: &str, kind: Kind, module: &str) -> u32 {
        let next = number(self.modules.len());
        let module = *self.modules.entry(module.into()).or_insert(next);
        let next = number(self.numbers.len());
        *self.numbers.entry((kind, module, name.into())).or_insert(next)
    }

    /// Adds a stack, root first, of numbers that [`Graph::frame`] gave. One that weighs nothing, or is empty, is not in
    /// the graph.
    pub fn stack(&mut self, frames: impl Into<Box<[u32]>>, value: u64) {
        let frames = frames.into();
        if value > 0 && !frames.is_empty() {
            self.stacks.push((frames, value));
        }
    }

    /// The sum of all stacks' values; `None` if no number of 64 bits holds it.
    pub fn total(&self) -> Option<u64> {
        self.stacks.iter().try_fold(0_u64, |sum, (_, value)| sum.checked_add(*value))
    }

    /// Writes the graph as members of a JSON object: `"modules"` and `"names"` (texts), `"kinds"` and `"of"` (kind and
    /// module of each name that is in a stack), and `"nodes"`: three numbers for each node of the tree of stacks, a parent before its
    /// children, siblings by name: how many levels to go up from the node before (0 for its child), the name, and what
    /// the node weighs itself.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub(crate) fn write(mut self, to: &mut dyn Write) -> io::Result<()> {
        let mut used = vec![false; self.numbers.len()];
        for frame in self.stacks.iter().flat_map(|(frames, _)| frames) {
            if let Some(used) = used.get_mut(*frame as usize) {
                *used = true;
            }
        }
        let mut modules = vec![""; self.modules.len()];
        for (module, number) in &self.modules {
            modules[*number as usize] = module;
        }
        let mut frames: Vec<_> = self.numbers.iter().filter(|(_, number)| used[**number as usize]).collect();
        frames.sort_unstable_by_key(|((kind, module, name), _)| (name, kind, modules[*module as usize]));
        let mut ranks = vec![0_u32; used.len()];
        for (rank, (_, number)) in (0..).zip(&frames) {
            ranks[**number as usize] = rank;
        }
        list(to, "modules", modules.iter().map(|module| text(module)))?;
        list(to, "names", frames.iter().map(|((_, _, name), _)| text(name)))?;
        list(to, "kinds", frames.iter().map(|((kind, _, _), _)| (*kind as u8).to_string()))?;
        list(to, "of", frames.iter().map(|((_, module, _), _)| module.to_string()))?;
        drop(frames);
        for (frames, _) in &mut self.stacks {
            frames.iter_mut().for_each(|frame| *frame = ranks.get(*frame as usize).copied().unwrap_or(0));
        }
        self.stacks.sort_unstable();
        list(to, "nodes", Nodes::of(&self.stacks))
    }
}

/// The tree of sorted stacks, node by node: what a stack shares with the one before it is there already.
struct Nodes<'a> {
    stacks: &'a [(Box<[u32]>, u64)],
    /// Of the first of `stacks`, how many frames were given out.
    given: usize,
    /// The depth of the node that was given out last.
    depth: usize,
}

impl<'a> Nodes<'a> {
    fn of(stacks: &'a [(Box<[u32]>, u64)]) -> Self {
        Self { stacks, given: 0, depth: 0 }
    }
}

impl Iterator for Nodes<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let (frames, value) = self.stacks.first()?;
        let name = *frames.get(self.given)?;
        // The depth of the root's children is 1.
        let up = self.depth - self.given;
        self.given += 1;
        self.depth = self.given;
        let mut own = 0_u64;
        if self.given == frames.len() {
            own = *value;
            self.stacks = &self.stacks[1..];
            while self.stacks.first().is_some_and(|(other, _)| other == frames) {
                own = own.saturating_add(self.stacks[0].1);
                self.stacks = &self.stacks[1..];
            }
            let next = self.stacks.first().map_or(&[][..], |(next, _)| next);
            self.given = frames.iter().zip(next).take_while(|(a, b)| a == b).count();
        }
        Some(format!("{up},{name},{own}"))
    }
}

fn list(to: &mut dyn Write, key: &str, values: impl Iterator<Item = String>) -> io::Result<()> {
    write!(to, ",\"{key}\":[")?;
    for (index, value) in values.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(to, "{comma}{value}")?;
    }
    write!(to, "]")
}

/// A text as JSON that may stand in a page: what could end the element, or open a comment in it, is escaped.
pub(crate) fn text(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn number(index: usize) -> u32 {
    // 2^32 names do not fit in memory.
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(graph: Graph) -> String {
        let mut bytes = Vec::new();
        graph.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nodes_are_the_tree_of_the_stacks() {
        let mut graph = Graph::new();
        let [b, a, c] = ["b", "a", "c"].map(|name| graph.frame(name, Kind::User, "/bin/x"));
        assert_eq!(graph.frame("b", Kind::User, "/bin/x"), b);
        graph.stack([a, c], 1);
        graph.stack([a, b, c], 2);
        graph.stack([a, b], 4);
        graph.stack([a, c], 8);
        graph.stack([c], 16);
        graph.stack([b], 0);
        graph.stack([], 32);
        assert_eq!(graph.total(), Some(31));
        assert_eq!(
            written(graph),
            concat!(
                r#","modules":["/bin/x"],"names":["a","b","c"],"kinds":[2,2,2],"of":[0,0,0],"#,
                r#""nodes":[0,0,0,0,1,4,0,2,2,2,2,9,2,2,16]"#
            )
        );
    }

    #[test]
    fn equal_names_of_another_kind_or_module_are_other_frames() {
        let mut graph = Graph::new();
        let frames = [("x", Kind::User, "/a"), ("x", Kind::User, "/b"), ("x", Kind::Kernel, "")]
            .map(|(name, kind, module)| graph.frame(name, kind, module));
        graph.stack(frames, 1);
        assert!(written(graph).contains(r#""names":["x","x","x"],"kinds":[2,2,3],"of":[0,1,2]"#));
    }

    #[test]
    fn text_cannot_end_the_element_that_it_stands_in() {
        let hostile = "</script><!--<script>&\u{2028}\u{0}\"\\";
        let json = text(hostile);
        assert!(!json.contains(['<', '>', '&']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }
}
