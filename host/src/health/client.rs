//! The other end of the server: one question, one answer.

use super::Listen;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longer than the server takes for one who is before us.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer, of which no more is read.
const ANSWER_BYTES: u64 = 16 << 20;

/// The status and the text of what a daemon answers to `GET path`.
///
/// # Errors
///
/// Nobody listens there, or what does is no HTTP server.
pub fn ask(listen: &Listen, path: &str) -> io::Result<(u16, String)> {
    match listen {
        Listen::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, path)
        }
        Listen::Loopback(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, path)
        }
    }
}

fn exchange(mut stream: impl Read + Write, path: &str) -> io::Result<(u16, String)> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut bytes)?;
    parse(&bytes)
        .ok_or_else(|| io::Error::other("the process that listens there is not a daemon of Stacksonde"))
}

/// The status and the body of an answer that ends with the connection.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    Some((words.next()?.parse().ok()?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_and_the_text_are_told_apart() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\nfailing\n";
        assert_eq!(parse(answer), Some((503, "failing\n".into())));
        for none in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"done\n\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(parse(none), None);
        }
    }
}
