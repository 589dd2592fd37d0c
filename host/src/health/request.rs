//! The first line of an HTTP request (RFC 9112, section 3); the rest is of no interest.

use std::io::{self, Read};
use std::time::Instant;

/// A request, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// `GET` of a path, without what comes after a question mark.
    Get(&'a str),
    /// The same without a body in the answer.
    Head(&'a str),
    /// Another method.
    Other,
    /// No request.
    Nonsense,
}

/// Reads a request into `bytes`, which are empty, from a stream that has a time limit of its own for each reading: no
/// more than about `most` bytes, and not beyond `until`. What does not come whole within that is nonsense.
pub(crate) fn receive<'b>(
    stream: &mut impl Read,
    bytes: &'b mut Vec<u8>,
    most: usize,
    until: Instant,
) -> io::Result<(Request<'b>, &'b [u8])> {
    let mut part = [0; 1024];
    let mut is_whole = false;
    while !is_whole {
        let count = stream.read(&mut part)?;
        bytes.extend_from_slice(&part[..count]);
        if count == 0 || bytes.len() > most || Instant::now() > until {
            break;
        }
        is_whole = parse(bytes).is_some();
    }
    let bytes: &[u8] = bytes;
    Ok((parse(bytes).filter(|_| is_whole).unwrap_or(Request::Nonsense), bytes))
}

/// From all bytes up to the empty line; `None` if there is none yet.
pub(crate) fn parse(bytes: &[u8]) -> Option<Request<'_>> {
    let has_end = |end: &[u8]| bytes.windows(end.len()).any(|window| window == end);
    if !has_end(b"\r\n\r\n") && !has_end(b"\n\n") {
        return None;
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default().trim_end();
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts.as_slice() else { return Some(Request::Nonsense) };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Some(Request::Nonsense);
    }
    let path = target.split('?').next().unwrap_or(target);
    Some(match *method {
        "GET" => Request::Get(path),
        "HEAD" => Request::Head(path),
        _ => Request::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_in_the_first_line() {
        assert_eq!(parse(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Request::Get("/metrics")));
        assert_eq!(parse(b"HEAD / HTTP/1.0\n\n"), Some(Request::Head("/")));
        assert_eq!(parse(b"POST / HTTP/1.1\r\n\r\n"), Some(Request::Other));
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nHost"), None);
        for nonsense in
            [&b"\r\n\r\n"[..], b"GET /\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"\xff \xff \xff\r\n\r\n"]
        {
            assert_eq!(parse(nonsense), Some(Request::Nonsense));
        }
    }
}
