//! A real terminal: a tmux server of our own, with one shell in it.

use crate::wait::LONG;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A server with one window; it is ended when the test drops it.
#[derive(Debug)]
pub struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    /// Starts it, with a shell, of this size.
    ///
    /// # Panics
    ///
    /// If tmux is missing or does not start.
    pub fn start(columns: u16, rows: u16) -> Self {
        let tmux = Self { folder: tempfile::tempdir().unwrap() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // No configuration, no login shell: nothing of whoever runs the tests.
        tmux.tell(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, "sh"]);
        tmux.tell(&["set-option", "-g", "window-size", "manual"]);
        tmux
    }

    /// A folder for what is run there to write to.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn tell(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path().join("socket"))
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap_or_else(|error| panic!("tmux: {error}"));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a line and Enter.
    pub fn enter(&self, line: &str) {
        self.tell(&["send-keys", "-l", line]);
        self.press(&["Enter"]);
    }

    /// Presses keys, by tmux's names of them.
    pub fn press(&self, keys: &[&str]) {
        self.tell(&[&["send-keys"], keys].concat());
    }

    /// Returns the text on the screen.
    pub fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// Another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.tell(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Tells whether the alternate screen is shown, and whether there is a cursor.
    pub fn modes(&self) -> (bool, bool) {
        let modes = self.tell(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        (modes.starts_with('1'), modes.trim_end().ends_with('1'))
    }

    /// Waits for a screen that `is_right`, and returns it.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub fn wait_for(&self, what: &str, is_right: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + LONG;
        loop {
            let screen = self.screen();
            if is_right(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "{what} did not come; there is:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The terminal is gone from one moment to the next.
    pub fn kill(&self) {
        self.tell(&["kill-server"]);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It may have ended with the test.
        let _ended =
            Command::new("tmux").arg("-S").arg(self.folder.path().join("socket")).arg("kill-server").output();
    }
}
