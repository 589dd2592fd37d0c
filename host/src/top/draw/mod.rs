//! The picture: plain cells, so that it can be looked at without a terminal.

mod flame;
mod head;
mod overlay;
mod panes;
mod style;

pub(in crate::top) use panes::name;

use super::Top;
use super::view::Pane;
use crate::terminal::{Charset, Palette, fit_behind, pad};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;

/// The buffer to draw on, and the colours and characters to draw with.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    palette: Palette,
    charset: Charset,
}

impl Canvas<'_> {
    /// Text in exactly `width` columns, as far as they are there.
    fn put(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) {
        let area = self.buffer.area;
        if y < area.bottom() && x < area.right() {
            let width = width.min(area.right() - x);
            let text = pad(text, width.into(), self.charset);
            self.buffer.set_stringn(x, y, text, width.into(), style);
        }
    }

    /// The same of a name with something before it; a long name is cut in its middle.
    fn put_name(&mut self, (x, y, width): (u16, u16, u16), head: &str, name: &str, style: Style) {
        let width = width.min(self.buffer.area.right().saturating_sub(x));
        let text = fit_behind(head, name, width.into(), self.charset);
        self.put(x, y, width, &text, style);
    }

    /// Ends the screen where it is too small for anything.
    fn is_too_small(&self) -> bool {
        self.buffer.area.width < 20 || self.buffer.area.height < 4
    }
}

/// Draws all of it.
pub(super) fn draw(top: &Top, buffer: &mut Buffer, palette: Palette) {
    let area = buffer.area;
    let mut canvas = Canvas { buffer, palette, charset: top.charset };
    if canvas.is_too_small() {
        canvas.put(0, 0, area.width, "too small", Style::new());
        return;
    }
    head::draw(top, &mut canvas);
    let body = Rect { y: 2, height: area.height - 3, ..area };
    match top.view.overlay {
        Some(overlay) => overlay::draw(top, overlay, body, &mut canvas),
        None => {
            for (pane, area) in divide(body, top.view.focus) {
                match pane {
                    Pane::Functions => panes::functions(top, area, &mut canvas),
                    Pane::Processes => panes::processes(top, area, &mut canvas),
                    Pane::Flame => flame::draw(top, area, &mut canvas),
                }
            }
        }
    }
    head::draw_foot(top, &mut canvas);
}

/// Returns the areas of the panes: beside each other where there is room, only the one in use where there is little.
fn divide(area: Rect, focus: Pane) -> Vec<(Pane, Rect)> {
    let Rect { x, y, width, height } = area;
    if width < 60 || height < 12 {
        return vec![(focus, area)];
    }
    if width >= 150 && height >= 30 {
        let (left, upper) = (width * 2 / 5, height * 3 / 5);
        return vec![
            (Pane::Functions, Rect { width: left, height: upper, ..area }),
            (Pane::Processes, Rect { y: y + upper, width: left, height: height - upper, ..area }),
            (Pane::Flame, Rect { x: x + left + 1, width: width - left - 1, ..area }),
        ];
    }
    let (upper, left) = (height / 2, width * 3 / 5);
    vec![
        (Pane::Functions, Rect { width: left, height: upper, ..area }),
        (Pane::Processes, Rect { x: x + left + 1, width: width - left - 1, height: upper, ..area }),
        (Pane::Flame, Rect { y: y + upper, height: height - upper, ..area }),
    ]
}

/// `part` of `whole` in percent.
pub(in crate::top) fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
