//! The copy_from_user_nofault hazard on this kernel: outside its range, and as if it were within.

use serde_json::Value;
use stacksonde::kernel::{KernelVersion, has_probe_read_bug};
use stacksonde_tests::agent::{Installed, config_in};
use stacksonde_tests::kernel_tier;
use stacksonde_tests::skip::skip;
use stacksonde_tests::target::Running;

const ASSUME: &str = "[hazards]\nassume = [\"copy_from_user_nofault\"]\n";
const WITHOUT_CHECK: &str = "[plugins]\nload = [\"btf-offsets\", \"selfprobe-offsets\", \"file-export\"]\n";

fn finding(toml: &str) -> Value {
    let plan = Installed::from_environment().unwrap().doctor(&[], toml, &[]);
    plan["hazards"][0].clone()
}

fn deny(names: &[&str]) -> String {
    format!("{ASSUME}[capabilities]\ndeny = {names:?}\n")
}

fn said<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key].as_str().unwrap_or_default()
}

#[test]
fn outside_its_range_nothing_is_checked_and_nothing_is_needed() {
    kernel_tier!();
    if KernelVersion::detect().is_some_and(|kernel| has_probe_read_bug(kernel.version)) {
        return skip("outside_its_range", "this kernel is in the hazard's range");
    }
    // Whatever the check would need is taken away.
    let found = finding("[capabilities]\ndeny = [\"kallsyms.addresses\", \"bpf.run.raw_tracepoint\"]\n");
    assert_eq!((said(&found, "state"), said(&found, "mitigation")), ("out-of-range", ""), "{found}");
}

#[test]
fn within_its_range_the_code_of_this_kernel_proves_it_safe() {
    kernel_tier!();
    let found = finding(ASSUME);
    assert_eq!((said(&found, "state"), said(&found, "mitigation")), ("safe", ""), "{found}");
    assert!(said(&found, "reason").starts_with("probe-read-safety: "), "{found}");
}

#[test]
fn a_check_that_fails_says_what_failed_and_that_the_kernel_may_be_fine() {
    kernel_tier!();
    if std::fs::metadata("/proc/config.gz").is_ok()
        && !said(&finding(ASSUME), "reason").contains("nmi_uaccess_okay")
    {
        return skip("a_check_that_fails", "this kernel's configuration settles it");
    }
    for (denied, words) in [
        (&["kallsyms.addresses"][..], &["address is hidden", "may well be fine"][..]),
        (
            &["bpf.run.raw_tracepoint", "bpf.prog.raw_tracepoint", "tracefs.syscalls"],
            &["no way to read the function's code", "tracefs.syscalls", "may well be fine"],
        ),
    ] {
        let found = finding(&deny(denied));
        assert_eq!(
            (said(&found, "state"), said(&found, "mitigation")),
            ("unproven", "no_user_reads"),
            "{found}"
        );
        for word in words {
            assert!(said(&found, "reason").contains(word), "{word}: {found}");
        }
    }
}

#[test]
fn by_a_tracepoint_the_code_is_read_as_well() {
    kernel_tier!();
    let found = finding(&deny(&["bpf.run.raw_tracepoint", "tracefs.syscalls"]));
    assert_eq!(said(&found, "state"), "safe", "{found}");
}

#[test]
fn without_the_check_it_runs_mitigated_and_the_profile_shows_it() {
    kernel_tier!();
    let toml = format!("{ASSUME}{WITHOUT_CHECK}");
    let found = finding(&toml);
    assert_eq!((said(&found, "state"), said(&found, "mitigation")), ("unproven", "no_user_reads"), "{found}");
    assert!(said(&found, "remedy").contains("install the plugin probe-read-safety"), "{found}");

    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path(), &toml);
    let running = Running::c_chain(folder.path());
    let installed = Installed::from_environment().unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "-F", "199", "-p", &running.pid()];
    let (_, stacks) = installed.record_until(folder.path(), &arguments, running.used(1000));
    let chain = stacks.with_chain(&["_start", "start", "outer", "middle", "inner", "spin"]);
    assert!(chain.samples() > 20, "the kernel walks frame pointers: {stacks:?}");
    let marked = stacks.with_chain(&["c_chain", "[incomplete: kernel_walk]"]);
    assert_eq!(marked.samples(), stacks.samples(), "every stack says who walked it: {stacks:?}");

    // What was loaded never reads user memory: the helper is not in the program.
    let (_, plain) = installed.record_until(folder.path(), &["-p", &running.pid()], running.used(500));
    assert!(plain.samples() > 20, "{plain:?}");
    assert_eq!(plain.with_chain(&["c_chain", "[incomplete: kernel_walk]"]).samples(), 0, "{plain:?}");
}

#[test]
fn as_configured_it_refuses_or_ignores() {
    kernel_tier!();
    let installed = Installed::from_environment().unwrap();
    let on_unproven = |what: &str| format!("{ASSUME}on_unproven = {what:?}\n{WITHOUT_CHECK}");
    let plan = installed.doctor(&[], &on_unproven("refuse"), &[]);
    assert_eq!(plan["level"], "cannot-run");
    assert!(plan["missing"].to_string().contains("hazards.on_unproven"), "{}", plan["missing"]);
    let plan = installed.doctor(&[], &on_unproven("ignore"), &[]);
    assert_eq!(
        (plan["hazards"][0]["mitigation"].clone(), plan["mitigations"].clone()),
        (Value::Null, Value::Array(vec![]))
    );
}
