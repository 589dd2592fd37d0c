//! The view of a person, and the effect of keys on it.

use super::flame::{self, Step};
use super::labels::Label;
use super::tables::{FunctionOrder, ProcessOrder, Tables};
use super::tree::Tree;
use crate::terminal::Key;

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// The table of functions.
    #[default]
    Functions,
    /// The table of processes.
    Processes,
    /// The flame graph.
    Flame,
}

/// An overlay over the panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// The list of keys.
    Help,
    /// Losses, incomplete stacks, and the messages of the agent, from this line on.
    Details(usize),
}

/// The action of the program after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Draw.
    Nothing,
    /// End.
    Quit,
    /// Give the terminal back until continued.
    Suspend,
    /// Redraw everything.
    Redraw,
}

/// The part of the data that is looked at.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The pane that keys go to.
    pub focus: Pane,
    /// Order of the functions.
    pub functions: FunctionOrder,
    /// Order of the processes.
    pub processes: ProcessOrder,
    /// The row that is selected; the first one if it is not there.
    pub function: Option<Label>,
    /// The same.
    pub process: Option<Label>,
    /// The process that all is narrowed to.
    pub only: Option<Label>,
    /// Root of the flame graph.
    pub zoom: Vec<Label>,
    /// The frame that is selected in it.
    pub frame: Vec<Label>,
    /// The text that is searched for.
    pub search: String,
    /// True if keys are typed into it.
    pub is_typing: bool,
    /// True if nothing new is taken in.
    pub is_paused: bool,
    /// The overlay over all.
    pub overlay: Option<Overlay>,
}

/// Rows that a page is.
const PAGE: isize = 10;
/// Characters that can be searched for.
const LONGEST_SEARCH: usize = 200;

impl View {
    /// Does what a key says.
    pub(super) fn key(&mut self, key: Key, tables: &Tables, tree: &Tree) -> Wish {
        match (self.is_typing, key) {
            (_, Key::Ctrl('c')) => return Wish::Quit,
            (_, Key::Ctrl('z')) => return Wish::Suspend,
            (_, Key::Ctrl('l')) => return Wish::Redraw,
            (true, key) => self.type_in(key),
            (false, Key::Char('q')) => return Wish::Quit,
            (false, key) if self.overlay.is_some() => self.over(key),
            (false, key) => self.act(key, tables, tree),
        }
        Wish::Nothing
    }

    fn type_in(&mut self, key: Key) {
        match key {
            Key::Char(character) if self.search.chars().count() < LONGEST_SEARCH => {
                self.search.push(character)
            }
            Key::Backspace => drop(self.search.pop()),
            Key::Ctrl('u') => self.search.clear(),
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.search.clear();
            }
            _ => {}
        }
    }

    fn over(&mut self, key: Key) {
        let Some(overlay) = self.overlay else { return };
        self.overlay = match (overlay, key) {
            (Overlay::Details(from), Key::Down | Key::Char('j')) => Some(Overlay::Details(from + 1)),
            (Overlay::Details(from), Key::Up | Key::Char('k')) => {
                Some(Overlay::Details(from.saturating_sub(1)))
            }
            (Overlay::Details(from), Key::PageDown) => Some(Overlay::Details(from + PAGE.unsigned_abs())),
            (Overlay::Details(from), Key::PageUp) => {
                Some(Overlay::Details(from.saturating_sub(PAGE.unsigned_abs())))
            }
            (_, Key::Char('?')) if overlay != Overlay::Help => Some(Overlay::Help),
            (_, Key::Char('d')) if overlay == Overlay::Help => Some(Overlay::Details(0)),
            _ => None,
        };
    }

    fn act(&mut self, key: Key, tables: &Tables, tree: &Tree) {
        match key {
            Key::Char('?' | 'h') => self.overlay = Some(Overlay::Help),
            Key::Char('d') => self.overlay = Some(Overlay::Details(0)),
            Key::Char('/') => self.is_typing = true,
            Key::Char(' ' | 'p') => self.is_paused = !self.is_paused,
            Key::Tab => self.focus = self.next_pane(),
            Key::BackTab => self.focus = View { focus: self.next_pane(), ..Self::default() }.next_pane(),
            Key::Char('s') => self.sort(),
            Key::Enter => self.choose(tables, tree),
            Key::Escape | Key::Backspace => self.back(),
            Key::Up | Key::Char('k') => self.go(-1, Step::Out, tables, tree),
            Key::Down | Key::Char('j') => self.go(1, Step::In, tables, tree),
            Key::Left => self.sideways(Step::Left, tree),
            Key::Right | Key::Char('l') => self.sideways(Step::Right, tree),
            Key::PageUp => self.scroll(-PAGE, tables),
            Key::PageDown => self.scroll(PAGE, tables),
            Key::Home => self.scroll(isize::MIN, tables),
            Key::End => self.scroll(isize::MAX, tables),
            Key::Char(_) | Key::Ctrl(_) => {}
        }
    }

    fn next_pane(&self) -> Pane {
        match self.focus {
            Pane::Functions => Pane::Processes,
            Pane::Processes => Pane::Flame,
            Pane::Flame => Pane::Functions,
        }
    }

    fn sort(&mut self) {
        match self.focus {
            Pane::Functions => {
                self.functions = match self.functions {
                    FunctionOrder::Own => FunctionOrder::Total,
                    FunctionOrder::Total => FunctionOrder::Name,
                    FunctionOrder::Name => FunctionOrder::Own,
                }
            }
            Pane::Processes => {
                self.processes = match self.processes {
                    ProcessOrder::Cpu => ProcessOrder::Name,
                    ProcessOrder::Name => ProcessOrder::Pid,
                    ProcessOrder::Pid => ProcessOrder::Cpu,
                }
            }
            Pane::Flame => {}
        }
    }

    /// Does as Enter says: searches for a function, narrows to a process, zooms to a frame.
    fn choose(&mut self, tables: &Tables, tree: &Tree) {
        match self.focus {
            Pane::Functions => {
                let row = tables.functions.get(self.function_index(tables));
                if let Some(row) = row.filter(|row| row.label.is_function()) {
                    self.search = row.label.name().to_owned();
                }
            }
            Pane::Processes => {
                let Some(row) = tables.processes.get(self.process_index(tables)) else { return };
                self.only = (self.only.as_ref() != Some(&row.label)).then(|| row.label.clone());
                self.zoom = self.base();
                self.frame = self.base();
            }
            Pane::Flame => {
                if let Some(node) = flame::nearest(tree, &self.frame) {
                    self.zoom = tree.path(node);
                }
            }
        }
    }

    /// Takes back the last of: a search, a zoom, a process.
    fn back(&mut self) {
        if !self.search.is_empty() {
            self.search.clear();
        } else if self.zoom.len() > self.base().len() {
            self.zoom = self.base();
        } else {
            self.only = None;
            self.zoom = Vec::new();
        }
    }

    /// Returns the path below which the flame graph begins.
    pub(super) fn base(&self) -> Vec<Label> {
        self.only.iter().cloned().collect()
    }

    fn go(&mut self, rows: isize, step: Step, tables: &Tables, tree: &Tree) {
        match self.focus {
            Pane::Flame => self.frame = flame::step(tree, &self.frame, &self.zoom, step),
            _ => self.scroll(rows, tables),
        }
    }

    fn sideways(&mut self, step: Step, tree: &Tree) {
        if self.focus == Pane::Flame {
            self.frame = flame::step(tree, &self.frame, &self.zoom, step);
        }
    }

    fn scroll(&mut self, rows: isize, tables: &Tables) {
        let moved =
            |index: usize, length: usize| index.saturating_add_signed(rows).min(length.saturating_sub(1));
        match self.focus {
            Pane::Functions => {
                let index = moved(self.function_index(tables), tables.functions.len());
                self.function = tables.functions.get(index).map(|row| row.label.clone());
            }
            Pane::Processes => {
                let index = moved(self.process_index(tables), tables.processes.len());
                self.process = tables.processes.get(index).map(|row| row.label.clone());
            }
            Pane::Flame => {}
        }
    }

    /// The row that is selected.
    pub(super) fn function_index(&self, tables: &Tables) -> usize {
        let selected = |label: &Label| tables.functions.iter().position(|row| row.label == *label);
        self.function.as_ref().and_then(selected).unwrap_or(0)
    }

    /// The row that is selected.
    pub(super) fn process_index(&self, tables: &Tables) -> usize {
        let selected = |label: &Label| tables.processes.iter().position(|row| row.label == *label);
        self.process.as_ref().and_then(selected).unwrap_or(0)
    }
}
