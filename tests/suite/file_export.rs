//! Files that the plugin `file-export` writes, read by other programs.

use stacksonde_file_export::{Config, FileExport, Format};
use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::{Exporter, Failure, Instance, Offer};
use stacksonde_tests::{profile, skip::skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn exporter(config: Config) -> FileExport {
    FileExport::create(Instance { name: "files".into() }, config).unwrap()
}

fn encoded(format: Format, bytes: &[u8]) -> String {
    String::from_utf8(format.encode(&Batch::parse(bytes).unwrap()).unwrap()).unwrap()
}

/// The text of each frame's tool tip in a flame graph, and its title and subtitle.
fn svg_texts(svg: &str) -> Vec<String> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(svg, options).unwrap();
    assert!(document.root_element().has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    let texts = document
        .descendants()
        .filter(|node| node.tag_name().name() == "title" || node.tag_name().name() == "text");
    texts.filter_map(|node| node.text().map(String::from)).collect()
}

#[test]
fn folded_stacks_are_root_first_with_kernel_and_incomplete_marks() {
    let expected = "\
kworker/0:1;kthread_[k];worker_thread_[k] 2
my app:v2;[incomplete: bad_frame_pointer];operator new(unsigned long);[app+0x2abc] 3
my app:v2;[incomplete: no_user_registers] 1
nginx;_start;main;handle;parse;read;do_syscall_64_[k];vfs_read_[k] 12
";
    assert_eq!(encoded(Format::Folded, &profile::batch(1)), expected);
}

#[test]
fn a_flame_graph_shows_every_frame_and_how_far_to_trust_it() {
    let texts = svg_texts(&encoded(Format::Svg, &profile::batch(1)));
    for expected in [
        "2026-11-24 02:25:00 UTC, 10.0 s; 18 samples at 100 Hz, 4 lost; 22.2 % of stacks incomplete",
        "all (18 samples, 100%)",
        "nginx (12 samples, 66.67%)",
        "parse (12 samples, 66.67%)",
        "vfs_read (12 samples, 66.67%)",
        "[incomplete: bad_frame_pointer] (3 samples, 16.67%)",
        "[app+0x2abc] (3 samples, 16.67%)",
    ] {
        assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:#?}");
    }
}

#[test]
fn a_batch_without_samples_gives_files_that_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["a.svg", "a.pb.gz", "a.folded"].map(|name| directory.path().join(name));
    let mut exporter = exporter(Config { files: files.to_vec(), ..Config::default() });
    exporter.export(&Batch::parse(&profile::empty_batch()).unwrap()).unwrap();
    let texts = svg_texts(&fs::read_to_string(&files[0]).unwrap());
    assert!(texts.iter().any(|text| text == "no samples"), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("0 samples at 100 Hz, 0 lost")), "{texts:?}");
    assert!(fs::read(&files[1]).unwrap().starts_with(&[0x1f, 0x8b]));
    assert_eq!(fs::read_to_string(&files[2]).unwrap(), "");
}

#[test]
fn a_directory_gets_a_file_per_batch_and_format_and_keeps_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let mut exporter = exporter(Config {
        directory: Some(directory.path().into()),
        formats: Some(vec![Format::Pprof, Format::Folded]),
        keep: Some(2),
        ..Config::default()
    });
    for sequence in 1..=3 {
        let bytes = profile::batch(sequence);
        let batch = Batch::parse(&bytes).unwrap();
        exporter.export(&batch).unwrap();
        // The host may hand it over once more; that replaces, and does not add.
        exporter.export(&batch).unwrap();
    }
    assert_eq!(
        names(directory.path()),
        [
            "profile-20261124T022510Z-000002.folded",
            "profile-20261124T022510Z-000002.pb.gz",
            "profile-20261124T022510Z-000003.folded",
            "profile-20261124T022510Z-000003.pb.gz",
        ]
    );
}

#[test]
fn formats_of_like_endings_are_kept_apart() {
    let directory = tempfile::tempdir().unwrap();
    let mut exporter = exporter(Config {
        directory: Some(directory.path().into()),
        formats: Some(vec![Format::Firefox, Format::Speedscope, Format::FirefoxGz, Format::Html]),
        keep: Some(1),
        ..Config::default()
    });
    for sequence in 1..=2 {
        exporter.export(&Batch::parse(&profile::batch(sequence)).unwrap()).unwrap();
    }
    let endings = ["html", "json", "json.gz", "speedscope.json"];
    let expected = endings.map(|ending| format!("profile-20261124T022510Z-000002.{ending}"));
    assert_eq!(names(directory.path()), expected);
}

/// Each replaces its file on success, and leaves nothing where the batch cannot be said in its format.
#[test]
fn counts_beyond_a_format_are_refused_in_a_sentence_and_cost_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["a.json", "b.html", "c.speedscope.json", "d.folded"].map(|name| directory.path().join(name));
    let mut exporter = exporter(Config { files: files.to_vec(), ..Config::default() });
    let failure = exporter.export(&Batch::parse(&profile::batch_counting(1 << 31)).unwrap()).unwrap_err();
    let Failure::Permanent(message) = failure else { panic!("{failure:?}") };
    assert_eq!(
        message,
        "the profile could not be written as firefox: a stack was sampled 2147483648 times, and the format's numbers have 31 bits"
    );
    assert_eq!(names(directory.path()), ["b.html", "c.speedscope.json", "d.folded"]);
}

#[test]
fn a_directory_that_went_away_is_a_failure_to_retry_and_costs_no_other_file() {
    let (gone, stays) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = vec![gone.path().join("a.folded"), stays.path().join("b.folded")];
    let mut exporter = exporter(Config { files: files.clone(), ..Config::default() });
    gone.close().unwrap();
    let bytes = profile::batch(1);
    let failure = exporter.export(&Batch::parse(&bytes).unwrap()).unwrap_err();
    let Failure::Retryable { message, .. } = failure else { panic!("{failure:?}") };
    assert!(message.starts_with(&format!("cannot write {}: ", files[0].display())), "{message}");
    assert_eq!(names(stays.path()), ["b.folded"]);
}

#[test]
fn a_host_with_other_batch_formats_is_refused_in_a_sentence() {
    let offer = Offer {
        formats: vec!["2".into(), "3".into()],
        max_bytes: 1 << 20,
        value_types: vec![],
        names_available: true,
        interval_ms: 10_000,
    };
    let config = Config { files: vec!["a.svg".into()], ..Config::default() };
    let refusal = FileExport::negotiate(&config, &offer).unwrap_err();
    assert_eq!(refusal, "reads batch format 1, and the host offers only: 2, 3");
}

#[test]
fn samples_that_stand_for_different_times_weigh_as_much() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["a.pb.gz", "a.speedscope.json", "a.html", "a.json", "a.folded"];
    let files: Vec<_> = names.iter().map(|name| directory.path().join(name)).collect();
    let bytes = profile::weighted_batch();
    exporter(Config { files: files.clone(), ..Config::default() })
        .export(&Batch::parse(&bytes).unwrap())
        .unwrap();
    let [speedscope, page, firefox, folded] =
        [1, 2, 3, 4].map(|file| fs::read_to_string(&files[file]).unwrap());
    assert!(
        speedscope.contains("\"endValue\":35000000")
            && speedscope.contains("\"weights\":[10000000,20000000,5000000]")
    );
    assert!(
        page.contains("\"unit\":\"nanoseconds\"")
            && page.contains("\"samples\":3")
            && page.contains("35000000")
    );
    assert!(firefox.contains("\"threadCPUDelta\":[10000,20000,5000]"), "{firefox}");
    assert_eq!(folded, "program;[0x1234] 3\n");
    if let Some(go) = go() {
        let raw = pprof(&go, "-raw", &files[0]);
        assert!(
            raw.contains("samples/count cpu/nanoseconds\n          3   35000000: 1")
                || raw.contains(" 3 35000000: 1"),
            "{raw}"
        );
    }
}

#[test]
fn pprof_reads_what_is_written() {
    let Some(go) = go() else {
        return skip("pprof_reads_what_is_written", "there is no Go toolchain (in PATH or /usr/local/go)");
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.pb.gz");
    let bytes = profile::batch(1);
    let files = vec![file.clone()];
    exporter(Config { files, ..Config::default() }).export(&Batch::parse(&bytes).unwrap()).unwrap();

    let raw = pprof(&go, "-raw", &file);
    for expected in [
        "Comment: samples_lost_ring_full: 3",
        "PeriodType: cpu nanoseconds\nPeriod: 10000000\nTime: 2026-11-24 02:25:00 +0000 UTC\nDuration: 10s",
        "samples/count cpu/nanoseconds\n 5 50000000: 1 2 3 4 5 6",
        "comm:[nginx] executable:[/usr/sbin/nginx] thread:[worker] tier:[front]\n pid:[100] tid:[101]",
        "incomplete:[bad_frame_pointer]",
        "4: 0x1234 M=2 parse :10:0 s=0\n handle :11:0 s=0",
        "7: 0x2abc M=4",
        "2: 0x1000/0x9000/0x1000 /usr/sbin/nginx aabbccdd [FN]",
    ] {
        assert!(raw.contains(expected), "{expected} is not in\n{raw}");
    }
    let top = pprof(&go, "-top", &file);
    for expected in [
        "Total samples = 180ms",
        "120ms 66.67% 66.67% 120ms 66.67% vfs_read",
        "30ms 16.67% 83.33% 30ms 16.67% [app]",
        "120ms 66.67% parse (inline)",
        "30ms 16.67% operator new(unsigned long)",
        "10ms 5.56% [incomplete: no_user_registers]",
    ] {
        assert!(top.contains(expected), "{expected} is not in\n{top}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The `go` command, whose distribution has pprof.
pub(super) fn go() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/local/go/bin")]);
    directories.map(|directory| directory.join("go")).find(|go| go.is_file())
}

/// Returns the output of `pprof` about `file`, each run of blanks as one; it looks for names neither on this machine
/// nor elsewhere.
fn pprof(go: &Path, report: &str, file: &Path) -> String {
    let mut command = Command::new(go);
    command.args(["tool", "pprof", "-symbolize=none", report]).arg(file);
    command.envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("TZ", "UTC")]);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{out}\n{err}");
    let lines = out.lines().map(|line| {
        let indent = if line.starts_with(' ') { " " } else { "" };
        format!("{indent}{}\n", line.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    lines.collect()
}
