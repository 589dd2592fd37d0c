//! Progress of `record`: a line when it begins and, on a terminal of its own, one that is redrawn.

use crate::progress::{Progress, ProgressNow};
use crate::terminal::{Charset, err, is_foreground, stderr};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The time between two drawings of the line.
const REDRAW: Duration = Duration::from_millis(500);

/// The line of a recording.
#[derive(Debug)]
pub(super) struct Shown {
    began: Instant,
    /// Seconds that it will take, if that is known.
    seconds: Option<u64>,
    has_command: bool,
}

impl Shown {
    /// Of a recording that begins now.
    pub(super) fn new(seconds: Option<u64>, has_command: bool) -> Self {
        Self { began: Instant::now(), seconds, has_command }
    }

    /// Says that it begins, and how it ends.
    pub(super) fn say_begin(&self, hz: u32) {
        let until = match (self.seconds, self.has_command) {
            (Some(seconds), true) => format!("for {seconds} s or until the command ends"),
            (Some(seconds), false) => format!("for {seconds} s; Ctrl-C ends it earlier"),
            (None, true) => "until the command ends".to_owned(),
            (None, false) => "until Ctrl-C".to_owned(),
        };
        err(&format!("recording at {hz} Hz, {until}"));
    }

    /// Draws until the recording ends. A command has the terminal for itself.
    pub(super) async fn go_on(&self, progress: &Progress) {
        let terminal = std::io::stderr();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        if self.has_command || is_dumb || !terminal.is_terminal() {
            return std::future::pending().await;
        }
        let charset = Charset::of_locale();
        loop {
            tokio::time::sleep(REDRAW).await;
            if is_foreground(terminal.as_fd()) {
                stderr::show_line(&self.parts(&progress.now(), charset));
            }
        }
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        stderr::clear_line();
    }

    /// Those that matter most first.
    fn parts(&self, now: &ProgressNow, charset: Charset) -> Vec<String> {
        let elapsed = self.began.elapsed().as_secs();
        let time = match self.seconds {
            Some(seconds) => format!("{} s left", seconds.saturating_sub(elapsed)),
            None => format!("{elapsed} s"),
        };
        let mut parts = vec![time, format!("{} samples", now.samples)];
        if now.lost > 0 {
            parts.push(format!("{} lost", now.lost));
        }
        if now.samples > 0 {
            parts.push(format!("{:.1} % complete", 100.0 * now.complete as f64 / now.samples as f64));
        }
        parts.push(format!("{} processes", now.processes));
        if let Some((name, count)) = &now.hottest {
            let share = 100.0 * *count as f64 / now.samples.max(1) as f64;
            parts.push(format!("hottest {} {share:.0} %", charset.plain(name)));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_is_known_and_no_name_acts_on_the_terminal() {
        let now = ProgressNow {
            samples: 200,
            complete: 199,
            lost: 3,
            processes: 7,
            hottest: Some(("a\x1b[2J".into(), 150)),
            ..ProgressNow::default()
        };
        let parts = Shown::new(Some(30), false).parts(&now, Charset::Unicode);
        let expected =
            ["30 s left", "200 samples", "3 lost", "99.5 % complete", "7 processes", "hottest a�[2J 75 %"];
        assert_eq!(parts, expected);
        assert_eq!(Shown::new(None, false).parts(&ProgressNow::default(), Charset::Ascii)[0], "0 s");
    }
}
