//! Everything that is counted, in Prometheus' text format (prometheus.io: "Exposition formats", 0.0.4).

use super::VitalsNow;
use crate::plugins::{ExporterCounters, Health};
use crate::process::stat_field;
use crate::telemetry::Loss;
use std::fmt::{Display, Write};

/// The kernel's figures about our own process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnProcess {
    cpu_seconds: f64,
    resident_bytes: u64,
}

/// By `/proc/self/stat`; zeros if it cannot be read.
pub(super) fn own_process() -> OwnProcess {
    let stat = std::fs::read("/proc/self/stat").unwrap_or_default();
    let field = |number: usize| stat_field(&stat, number).unwrap_or(0);
    // SAFETY: plain questions.
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    #[expect(clippy::cast_precision_loss, reason = "a metric")]
    let cpu_seconds = (field(14) + field(15)) as f64 / ticks.max(1) as f64;
    let page = u64::try_from(page).unwrap_or(0);
    OwnProcess { cpu_seconds, resident_bytes: field(24).saturating_mul(page) }
}

/// One exporter: name, counters, health.
type OfExporter<'a> = (&'a str, ExporterCounters, Health);

pub(super) fn text(now: &VitalsNow, exporters: &[OfExporter<'_>], own: OwnProcess) -> String {
    let mut out = Text::default();
    out.about("stacksonde_build_info", "gauge", "The agent's version.");
    out.value("stacksonde_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for (name, help, value) in [
        ("stacksonde_profiles_total", "Profiles made, one an interval.", now.profiles),
        ("stacksonde_samples_total", "Samples in profiles.", now.samples),
        ("stacksonde_samples_complete_total", "Samples whose stack is complete.", now.complete),
        ("stacksonde_samples_excluded_total", "Samples of processes that were not asked for.", now.excluded),
        ("stacksonde_ticks_idle_total", "Ticks of the idle task.", now.idle),
        (
            "stacksonde_names_not_looked_up_total",
            "Addresses without names because their file could not be looked at, in each profile.",
            now.names.addresses_not_looked_up,
        ),
        (
            "stacksonde_names_without_lines_files_total",
            "Files of whose debug information something was left out.",
            now.names.files_without_lines,
        ),
        (
            "stacksonde_names_evicted_total",
            "Names that were forgotten to make room.",
            now.names.names_evicted,
        ),
    ] {
        out.about(name, "counter", help);
        out.value(name, &[], value);
    }
    out.about("stacksonde_samples_lost_total", "counter", "Samples that were due and are in no profile.");
    for loss in Loss::ALL {
        let reason = loss.name().trim_start_matches("samples_lost_");
        out.value("stacksonde_samples_lost_total", &[("reason", reason)], now.losses.of(*loss));
    }
    let name = "stacksonde_files_unread_total";
    out.about(name, "counter", "Times that a file of a sampled program could not be looked at.");
    for (reason, count) in now.unread.by_reason() {
        out.value(name, &[("reason", reason)], count);
    }
    for (name, help, value) in [
        (
            "stacksonde_mappings_left_out",
            "Executable mappings of sampled processes for which there is no room.",
            now.mappings_left_out,
        ),
        (
            "stacksonde_kernel_functions_left_out",
            "Functions of the kernel without names, for which there is no room.",
            now.names.kernel_functions_left_out,
        ),
    ] {
        out.about(name, "gauge", help);
        out.value(name, &[], value);
    }
    out.about("stacksonde_profile_age_seconds", "gauge", "Time since the last profile.");
    out.value("stacksonde_profile_age_seconds", &[], now.silence.as_secs_f64());
    of_exporters(&mut out, exporters);
    out.about(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the agent, without the kernel's for its samples.",
    );
    out.value("process_cpu_seconds_total", &[], own.cpu_seconds);
    out.about("process_resident_memory_bytes", "gauge", "Memory of the agent.");
    out.value("process_resident_memory_bytes", &[], own.resident_bytes);
    out.0
}

fn of_exporters(out: &mut Text, exporters: &[OfExporter<'_>]) {
    if exporters.is_empty() {
        return;
    }
    out.about("stacksonde_exporter_healthy", "gauge", "Whether the exporter does what is asked.");
    for (exporter, _, health) in exporters {
        let healthy = u8::from(*health == Health::Good);
        out.value("stacksonde_exporter_healthy", &[("exporter", exporter)], healthy);
    }
    type Read = fn(&ExporterCounters) -> u64;
    let plain: [(&str, &str, &str, Read); 13] = [
        ("batches_delivered_total", "counter", "Batches that were taken.", |it| it.delivered),
        ("samples_delivered_total", "counter", "Samples in those.", |it| it.delivered_samples),
        ("bytes_delivered_total", "counter", "Bytes of those, as the exporter got them.", |it| {
            it.delivered_bytes
        }),
        ("samples_dropped_total", "counter", "Samples in batches that were not taken.", |it| {
            it.dropped_samples
        }),
        ("retries_total", "counter", "Attempts after the first.", |it| it.retries),
        ("panics_total", "counter", "Panics of the plugin.", |it| it.panics),
        ("overruns_total", "counter", "Calls that returned after their deadline.", |it| it.overruns),
        ("queue_batches", "gauge", "Batches that wait in memory.", |it| it.queued),
        ("queue_bytes", "gauge", "Bytes of those.", |it| it.queued_bytes),
        ("spool_batches", "gauge", "Batches that wait on disk.", |it| it.spooled),
        ("spool_bytes", "gauge", "Bytes of those, on disk.", |it| it.spooled_bytes),
        ("spool_failures_total", "counter", "Times that a batch could not be written to disk.", |it| {
            it.spool_failures
        }),
        ("spool_damaged_total", "counter", "Files of the spool that could not be read.", |it| {
            it.dropped.spool_damaged
        }),
    ];
    for (name, kind, help, read) in plain {
        let name = format!("stacksonde_exporter_{name}");
        out.about(&name, kind, help);
        for (exporter, counters, _) in exporters {
            out.value(&name, &[("exporter", exporter)], read(counters));
        }
    }
    let name = "stacksonde_exporter_batches_dropped_total";
    out.about(name, "counter", "Batches that were not taken.");
    for (exporter, counters, _) in exporters {
        for (reason, count) in counters.dropped.by_reason() {
            out.value(name, &[("exporter", exporter), ("reason", reason)], count);
        }
    }
    let name = "stacksonde_exporter_call_seconds_total";
    out.about(name, "counter", "Time spent handing over batches.");
    for (exporter, counters, _) in exporters {
        #[expect(clippy::cast_precision_loss, reason = "a metric")]
        out.value(name, &[("exporter", exporter)], counters.export_ns as f64 / 1e9);
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        let _ = match labels.len() {
            0 => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_described_once_and_has_one_value() {
        let mut losses = crate::telemetry::Losses::default();
        losses.add(Loss::RingFull, 3);
        let now = VitalsNow { samples: 42, losses, ..VitalsNow::default() };
        let counters = ExporterCounters { delivered: 7, ..ExporterCounters::default() };
        let text = text(
            &now,
            &[("a", counters, Health::Good), ("b", ExporterCounters::default(), Health::Stuck)],
            own_process(),
        );
        for line in [
            "stacksonde_samples_total 42",
            "stacksonde_samples_lost_total{reason=\"ring_full\"} 3",
            "stacksonde_exporter_batches_delivered_total{exporter=\"a\"} 7",
            "stacksonde_exporter_batches_dropped_total{exporter=\"b\",reason=\"queue_full\"} 0",
            "stacksonde_exporter_healthy{exporter=\"b\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in:\n{text}");
        }
        let mut described = std::collections::BTreeSet::new();
        let mut series = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(described.insert(rest.split(' ').next().unwrap()), "twice: {line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(series.insert(name), "twice: {line}");
                assert!(described.contains(name.split('{').next().unwrap()), "not described: {line}");
            }
        }
    }

    /// Names in backquotes in the first cells of the tables of a section.
    fn named(document: &str, section: &str) -> std::collections::BTreeSet<String> {
        let (_, rest) = document.split_once(&format!("\n## {section}\n")).unwrap();
        let rows = rest.split("\n## ").next().unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.map(|row| row.split('|').next().unwrap());
        cells
            .flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned))
            .filter(|it| !it.trim().is_empty())
            .collect()
    }

    #[test]
    fn the_guide_for_operators_lists_what_is_counted_and_nothing_else() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
        let document = std::fs::read_to_string(path).unwrap();
        let counters = ExporterCounters::default();
        let reasons = counters.dropped.by_reason().map(|(reason, _)| reason.to_owned());
        let text = text(&VitalsNow::default(), &[("a", counters, Health::Good)], own_process());
        let metrics = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let losses = Loss::ALL.iter().map(|loss| loss.name());
        let all = metrics.chain(losses).map(str::to_owned).chain(reasons).collect();
        assert_eq!(named(&document, "Counters"), all);
    }

    #[test]
    fn our_own_process_has_memory() {
        assert!(own_process().resident_bytes > 1 << 20);
    }

    #[test]
    fn what_would_end_a_labels_value_is_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
