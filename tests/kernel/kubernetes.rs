//! The files of `packaging/kubernetes`: read by Kubernetes' and BuildKit's own code, and tried on this machine as a
//! container runtime would run them, but for seccomp.

use serde_json::Value;
use stacksonde_tests::agent::{Installed, record_until};
use stacksonde_tests::cpu_time::used;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::target::{Running, compile};
use stacksonde_tests::wait::LONG;
use stacksonde_tests::{kernel_tier, plugin, skip};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Environment variable that names the reader, `tests/kubernetes`.
const READER: &str = "STACKSONDE_TEST_KUBERNETES";

/// Returns the reader's view of a file; `None`, which is reported, where there is no reader.
fn read(what: &str, file: &Path) -> Option<Result<Value, String>> {
    let Some(reader) = std::env::var_os(READER).map(PathBuf::from).filter(|path| path.exists()) else {
        skip::skip("kubernetes", &format!("{READER} names no file; run `cargo xtask test`, which builds it"));
        return None;
    };
    let output = Command::new(reader).arg(what).arg(file).output().unwrap();
    Some(match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(said(&output)),
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn packaging(name: &str) -> PathBuf {
    plugin::workspace().join("packaging").join(name)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Capabilities that the systemd unit gives, without `CAP_`, and the one that does what its `LimitMEMLOCK=infinity` does
/// for the buffers of process events, since a container's limit is not ours to set.
fn of_the_unit() -> BTreeSet<String> {
    let unit = fs::read_to_string(packaging("systemd/stacksonde.service")).unwrap();
    let list = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).unwrap();
    let names = list.split_whitespace().map(|name| name.trim_start_matches("CAP_").to_owned());
    names.chain(["IPC_LOCK".to_owned()]).collect()
}

/// Their numbers, of linux/capability.h.
fn numbers(names: &[String]) -> String {
    let header = fs::read_to_string("/usr/include/linux/capability.h").unwrap();
    let number = |name: &String| {
        let define = format!("#define CAP_{name}");
        let rest = header.lines().find_map(|line| line.strip_prefix(&define));
        let rest = rest.filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or_else(|| panic!("no {name}"));
        rest.trim().to_owned()
    };
    names.iter().map(number).collect::<Vec<_>>().join(",")
}

#[test]
fn the_manifest_is_what_kubernetes_knows_and_gives_what_the_unit_gives_and_no_more() {
    kernel_tier!();
    let file = packaging("kubernetes/daemonset.yaml");
    let Some(manifest) = read("manifest", &file) else { return };
    let manifest = manifest.unwrap();
    let kinds = ["Namespace", "ServiceAccount", "ConfigMap", "DaemonSet"];
    assert_eq!(texts(&manifest["kinds"]), kinds);
    let pod = &manifest["pod"];
    assert_eq!((&pod["hostPID"], &pod["automountServiceAccountToken"]), (&true.into(), &false.into()));
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(texts(&security["capabilities"]["drop"]), ["ALL"]);
    let added: BTreeSet<String> = texts(&security["capabilities"]["add"]).into_iter().collect();
    assert_eq!(added, of_the_unit());
    for (key, value) in
        [("privileged", false), ("allowPrivilegeEscalation", false), ("readOnlyRootFilesystem", true)]
    {
        assert_eq!(security[key], value, "{key}");
    }

    // Where it states something that there is not, or of another type, it is refused.
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    for (right, wrong) in
        [("hostPID:", "hostPIDs:"), ("cpu: 50m", "cpu: fifty"), ("runAsUser: 0", "runAsUser: root")]
    {
        let damaged = folder.path().join("damaged.yaml");
        fs::write(&damaged, text.replacen(right, wrong, 1)).unwrap();
        let error = read("manifest", &damaged).unwrap().unwrap_err();
        assert!(error.contains("DaemonSet"), "{wrong}: {error}");
    }

    let config = folder.path().join("stacksonde.toml");
    fs::write(&config, manifest["config"]["stacksonde.toml"].as_str().unwrap()).unwrap();
    let installed = Installed::from_environment().unwrap();
    let mut check = Command::new(&installed.agent);
    let output = check.args(["config", "check"]).arg(&installed.config).arg(&config).output().unwrap();
    assert!(output.status.success() && !said(&output).contains("not checked"), "{}", said(&output));
    let text = fs::read_to_string(&config).unwrap();
    let budget: u64 =
        text.lines().find_map(|line| line.strip_prefix("budget_ms = ")).unwrap().parse().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000 > budget);
}

#[test]
fn the_container_file_is_what_buildkit_knows_and_names_what_there_is() {
    kernel_tier!();
    let Some(stages) = read("containerfile", &packaging("kubernetes/Containerfile")) else { return };
    let stages = stages.unwrap();
    let steps = |at: usize| texts(&stages[at]["steps"]);
    assert_eq!((stages.as_array().unwrap().len(), stages[0]["name"].as_str()), (2, Some("build")));
    let build = steps(0).join("\n");
    let mut plugins: Vec<String> = fs::read_dir(plugin::workspace().join("plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    plugins.sort();
    let installs = build.split("for plugin in ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    let mut installed: Vec<&str> = installs.split_whitespace().collect();
    installed.sort_unstable();
    assert_eq!(installed, plugins);
    for plugin in &plugins {
        assert!(
            build.contains(&format!("--package stacksonde-{plugin} "))
                || build.contains(&format!("--package stacksonde-{plugin}\n")),
            "{plugin} is not built"
        );
    }
    assert!(
        plugin::workspace().join("config/stacksonde.toml").exists()
            && build.contains(" config/stacksonde.toml ")
    );
    let runs = steps(1);
    for step in ["COPY --from=build /root-of-image/ /", "USER 0:0", "ENTRYPOINT [\"/usr/bin/stacksonde\"]"] {
        assert!(runs.iter().any(|it| it == step), "{step}: {runs:?}");
    }
}

/// The root folder of the image, with what Debian's image has of it that the agent needs.
fn image(folder: &Path, installed: &Installed) {
    let put = |from: &Path, to: &str| {
        let to = folder.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    let from = fs::read_to_string(&installed.config).unwrap();
    let from = PathBuf::from(from.split('"').nth(1).unwrap());
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let plugins = format!("/usr/lib/{triplet}/stacksonde/plugins-1");
    let mut libraries = BTreeSet::new();
    let mut binaries = vec![(installed.agent.clone(), "/usr/bin/stacksonde".to_owned())];
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        binaries.push((path, format!("{plugins}/{name}")));
    }
    for (from, to) in &binaries {
        put(from, to);
        let output = Command::new("ldd").arg(from).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let paths = text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
        libraries.extend(paths);
    }
    for library in &libraries {
        put(Path::new(library), library);
    }
    for name in ["proc", "sys", "tmp", "etc/stacksonde", "run/stacksonde", "var/lib/stacksonde", "dev"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::write(folder.join("dev/null"), "").unwrap();
}

/// The mounts that the manifest and a runtime make, then the program. All namespaces but that of processes are its own.
const RUNTIME: &str = "set -e; root=$1; config=$2; state=$3; shift 3
mount --bind $root $root
mount -t proc proc $root/proc
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 -o ro cgroup2 $root/sys/fs/cgroup 2>/dev/null || true
mount --bind /dev/null $root/dev/null
mount --bind $config $root/etc/stacksonde
mount --bind $state $root/var/lib/stacksonde
mount -t tmpfs tmpfs $root/run/stacksonde
mount -o remount,bind,ro $root
exec \"$@\"";

#[test]
fn as_a_container_with_these_capabilities_it_profiles_the_whole_node() {
    kernel_tier!();
    let Some(manifest) = read("manifest", &packaging("kubernetes/daemonset.yaml")) else { return };
    let manifest = manifest.unwrap();
    let installed = Installed::from_environment().unwrap();
    // No link and nobody else's folder on the way, as the agent asks of plugins.
    let root = tempfile::Builder::new().prefix("image-").tempdir_in("/var/cache").unwrap();
    image(root.path(), &installed);
    let outside = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = outside.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (config, state) = (folder("config"), folder("state"));
    let text = manifest["config"]["stacksonde.toml"].as_str().unwrap();
    fs::write(config.join("stacksonde.toml"), format!("{text}\n[sampling]\ninterval_seconds = 1\n")).unwrap();
    let security = &manifest["pod"]["containers"][0]["securityContext"];
    let capabilities = numbers(&texts(&security["capabilities"]["add"]));
    let container = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--ipc", "--uts", "--cgroup", "--net", "sh", "-c", RUNTIME, "sh"]);
        command.args([root.path(), &config, &state]).arg(env!("CARGO_BIN_EXE_in_container")).arg(root.path());
        command.args([&capabilities, "/usr/bin/stacksonde"]).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };

    let programs = tempfile::tempdir().unwrap();
    let chain = Running::c_chain(programs.path());
    let busy = compile("busy.c", programs.path(), &[]);
    let other = Running::start(Command::new(busy).args(["1", "600"]).stdout(Stdio::null()));
    let record = ["record", "-o", "/var/lib/stacksonde/profile.folded"];
    let both = used(&[chain.0.id(), other.0.id()], Duration::from_secs(1));
    let output = record_until(&mut container(&record), both);
    let stacks = Stacks::parse(&fs::read_to_string(state.join("profile.folded")).unwrap());
    for program in ["c_chain", "busy"] {
        let of = stacks.of(program);
        assert!(
            of.samples() > 20 && of.with_frame(|frame| frame == "main" || frame == "_start").samples() > 20,
            "{program}: {of:?}: {}",
            said(&output)
        );
    }
    assert!(stacks.in_kernel().samples() > 0, "{}", said(&output));
    drop(chain);

    let level = |output: &Output| -> Value {
        let doctor: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(output)));
        doctor["level"].clone()
    };
    let inside = level(&container(&["doctor", "--json"]).output().unwrap());
    assert!(inside.is_string(), "{inside}");
    assert_eq!(inside, installed.doctor(&[], "", &[])["level"], "as root has it");

    // The daemon with the manifest's configuration; its probe, and a reload, from the same container.
    let log = fs::File::create(outside.path().join("log")).unwrap();
    let mut daemon = Running::start(container(&["run"]).stderr(log).stdout(Stdio::null()));
    // `unshare`, the shell and `in_container` all become the agent.
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &daemon.pid(), "--mount", "--net", "--root", "/usr/bin/stacksonde"]);
        command.args(arguments).env_clear().output().unwrap()
    };
    let start = Instant::now();
    loop {
        let output = inside(&["health"]);
        if output.status.success() {
            break;
        }
        let log = fs::read_to_string(outside.path().join("log")).unwrap();
        assert!(start.elapsed() < LONG, "{}{log}", said(&output));
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = inside(&["reload"]);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), "nothing to apply has changed\n"));
    // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(daemon.0.id().cast_signed(), libc::SIGTERM) }, 0);
    let status = daemon.0.wait().unwrap();
    let log = fs::read_to_string(outside.path().join("log")).unwrap();
    assert!(status.success(), "{status}: {log}");
    assert!(state.join("spool/otel").exists(), "batches waited on the node: {log}");
}
