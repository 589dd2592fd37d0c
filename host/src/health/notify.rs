//! Readiness and watchdog of systemd (sd_notify(3)): lines in a datagram to the socket that `NOTIFY_SOCKET` names.

use crate::bpf::monotonic_ns;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// By the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        Self::new(&|name| std::env::var(name).ok())
    }

    fn new(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let socket = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            let opened = connect(&name);
            opened.inspect_err(|error| tracing::warn!("NOTIFY_SOCKET is {name}: {error}")).ok()
        });
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros =
            variable("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|micros| *micros > 0);
        // The manual: "recommended ... at half of it".
        let watchdog =
            micros.filter(|_| ours && socket.is_some()).map(|micros| Duration::from_micros(micros) / 2);
        Self { socket, watchdog }
    }

    /// Returns the period within which the watchdog expects a message; `None` if there is none.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sampling has begun.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is read again; [`Notifier::ready`] says that this is over.
    pub fn reloading(&self) {
        // systemd 253 and later want to know since when (Type=notify-reload), by CLOCK_MONOTONIC.
        let micros = monotonic_ns() / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading the configuration"));
    }

    /// Sampling goes on.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Reports problems in a line, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", status.replace('\n', " ")));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, lines: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(lines.as_bytes(), address) {
            tracing::debug!("the service manager could not be told: {error}");
        }
    }
}

/// A name that begins with `@` is one of Linux' abstract ones.
fn connect(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not listen must not hold up the agent.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn the_manager_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("stacksonde-notify-{}", std::process::id());
        let abstract_ = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, name) in [(by_path, path.to_str().unwrap().to_owned()), (abstract_, format!("@{name}"))]
        {
            let notifier = Notifier::new(&|variable| (variable == "NOTIFY_SOCKET").then(|| name.clone()));
            notifier.ready("sampling");
            notifier.alive();
            notifier.stopping();
            let lines = [(); 3].map(|()| received(&socket));
            assert_eq!(lines, ["READY=1\nSTATUS=sampling", "WATCHDOG=1", "STOPPING=1"]);
            assert_eq!(notifier.watchdog(), None);
        }
    }

    #[test]
    fn a_reload_is_told_with_its_time_and_then_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let name = path.to_str().unwrap().to_owned();
        let notifier = Notifier::new(&|variable| (variable == "NOTIFY_SOCKET").then(|| name.clone()));
        let before = monotonic_ns() / 1000;
        notifier.reloading();
        notifier.ready("sampling");
        let told = received(&socket);
        let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.split('\n').next());
        let time: u64 = time.unwrap_or_else(|| panic!("{told}")).parse().unwrap();
        assert!((before..=monotonic_ns() / 1000).contains(&time), "{told}");
        assert_eq!(received(&socket), "READY=1\nSTATUS=sampling");
    }

    #[test]
    fn the_watchdog_hears_of_us_twice_in_its_time_if_it_means_us() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let with = |pid: Option<&str>| {
            let watchdog = Notifier::new(&|variable| match variable {
                "NOTIFY_SOCKET" => Some(path.to_str().unwrap().into()),
                "WATCHDOG_USEC" => Some("30000000".into()),
                "WATCHDOG_PID" => pid.map(String::from),
                _ => None,
            });
            watchdog.watchdog()
        };
        let half = Some(Duration::from_secs(15));
        assert_eq!(with(None), half);
        assert_eq!(with(Some(&std::process::id().to_string())), half);
        assert_eq!(with(Some("1")), None);
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        let notifier = Notifier::new(&|_| None);
        notifier.ready("sampling");
        assert_eq!(notifier.watchdog(), None);
    }
}
