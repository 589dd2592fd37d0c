//! The control socket: `stacksonde reload` asks, the daemon answers.
//!
//! The question is a line, `reload`. The answer is a line, `done` or `refused`, and then what there is to say, to the
//! end of the stream. Whoever may connect runs as root or as the daemon's own user.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// The longest time that a client may take to ask, so that it holds up the others only briefly.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a question.
const QUESTION_BYTES: u64 = 64;
/// Bytes of an answer, of which the asker reads no more.
const ANSWER_BYTES: u64 = 1 << 20;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// True if the request was carried out.
    pub done: bool,
    /// The text for the client, in lines.
    pub text: String,
}

/// Someone asks for the configuration to be read again, and waits for the answer if there is a place for it.
#[derive(Debug)]
pub struct Ask {
    /// The channel for the answer.
    pub reply: Option<Sender<Answer>>,
}

/// A listening socket, which is removed with it.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
}

impl ControlSocket {
    /// Listens at `path`, whose folder is made if it is not there, and puts what is asked into `asks`.
    ///
    /// # Errors
    ///
    /// Another daemon listens there; the path is somebody's file; the socket cannot be made.
    pub fn start(path: &Path, asks: Sender<Ask>) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
            }
            // What an earlier run left.
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        // For the time in between there is the question who asks.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let body = move || {
            for stream in listener.incoming() {
                let answered = stream.and_then(|stream| serve(stream, &asks));
                if let Err(error) = answered {
                    tracing::debug!("a question on the control socket failed: {error}");
                    // Without descriptors every accept fails at once.
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        };
        std::thread::Builder::new().name("control".into()).spawn(body)?;
        Ok(Self { path: path.into() })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The next run would remove it, too.
        let _removed = std::fs::remove_file(&self.path);
    }
}

fn serve(mut stream: UnixStream, asks: &Sender<Ask>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let uid = peer_uid(&stream)?;
    // SAFETY: a plain question.
    let answer = if uid != 0 && uid != unsafe { libc::geteuid() } {
        Answer { done: false, text: "only root and the daemon's own user may ask".into() }
    } else {
        let mut question = Vec::new();
        (&stream).take(QUESTION_BYTES).read_to_end(&mut question)?;
        if question == b"reload\n" {
            let (reply, answer) = channel();
            let ending = || Answer { done: false, text: "the daemon is ending".into() };
            match asks.send(Ask { reply: Some(reply) }) {
                Ok(()) => answer.recv().unwrap_or_else(|_| ending()),
                Err(_) => ending(),
            }
        } else {
            Answer { done: false, text: "the question is not known; it is `reload`".into() }
        }
    };
    let word = if answer.done { "done" } else { "refused" };
    stream.write_all(format!("{word}\n{}\n", answer.text).as_bytes())
}

/// Who is at the other end (SO_PEERCRED, unix(7)).
fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let size = size_of::<libc::ucred>();
    let mut length = libc::socklen_t::try_from(size).unwrap_or(0);
    // SAFETY: `peer` is a `ucred`, as large as `length` says, which the option asks for; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

/// Asks the daemon that listens at `path` to read its configuration again, and waits for its answer.
///
/// # Errors
///
/// Nobody listens there; the daemon ended before it answered, or what listens there is none.
pub fn ask_to_reload(path: &Path) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"reload\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::other("the daemon ended before it answered"))
}

/// The answer in all bytes that came.
pub(crate) fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (word, text) = text.split_once('\n')?;
    let done = match word {
        "done" => true,
        "refused" => false,
        _ => return None,
    };
    Some(Answer { done, text: text.trim_end().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Receiver;

    /// Answers each question with what it was the how many-th of; the second one is refused.
    fn answers(asks: Receiver<Ask>) {
        for (number, ask) in asks.into_iter().enumerate() {
            let answer = Answer { done: number != 1, text: format!("one\nnumber {number}") };
            ask.reply.unwrap().send(answer).unwrap();
        }
    }

    #[test]
    fn a_question_is_answered_and_a_stale_socket_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        std::fs::create_dir(folder.path().join("run")).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let (sender, asks) = channel();
        std::thread::spawn(move || answers(asks));
        let socket = ControlSocket::start(&path, sender.clone()).unwrap();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let answer = ask_to_reload(&path).unwrap();
        assert_eq!(answer, Answer { done: true, text: "one\nnumber 0".into() });
        assert!(!ask_to_reload(&path).unwrap().done);
        let taken = ControlSocket::start(&path, sender).unwrap_err().to_string();
        assert!(taken.contains("another daemon listens there"), "{taken}");
        assert!(ask_to_reload(&path).unwrap().done, "the first still listens");
        drop(socket);
        assert!(ask_to_reload(&path).is_err());
    }

    #[test]
    fn other_questions_and_an_end_without_an_answer_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (sender, asks) = channel();
        let _socket = ControlSocket::start(&path, sender).unwrap();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"stop\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "refused\nthe question is not known; it is `reload`\n");
        drop(asks);
        assert_eq!(ask_to_reload(&path).unwrap().text, "the daemon is ending");
        for none in [&b""[..], b"done", b"\xff\n", b"HTTP/1.1 400 Bad Request\r\n"] {
            assert_eq!(parse(none), None);
        }
    }
}
