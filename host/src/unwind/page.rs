//! The rows of a page, as the block of lines that the sampler searches (`ebpf/bpf/layout.h`).

use super::cfi::Row;
use super::rule::Rule;
use stacksonde_ebpf::tables::{BUCKET_BITS, PAGE_BITS, PAGE_BUCKETS, WORDS};

/// The key of a page: an executable and the number of a page of file addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageKey {
    /// [`crate::process::Executable::id`].
    pub executable: u32,
    /// File address, shifted.
    pub page: u32,
}

impl PageKey {
    /// The page of a file address; `None` for addresses beyond what tables can say (16 TiB).
    pub fn of(executable: u32, address: u64) -> Option<Self> {
        Some(Self { executable, page: u32::try_from(address >> PAGE_BITS).ok()? })
    }

    pub(super) fn word(self) -> u64 {
        u64::from(self.page) << 32 | u64::from(self.executable)
    }
}

/// Words of a block: the header's line, then lines of rows.
///
/// `rows` are those of [`super::source::CallFrames::rows_of_page`]; `number` gives each rule its place in
/// the table of rules, `None` when that table is full.
pub(super) fn block(
    key: PageKey,
    rows: &[Row],
    mut number: impl FnMut(Rule) -> Option<u16>,
) -> Option<Vec<u64>> {
    let first = u64::from(key.page) << PAGE_BITS;
    let mut packed: Vec<u32> = Vec::with_capacity(rows.len() + PAGE_BUCKETS);
    let mut starts = Vec::with_capacity(PAGE_BUCKETS + 1);
    let mut rest = rows.iter().peekable();
    let mut current = number(Rule::NONE)?;
    for begin in (first..).step_by(1 << BUCKET_BITS).take(PAGE_BUCKETS) {
        let end = begin + (1 << BUCKET_BITS);
        let bucket_start = packed.len();
        starts.push(u16::try_from(bucket_start).ok()?);
        while let Some((start, rule)) = rest.next_if(|(start, _)| *start < end) {
            let rule = number(*rule)?;
            let low = u32::try_from(start.saturating_sub(begin)).ok()?;
            if packed.len() == bucket_start && low > 0 {
                packed.push(u32::from(current) << 16);
            }
            match packed[bucket_start..].last_mut() {
                // The later of two at one address holds.
                Some(last) if *last & 0xff == low => *last = low | u32::from(rule) << 16,
                Some(last) if *last >> 16 == u32::from(rule) => {}
                _ => packed.push(low | u32::from(rule) << 16),
            }
            current = rule;
        }
        if packed.len() == bucket_start {
            packed.push(u32::from(current) << 16);
        }
    }
    starts.push(u16::try_from(packed.len()).ok()?);

    let mut words = vec![0u64; WORDS];
    words[0] = key.word();
    for (index, start) in starts.into_iter().enumerate() {
        words[1 + index / 4] |= u64::from(start) << (index % 4 * 16);
    }
    words.extend(
        packed
            .chunks(2)
            .map(|pair| u64::from(pair[0]) | pair.get(1).map_or(0, |second| u64::from(*second) << 32)),
    );
    words.resize(words.len().next_multiple_of(WORDS), 0);
    Some(words)
}

/// The number of the rule for a byte of the page, out of its block.
pub(super) fn rule_number(word: impl Fn(usize) -> u64, in_page: u32) -> u16 {
    let start = |bucket: usize| low_half(word(1 + bucket / 4) >> (bucket % 4 * 16));
    let bucket = (in_page >> BUCKET_BITS) as usize % PAGE_BUCKETS;
    let row = |index: usize| word(WORDS + index / 2) >> (index % 2 * 32);
    let rows = usize::from(start(bucket))..usize::from(start(bucket + 1));
    let found = rows.take_while(|index| row(*index) & 0xff <= u64::from(in_page & 0xff)).last();
    found.map_or(0, |index| low_half(row(index) >> 16))
}

/// The lowest 16 bits.
fn low_half(word: u64) -> u16 {
    let [low, high, ..] = word.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_ebpf::tables::rule_kind;

    /// A block says of every byte the same as the rows.
    #[test]
    fn a_block_holds_the_rows() {
        let key = PageKey { executable: 3, page: 5 };
        let first = 5u64 << PAGE_BITS;
        let rule = |cfa| Rule { kind: rule_kind::SP, cfa, fp: 0, other: 0 };
        let rows: Vec<Row> =
            [(0, 1), (1, 2), (255, 3), (256, 4), (700, 4), (701, 5), (701, 6), (4000, 7), (4095, 8)]
                .into_iter()
                .map(|(at, cfa)| (first + at, rule(cfa)))
                .collect();
        let mut rules = Vec::new();
        let words = block(key, &rows, |rule| {
            let at = rules.iter().position(|known| *known == rule).unwrap_or_else(|| {
                rules.push(rule);
                rules.len() - 1
            });
            u16::try_from(at).ok()
        })
        .unwrap();
        assert_eq!((words[0], words.len() % WORDS), (5 << 32 | 3, 0));
        for at in 0..4096u64 {
            let expected = rows.iter().rev().find(|(start, _)| *start <= first + at).unwrap().1;
            let number = rule_number(|index| words[index], u32::try_from(at).unwrap());
            assert_eq!(rules[usize::from(number)], expected, "byte {at}");
        }
    }

    #[test]
    fn a_full_table_of_rules_is_no_block() {
        let key = PageKey { executable: 0, page: 0 };
        assert_eq!(block(key, &[(0, Rule::END)], |rule| (rule == Rule::NONE).then_some(0)), None);
    }
}
