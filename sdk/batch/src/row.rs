//! Rows and columns as bytes. [`rows!`] is the one place where a layout is spelled.

use crate::tables::StringId;

/// A row of a table. Implemented by the rows of this crate only.
pub trait Row: Copy + sealed::Sealed {
    /// Bytes of the columns of the first version, which every batch must have.
    const ESSENTIAL: u32;
    /// Bytes of all columns known to this version.
    const WIDTH: u32;

    /// Takes the row from the front of `bytes`; columns beyond its end are zero or the empty text.
    fn decode(bytes: &[u8]) -> Self;

    /// Appends the row's [`Row::WIDTH`] bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Calls `check` with the name and value of each column that is text, until one is refused.
    fn each_text<E>(&self, check: impl FnMut(&'static str, StringId) -> Result<(), E>) -> Result<(), E>;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A value of fixed width in a row.
pub(crate) trait Column: Sized {
    /// Bytes that it takes.
    const WIDTH: u32;

    /// Takes it from the front of `bytes`, or its default if they end before it does.
    fn take(bytes: &mut &[u8]) -> Self;

    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// The string that it names, if it is text.
    fn text(&self) -> Option<StringId> {
        None
    }
}

/// The next `N` bytes; zeros, and nothing left, if there are fewer.
fn take_bytes<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    match bytes.split_first_chunk() {
        Some((value, rest)) => {
            *bytes = rest;
            *value
        }
        None => {
            *bytes = &[];
            [0; N]
        }
    }
}

macro_rules! number_columns {
    ($($Number:ty: $width:literal,)+) => {$(
        impl Column for $Number {
            const WIDTH: u32 = $width;

            fn take(bytes: &mut &[u8]) -> Self {
                <$Number>::from_le_bytes(take_bytes(bytes))
            }

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )+};
}

number_columns! { u32: 4, u64: 8, i64: 8, }

macro_rules! byte_columns {
    ($($width:literal)+) => {$(
        impl Column for [u8; $width] {
            const WIDTH: u32 = $width;

            fn take(bytes: &mut &[u8]) -> Self {
                take_bytes(bytes)
            }

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self);
            }
        }
    )+};
}

byte_columns! { 8 16 }

impl Column for StringId {
    const WIDTH: u32 = u32::WIDTH;

    fn take(bytes: &mut &[u8]) -> Self {
        Self(u32::take(bytes))
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn text(&self) -> Option<StringId> {
        Some(*self)
    }
}

/// Declares row structs and derives their layout from the order of the columns.
///
/// `+ { … }` after a struct holds the columns that came after its first version.
macro_rules! rows {
    ($(
        $(#[$about_row:meta])*
        $row_vis:vis struct $Row:ident {
            $( $(#[$about:meta])* $vis:vis $column:ident: $Type:ty, )+
        }
        $(+ {
            $( $(#[$about_later:meta])* $later_vis:vis $later:ident: $Later:ty, )+
        })?
    )+) => {$(
        $(#[$about_row])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        $row_vis struct $Row {
            $( $(#[$about])* $vis $column: $Type, )+
            $($( $(#[$about_later])* $later_vis $later: $Later, )+)?
        }

        impl $crate::row::sealed::Sealed for $Row {}

        impl $crate::row::Row for $Row {
            const ESSENTIAL: u32 = 0 $(+ <$Type as $crate::row::Column>::WIDTH)+;
            const WIDTH: u32 =
                Self::ESSENTIAL $($(+ <$Later as $crate::row::Column>::WIDTH)+)?;

            #[inline]
            fn decode(mut bytes: &[u8]) -> Self {
                // Field initializers run in the order in which they are written.
                Self {
                    $( $column: $crate::row::Column::take(&mut bytes), )+
                    $($( $later: $crate::row::Column::take(&mut bytes), )+)?
                }
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                $( $crate::row::Column::put(&self.$column, out); )+
                $($( $crate::row::Column::put(&self.$later, out); )+)?
            }

            #[inline]
            fn each_text<E>(
                &self,
                mut check: impl FnMut(&'static str, $crate::tables::StringId) -> Result<(), E>,
            ) -> Result<(), E> {
                $( if let Some(id) = $crate::row::Column::text(&self.$column) {
                    check(stringify!($column), id)?;
                } )+
                $($( if let Some(id) = $crate::row::Column::text(&self.$later) {
                    check(stringify!($later), id)?;
                } )+)?
                Ok(())
            }
        }
    )+};
}
pub(crate) use rows;

#[cfg(test)]
mod tests {
    use super::*;

    rows! {
        /// As the first version wrote it.
        struct First {
            /// A column.
            a: u32,
        }

        /// As a later version knows it.
        struct Later {
            /// A column.
            a: u32,
        } + {
            /// One more.
            b: u64,
            /// And another.
            c: StringId,
        }
    }

    #[test]
    fn a_row_written_before_a_column_was_appended_has_its_default() {
        let mut bytes = Vec::new();
        First { a: 7 }.encode(&mut bytes);
        assert_eq!((First::WIDTH, Later::ESSENTIAL, Later::WIDTH), (4, 4, 16));
        assert_eq!(Later::decode(&bytes), Later { a: 7, b: 0, c: StringId(0) });
    }

    #[test]
    fn a_column_that_ends_within_the_row_is_missing_with_all_that_follow() {
        let mut bytes = Vec::new();
        Later { a: 1, b: 2, c: StringId(3) }.encode(&mut bytes);
        assert_eq!(Later::decode(&bytes), Later { a: 1, b: 2, c: StringId(3) });
        assert_eq!(Later::decode(&bytes[..10]), Later { a: 1, b: 0, c: StringId(0) });
        assert_eq!(First::decode(&bytes), First { a: 1 });
    }
}
