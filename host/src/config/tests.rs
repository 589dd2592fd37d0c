mod refusals;
mod shipped;

use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file that only its owner can write, whatever the umask.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn sources(&self, texts: &[&str]) -> Sources {
        let files = texts.iter().enumerate().map(|(index, text)| self.file(&format!("{index}.toml"), text));
        Sources { files: files.collect(), ..Sources::default() }
    }

    /// The error's text, with this directory as `DIR`.
    fn error(&self, sources: &Sources) -> String {
        let error = load(sources).expect_err("an error").to_string();
        error.replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

fn variables(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn flags(flags: &[(&str, &str)]) -> Vec<(String, String)> {
    flags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[test]
fn nothing_configured_is_the_defaults() {
    assert_eq!(load(&Sources::default()), Ok(Config::default()));
    assert_eq!(Config::default().validate(), []);
}

#[test]
fn later_sources_win_key_by_key() {
    let directory = Directory::new();
    let low = "[sampling]\nfrequency_hz = 1\ninterval_seconds = 1\n";
    let high = "[sampling]\nfrequency_hz = 2\n";
    let variable = &[("STACKSONDE_SAMPLING__FREQUENCY_HZ", "3")][..];
    let flag = &[("sampling.frequency_hz", "4")][..];
    for (files, environment, command_line, frequency, interval) in [
        (&[][..], &[][..], &[][..], 19, 10),
        (&[low], &[], &[], 1, 1),
        (&[low, high], &[], &[], 2, 1),
        (&[high, low], &[], &[], 1, 1),
        (&[low, high], variable, &[], 3, 1),
        (&[low, high], variable, flag, 4, 1),
        (&[], &[], flag, 4, 10),
    ] {
        let sources = Sources {
            environment: variables(environment),
            flags: flags(command_line),
            ..directory.sources(files)
        };
        let sampling = load(&sources).unwrap().sampling;
        assert_eq!((sampling.frequency_hz, sampling.interval_seconds), (frequency, interval), "{sources:?}");
    }
}

#[test]
fn a_list_replaces_the_list_below_it() {
    let directory = Directory::new();
    let mut sources = directory.sources(&[
        "[capabilities]\ndeny = [\"kernel.btf\", \"cap.bpf\"]",
        "[capabilities]\ndeny = [\"perf.sideband\"]",
    ]);
    assert_eq!(load(&sources).unwrap().capabilities.deny, ["perf.sideband"]);
    sources.environment = variables(&[("STACKSONDE_CAPABILITIES__DENY", "cap.bpf, kernel.btf")]);
    assert_eq!(load(&sources).unwrap().capabilities.deny, ["cap.bpf", "kernel.btf"]);
    sources.flags = flags(&[("capabilities.deny", "")]);
    assert_eq!(load(&sources).unwrap().capabilities.deny, [""; 0]);
}

#[test]
fn text_sources_set_every_type() {
    let sources = Sources {
        environment: variables(&[
            ("STACKSONDE_SYMBOLIZE__INLINED", "false"),
            ("STACKSONDE_LOG__FORMAT", "json"),
            ("STACKSONDE_FILTER__DENY_PID", "7, 8"),
            ("STACKSONDE_FILTER__CGROUP", "/a*,*/b"),
            ("STACKSONDE_FILTER__PID", ""),
            ("STACKSONDE_LOG__FILTER", "warn,stacksonde=debug"),
            ("STACKSONDE_EXPORTERS__FILES__PLUGIN", "file-export"),
            ("STACKSONDE_EXPORTERS__FILES__CONFIG__DIRECTORY", "/tmp"),
        ]),
        flags: flags(&[
            ("exporters.files.queue_bytes", "5000000000"),
            ("exporters.files.config.keep", "7"),
            ("exporters.files.config.formats", "[\"svg\"]"),
        ]),
        ..Sources::default()
    };
    let config = load(&sources).unwrap();
    assert!(!config.symbolize.inlined);
    let cgroup = vec!["/a*".to_owned(), "*/b".to_owned()];
    assert_eq!(config.filter, Filter { deny_pid: vec![7, 8], cgroup, ..Filter::default() });
    assert_eq!(config.log, Log { filter: "warn,stacksonde=debug".into(), format: LogFormat::Json });
    let expected = serde_json::json!({"directory": "/tmp", "keep": 7, "formats": ["svg"]});
    let expected = Exporter {
        queue_bytes: 5_000_000_000,
        config: expected.as_object().unwrap().clone(),
        ..Exporter::of("file-export")
    };
    assert_eq!(config.exporters["files"], expected);
}

#[test]
fn a_plugins_own_keys_arrive_as_written() {
    let directory = Directory::new();
    let text = "[exporters.x]\nplugin = 'file-export'\n[exporters.x.config]\n'a.b' = 1\n'c[0]' = [1.5, true]\n\
        d = { e = 2026-11-24 }\nf = {}\nG = -1\n";
    let config = load(&directory.sources(&[text])).unwrap();
    let expected = serde_json::json!(
        {"a.b": 1, "c[0]": [1.5, true], "d": {"e": "2026-11-24"}, "f": {}, "G": -1}
    );
    assert_eq!(serde_json::Value::from(config.exporters["x"].config.clone()), expected);
}

#[test]
fn finds_the_files_of_a_directory_in_order() {
    let directory = Directory::new();
    assert!(super::load::files_below(directory.0.path()).is_empty());
    let expected = ["stacksonde.toml", "conf.d/10-a.toml", "conf.d/20-b.toml"];
    for name in expected.iter().rev().chain(&["conf.d/README", "conf.d/30-c.toml.bak"]) {
        directory.file(name, "");
    }
    let found = super::load::files_below(directory.0.path());
    assert_eq!(found, expected.map(|name| directory.0.path().join(name)));
}

#[test]
fn validate_sees_what_code_did() {
    let mut config = Config::default();
    config.sampling.frequency_hz = 0;
    config.exporters.insert("x".into(), Exporter::of("otlp"));
    let problems: Vec<String> = config.validate().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "`sampling.frequency_hz` is 0; allowed: a whole number from 1 to 10000",
            "`exporters.x.plugin` names the plugin `otlp`, which is not loaded; add it to `plugins.load`",
        ]
    );
}

#[test]
fn fuzzing_regressions() {
    for text in [
        "",
        "\0",
        "=",
        "[a",
        "exporters = 1",
        "exporters.x = 1",
        "exporters.'' = {}",
        "[exporters.x.plugin]",
        "[exporters.\"a\\nb\"]\nplugin = 'file-export'",
        "log = [[]]",
        "plugins.load = 1\0plugins = {}",
        "[exporters.x]\nplugin='file-export'\nconfig.a=1\0exporters.x.config.a.b=2",
        "\"\\u009b\" = 1",
        "exporters.x.config = {a = nan}",
        "sampling.frequency_hz = 0x7fffffffffffffff",
    ] {
        super::fuzz::fuzz_config(text.as_bytes());
    }
}
