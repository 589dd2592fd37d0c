//! The two lines above, and the one below.

use super::{Canvas, percent, style};
use crate::terminal::columns;
use crate::top::Top;
use crate::top::view::{Overlay, Pane};
use ratatui_core::style::Style;

/// Pieces of a line, those that matter most first; those that do not fit are left out.
fn line(canvas: &mut Canvas<'_>, y: u16, pieces: &[(String, Style)]) {
    let width = canvas.buffer.area.width;
    let mut x = 0_u16;
    for (text, style) in pieces.iter().filter(|(text, _)| !text.is_empty()) {
        let needed = u16::try_from(columns(text)).unwrap_or(u16::MAX);
        if x > 0 && x.saturating_add(needed) > width {
            continue;
        }
        canvas.put(x, y, needed.min(width), text, *style);
        x = x.saturating_add(needed).saturating_add(2);
    }
}

pub(super) fn draw(top: &Top, canvas: &mut Canvas<'_>) {
    let (plain, totals, tables) = (Style::new(), &top.totals, &top.tables);
    let state = match (top.view.is_paused, top.note.as_str()) {
        (_, note) if !note.is_empty() => (note.to_uppercase(), style::warning()),
        (true, _) => ("PAUSED".to_owned(), style::warning()),
        (false, _) => (String::new(), plain),
    };
    let rate = if totals.seconds > 0.0 { totals.samples as f64 / totals.seconds } else { 0.0 };
    line(
        canvas,
        0,
        &[
            ("stacksonde top".into(), style::bold()),
            state,
            (top.host.clone(), plain),
            (format!("{} Hz", top.hz), plain),
            (format!("CPU {:.2} of {}", totals.busy_cpus(), top.cpus), plain),
            (format!("{rate:.0} samples/s"), plain),
            (top.filter.clone(), style::warning()),
        ],
    );
    if totals.batches == 0 {
        line(canvas, 1, &[("waiting for the first samples".into(), style::dim())]);
        return;
    }
    let lost = totals.lost();
    let lost_style = if lost > 0 { style::warning() } else { plain };
    let due = totals.samples + lost;
    let lost = match lost {
        0 => "lost 0".into(),
        lost => format!("lost {lost} ({:.1} %)", percent(lost, due)),
    };
    let searched = match (top.view.search.as_str(), top.view.is_typing) {
        ("", false) => String::new(),
        (search, true) => format!("search: {search}_"),
        (search, false) => {
            format!("search: {search} ({:.1} %)", percent(tables.matching, tables.cpu_time_ns))
        }
    };
    let only = top.view.only.as_ref().map(|only| format!("only {}", only.text())).unwrap_or_default();
    let count = |count: u64, what: &str| if count == 0 { String::new() } else { format!("{count} {what}") };
    line(
        canvas,
        1,
        &[
            (complete(top), plain),
            (lost, lost_style),
            (searched, style::bold()),
            (only, style::bold()),
            (
                match top.messages {
                    0 => String::new(),
                    messages => {
                        number(usize::try_from(messages).unwrap_or(usize::MAX), "message (d)", "messages (d)")
                    }
                },
                style::warning(),
            ),
            (count(totals.left_out, "not shown (d)"), style::warning()),
            (format!("last {:.0} s", totals.seconds), plain),
            (number(tables.processes.len(), "process", "processes"), plain),
            (number(tables.functions.len(), "function", "functions"), plain),
            (count(totals.excluded, "left out by the filter"), plain),
        ],
    );
}

fn number(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn complete(top: &Top) -> String {
    match top.tables.cpu_time_ns {
        0 => "no samples".into(),
        all => format!("complete {:.1} %", percent(top.tables.complete(), all)),
    }
}

pub(super) fn draw_foot(top: &Top, canvas: &mut Canvas<'_>) {
    let keys: &[&str] = match (top.view.is_typing, top.view.overlay, top.view.focus) {
        (true, _, _) => &["type to search", "Enter keep", "Esc clear"],
        (_, Some(Overlay::Help), _) => &["any key back", "q quit"],
        (_, Some(Overlay::Details(_)), _) => &["Esc back", "up/down scroll", "q quit"],
        (_, _, Pane::Functions) => &[
            "q quit",
            "? help",
            "Tab pane",
            "/ search",
            "s sort",
            "Enter search for it",
            "Space pause",
            "Esc back",
            "d details",
        ],
        (_, _, Pane::Processes) => &[
            "q quit",
            "? help",
            "Tab pane",
            "/ search",
            "s sort",
            "Enter only this",
            "Space pause",
            "Esc back",
            "d details",
        ],
        (_, _, Pane::Flame) => &[
            "q quit",
            "? help",
            "Tab pane",
            "/ search",
            "arrows select",
            "Enter zoom",
            "Esc back",
            "Space pause",
            "d details",
        ],
    };
    let keys: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), style::dim())).collect();
    let y = canvas.buffer.area.bottom() - 1;
    line(canvas, y, &keys);
}
