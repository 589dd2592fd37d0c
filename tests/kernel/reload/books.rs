//! Sampling has no gap: over many reloads, the samples and the counted losses are all of the CPU time that was used.

use super::{Daemon, counter, misbehaving, sampled, start};
use stacksonde_tests::cpu_time::Used;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::compile;
use std::fs;
use std::path::Path;

const HZ: f64 = 99.0;

/// Everything that can be applied, in one of its two states; `moving` is another instance each time.
fn config(round: usize) -> String {
    let even = round.is_multiple_of(2);
    let folder = if even { "a" } else { "b" };
    let filter = if even { "" } else { "deny_comm = [\"nobody\"]" };
    let level = if even { "info" } else { "info,stacksonde::bpf::accounting=debug" };
    let extra = if even { String::new() } else { misbehaving("extra", "file = \"STAGE/extra.log\"") };
    format!(
        "[filter]\n{filter}\n[log]\nfilter = \"{level}\"\n[shutdown]\nbudget_ms = {budget}\n\
         [exporters.files]\nplugin = \"file-export\"\n\
         config = {{ directory = \"STAGE/{folder}\", formats = [\"folded\"] }}\n{steady}{moving}{extra}",
        budget = 20000 + round,
        steady = misbehaving("steady", "sequence = \"STAGE/steady.seq\", file = \"STAGE/steady.log\""),
        moving = misbehaving(
            "moving",
            &format!("sequence = \"STAGE/moving.seq\", file = \"STAGE/moving.log\", round = \"{round}\"")
        ),
    )
}

fn stacks(folder: &Path) -> Vec<Stacks> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "folded"));
    files.iter().map(|file| Stacks::parse(&fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn over_many_reloads_samples_and_losses_are_all_of_the_cpu_time_and_each_profile_comes_once() {
    kernel_tier!();
    const ROUNDS: usize = 9;
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    let daemon =
        Daemon::start(&["misbehaves"], &config(0), &[("STACKSONDE_SAMPLING__PERIOD_SPREAD", "0".into())]);
    daemon.eventually("a profile", |daemon| daemon.lines("steady.seq").len() == 1);
    let busy = start(&program, &["1", "6"]);
    for round in 1..=ROUNDS {
        let said = daemon.renew(&config(round));
        let exporters = match round.is_multiple_of(2) {
            true => "files replaced, moving replaced, extra removed",
            false => "extra added, files replaced, moving replaced",
        };
        assert_eq!(said, format!("applied: filter, log, shutdown, exporters ({exporters})\n"));
        let profiles = daemon.lines("steady.seq").len();
        // Two rounds in one interval, and then one over several.
        let wait = round % 3;
        daemon.eventually("profiles", |daemon| daemon.lines("steady.seq").len() >= profiles + wait);
    }
    let said = String::from_utf8(busy.wait_with_output().unwrap().stdout).unwrap();
    let used = Used::said_in(&said);
    let profiles = daemon.lines("steady.seq").len();
    daemon.eventually("the last profile", |daemon| daemon.lines("steady.seq").len() > profiles);
    let (stage, said) = daemon.end();

    let both = [stacks(&stage.path().join("a")), stacks(&stage.path().join("b"))];
    assert!(both.iter().all(|stacks| stacks.len() > 1), "{both:?}");
    let all: Vec<&Stacks> = both.iter().flatten().collect();
    let (samples, lost) = sampled(&said);
    assert_eq!(all.iter().map(|stacks| stacks.samples()).sum::<u64>(), samples, "{said}");
    let of_busy: u64 = all.iter().map(|stacks| stacks.of("busy").samples()).sum();
    let due = used.ticks(HZ);
    // That there are not too many is not asked: time that a hypervisor takes is no CPU time of the program's, and yet
    // may be sampled. No profile comes twice, as is shown below.
    assert!(
        (of_busy + lost) as f64 >= *due.start(),
        "{used:?} are {due:?} samples; {of_busy} came, and {lost} of all were lost: {said}"
    );

    let sequence = |name: &str| -> Vec<usize> {
        let text = fs::read_to_string(stage.path().join(name)).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    let every: Vec<usize> = (0..all.len()).collect();
    assert_eq!(sequence("steady.seq"), every, "{said}");
    assert_eq!(sequence("moving.seq"), every, "{said}");
    for exporter in ["files", "steady", "moving"] {
        assert_eq!(counter(&said, exporter, "delivered"), all.len() as u64, "{exporter}: {said}");
    }
    let times = |name: &str, word: &str| {
        let text = fs::read_to_string(stage.path().join(name)).unwrap();
        text.lines().filter(|line| *line == word).count()
    };
    assert_eq!((times("steady.log", "create"), times("steady.log", "drop")), (1, 1));
    assert_eq!((times("moving.log", "create"), times("moving.log", "drop")), (ROUNDS + 1, ROUNDS + 1));
    assert_eq!((times("extra.log", "create"), times("extra.log", "drop")), (5, 5));
    assert_eq!(said.matches("exporter removed exporter=\"extra\"").count(), 4, "{said}");
    assert!(said.contains("CPU accounting"), "the log says what it was told to: {said}");
}
