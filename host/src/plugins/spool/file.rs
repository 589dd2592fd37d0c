//! A file of the spool: what it is, a checksum, the batch compressed.
//!
//! ```text
//! magic "SONDSPL1"
//! the first 8 bytes of the SHA-256 of all that follows
//! bytes of the batch, u64, little-endian
//! the batch as a frame of zstd
//! ```

use sha2::{Digest, Sha256};
use std::io::{self, Read};

const MAGIC: [u8; 8] = *b"SONDSPL1";

/// Fast; batches shrink well at any level.
const LEVEL: i32 = 1;

/// A file that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::plugins) enum Damaged {
    /// It starts with something else.
    #[error("it is not a file of a spool, or of a later version")]
    Magic,
    /// It was changed or cut.
    #[error("it was changed or cut: its checksum is another one")]
    Checksum,
    /// Its content is not a batch of the length that it states.
    #[error("what is in it is not what it states")]
    Content,
}

fn checksum(rest: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&Sha256::digest(rest)[..8]);
    sum
}

/// The content of a file.
pub(super) fn encode(batch: &[u8]) -> io::Result<Vec<u8>> {
    let mut rest = (batch.len() as u64).to_le_bytes().to_vec();
    rest.append(&mut zstd::encode_all(batch, LEVEL)?);
    Ok([&MAGIC[..], &checksum(&rest), &rest].concat())
}

/// The batch in a file.
pub(super) fn decode(file: &[u8]) -> Result<Vec<u8>, Damaged> {
    let (magic, rest) = file.split_first_chunk().ok_or(Damaged::Magic)?;
    if *magic != MAGIC {
        return Err(Damaged::Magic);
    }
    let (sum, rest) = rest.split_first_chunk().ok_or(Damaged::Checksum)?;
    if checksum(rest) != *sum {
        return Err(Damaged::Checksum);
    }
    unpack(rest)
}

/// Unpacks the bytes that follow the checksum.
pub(super) fn unpack(rest: &[u8]) -> Result<Vec<u8>, Damaged> {
    let (length, frame) = rest.split_first_chunk().ok_or(Damaged::Content)?;
    let length = u64::from_le_bytes(*length);
    // No batch is larger.
    if length > u32::MAX.into() {
        return Err(Damaged::Content);
    }
    let mut batch = Vec::new();
    // Never more than was stated, whatever the frame makes of itself.
    let decoder = zstd::Decoder::with_buffer(frame).map_err(|_| Damaged::Content)?;
    decoder.take(length.saturating_add(1)).read_to_end(&mut batch).map_err(|_| Damaged::Content)?;
    if batch.len() as u64 != length {
        return Err(Damaged::Content);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back_as_it_was() {
        let batch: Vec<u8> = (0..50_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let file = encode(&batch).unwrap();
        assert!(file.len() < batch.len() / 2);
        assert_eq!(decode(&file), Ok(batch));
        assert_eq!(decode(&encode(b"").unwrap()), Ok(Vec::new()));
    }

    #[test]
    fn any_change_and_any_cut_is_noticed() {
        let file = encode(&[7; 200]).unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "byte {at}");
            assert!(decode(&file[..at]).is_err(), "cut at {at}");
        }
        assert!(decode(&[&file[..], b"x"].concat()).is_err());
    }

    #[test]
    fn what_it_states_is_the_most_that_is_read() {
        let frame = zstd::encode_all(&vec![0; 10_000_000][..], LEVEL).unwrap();
        let rest = [&5_u64.to_le_bytes()[..], &frame].concat();
        assert_eq!(unpack(&rest), Err(Damaged::Content));
        assert_eq!(unpack(&[&u64::MAX.to_le_bytes()[..], &frame].concat()), Err(Damaged::Content));
    }
}
