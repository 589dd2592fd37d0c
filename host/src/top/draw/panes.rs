//! The two tables.

use super::{Canvas, percent, style};
use crate::top::Top;
use crate::top::labels::Label;
use crate::top::tables::{FunctionOrder, FunctionRow, ProcessOrder};
use crate::top::view::Pane;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;

/// A function as a row shows it.
pub(in crate::top) fn name(row: &FunctionRow) -> String {
    match &row.label {
        Label::Process { comm, .. } => format!("[no frames of {comm}]"),
        label => label.text(),
    }
}

/// A title over the whole width of a pane.
pub(super) fn title(canvas: &mut Canvas<'_>, area: Rect, text: &str, has_focus: bool) {
    canvas.put(area.x, area.y, area.width, &format!(" {text}"), style::title(has_focus));
}

/// The first of `rows` that is drawn, so that the one that is selected is among them.
fn first(selected: usize, rows: usize) -> usize {
    selected.saturating_sub(rows.saturating_sub(1))
}

pub(super) fn functions(top: &Top, area: Rect, canvas: &mut Canvas<'_>) {
    let order = match top.view.functions {
        FunctionOrder::Own => "by self",
        FunctionOrder::Total => "by total",
        FunctionOrder::Name => "by name",
    };
    let all = top.tables.cpu_time_ns;
    let table = Table {
        pane: Pane::Functions,
        title: format!("Functions {order}"),
        head: "  SELF%  TOTAL%  FUNCTION",
        selected: top.view.function_index(&top.tables),
        rows: &top.tables.functions,
    };
    table.draw(top, area, canvas, |row| {
        let (own, total) = (percent(row.own, all), percent(row.total, all));
        (&row.label, format!("{own:7.1} {total:7.1}  "), name(row))
    });
}

pub(super) fn processes(top: &Top, area: Rect, canvas: &mut Canvas<'_>) {
    let order = match top.view.processes {
        ProcessOrder::Cpu => "by CPU",
        ProcessOrder::Name => "by name",
        ProcessOrder::Pid => "by PID",
    };
    let table = Table {
        pane: Pane::Processes,
        title: format!("Processes {order}"),
        head: "  CPU%     PID  NAME",
        selected: top.view.process_index(&top.tables),
        rows: &top.tables.processes,
    };
    table.draw(top, area, canvas, |row| {
        let pid = match row.label {
            Label::Process { pid: pid @ 1.., .. } => pid.to_string(),
            _ => "-".into(),
        };
        let comm = row.label.name().to_owned();
        let mark = if top.view.only.as_ref() == Some(&row.label) { '>' } else { ' ' };
        (&row.label, format!("{mark}{:5.1} {pid:>7}  ", 100.0 * top.totals.cpus(row.cpu_time_ns)), comm)
    });
}

/// One of them: a title, a head and rows, of which one is selected.
struct Table<'a, R> {
    pane: Pane,
    title: String,
    head: &'a str,
    selected: usize,
    rows: &'a [R],
}

impl<R> Table<'_, R> {
    /// `text` says of a row what it is of, what stands before its name, and its name.
    fn draw<'a>(
        &'a self,
        top: &Top,
        area: Rect,
        canvas: &mut Canvas<'_>,
        text: impl Fn(&'a R) -> (&'a Label, String, String),
    ) {
        let has_focus = top.view.focus == self.pane;
        title(canvas, area, &self.title, has_focus);
        canvas.put(area.x, area.y + 1, area.width, self.head, style::dim());
        let room = usize::from(area.height.saturating_sub(2));
        let shown = self.rows.iter().enumerate().skip(first(self.selected, room)).take(room);
        for (y, (index, row)) in (area.y + 2..area.bottom()).zip(shown) {
            let (label, head, name) = text(row);
            let style = style::row(label, has_focus && index == self.selected);
            canvas.put_name((area.x, y, area.width), &head, &name, style);
        }
        if self.rows.is_empty() {
            nothing(top, area, canvas);
        }
    }
}

fn nothing(top: &Top, area: Rect, canvas: &mut Canvas<'_>) {
    let why = match (top.totals.batches, top.view.search.is_empty()) {
        (0, _) => "",
        (_, true) => "nothing was on a CPU",
        (_, false) => "nothing has that in its name",
    };
    if area.height > 2 {
        canvas.put(area.x + 1, area.y + 2, area.width.saturating_sub(1), why, Style::new());
    }
}
