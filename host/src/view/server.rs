//! A page on a port of this machine.
//!
//! Whoever can reach the port still needs the path, which nobody can guess. A web site that makes its own name point
//! to this machine ("DNS rebinding") asks with that name in the `Host` field, and is refused; the page of a browser
//! that is told the address by somebody else's page learns nothing, because answers say that they are for no other
//! origin. One page, `GET` and `HEAD` only, a few connections at once, each for a few seconds at most.

use crate::health::{Request, receive_request};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Time in which a request must arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a request.
const REQUEST_BYTES: usize = 16 << 10;
/// Connections at a time; browsers open some that they do not use.
const CONNECTIONS: usize = 16;
/// Random bytes in the path.
const TOKEN_BYTES: usize = 16;

/// The rights of pages: they run their own script, look as they like, and reach nobody, not even us.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts";

/// A server with its page. It answers until the process ends.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    path: String,
    delivered: mpsc::Receiver<()>,
}

/// Data that connections need.
struct Shared {
    page: Vec<u8>,
    path: String,
    open: AtomicUsize,
    delivered: mpsc::Sender<()>,
}

impl Server {
    /// Starts answering, on `port` or, if that is 0, on one that is free.
    ///
    /// # Errors
    ///
    /// The port is taken, or the system has no random numbers.
    pub fn start(page: Vec<u8>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let path = format!("/{}/", token()?);
        let (sender, delivered) = mpsc::channel();
        let shared = Shared { page, path: path.clone(), open: AtomicUsize::new(0), delivered: sender };
        let shared = Arc::new(shared);
        std::thread::Builder::new().name("view".into()).spawn(move || accept(&listener, &shared))?;
        Ok(Self { address, path, delivered })
    }

    /// Returns the address of the page.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Waits until the page was delivered once more.
    pub fn wait(&self) {
        let _sender_is_gone = self.delivered.recv();
    }
}

fn token() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Without descriptors every accept fails at once.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if shared.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let connection = Arc::clone(shared);
        let body = move || {
            if let Err(error) = answer(&connection, stream) {
                tracing::debug!("a request for the page failed: {error}");
            }
            connection.open.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new().name("view".into()).spawn(body).is_err() {
            shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn answer(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let (request, bytes) = receive_request(&mut stream, &mut bytes, REQUEST_BYTES, until)?;
    if bytes.is_empty() {
        // A connection that a browser opened and did not use.
        return Ok(());
    }
    let (status, body) = match request {
        Request::Nonsense => ("400 Bad Request", None),
        Request::Other => ("405 Method Not Allowed", None),
        Request::Get(_) | Request::Head(_) if !host_is_this_machine(bytes) => ("403 Forbidden", None),
        Request::Get(path) | Request::Head(path) if path == shared.path => ("200 OK", Some(&shared.page)),
        Request::Get(_) | Request::Head(_) => ("404 Not Found", None),
    };
    let (kind, length) = match body {
        Some(page) => ("text/html; charset=utf-8", page.len()),
        None => ("text/plain; charset=utf-8", status.len() + 1),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Content-Security-Policy: {POLICY}\r\n\r\n"
    )?;
    if matches!(request, Request::Head(_)) {
        return Ok(());
    }
    match body {
        Some(page) => {
            stream.write_all(page)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            // Nobody may be waiting for it any more.
            let _nobody_waits = shared.delivered.send(());
            Ok(())
        }
        None => writeln!(stream, "{status}"),
    }
}

/// Tells whether the `Host` field names this machine by an address or by `localhost`; the port may be another one's,
/// that of an ssh at the other end of a forwarding.
pub(crate) fn host_is_this_machine(request: &[u8]) -> bool {
    let mut hosts = request.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    // Two of them are an attempt to be understood in two ways.
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) if !host.ends_with(']') => return false,
        _ => host,
    };
    name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn only_who_knows_the_path_and_calls_us_by_our_name_gets_the_page() {
        let server = Server::start(b"<p>the page".to_vec(), 0).unwrap();
        let (path, port) = (server.path.clone(), server.port());
        assert_eq!(path.len(), 34);
        let get =
            |path: &str, host: &str| ask(&server, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = get(&path, &format!("127.0.0.1:{port}"));
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n<p>the page"),
            "{answer}"
        );
        assert!(answer.contains("Content-Security-Policy: default-src 'none';"));
        server.wait();
        // At the other end of a forwarding the port is another.
        assert!(get(&path, "localhost:7777").starts_with("HTTP/1.1 200"));
        for (path, host, status) in [
            ("/", "127.0.0.1", "404"),
            ("/0123456789abcdef0123456789abcdef/", "127.0.0.1", "404"),
            (&path[..33], "127.0.0.1", "404"),
            (&path, "rebound.example", "403"),
            (&path, "127.0.0.1.rebound.example", "403"),
            (&path, "127.0.0.1\r\nHost: rebound.example", "403"),
        ] {
            let answer = get(path, host);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {host}: {answer}");
            assert!(!answer.contains("the page"));
        }
        let head = ask(&server, &format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        let post = ask(&server, &format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
        assert!(ask(&server, "hello\r\n\r\n").starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn connections_that_say_nothing_hold_up_nobody() {
        let server = Server::start(b"<p>".to_vec(), 0).unwrap();
        let _silent: Vec<_> = (0..4).map(|_| TcpStream::connect(server.address).unwrap()).collect();
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", server.path);
        assert!(ask(&server, &request).ends_with("<p>"));
    }

    #[test]
    fn paths_differ() {
        let servers = [0, 1].map(|_| Server::start(Vec::new(), 0).unwrap());
        assert_ne!(servers[0].path, servers[1].path);
    }
}
