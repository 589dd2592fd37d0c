//! `stacksonde top`: what was on the CPUs lately, as tables and a flame graph. No terminal and no agent is needed here:
//! batches and keys go in, cells or text come out.
//!
//! ```text
//! labels   processes and functions, each text once
//! tree     stacks with their samples, root first
//! window   batches taken into the tree, and taken back when they are old or there is no room
//! tables   functions and processes, counted
//! flame    the flame graph in columns and rows
//! view     what is looked at, and what keys do to that
//! draw     all of it in cells
//! once     one table as text
//! ```

mod draw;
mod flame;
mod labels;
mod once;
mod tables;
mod tree;
mod view;
mod window;

pub use labels::Label;
pub use tables::{FunctionOrder, FunctionRow, ProcessOrder, ProcessRow, Tables};
pub use tree::Tree;
pub use view::{Overlay, Pane, View, Wish};
pub use window::{Totals, Window};

use crate::terminal::{Charset, Key, Palette};
use ratatui_core::buffer::Buffer;
use stacksonde_batch::{Batch, ReadError};

/// Settings that do not change while it runs.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The machine's name.
    pub host: String,
    /// Samples a second and CPU.
    pub hz: u32,
    /// CPUs that are sampled.
    pub cpus: usize,
    /// The processes that are sampled, in a few words; empty for all.
    pub filter: String,
    /// The time for which a sample is shown.
    pub window_ns: u64,
    /// The bytes that all samples that are shown may take, about.
    pub budget: usize,
    /// The characters that can be shown.
    pub charset: Charset,
}

/// All of it.
#[derive(Debug)]
pub struct Top {
    window: Window,
    totals: Totals,
    tables: Tables,
    view: View,
    host: String,
    hz: u32,
    cpus: usize,
    filter: String,
    charset: Charset,
    /// Messages that can be looked at.
    messages: u64,
    /// The event that matters most, in a word or two.
    note: String,
}

impl Top {
    /// Nothing is there yet.
    pub fn new(setting: Setting) -> Self {
        let Setting { host, hz, cpus, filter, window_ns, budget, charset } = setting;
        Self {
            window: Window::new(window_ns, budget, charset),
            totals: Totals::default(),
            tables: Tables::default(),
            view: View::default(),
            host: charset.plain(&host).into_owned(),
            hz,
            cpus,
            filter: charset.plain(&filter).into_owned(),
            charset,
            messages: 0,
            note: String::new(),
        }
    }

    /// Takes in a batch, unless it is paused.
    ///
    /// # Errors
    ///
    /// These bytes are none.
    pub fn take(&mut self, batch: &[u8]) -> Result<(), ReadError> {
        let batch = Batch::parse(batch)?;
        if !self.view.is_paused {
            self.window.take(&batch);
            self.totals = self.window.totals();
            self.count();
        }
        Ok(())
    }

    /// Does what a key says.
    pub fn key(&mut self, key: Key) -> Wish {
        let before =
            (self.view.only.clone(), self.view.search.clone(), self.view.functions, self.view.processes);
        let wish = self.view.key(key, &self.tables, &self.window.tree);
        let view = &self.view;
        if before != (view.only.clone(), view.search.clone(), view.functions, view.processes) {
            self.count();
        }
        wish
    }

    /// Sets the number of messages that can be looked at.
    pub fn set_messages(&mut self, count: u64) {
        self.messages = count;
    }

    /// Says in the first line what has happened.
    pub fn set_note(&mut self, note: &str) {
        note.clone_into(&mut self.note);
    }

    /// Draws all of it.
    pub fn draw(&self, buffer: &mut Buffer, palette: Palette) {
        draw::draw(self, buffer, palette);
    }

    fn count(&mut self) {
        self.tables = Tables::count(&self.window.tree, self.view.only.as_ref(), &self.view.search);
        self.tables.sort(self.view.functions, self.view.processes);
    }
}
