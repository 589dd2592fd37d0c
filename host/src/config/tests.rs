use super::keys::Keys;
use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
    let mut sources =
        directory.sources(&["[capabilities]\ndeny = [\"a\", \"b\"]", "[capabilities]\ndeny = [\"c\"]"]);
    assert_eq!(load(&sources).unwrap().capabilities.deny, ["c"]);
    sources.environment = variables(&[("STACKSONDE_CAPABILITIES__DENY", "d, e")]);
    assert_eq!(load(&sources).unwrap().capabilities.deny, ["d", "e"]);
    sources.flags = flags(&[("capabilities.deny", "")]);
    assert_eq!(load(&sources).unwrap().capabilities.deny, [""; 0]);
}

#[test]
fn text_sources_set_every_type() {
    let sources = Sources {
        environment: variables(&[
            ("STACKSONDE_SYMBOLIZE__INLINED", "false"),
            ("STACKSONDE_LOG__FORMAT", "json"),
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
fn says_what_is_wrong_with_a_file() {
    let directory = Directory::new();
    for (text, expected) in [
        (
            "[sampling]\nfrequenzy_hz = 9",
            "unknown key `sampling.frequenzy_hz` in DIR/0.toml; did you mean `sampling.frequency_hz`?",
        ),
        (
            "frequency_hz = 9",
            "unknown key `frequency_hz` in DIR/0.toml; did you mean `sampling.frequency_hz`?",
        ),
        (
            "[samplign]\nfrequency_hz = 9\n",
            "unknown key `samplign.frequency_hz` in DIR/0.toml; did you mean `sampling.frequency_hz`?",
        ),
        (
            "[samplign]\nfrequency_hz = 9\ninterval_seconds = 1",
            "unknown key `samplign` in DIR/0.toml; did you mean `sampling`?",
        ),
        (
            "[exporters.x]\nplugin = 'file-export'\nqueue_batch = 9",
            "unknown key `exporters.x.queue_batch` in DIR/0.toml; did you mean `exporters.x.queue_batches`?",
        ),
        (
            "[log]\nunheard = 9",
            "unknown key `log.unheard` in DIR/0.toml; the keys of `log` are filter, format",
        ),
        ("\"a\\nb\" = 9", "unknown key `\"a\\nb\"` in DIR/0.toml; the sections are "),
        ("[sampling]\n\nfrequency_hz = = 9", "DIR/0.toml:3: not valid TOML: "),
        ("[log]\n[log]\n", "DIR/0.toml:2: not valid TOML: "),
        (
            "\"plugins.load\" = ['evil']",
            "unknown key `\"plugins.load\"` in DIR/0.toml; did you mean `plugins.load`?",
        ),
        ("sampling = 3", "`sampling` is 3 in DIR/0.toml; allowed: a section of keys"),
        (
            "[sampling]\nfrequency_hz = 0",
            "`sampling.frequency_hz` is 0 in DIR/0.toml; allowed: a whole number from 1 to 10000",
        ),
        (
            "[sampling]\nfrequency_hz = 10001",
            "`sampling.frequency_hz` is 10001 in DIR/0.toml; allowed: a whole number from 1 to 10000",
        ),
        (
            "[sampling]\nfrequency_hz = '99'",
            "`sampling.frequency_hz` is \"99\" in DIR/0.toml; allowed: a whole number from 1 to 10000",
        ),
        (
            "[sampling]\nfrequency_hz = 99.5",
            "`sampling.frequency_hz` is 99.5 in DIR/0.toml; allowed: a whole number from 1 to 10000",
        ),
        (
            "[sampling]\ninterval_seconds = 3601",
            "`sampling.interval_seconds` is 3601 in DIR/0.toml; allowed: a whole number from 1 to 3600",
        ),
        (
            "[sampling]\nrequire = ['magic']",
            "`sampling.require` is [\"magic\"] in DIR/0.toml; allowed: a list of any of user_stacks, \
             user_stacks_in_kernel, kernel_stacks, kernel_names, process_notices",
        ),
        (
            "[hazards]\non_unproven = 'hope'",
            "`hazards.on_unproven` is \"hope\" in DIR/0.toml; allowed: one of mitigate, refuse, ignore",
        ),
        (
            "[memory]\nring_bytes = 5000",
            "`memory.ring_bytes` is 5000 in DIR/0.toml; allowed: a power of two from 4096 to 1073741824",
        ),
        (
            "[memory]\nsideband_bytes = 2048",
            "`memory.sideband_bytes` is 2048 in DIR/0.toml; allowed: a power of two from 4096 to 1073741824",
        ),
        (
            "[memory]\nmax_stacks = 0",
            "`memory.max_stacks` is 0 in DIR/0.toml; allowed: a whole number from 1 to 4294967295",
        ),
        (
            "[memory]\nmax_stacks = -1",
            "`memory.max_stacks` is -1 in DIR/0.toml; allowed: a whole number from 1 to 4294967295",
        ),
        (
            "[memory]\nmax_stacks = 4294967296",
            "`memory.max_stacks` is 4294967296 in DIR/0.toml; allowed: a whole number from 1 to 4294967295",
        ),
        ("[symbolize]\ninlined = 1", "`symbolize.inlined` is 1 in DIR/0.toml; allowed: true or false"),
        (
            "[plugins]\ndirectories = ['lib']",
            "`plugins.directories` is [\"lib\"] in DIR/0.toml; allowed: a list of absolute paths",
        ),
        (
            "[plugins]\nrequired = ['otlp']",
            "`plugins.required` names the plugin `otlp` in DIR/0.toml, which is not loaded; \
             add it to `plugins.load`",
        ),
        (
            "[exporters.x]\nplugin = 'otlp'",
            "`exporters.x.plugin` names the plugin `otlp` in DIR/0.toml, which is not loaded; \
             add it to `plugins.load`",
        ),
        (
            "[exporters.x]\nrequired = true",
            "`exporters.x.plugin` is not set, but `exporters.x` is in DIR/0.toml; \
             set it to the name of a plugin",
        ),
        (
            "[exporters.Big_Name]\nplugin = 'file-export'",
            "`exporters` is given the name \"Big_Name\" in DIR/0.toml; \
             allowed: names of lower-case letters, digits and hyphens",
        ),
        (
            "[exporters.x]\nplugin = 'file-export'\nqueue_batches = 0",
            "`exporters.x.queue_batches` is 0 in DIR/0.toml; allowed: a whole number from 1 to 4294967295",
        ),
        (
            "[exporters.x]\nplugin = 'file-export'\ndeadline_seconds = 0",
            "`exporters.x.deadline_seconds` is 0 in DIR/0.toml; allowed: a whole number from 1 to 4294967295",
        ),
        (
            "[exporters.x]\nplugin = 'file-export'\nconfig = 1",
            "`exporters.x.config` is 1 in DIR/0.toml; allowed: a table of the plugin's own keys",
        ),
        (
            "[log]\nfilter = 'a=b=c'",
            "`log.filter` is \"a=b=c\" in DIR/0.toml; \
             allowed: a level (error, warn, info, debug, trace) or directives such as `info,aya=debug`",
        ),
        ("[log]\nformat = 'xml'", "`log.format` is \"xml\" in DIR/0.toml; allowed: one of text, json"),
        (
            "[shutdown]\nbudget_ms = 60001",
            "`shutdown.budget_ms` is 60001 in DIR/0.toml; allowed: a whole number from 1 to 60000",
        ),
    ] {
        let error = directory.error(&directory.sources(&[text]));
        let complete = !expected.ends_with(' ');
        assert!(if complete { error == expected } else { error.starts_with(expected) }, "{text}\n{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn says_what_is_wrong_with_a_variable_or_a_flag() {
    let none = &[][..];
    for (environment, command_line, expected) in [
        (
            &[("STACKSONDE_SAMPLING__FREQUENZY_HZ", "9")][..],
            none,
            "unknown key `sampling.frequenzy_hz` in the environment variable STACKSONDE_SAMPLING__FREQUENZY_HZ; \
             did you mean `sampling.frequency_hz`?",
        ),
        (
            &[("STACKSONDE_SAMPLING_FREQUENCY_HZ", "9")],
            none,
            "unknown key `sampling_frequency_hz` in the environment variable STACKSONDE_SAMPLING_FREQUENCY_HZ; \
             did you mean `sampling.frequency_hz`?",
        ),
        (
            &[("STACKSONDE_SAMPLING__FREQUENCY_HZ", "fast")],
            none,
            "`sampling.frequency_hz` is \"fast\" in the environment variable STACKSONDE_SAMPLING__FREQUENCY_HZ; \
             allowed: a whole number from 1 to 10000",
        ),
        (
            &[("STACKSONDE_PLUGINS__DIRECTORIES", "/tmp")],
            none,
            "`plugins.directories` was set in the environment variable STACKSONDE_PLUGINS__DIRECTORIES, \
             but `plugins.*` decides what code runs and is read only from files; set it in a config file",
        ),
        (
            &[("STACKSONDE_PLUGINS.LOAD", "evil")],
            none,
            "unknown key `\"plugins.load\"` in the environment variable STACKSONDE_PLUGINS.LOAD; \
             did you mean `plugins.load`?",
        ),
        (
            &[],
            &[("plugins.load", "evil")],
            "`plugins.load` was set on the command line, \
             but `plugins.*` decides what code runs and is read only from files; set it in a config file",
        ),
        (
            &[],
            &[("sampling.frequency_hz", "0")],
            "`sampling.frequency_hz` is 0 on the command line; allowed: a whole number from 1 to 10000",
        ),
        (&[], &[("sampling", "0")], "`sampling` is \"0\" on the command line; allowed: a section of keys"),
    ] {
        let sources =
            Sources { files: Vec::new(), environment: variables(environment), flags: flags(command_line) };
        assert_eq!(load(&sources).unwrap_err().to_string(), expected);
    }
}

#[test]
fn says_everything_that_is_wrong_at_once() {
    let directory = Directory::new();
    let mut sources = directory.sources(&["[log]\nformat = 1\ncolour = 2", "not toml"]);
    sources.files.push("/nonexistent/x.toml".into());
    sources.flags = flags(&[("shutdown.budget_ms", "0")]);
    let error = load(&sources).unwrap_err();
    assert_eq!(error.problems.len(), 5, "{error}");
    assert_eq!(error.to_string().lines().count(), 5, "{error}");
}

#[test]
fn says_why_a_file_cannot_be_read() {
    let directory = Directory::new();
    let bytes = directory.0.path().join("bytes.toml");
    std::fs::write(&bytes, [b'#', 0xff]).unwrap();
    for (file, expected) in [
        (directory.0.path().join("absent.toml"), "DIR/absent.toml: no such file or directory"),
        (directory.0.path().into(), "DIR: is a directory"),
        (bytes, "DIR/bytes.toml: it is not UTF-8 at byte 1"),
        ("/dev/zero".into(), "/dev/zero: it is longer than 1048576 bytes"),
    ] {
        let sources = Sources { files: vec![file], ..Sources::default() };
        assert_eq!(directory.error(&sources), format!("cannot read the config file {expected}"));
    }
}

#[test]
fn refuses_plugin_keys_from_a_file_that_others_can_write() {
    let directory = Directory::new();
    for (mode, text, expected) in [
        (0o644, "[plugins]\nload = []", None),
        (0o664, "[plugins]\nload = []", Some("0664")),
        (0o646, "[plugins]\nload = []", Some("0646")),
        (0o666, "[log]\nformat = 'json'", None),
    ] {
        let sources = directory.sources(&[text]);
        std::fs::set_permissions(&sources.files[0], Permissions::from_mode(mode)).unwrap();
        let Some(mode) = expected else {
            load(&sources).unwrap();
            continue;
        };
        assert_eq!(
            directory.error(&sources),
            format!(
                "DIR/0.toml sets `plugins.*`, which decides what code runs, but others than its owner can \
                 write it (mode {mode}); run `chmod go-w DIR/0.toml`"
            )
        );
    }
}

#[test]
fn refuses_plugin_keys_from_a_file_of_another_user() {
    let directory = Directory::new();
    let sources = directory.sources(&["[plugins]\nload = []"]);
    if std::os::unix::fs::chown(&sources.files[0], Some(65534), None).is_err() {
        eprintln!("SKIPPED: giving a file to another user needs root");
        return;
    }
    assert_eq!(
        directory.error(&sources),
        "DIR/0.toml sets `plugins.*`, which decides what code runs, but belongs to user 65534, not to root; \
         run `chown root DIR/0.toml`"
    );
}

#[test]
fn finds_the_files_of_a_directory_in_order() {
    let directory = Directory::new();
    assert_eq!(super::load::files_below(directory.0.path()), [PathBuf::new(); 0]);
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

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Keys that are switched off: a `#` without a space.
fn switched_on(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            format!("{key}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let directory = Directory::new();
    assert_eq!(load(&directory.sources(&[&shipped("stacksonde.toml")])), Ok(Config::default()));
}

#[test]
fn the_shipped_file_has_every_key_and_its_example_is_valid() {
    let text = switched_on(&shipped("stacksonde.toml"));
    let table: serde_json::Value = text.parse::<toml::Table>().unwrap().try_into().unwrap();
    let keys = Keys::new();
    let all: Vec<&str> = keys.all().collect();
    assert!(all.len() > 25, "{all:?}");
    for key in all {
        let pointer = format!("/{}", key.replace('*', "files").replace('.', "/"));
        assert!(table.pointer(&pointer).is_some(), "config/stacksonde.toml lacks {key}");
    }
    let directory = Directory::new();
    let config = load(&directory.sources(&[&text])).unwrap();
    let example =
        Exporter { config: config.exporters["files"].config.clone(), ..Exporter::of("file-export") };
    assert_eq!(config.exporters, [("files".to_owned(), example)].into());
}

#[test]
fn the_shipped_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples");
    let mut names: Vec<_> = std::fs::read_dir(examples)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["low-memory.toml", "workstation.toml"]);
    for name in names {
        let directory = Directory::new();
        let config = load(&directory.sources(&[&shipped(&format!("examples/{name}"))])).unwrap();
        assert_ne!(config, Config::default(), "{name}");
    }
}
