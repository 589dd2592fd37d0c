//! Bytes of a keyboard as keys: what terminals send (ECMA-48 sequences as xterm documents them), as far as it is used.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Char(char),
    /// A letter with Ctrl.
    Ctrl(char),
    /// Return.
    Enter,
    /// Escape alone.
    Escape,
    /// Tab.
    Tab,
    /// Shift and tab.
    BackTab,
    /// Delete to the left.
    Backspace,
    /// Arrow.
    Up,
    /// Arrow.
    Down,
    /// Arrow.
    Left,
    /// Arrow.
    Right,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
}

/// Longest sequence that is waited for; what is longer is not a key.
const LONGEST: usize = 32;

/// Bytes that were read and are not a whole key yet.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    rest: Vec<u8>,
}

impl Keys {
    /// The keys in what was read, together with what was read before.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.rest.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut at = 0;
        loop {
            match next(&self.rest[at..]) {
                Next::Key(key, length) => {
                    keys.push(key);
                    at += length;
                }
                Next::Nothing(length) => at += length,
                Next::Wait => break,
            }
        }
        self.rest.drain(..at);
        keys
    }

    /// Tells whether a key may be under way: an escape, or the first bytes of more. Call [`Keys::settle`] if
    /// nothing comes for a moment.
    pub fn is_waiting(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Nothing more came: an escape was meant as such.
    pub fn settle(&mut self) -> Vec<Key> {
        let rest = std::mem::take(&mut self.rest);
        if rest == b"\x1b" { vec![Key::Escape] } else { Vec::new() }
    }
}

enum Next {
    /// A key of so many bytes.
    Key(Key, usize),
    /// So many bytes that are none.
    Nothing(usize),
    /// More is needed.
    Wait,
}

fn next(bytes: &[u8]) -> Next {
    let Some(first) = bytes.first() else { return Next::Wait };
    let key = match first {
        0x1b => return escape(bytes),
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        0x01..=0x1a => Key::Ctrl(char::from(first - 1 + b'a')),
        0x00..=0x1f => return Next::Nothing(1),
        _ => return character(bytes),
    };
    Next::Key(key, 1)
}

/// A character of UTF-8.
fn character(bytes: &[u8]) -> Next {
    let chunk = &bytes[..bytes.len().min(4)];
    match chunk.utf8_chunks().next() {
        Some(valid) if !valid.valid().is_empty() => {
            let Some(character) = valid.valid().chars().next() else { return Next::Nothing(1) };
            match character.is_control() {
                true => Next::Nothing(character.len_utf8()),
                false => Next::Key(Key::Char(character), character.len_utf8()),
            }
        }
        // Cut, or none.
        _ => match std::str::from_utf8(chunk) {
            Err(error) if error.error_len().is_none() => Next::Wait,
            _ => Next::Nothing(1),
        },
    }
}

fn escape(bytes: &[u8]) -> Next {
    match bytes.get(1) {
        None => Next::Wait,
        Some(b'[') => sequence(bytes),
        Some(b'O') => match bytes.get(2) {
            None => Next::Wait,
            Some(last) => named(*last, 0).map_or(Next::Nothing(3), |key| Next::Key(key, 3)),
        },
        Some(0x1b) => Next::Key(Key::Escape, 1),
        // A key with Alt: nothing here.
        Some(_) => Next::Nothing(2),
    }
}

/// `ESC [ parameters intermediates final` (ECMA-48, 5.4).
fn sequence(bytes: &[u8]) -> Next {
    let end = bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte));
    let Some(end) = end else {
        return if bytes.len() > LONGEST { Next::Nothing(bytes.len()) } else { Next::Wait };
    };
    let number = bytes[2..2 + end].iter().take_while(|byte| byte.is_ascii_digit());
    let number =
        number.fold(0_u32, |sum, byte| sum.saturating_mul(10).saturating_add(u32::from(byte - b'0')));
    let length = end + 3;
    named(bytes[2 + end], number).map_or(Next::Nothing(length), |key| Next::Key(key, length))
}

fn named(last: u8, number: u32) -> Option<Key> {
    Some(match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', 1 | 7) => Key::Home,
        (b'F', _) | (b'~', 4 | 8) => Key::End,
        (b'Z', _) => Key::BackTab,
        (b'~', 5) => Key::PageUp,
        (b'~', 6) => Key::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Keys::default().read(bytes)
    }

    #[test]
    fn what_terminals_send_is_understood() {
        let typed = "qé\x1b[A\x1bOB\x1b[1;5C\x1b[5~\x1b[6~\x1b[Z\x1b[H\x1b[4~\t\r\x7f\x03\x1a";
        let expected = [
            Key::Char('q'),
            Key::Char('é'),
            Key::Up,
            Key::Down,
            Key::Right,
            Key::PageUp,
            Key::PageDown,
            Key::BackTab,
            Key::Home,
            Key::End,
            Key::Tab,
            Key::Enter,
            Key::Backspace,
            Key::Ctrl('c'),
            Key::Ctrl('z'),
        ];
        assert_eq!(keys(typed.as_bytes()), expected);
        // However it is cut.
        let mut read = Keys::default();
        let one_by_one: Vec<_> = typed.bytes().flat_map(|byte| read.read(&[byte])).collect();
        assert_eq!(one_by_one, expected);
    }

    #[test]
    fn an_escape_is_one_when_nothing_follows() {
        let mut read = Keys::default();
        assert_eq!(read.read(b"\x1b"), []);
        assert!(read.is_waiting());
        assert_eq!(read.settle(), [Key::Escape]);
        assert!(!read.is_waiting());
        assert_eq!(keys(b"\x1b\x1b[A"), [Key::Escape, Key::Up]);
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        assert_eq!(keys(b"\x1b[<0;1;2Mx\xff\xfey\x1bfz\0"), [Key::Char('x'), Key::Char('y'), Key::Char('z')]);
        let endless = [b"\x1b[".to_vec(), vec![b'1'; 1000]].concat();
        assert_eq!(keys(&endless), []);
        assert!(!{
            let mut read = Keys::default();
            read.read(&endless);
            read.is_waiting()
        });
    }
}
