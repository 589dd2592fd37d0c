//! The flame graph's pane.

use super::{Canvas, panes, percent, style};
use crate::terminal::columns;
use crate::top::Top;
use crate::top::flame::{layout, nearest};
use crate::top::labels::Label;
use crate::top::tree::ROOT;
use crate::top::view::Pane;
use ratatui_core::layout::Rect;

pub(super) fn draw(top: &Top, area: Rect, canvas: &mut Canvas<'_>) {
    let tree = &top.window.tree;
    let has_focus = top.view.focus == Pane::Flame;
    let Some(root) = tree.find(&top.view.zoom) else {
        let gone = top.view.zoom.last().map_or_else(String::new, Label::text);
        panes::title(canvas, area, &format!("Flame graph of {gone}"), has_focus);
        let text = "not on a CPU lately; Esc shows all";
        canvas.put(area.x + 1, area.y + 1, area.width.saturating_sub(1), text, style::dim());
        return;
    };
    let selected = match nearest(tree, &top.view.frame) {
        Some(node) if has_focus && top.view.frame.len() >= top.view.zoom.len() => node,
        _ => root,
    };
    let whole =
        tree.total(if top.view.only.is_some() { tree.find(&top.view.base()).unwrap_or(ROOT) } else { ROOT });
    let share = percent(tree.total(selected), whole);
    let title = match (has_focus, selected == ROOT) {
        (_, true) => "Flame graph".to_owned(),
        (_, false) => format!("Flame graph: {:.1} % {}", share, tree.label(selected).text()),
    };
    panes::title(canvas, area, &title, has_focus);
    let search = top.view.search.to_lowercase();
    for frame in layout(tree, root, area.width, area.height.saturating_sub(1)) {
        let label = tree.label(frame.node);
        let text = label.text();
        let stand = style::Stand {
            is_selected: has_focus && frame.node == selected,
            matches: (!search.is_empty()).then(|| text.to_lowercase().contains(&search)),
        };
        // A gap on the right tells neighbours apart; narrow ones have no room for it.
        let width = if frame.width > 2 { frame.width - 1 } else { frame.width };
        let text = if width < 3 && columns(&text) > usize::from(width) { "" } else { &text };
        let (x, y) = (area.x + frame.x, area.y + 1 + frame.row);
        canvas.put_name((x, y, width), "", text, style::frame(label, stand, canvas.palette));
    }
}
