//! Every kind of error, and its text.

use super::*;

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
            "[filter]\npid = [7, 0]",
            "`filter.pid` is [7,0] in DIR/0.toml; allowed: a list of whole numbers from 1 to 4194304",
        ),
        (
            "[filter]\ndeny_pid = [4194305]",
            "`filter.deny_pid` is [4194305] in DIR/0.toml; allowed: a list of whole numbers from 1 to 4194304",
        ),
        (
            "[filter]\ndeny_cgroup = ['system.slice']",
            "`filter.deny_cgroup` is [\"system.slice\"] in DIR/0.toml; allowed: a list of patterns of paths, which begin with `/` or `*`",
        ),
        (
            "[filter]\ncomm = ['']",
            "`filter.comm` is [\"\"] in DIR/0.toml; allowed: a list of texts that are not empty",
        ),
        ("[filter]\npids = [7]", "unknown key `filter.pids` in DIR/0.toml; did you mean `filter.pid`?"),
        (
            "[sampling]\ninterval_seconds = 3601",
            "`sampling.interval_seconds` is 3601 in DIR/0.toml; allowed: a whole number from 1 to 3600",
        ),
        (
            "[sampling]\nrequire = ['magic']",
            "`sampling.require` is [\"magic\"] in DIR/0.toml; allowed: a list of any of user_stacks, \
             user_stacks_in_kernel, kernel_stacks, kernel_names, process_notices, sampling_times",
        ),
        (
            "[hazards]\non_unproven = 'hope'",
            "`hazards.on_unproven` is \"hope\" in DIR/0.toml; allowed: one of mitigate, refuse, ignore",
        ),
        (
            "[memory]\nring_bytes = 5000",
            "`memory.ring_bytes` is 5000 in DIR/0.toml; allowed: 0, or a power of two from 4096 to 1073741824",
        ),
        (
            "[memory]\nsideband_bytes = 2048",
            "`memory.sideband_bytes` is 2048 in DIR/0.toml; allowed: 0, or a power of two from 4096 to 1073741824",
        ),
        (
            "[memory]\nmax_stacks = -1",
            "`memory.max_stacks` is -1 in DIR/0.toml; allowed: a whole number from 0 to 4294967295",
        ),
        (
            "[memory]\nmax_stacks = 4294967296",
            "`memory.max_stacks` is 4294967296 in DIR/0.toml; allowed: a whole number from 0 to 4294967295",
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
        (
            "[log]\nfilter = 'inof'",
            "`log.filter` is \"inof\" in DIR/0.toml; \
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
