//! The encoding of protocol buffers (<https://protobuf.dev/programming-guides/encoding/>), read in place: a message
//! takes no memory but its bytes.

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number.
    Number(u64),
    /// Text, a message, or packed numbers.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The number; 0 for bytes.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(_) => 0,
        }
    }

    /// The bytes; none for a number.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Number(_) => &[],
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The numbers of a repeated field, packed or not, as far as they can be read.
    pub(crate) fn numbers(self) -> impl Iterator<Item = u64> + 'a {
        let (single, mut packed) = match self {
            Self::Number(number) => (Some(number), &[][..]),
            Self::Bytes(bytes) => (None, bytes),
        };
        single.into_iter().chain(std::iter::from_fn(move || varint(&mut packed)))
    }
}

/// The fields of a message, in their order: number and value. Ends with `Err` where the bytes are not a message.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// Bytes that are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => Value::Number(u64::from_le_bytes(*take(&mut self.0)?)),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Number(u32::from_le_bytes(*take(&mut self.0)?).into()),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Damaged);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (value, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(value)
}

/// Seven bits a byte, the lowest first; ten bytes at most.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in (0..10).zip(bytes.iter()) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index as usize + 1..];
            return Some(value);
        }
    }
    *bytes = &[];
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_place() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0];
        let fields: Vec<_> = Fields::of(&message).map(Result::unwrap).collect();
        assert_eq!(
            fields,
            [(1, Value::Number(150)), (2, Value::Bytes(b"hi")), (3, Value::Number(1)), (4, Value::Number(2))]
        );
    }

    #[test]
    fn what_is_no_message_is_told() {
        for bytes in [&[0x08][..], &[0x12, 9, 1], &[0x0b, 1], &[0x80; 11], &[0x1d, 1]] {
            assert_eq!(Fields::of(bytes).last(), Some(Err(Damaged)), "{bytes:x?}");
        }
    }

    #[test]
    fn repeated_numbers_are_packed_or_not() {
        assert_eq!(Value::Bytes(&[1, 0x96, 1, 3]).numbers().collect::<Vec<_>>(), [1, 150, 3]);
        assert_eq!(Value::Number(7).numbers().collect::<Vec<_>>(), [7]);
    }
}
