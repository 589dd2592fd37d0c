//! Answers `GET /healthz` and `GET /metrics`, one request after the other.

use super::Watched;
use super::request::{self, Request};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time for one request, so that one who sends nothing holds up nobody for long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request.
const REQUEST_BYTES: usize = 8192;

/// The address at which requests come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port of this machine.
    Loopback(SocketAddr),
}

impl Listen {
    /// `unix:/path`, `127.0.0.1:port` or `[::1]:port`; `None` for anything else, other machines' addresses among it.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let address: SocketAddr = text.parse().ok()?;
        address.ip().is_loopback().then_some(Self::Loopback(address))
    }

    /// Finds out whether it could be listened at, were nobody listening there: a daemon may be running.
    ///
    /// # Errors
    ///
    /// Tells what [`Server::start`] would say.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Self::Unix(path) => {
                std::os::unix::net::SocketAddr::from_pathname(path)?;
                if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
                    return Err(io::Error::other("a file that is not a socket is there"));
                }
                let folder = path.parent().unwrap_or(Path::new("/"));
                // Where the folder is made at the start, what it is made in counts.
                let folder = if folder.exists() { folder } else { folder.parent().unwrap_or(folder) };
                let trial = folder.join(format!(".stacksonde-{}", std::process::id()));
                std::fs::create_dir(&trial).and_then(|()| std::fs::remove_dir(&trial))
            }
            Self::Loopback(address) => match TcpListener::bind(address) {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(error),
                _ => Ok(()),
            },
        }
    }
}

/// A running server; its socket is removed with it.
#[derive(Debug)]
pub struct Server {
    path: Option<PathBuf>,
}

impl Server {
    /// Starts answering.
    ///
    /// # Errors
    ///
    /// The address is taken, or the socket cannot be made.
    pub fn start(listen: &Listen, watched: Watched) -> io::Result<Self> {
        match listen {
            Listen::Unix(path) => {
                // What an earlier run left; a file of another kind is somebody's.
                if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
                    std::fs::remove_file(path)?;
                }
                // Below /run it is gone after each boot.
                if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
                    std::fs::create_dir(folder)?;
                }
                let listener = UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                serve(watched, move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(stream)
                })?;
                Ok(Self { path: Some(path.clone()) })
            }
            Listen::Loopback(address) => {
                let listener = TcpListener::bind(address)?;
                serve(watched, move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(stream)
                })?;
                Ok(Self { path: None })
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The next run would remove it, too.
            let _removed = std::fs::remove_file(path);
        }
    }
}

fn serve<S: Read + Write>(
    watched: Watched,
    accept: impl Fn() -> io::Result<S> + Send + 'static,
) -> io::Result<()> {
    let body = move || {
        loop {
            let answered = accept().and_then(|mut stream| answer(&watched, &mut stream));
            if let Err(error) = answered {
                tracing::debug!("a request for health or metrics failed: {error}");
                // Without descriptors every accept fails at once.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    };
    std::thread::Builder::new().name("health".into()).spawn(body).map(drop)
}

fn answer(watched: &Watched, stream: &mut (impl Read + Write)) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let (request, _) = request::receive(stream, &mut bytes, REQUEST_BYTES, until)?;
    let (status, body, kind) = match request {
        Request::Get(path) | Request::Head(path) => page(watched, path),
        Request::Other => ("405 Method Not Allowed", "only GET is answered\n".into(), TEXT),
        Request::Nonsense => ("400 Bad Request", "malformed request\n".into(), TEXT),
    };
    let length = body.len();
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if !matches!(request, Request::Head(_)) {
        text += &body;
    }
    stream.write_all(text.as_bytes())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn page(watched: &Watched, path: &str) -> (&'static str, String, &'static str) {
    match path {
        "/healthz" => {
            let verdict = watched.verdict();
            let line = |text: &String| format!("{text}\n");
            let lines: String = verdict.failures.iter().chain(&verdict.notes).map(line).collect();
            match verdict.is_healthy() {
                true => ("200 OK", format!("ok\n{lines}"), TEXT),
                false => ("503 Service Unavailable", format!("failing\n{lines}"), TEXT),
            }
        }
        "/metrics" => ("200 OK", watched.metrics(), "text/plain; version=0.0.4; charset=utf-8"),
        _ => ("404 Not Found", "there are /healthz and /metrics\n".into(), TEXT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Vitals;
    use crate::plugins::Exporters;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    fn watched() -> Watched {
        let exporters = Exporters::new(Vec::new(), Duration::ZERO);
        Watched { vitals: Vitals::new(Some(Duration::from_secs(3600))), exporters }
    }

    fn ask(mut stream: impl Read + Write, request: &str) -> String {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_on_a_unix_socket_that_is_only_there_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        let stale = UnixListener::bind(&path).unwrap();
        drop(stale);
        let server = Server::start(&Listen::Unix(path.clone()), watched()).unwrap();
        let get = |path_| ask(UnixStream::connect(&path).unwrap(), &format!("GET {path_} HTTP/1.1\r\n\r\n"));
        assert!(get("/healthz").starts_with("HTTP/1.1 200 OK") && get("/healthz").ends_with("\r\n\r\nok\n"));
        assert!(get("/metrics").contains("\nstacksonde_samples_total 0\n"));
        assert!(get("/").starts_with("HTTP/1.1 404"));
        let post = ask(UnixStream::connect(&path).unwrap(), "POST /healthz HTTP/1.1\r\n\r\n");
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
        let asked = crate::health::ask(&Listen::Unix(path.clone()), "/healthz").unwrap();
        assert_eq!(asked, (200, "ok\n".into()));
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn answers_on_a_port_of_this_machine_and_a_silent_client_holds_up_nobody_for_long() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _server = Server::start(&Listen::Loopback(port), watched()).unwrap();
        let _silent = TcpStream::connect(port).unwrap();
        let answer = ask(TcpStream::connect(port).unwrap(), "HEAD /healthz HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = ask(TcpStream::connect(port).unwrap(), "hello\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }

    #[test]
    fn only_this_machine_is_listened_to() {
        let unix = Listen::Unix("/run/stacksonde/health".into());
        assert_eq!(Listen::parse("unix:/run/stacksonde/health"), Some(unix));
        assert!(Listen::parse("127.0.0.1:9464").is_some() && Listen::parse("[::1]:9464").is_some());
        for refused in ["0.0.0.0:9464", "192.168.1.1:80", "localhost:9464", "unix:health", ":9464", ""] {
            assert_eq!(Listen::parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert!(Server::start(&Listen::Unix(path.clone()), watched()).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "x");
    }
}
