//! Every rung of every ladder, with those above it taken away: a real profile comes of each.

use serde_json::Value;
use stacksonde_tests::agent::{FIXED, Installed, config_in, lost, record_until};
use stacksonde_tests::cpu_time::Used;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::skip::skip;
use stacksonde_tests::target::{Running, Spinners, compile, descendant};
use stacksonde_tests::wait::eventually;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn deny(names: &[&str]) -> String {
    format!("[capabilities]\ndeny = {names:?}\n")
}

fn feature<'a>(plan: &'a Value, name: &str) -> &'a Value {
    plan["features"].as_array().unwrap().iter().find(|feature| feature["name"] == name).unwrap()
}

fn record(toml: &str, folder: &Path, arguments: &[&str], until: impl FnMut(u32) -> bool) -> (Output, Stacks) {
    let config = config_in(folder, toml);
    let arguments = [&["--config", config.to_str().unwrap(), "-F", "199"], arguments].concat();
    Installed::from_environment().unwrap().record_until(folder, &arguments, until)
}

/// Records a program alone, until it has used a second of CPU time.
fn record_one(toml: &str, folder: &Path, running: &Running) -> Stacks {
    record(toml, folder, &["-p", &running.pid()], running.used(1000)).1
}

/// A file of `/proc/sys` with another value, until this ends.
struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    fn new(path: &'static str, value: &str) -> Self {
        let before = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path, before }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        std::fs::write(self.path, self.before.trim()).unwrap();
    }
}

const NOTICES: [(&str, &[&str]); 3] = [
    ("side-band", &[]),
    ("tracepoints", &["perf.sideband"]),
    ("sweep", &["perf.sideband", "bpf.prog.raw_tracepoint"]),
];

#[test]
fn by_every_source_of_notices_programs_and_their_descendants_are_attributed() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    let program = program.to_str().unwrap();
    for (way, denied) in NOTICES {
        let toml = deny(denied);
        let plan = Installed::from_environment().unwrap().doctor(&[], &toml, &[]);
        let notices = feature(&plan, "process_notices");
        assert_eq!(notices["way"], way, "{notices}");
        assert_eq!(notices["state"], if denied.is_empty() { "on" } else { "reduced" }, "{notices}");
        let script = format!("{program} 0 0.7; (bash -c '{program} 0 0.7; true'); true");
        let (output, stacks) = record(&toml, folder.path(), &[FIXED, "--", "bash", "-c", &script], |_| false);
        // Both of them; less what passes until the exec shows.
        let due = Used::said_in(&String::from_utf8_lossy(&output.stdout)).ticks(199.0);
        let busy = stacks.of("busy");
        let (found, lost) = (busy.samples() as f64, lost(&output) as f64);
        let are_due = found + lost >= 0.85 * due.start() && found <= *due.end();
        assert!(are_due, "{way}: {found} and {lost} lost, not {due:?}: {stacks:?}");
        assert!(
            busy.with_chain(&["main"]).samples() * 2 > busy.samples(),
            "{way}: its file is known: {stacks:?}"
        );
        assert!(
            stacks.processes().iter().all(|name| ["busy", "bash", "stacksonde"].contains(name)),
            "{way}: {stacks:?}"
        );
    }
}

#[test]
fn by_every_source_of_notices_a_running_program_is_profiled_and_no_other() {
    kernel_tier!();
    let spinners = Spinners::new();
    let (_decoy, running) = (spinners.spin("decoy", 0), spinners.spin("busy", 0));
    for (way, denied) in NOTICES {
        let stacks = record_one(&deny(denied), spinners.folder(), &running);
        assert_eq!(stacks.processes(), ["busy"].into(), "{way}");
        assert!(stacks.samples() > 20, "{way}: {stacks:?}");
    }
}

#[test]
fn without_the_helper_for_cgroups_only_they_are_missing() {
    kernel_tier!();
    let spinners = Spinners::new();
    let running = spinners.spin("busy", 0);
    let toml = deny(&["bpf.helper.get_current_cgroup_id"]);
    let stacks = record_one(&toml, spinners.folder(), &running);
    assert!(stacks.of("busy").samples() > 20, "{stacks:?}");
}

#[test]
fn user_parts_of_kernel_samples_come_from_any_provider_that_is_left() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::c_chain(folder.path());
    for (denied, complete) in [
        (&[][..], true),
        (&["kernel.btf"], true),
        (&["kernel.btf", "bpf.run.raw_tracepoint", "tracefs.syscalls"], true),
        (&["bpf.run.raw_tracepoint", "tracefs.syscalls", "bpf.prog.raw_tracepoint"], false),
    ] {
        let toml = deny(denied);
        let stacks = record_one(&toml, folder.path(), &running);
        let below_call = stacks.in_kernel().with_chain(&["outer", "middle", "ask_kernel"]);
        assert_eq!(below_call.samples() > 20, complete, "without {denied:?}: {stacks:?}");
        assert!(
            stacks.with_chain(&["middle", "inner", "spin"]).samples() > 20,
            "without {denied:?}: {stacks:?}"
        );
        if !complete {
            let said = stacks.with_chain(&["c_chain", "[incomplete: no_entry_registers]"]);
            assert!(said.samples() > 20, "{stacks:?}");
        }
    }
}

#[test]
fn with_tracefs_mounted_the_syscall_tracepoint_serves() {
    kernel_tier!();
    let toml = deny(&["kernel.btf", "bpf.run.raw_tracepoint", "bpf.prog.raw_tracepoint"]);
    let mount = "mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"";
    let wrapper = ["unshare", "-m", "sh", "-c", mount, "sh"];
    let plan = Installed::from_environment().unwrap().doctor(&wrapper, &toml, &[]);
    if plan["capabilities"]["tracefs.syscalls"]["state"] != "present" {
        return skip("with_tracefs_mounted", "this kernel has no syscall tracepoints");
    }
    assert_eq!(feature(&plan, "user_stacks_in_kernel")["state"], "on", "{plan}");
    for fact in plan["facts"].as_array().unwrap() {
        assert_eq!(fact["provider"], "tracepoint-offsets");
        assert!(fact["evidence"].as_str().unwrap().contains("syscalls:sys_enter_bpf"), "{fact}");
    }
}

#[test]
fn hidden_addresses_cost_kernel_names_and_nothing_else() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::c_chain(folder.path());
    for (value, named) in [("0", true), ("1", true), ("2", false)] {
        let _setting = Setting::new("/proc/sys/kernel/kptr_restrict", value);
        let plan = Installed::from_environment().unwrap().doctor(&[], "", &[]);
        assert_eq!(feature(&plan, "kernel_names")["state"], if named { "on" } else { "off" }, "{value}");
        for name in ["samples", "user_stacks", "user_stacks_in_kernel", "kernel_stacks", "process_notices"] {
            assert_eq!(feature(&plan, name)["state"], "on", "{name} with kptr_restrict {value}");
        }
        let stacks = record_one("", folder.path(), &running);
        let in_kernel = stacks.in_kernel();
        assert!(in_kernel.samples() > 20, "{stacks:?}");
        let nameless = in_kernel
            .with_frame(|frame| frame.starts_with('[') && frame.contains("0x") && frame.ends_with("_[k]"));
        assert_eq!(nameless.samples() == in_kernel.samples(), !named, "kptr_restrict {value}: {stacks:?}");
    }
}

#[test]
fn with_two_capabilities_and_no_root_it_profiles_at_any_level_of_paranoia() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let running =
        Running::start(Command::new("setpriv").args(nobody).arg("--").arg(program).args(["0", "600"]));
    // Past setpriv.
    let pid = running.0.id();
    eventually("the program", || descendant(pid, "busy").is_some());
    let installed = Installed::from_environment().unwrap();
    // The agent's own file may lie where only root looks.
    let agent = folder.path().join("stacksonde");
    std::fs::copy(&installed.agent, &agent).unwrap();
    for paranoid in ["2", "3", "4"] {
        let _setting = Setting::new("/proc/sys/kernel/perf_event_paranoid", paranoid);
        let out = folder.path().join(format!("{paranoid}.folded"));
        let mut command = Command::new("setpriv");
        command
            .args(nobody)
            .args(["--inh-caps=-all,+bpf,+perfmon", "--ambient-caps=-all,+bpf,+perfmon", "--"])
            .arg(&agent)
            .args(["record", "-F", "199", "-p", &running.pid(), "--config"])
            .arg(&installed.config);
        record_until(command.arg("-o").arg(&out), running.used(1000));
        let stacks = Stacks::parse(&std::fs::read_to_string(out).unwrap());
        assert_eq!(stacks.processes(), ["busy"].into());
        assert!(stacks.with_chain(&["main"]).samples() > 20, "{paranoid}: {stacks:?}");
    }
}

#[test]
fn the_limit_of_locked_memory_is_left_alone_where_the_kernel_does_not_ask() {
    kernel_tier!();
    let kernel = stacksonde::kernel::KernelVersion::detect();
    if kernel.is_some_and(|kernel| kernel.version < stacksonde::kernel::Version([5, 11, 0])) {
        return skip("the_limit_of_locked_memory", "this kernel counts maps as locked memory");
    }
    let folder = tempfile::tempdir().unwrap();
    let installed = Installed::from_environment().unwrap();
    let output = Command::new("bash")
        // Cargo sets it for its tests, and the agent warns of it.
        .env_remove("LD_LIBRARY_PATH")
        .args(["-c", "ulimit -l 64; exec \"$@\"", "bash"])
        .arg(&installed.agent)
        .args(["record", "-d", "1", "--log", "debug", "--config"])
        .arg(&installed.config)
        .arg("-o")
        .arg(folder.path().join("profile.folded"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("raised our limit of locked memory"), "{said}");
    assert!(!said.contains("WARN"), "nothing to warn of: {said}");
    let tracepoints: Vec<_> = said.lines().filter(|line| line.contains("no syscall tracepoints")).collect();
    assert!(tracepoints.iter().all(|line| line.contains("DEBUG")), "{tracepoints:?}");
}

#[test]
fn where_periods_cannot_change_they_are_fixed_and_that_is_told() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    let toml = deny(&["perf.period"]);
    let plan = Installed::from_environment().unwrap().doctor(&[], &toml, &[]);
    let times = feature(&plan, "sampling_times");
    assert_eq!((&times["state"], &times["way"]), (&"reduced".into(), &"fixed".into()), "{times}");
    assert!(times["reason"].as_str().unwrap().contains("perf.period"), "{times}");
    let busy = [program.to_str().unwrap(), "0", "1"];
    let (output, stacks) = record(&toml, folder.path(), &[&["--"], &busy[..]].concat(), |_| false);
    // As many as the rate says.
    Used::said_in(&String::from_utf8_lossy(&output.stdout)).check(
        199.0,
        stacks.of("busy").samples(),
        lost(&output),
    );
}

#[test]
fn a_cpu_that_refuses_its_event_costs_that_cpu_only() {
    kernel_tier!();
    if stacksonde::bpf::online_cpus().len() < 2 {
        return skip("a_cpu_that_refuses", "there is only one CPU");
    }
    let spinners = Spinners::new();
    let (here, _there) = (spinners.spin("busy", 0), spinners.spin("elsewhere", 1));
    let installed = Installed::from_environment().unwrap();
    let out = spinners.folder().join("profile.folded");
    let mut command = Command::new(env!("CARGO_BIN_EXE_without_perf_events"));
    command.args(["--cpu", "1"]).arg(&installed.agent);
    command.args(["record", "-F", "199", "--config"]).arg(&installed.config);
    let output = record_until(command.arg("-o").arg(&out), here.used(1000));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("CPU 1 is not sampled"), "{said}");
    let stacks = Stacks::parse(&std::fs::read_to_string(out).unwrap());
    assert!(stacks.of("busy").samples() > 20, "{stacks:?}");
    assert_eq!(stacks.of("elsewhere").samples(), 0, "{stacks:?}");
}

#[test]
fn cpus_that_go_and_come_are_followed() {
    kernel_tier!();
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";
    if std::fs::write(ONLINE, "0").is_err() {
        return skip("cpus_that_go_and_come", "CPU 1 cannot be taken offline here");
    }
    let _back = Setting { path: ONLINE, before: "1".into() };
    let set = |online: &str| std::fs::write(ONLINE, online).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    // The agent has an event a CPU.
    let events = |agent: u32| {
        let files = std::fs::read_dir(format!("/proc/{agent}/fd")).into_iter().flatten().flatten();
        let names = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        names.filter(|name| name.as_os_str() == "anon_inode:[perf_event]").count()
    };
    // It starts with one CPU; the other comes, goes and comes while it records.
    let (mut steps, mut few, mut busy) = (["1", "0", "1"].iter(), None, None);
    let (output, stacks) = record("", folder.path(), &[FIXED], |agent| {
        let few = *few.get_or_insert_with(|| events(agent));
        let all = stacksonde::bpf::online_cpus().len();
        let is_followed = (events(agent) > few) == (all > 1);
        if busy.is_none() && is_followed {
            match steps.next() {
                Some(online) => set(online),
                None => {
                    busy =
                        Some(Command::new(&program).args(["1", "1"]).stdout(Stdio::piped()).spawn().unwrap())
                }
            }
        }
        busy.as_mut().is_some_and(|busy: &mut Child| busy.try_wait().unwrap().is_some())
    });
    let mut said = String::new();
    busy.unwrap().stdout.unwrap().read_to_string(&mut said).unwrap();
    // Of a program on a CPU that was not there at the start.
    Used::said_in(&said).check(199.0, stacks.of("busy").samples(), lost(&output));
}
