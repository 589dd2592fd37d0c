//! A neighbour who spoils its own files and names while they are looked at: nobody else notices.

use super::memory::{MAP_BYTES, Peaks, RESIDENT_BYTES};
use super::names::{assemble, endless};
use stacksonde_tests::agent::ended_without_loss;
use stacksonde_tests::cpu_time::cpu_time;
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, Spinners, compile};
use std::process::Command;
use std::time::{Duration, Instant};

/// Environment variable with seconds for which it goes on; a minute without.
const SECONDS: &str = "STACKSONDE_TEST_NEIGHBOUR_SECONDS";

/// Samples a second, as [`Daemon`] has it.
const HZ: f64 = 99.0;

#[test]
fn who_spoils_its_own_files_and_names_harms_nobody_else() {
    kernel_tier!();
    let seconds = std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(60);
    let (folder, spinners) = (tempfile::tempdir().unwrap(), Spinners::new());
    let library = compile("neighbour.c", folder.path(), &["-shared", "-fPIC", "-DLIBRARY"]);
    let library = {
        let to = folder.path().join("spoiled.so");
        std::fs::rename(library, &to).unwrap();
        to
    };
    let program = compile("neighbour.c", folder.path(), &[]);
    // A name that stands for gigabytes, and one that is longer than any.
    let bomb = format!(
        "_Z1f1AIiiE{}",
        (0..8).map(|level| format!("S_I{}E", format!("S{level}_").repeat(10))).collect::<String>()
    );
    let bombs = [bomb, "x".repeat(100_000)];
    let bombs = bombs
        .iter()
        .enumerate()
        .map(|(number, name)| assemble(folder.path(), &format!("bomb{number}"), &endless(name)));
    let bombs: Vec<_> = bombs.collect();
    let spoils = folder.path().join("spoils");
    std::fs::create_dir(&spoils).unwrap();

    let mut daemon = Daemon::start(2, "");
    daemon.wait_for(1);
    let neighbour = Running::start(Command::new(program).arg(&spoils).arg(library).args(bombs));
    let bystander = spinners.spin("bystander", 1);
    let (began, mut peaks) = (Instant::now(), Peaks::default());
    while began.elapsed() < Duration::from_secs(seconds) {
        assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon has ended: {}", daemon.said());
        peaks.look(daemon.child.id());
        std::thread::sleep(Duration::from_millis(500));
    }
    let due = cpu_time(bystander.0.id()).unwrap().as_secs_f64() * HZ;
    // They live until it ends: of who is dying the callers are not known.
    let said = daemon.terminate();
    drop((bystander, neighbour));
    let profiles = daemon.profiles();
    let of_bystander: Vec<_> = profiles.iter().map(|profile| profile.of("bystander")).collect();
    let samples: u64 = of_bystander.iter().map(|stacks| stacks.samples()).sum();
    // Beside programs that run for milliseconds a share of the CPU time is met as well as chance has it.
    assert!(samples as f64 >= due * 0.8 - 20.0, "{samples} samples of {due:.0}: {said}");
    ended_without_loss(&said);
    for (number, stacks) in of_bystander.iter().enumerate() {
        let named = stacks.with_chain(&["main"]).samples();
        assert_eq!(named, stacks.samples(), "nameless in profile {number}: {stacks:?}\n{said}");
        assert_eq!(stacks.incomplete().samples(), 0, "in profile {number}: {stacks:?}\n{said}");
    }
    let spoiled: u64 =
        profiles.iter().map(|profile| profile.with_frame(|frame| frame == "spoiled").samples()).sum();
    assert!(spoiled > 0, "the neighbour is not seen: {:?}", profiles.last());
    // All of `memory.max`: how it is divided is for programs that mean no harm.
    let all = peaks.resident_if_optimised() + peaks.maps;
    assert!(all <= RESIDENT_BYTES + MAP_BYTES && peaks.maps <= MAP_BYTES, "{peaks:?}");
    eprintln!(
        "{} profiles, {samples} samples of the bystander, {spoiled} of the neighbour; {peaks:?}",
        profiles.len()
    );
}
