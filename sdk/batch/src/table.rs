//! A table, read in place.

use crate::row::Row;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

/// A table of a [`Batch`](crate::Batch): rows of type `R`, decoded as they are asked for.
pub struct Table<'a, R> {
    /// Whole rows: its length is a multiple of `stride`.
    bytes: &'a [u8],
    stride: usize,
    row: PhantomData<R>,
}

impl<'a, R: Row> Table<'a, R> {
    /// A table without rows.
    pub(crate) const EMPTY: Self = Self { bytes: &[], stride: R::WIDTH as usize, row: PhantomData };

    /// Rows of `stride` bytes each; `None` if that is too short for a row, or if `bytes` are not whole rows
    /// or more rows than an index reaches.
    pub(crate) fn new(bytes: &'a [u8], stride: u32) -> Option<Self> {
        let essential = stride >= R::ESSENTIAL;
        let stride = stride as usize;
        let sound = essential
            && bytes.len().checked_rem(stride) == Some(0)
            && u32::try_from(bytes.len() / stride).is_ok();
        sound.then_some(Self { bytes, stride, row: PhantomData })
    }

    /// Number of rows.
    #[expect(clippy::cast_possible_truncation, reason = "`new` takes no more rows than fit")]
    pub fn len(&self) -> u32 {
        (self.bytes.len() / self.stride) as u32
    }

    /// Tells whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The row at `index`; `None` beyond the end, so also for [`NONE`](crate::NONE).
    #[inline]
    pub fn get(&self, index: u32) -> Option<R> {
        let start = (index as usize).checked_mul(self.stride)?;
        let end = start.checked_add(self.stride)?;
        self.bytes.get(start..end).map(R::decode)
    }

    /// Every row.
    pub fn iter(&self) -> Rows<'a, R> {
        Rows { bytes: self.bytes, stride: self.stride, row: PhantomData }
    }

    /// The `count` rows from `start` on, as a pair of columns names them; fewer if the table ends before.
    pub fn range(&self, start: u32, count: u32) -> Rows<'a, R> {
        let start = (start as usize).saturating_mul(self.stride).min(self.bytes.len());
        let rest = &self.bytes[start..];
        let end = (count as usize).saturating_mul(self.stride).min(rest.len());
        Rows { bytes: &rest[..end], stride: self.stride, row: PhantomData }
    }
}

impl<R> Clone for Table<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Table<'_, R> {}

impl<R: Row + fmt::Debug> fmt::Debug for Table<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, R: Row> IntoIterator for Table<'a, R> {
    type Item = R;
    type IntoIter = Rows<'a, R>;

    fn into_iter(self) -> Rows<'a, R> {
        self.iter()
    }
}

impl<'a, R: Row> IntoIterator for &Table<'a, R> {
    type Item = R;
    type IntoIter = Rows<'a, R>;

    fn into_iter(self) -> Rows<'a, R> {
        self.iter()
    }
}

/// Rows of a [`Table`], in order; [`rev`](Iterator::rev) makes a stack root first.
pub struct Rows<'a, R> {
    /// Whole rows that are still to come.
    bytes: &'a [u8],
    stride: usize,
    row: PhantomData<R>,
}

impl<R> Clone for Rows<'_, R> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, stride: self.stride, row: PhantomData }
    }
}

impl<R: Row> Iterator for Rows<'_, R> {
    type Item = R;

    #[inline]
    fn next(&mut self) -> Option<R> {
        let (row, rest) = self.bytes.split_at_checked(self.stride)?;
        self.bytes = rest;
        Some(R::decode(row))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rows = self.bytes.len() / self.stride;
        (rows, Some(rows))
    }
}

impl<R: Row> DoubleEndedIterator for Rows<'_, R> {
    #[inline]
    fn next_back(&mut self) -> Option<R> {
        let start = self.bytes.len().checked_sub(self.stride)?;
        let (rest, row) = self.bytes.split_at_checked(start)?;
        self.bytes = rest;
        Some(R::decode(row))
    }
}

impl<R: Row> ExactSizeIterator for Rows<'_, R> {}

impl<R: Row> FusedIterator for Rows<'_, R> {}
