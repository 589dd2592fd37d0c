//! Colours by meaning, for terminals with many, with eight and with none.

use crate::terminal::Palette;
use crate::top::labels::Label;
use ratatui_core::style::{Color, Modifier, Style};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Of 256: warm for programs, cold for the kernel.
const USER: [u8; 8] = [208, 214, 215, 209, 178, 179, 172, 216];
const KERNEL: [u8; 6] = [74, 75, 110, 111, 67, 80];

/// A pane's title.
pub(super) fn title(has_focus: bool) -> Style {
    match has_focus {
        true => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        false => Style::new().add_modifier(Modifier::BOLD),
    }
}

/// The heading of columns, hints.
pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Returns the style of text that a person should look at.
pub(super) fn warning() -> Style {
    Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD)
}

/// A row of a table.
pub(super) fn row(label: &Label, is_selected: bool) -> Style {
    let style = match label {
        Label::Kernel(_) => Style::new().fg(Color::Cyan),
        Label::Incomplete(_) => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    };
    if is_selected { style.add_modifier(Modifier::REVERSED) } else { style }
}

/// The state of a frame that its style shows.
#[derive(Clone, Copy)]
pub(super) struct Stand {
    pub(super) is_selected: bool,
    /// `None` while nothing is searched for.
    pub(super) matches: Option<bool>,
}

/// A frame. The same function has the same colour wherever it is.
pub(super) fn frame(label: &Label, stand: Stand, palette: Palette) -> Style {
    let style = Style::new();
    let matches = stand.matches == Some(true);
    if palette == Palette::None {
        let underlined = if matches { Modifier::UNDERLINED | Modifier::BOLD } else { Modifier::empty() };
        return match stand.is_selected {
            true => style.add_modifier(Modifier::BOLD | underlined),
            false => style.add_modifier(Modifier::REVERSED | underlined),
        };
    }
    if stand.is_selected {
        return style.add_modifier(Modifier::BOLD | Modifier::REVERSED);
    }
    if stand.matches == Some(false) {
        return match palette {
            Palette::Many => style.fg(Color::Indexed(250)).bg(Color::Indexed(238)),
            _ => style.add_modifier(Modifier::DIM),
        };
    }
    let background = match (palette, label) {
        (Palette::Many, Label::User(name)) => Color::Indexed(pick(name, &USER)),
        (Palette::Many, Label::Kernel(name)) => Color::Indexed(pick(name, &KERNEL)),
        (Palette::Many, Label::Incomplete(_)) => Color::Indexed(174),
        (Palette::Many, _) => Color::Indexed(252),
        (_, Label::User(_)) => Color::Yellow,
        (_, Label::Kernel(_)) => Color::Cyan,
        (_, Label::Incomplete(_)) => Color::Red,
        (_, _) => Color::Gray,
    };
    let style = style.fg(Color::Black).bg(background);
    if matches { style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED) } else { style }
}

fn pick(name: &str, of: &[u8]) -> u8 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    of[usize::try_from(hasher.finish() % of.len() as u64).unwrap_or(0)]
}
