//! The body of an answer as it was before its server packed it.

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use std::io::Read;

/// Undoes the codings that `encodings` (the header `Content-Encoding`) names, the last one first, as far as they are
/// known. At most `most` bytes are unpacked; of what is damaged, the part before the damage.
pub(crate) fn unpacked(encodings: &str, body: Vec<u8>, most: usize) -> Vec<u8> {
    let mut body = body;
    for encoding in encodings.rsplit(',').map(|it| it.trim().to_ascii_lowercase()) {
        body = match encoding.as_str() {
            "gzip" | "x-gzip" => read(MultiGzDecoder::new(body.as_slice()), most),
            "deflate" => read(ZlibDecoder::new(body.as_slice()), most),
            "zstd" => zstd::Decoder::new(body.as_slice()).map_or_else(|_| Vec::new(), |it| read(it, most)),
            _ => body,
        };
    }
    // Some servers pack and do not say so.
    match body.starts_with(&[0x1f, 0x8b]) {
        true => read(MultiGzDecoder::new(body.as_slice()), most),
        false => body,
    }
}

fn read(reader: impl Read, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before an error is in `bytes`.
    let _result = reader.take(most as u64).read_to_end(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_coding_is_undone_also_one_over_another() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(b"ok").unwrap();
        let zstd = zstd::encode_all(&b"ok"[..], 0).unwrap();
        for (encodings, body) in [
            ("", b"ok".to_vec()),
            ("identity", b"ok".to_vec()),
            ("gzip", gzip(b"ok")),
            ("X-GZIP", gzip(b"ok")),
            ("deflate", zlib.finish().unwrap()),
            ("zstd", zstd.clone()),
            ("zstd, gzip", gzip(&zstd)),
            ("", gzip(b"ok")),
        ] {
            assert_eq!(unpacked(encodings, body, 100), b"ok", "{encodings}");
        }
    }

    #[test]
    fn a_few_bytes_that_unpack_to_many_are_cut_and_damaged_ones_give_what_they_have() {
        assert_eq!(unpacked("gzip", gzip(&vec![b'a'; 8 << 20]), 1000).len(), 1000);
        let packed = gzip(b"partial");
        assert_eq!(unpacked("gzip", packed[..packed.len() - 8].to_vec(), 100), b"partial");
        assert_eq!(unpacked("gzip", b"none".to_vec(), 100), b"");
    }
}
