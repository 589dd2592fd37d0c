//! One table as text, for pipes, files and terminals that are none.

use super::Top;
use super::draw::{name, percent};
use super::labels::Label;
use crate::terminal::{Paint, fit, fit_behind};
use std::fmt::Write;

/// Rows of each table.
const ROWS: usize = 20;

impl Top {
    /// Returns the current tables as text. Long names are cut to lines of so many columns if any are given.
    pub fn text(&self, paint: Paint, columns: Option<usize>) -> String {
        let (totals, tables) = (&self.totals, &self.tables);
        let mut text = String::new();
        let most = columns.unwrap_or(usize::MAX);
        let excluded = match totals.excluded {
            0 => String::new(),
            excluded => format!(", left out by the filter {excluded}"),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{}, {} Hz, {:.1} s: CPU {:.2} of {}, {} samples, complete {:.1} %, lost {}{excluded}",
            self.host,
            self.hz,
            totals.seconds,
            totals.busy_cpus(),
            self.cpus,
            totals.samples,
            percent(tables.complete(), tables.cpu_time_ns),
            totals.lost()
        );
        for (reason, count) in &totals.losses {
            let _ = writeln!(text, "{count} {reason}");
        }
        for (reason, count) in &tables.incomplete {
            let _ = writeln!(text, "{:.1} % incomplete: {reason}", percent(*count, tables.cpu_time_ns));
        }
        if totals.left_out > 0 {
            let _ =
                writeln!(text, "{} samples are not shown: memory.max has no room for them", totals.left_out);
        }
        let _ = writeln!(text, "\n{}", paint.bold("  CPU%     PID  PROCESS"));
        for row in tables.processes.iter().take(ROWS) {
            let Label::Process { pid, comm } = &row.label else { continue };
            let pid = if *pid == 0 { "-".into() } else { pid.to_string() };
            let line = format!("{:6.1} {pid:>7}  {comm}", 100.0 * totals.cpus(row.cpu_time_ns));
            let _ = writeln!(text, "{}", fit(&line, most, self.charset));
        }
        more(&mut text, tables.processes.len(), "processes");
        let _ = writeln!(text, "\n{}", paint.bold(" SELF%  TOTAL%  FUNCTION"));
        for row in tables.functions.iter().take(ROWS) {
            let (own, total) = (percent(row.own, tables.cpu_time_ns), percent(row.total, tables.cpu_time_ns));
            let head = format!("{own:6.1} {total:7.1}  ");
            let line = fit_behind(&head, &name(row), most, self.charset);
            let _ = writeln!(text, "{}", fit(&line, most, self.charset));
        }
        more(&mut text, tables.functions.len(), "functions");
        text
    }
}

fn more(text: &mut String, all: usize, of: &str) {
    if all > ROWS {
        let _ = writeln!(text, "                {} more {of}", all - ROWS);
    }
}
