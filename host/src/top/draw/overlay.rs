//! Overlays over the panes: help, and details.

use super::{Canvas, panes, percent};
use crate::telemetry::Loss;
use crate::terminal::wrap;
use crate::top::Top;
use crate::top::view::Overlay;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;

const HELP: &[&str] = &[
    "SELF%   samples in the function itself, TOTAL% also in what it calls",
    "CPU%    of one CPU, as top shows it",
    "Flame graph: each row calls the next one; as wide as its share of CPU time",
    "",
    "Tab, Shift-Tab   functions, processes, flame graph",
    "up, down, PgUp   select; in the flame graph the arrows go to caller and callee",
    "Enter            functions: search for it; processes: only this one;",
    "                 flame graph: zoom to the selected frame",
    "Esc, Backspace   take back: search, then zoom, then the process",
    "/                search by typing; matches are listed, and marked in the graph",
    "s                sort by the next column",
    "Space, p         pause, go on",
    "d                details: losses, stacks that are not whole, messages",
    "Ctrl-L           redraw        Ctrl-Z   suspend",
    "q, Ctrl-C        quit",
];

pub(super) fn draw(top: &Top, overlay: Overlay, area: Rect, canvas: &mut Canvas<'_>) {
    let (title, lines, from) = match overlay {
        Overlay::Help => ("Help", HELP.iter().map(|line| (*line).to_owned()).collect(), 0),
        Overlay::Details(from) => ("Details", details(top), from),
    };
    panes::title(canvas, area, title, true);
    let lines: Vec<String> = lines
        .iter()
        .flat_map(|line: &String| wrap(line, usize::from(area.width).saturating_sub(2)))
        .collect();
    let rows = usize::from(area.height.saturating_sub(1));
    let from = from.min(lines.len().saturating_sub(rows));
    for (y, line) in (area.y + 1..area.bottom()).zip(lines.iter().skip(from)) {
        canvas.put(area.x + 1, y, area.width.saturating_sub(1), line, Style::new());
    }
}

/// Returns the possible faults of the data shown, and the messages of the agent.
fn details(top: &Top) -> Vec<String> {
    let (totals, tables) = (&top.totals, &top.tables);
    let mut lines = Vec::new();
    if totals.lost() == 0 {
        lines.push("no sample was lost".into());
    }
    for (reason, count) in &totals.losses {
        lines.push(format!("{count} {reason}"));
        if let Some(loss) = Loss::ALL.iter().find(|loss| loss.name() == reason) {
            lines.push(format!("  {}", loss.text()));
            if !loss.remedy().is_empty() {
                lines.push(format!("  {}", loss.remedy()));
            }
        }
    }
    if totals.left_out > 0 || totals.evicted > 0 {
        lines.push(format!(
            "memory.max has no room for all: {} samples are not shown, {} times less than the window was kept",
            totals.left_out, totals.evicted
        ));
    }
    lines.push(String::new());
    if tables.incomplete.is_empty() {
        lines.push("every stack is whole".into());
    }
    for (reason, count) in &tables.incomplete {
        lines.push(format!("{:.1} % of stacks end early: {reason}", percent(*count, tables.cpu_time_ns)));
    }
    lines.push(String::new());
    let (messages, left_out) = crate::terminal::stderr::kept();
    if messages.is_empty() {
        lines.push("no messages".into());
    }
    if left_out > 0 {
        lines.push(format!("{left_out} earlier messages are left out"));
    }
    for message in messages {
        lines.extend(message.lines().map(|line| top.charset.plain(line).into_owned()));
    }
    lines
}
