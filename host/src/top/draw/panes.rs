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
    let has_focus = top.view.focus == Pane::Functions;
    title(canvas, area, &format!("Functions {order}"), has_focus);
    canvas.put(area.x, area.y + 1, area.width, "  SELF%  TOTAL%  FUNCTION", style::dim());
    let rows = usize::from(area.height.saturating_sub(2));
    let selected = top.view.function_index(&top.tables);
    let samples = top.tables.samples;
    let shown = top.tables.functions.iter().enumerate().skip(first(selected, rows)).take(rows);
    for (y, (index, row)) in (area.y + 2..area.bottom()).zip(shown) {
        let (own, total) = (percent(row.own, samples), percent(row.total, samples));
        let text = format!("{own:7.1} {total:7.1}  {}", name(row));
        canvas.put(area.x, y, area.width, &text, style::row(&row.label, has_focus && index == selected));
    }
    if top.tables.functions.is_empty() {
        nothing(top, area, canvas);
    }
}

pub(super) fn processes(top: &Top, area: Rect, canvas: &mut Canvas<'_>) {
    let order = match top.view.processes {
        ProcessOrder::Cpu => "by CPU",
        ProcessOrder::Name => "by name",
        ProcessOrder::Pid => "by PID",
    };
    let has_focus = top.view.focus == Pane::Processes;
    title(canvas, area, &format!("Processes {order}"), has_focus);
    canvas.put(area.x, area.y + 1, area.width, "  CPU%     PID  NAME", style::dim());
    let rows = usize::from(area.height.saturating_sub(2));
    let selected = top.view.process_index(&top.tables);
    let shown = top.tables.processes.iter().enumerate().skip(first(selected, rows)).take(rows);
    for (y, (index, row)) in (area.y + 2..area.bottom()).zip(shown) {
        let Label::Process { pid, comm } = &row.label else { continue };
        let pid = if *pid == 0 { "-".into() } else { pid.to_string() };
        let mark = if top.view.only.as_ref() == Some(&row.label) { '>' } else { ' ' };
        let text = format!("{mark}{:5.1} {pid:>7}  {comm}", 100.0 * top.totals.cpus(row.samples));
        canvas.put(area.x, y, area.width, &text, style::row(&row.label, has_focus && index == selected));
    }
    if top.tables.processes.is_empty() {
        nothing(top, area, canvas);
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
