//! Files that we write for other programs' viewers: speedscope itself opens them; the Firefox Profiler's format is read
//! by the rules of its documentation (`docs-developer/processed-profile-format.md` and `src/types/profile.js` of
//! firefox-devtools/profiler).

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use stacksonde_file_export::Format;
use stacksonde_plugin::batch::Batch;
use stacksonde_tests::browser::{self, Browser};
use stacksonde_tests::{profile, skip::skip};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Environment variable that names the folder of speedscope's page.
const SPEEDSCOPE: &str = "STACKSONDE_TEST_SPEEDSCOPE";

fn encoded(format: Format, batch: &[u8]) -> Vec<u8> {
    format.encode(&Batch::parse(batch).unwrap()).unwrap()
}

fn json_of(format: Format, batch: &[u8]) -> Value {
    serde_json::from_slice(&encoded(format, batch)).unwrap()
}

fn batches() -> [Vec<u8>; 4] {
    [
        profile::batch(1),
        profile::empty_batch(),
        profile::large_batch(),
        profile::batch_named("</script>\u{0}\"\\\u{202e}"),
    ]
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

fn index(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap_or_else(|| panic!("{value} is not an index"))).unwrap()
}

/// By thread, its samples as texts: frames root first, category and name of each; what it weighs.
type Threads = BTreeMap<String, BTreeMap<String, i64>>;

/// Reads a processed profile: every column has its table's length, every index is in its table.
fn firefox(profile: &Value) -> Threads {
    let meta = &profile["meta"];
    assert!(
        meta["preprocessedProfileVersion"].as_u64().unwrap() > 0 && meta["version"].as_u64().unwrap() > 0
    );
    assert!(meta["interval"].as_f64().unwrap() > 0.0 && meta["startTime"].as_f64().is_some());
    let mut threads = Threads::new();
    for thread in list(&profile["threads"]) {
        for table in
            ["frameTable", "stackTable", "funcTable", "resourceTable", "nativeSymbols", "samples", "markers"]
        {
            let rows = index(&thread[table]["length"]);
            for (column, values) in thread[table].as_object().unwrap() {
                if let Some(values) = values.as_array() {
                    assert_eq!(values.len(), rows, "{table}.{column}");
                }
            }
        }
        let strings = thread.get("stringArray").unwrap_or(&profile["shared"]["stringArray"]);
        let frame = |row: usize| {
            let func = index(&thread["frameTable"]["func"][row]);
            let name = strings[index(&thread["funcTable"]["name"][func])].as_str().unwrap();
            let category = &meta["categories"][index(&thread["frameTable"]["category"][row])];
            let sub = thread["frameTable"]["subcategory"][row]
                .as_u64()
                .map_or(0, |sub| usize::try_from(sub).unwrap());
            let (category, sub) =
                (category["name"].as_str().unwrap(), category["subcategories"][sub].as_str().unwrap());
            format!("{category}/{sub}/{name}")
        };
        let mut samples = BTreeMap::new();
        let table = &thread["samples"];
        assert_eq!(table["weightType"], "samples");
        for sample in 0..index(&table["length"]) {
            let (mut frames, mut stack) = (Vec::new(), &table["stack"][sample]);
            while !stack.is_null() {
                let row = index(stack);
                frames.push(frame(index(&thread["stackTable"]["frame"][row])));
                let prefix = &thread["stackTable"]["prefix"][row];
                assert!(prefix.is_null() || index(prefix) < row, "a stack before its root");
                stack = prefix;
            }
            frames.reverse();
            assert!(table["timeDeltas"][sample].as_f64().unwrap() >= 0.0, "samples are in the order of time");
            *samples.entry(frames.join(";")).or_default() += table["weight"][sample].as_i64().unwrap();
        }
        let text = |key: &str| thread[key].as_str().map_or_else(|| thread[key].to_string(), String::from);
        threads.insert(
            format!("{} {} {} {}", text("processName"), text("pid"), text("name"), text("tid")),
            samples,
        );
    }
    threads
}

#[test]
fn firefox_gets_threads_of_processes_with_categories_and_weights() {
    let json = json_of(Format::Firefox, &profile::batch(1));
    assert_eq!(json["meta"]["interval"], 10.0);
    assert_eq!(json["meta"]["startTime"], 1_795_487_100_000.0);
    let product = json["meta"]["product"].as_str().unwrap();
    assert_eq!(product, "Stacksonde: 18 samples at 100 Hz, 4 lost; 22.2 % of stacks incomplete");
    let served = "User/nginx/_start;User/nginx/main;User/nginx/handle;User/nginx/parse;User/libc.so.6/read;Kernel/[kernel.kallsyms]/do_syscall_64;Kernel/[kernel.kallsyms]/vfs_read";
    let broken = "Incomplete/Other/[incomplete: bad_frame_pointer];User/app/operator new(unsigned long);User/app/[app+0x2abc]";
    let bare = "Incomplete/Other/[incomplete: no_user_registers]";
    let work = "Kernel/[kernel.kallsyms]/kthread;Kernel/[kernel.kallsyms]/worker_thread";
    let of = |samples: &[(&str, i64)]| {
        samples.iter().map(|(stack, weight)| ((*stack).to_owned(), *weight)).collect()
    };
    let expected = Threads::from([
        ("nginx 100 nginx 100".into(), of(&[(served, 5)])),
        ("nginx 100 worker 101".into(), of(&[(served, 7)])),
        ("my app;v2 200 my app;v2 200".into(), of(&[(broken, 3), (bare, 1)])),
        ("kworker/0:1 7 kworker/0:1 7".into(), of(&[(work, 2)])),
    ]);
    assert_eq!(firefox(&json), expected);
}

#[test]
fn firefox_gets_sound_tables_of_any_profile_packed_or_not() {
    for batch in batches() {
        let json = json_of(Format::Firefox, &batch);
        let samples: i64 = firefox(&json).values().flat_map(BTreeMap::values).sum();
        let there: u64 = Batch::parse(&batch).unwrap().samples().iter().map(|sample| sample.count).sum();
        assert_eq!(samples, i64::try_from(there).unwrap());
        let mut unpacked = Vec::new();
        let packed = encoded(Format::FirefoxGz, &batch);
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&unpacked).unwrap(), json);
    }
}

/// By its schema: required members, indexes of frames, a weight for each sample.
#[test]
fn speedscope_gets_sound_profiles_of_everything_and_of_each_process() {
    for batch in batches() {
        let json = json_of(Format::Speedscope, &batch);
        let frames = list(&json["shared"]["frames"]);
        assert!(frames.iter().all(|frame| frame["name"].is_string()));
        for profile in list(&json["profiles"]) {
            let (samples, weights) = (list(&profile["samples"]), list(&profile["weights"]));
            assert_eq!(
                (samples.len(), &profile["type"], &profile["startValue"]),
                (weights.len(), &json!("sampled"), &json!(0))
            );
            let sum: u64 = weights.iter().map(|weight| weight.as_u64().unwrap()).sum();
            assert_eq!(profile["endValue"], sum);
            assert!(samples.iter().flat_map(list).all(|frame| index(frame) < frames.len()));
        }
    }
    let json = json_of(Format::Speedscope, &profile::batch(1));
    let names: Vec<_> =
        list(&json["profiles"]).iter().map(|profile| profile["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["all processes", "nginx (pid 100)", "my app;v2 (pid 200)", "kworker/0:1 (pid 7)"]);
    assert_eq!(
        (&json["profiles"][1]["unit"], &json["profiles"][1]["endValue"]),
        (&json!("nanoseconds"), &json!(120_000_000))
    );
    let stack: Vec<_> = list(&json["profiles"][1]["samples"][0])
        .iter()
        .map(|frame| json["shared"]["frames"][index(frame)]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        stack[2..],
        ["_start", "main", "handle", "parse", "read", "do_syscall_64 [kernel]", "vfs_read [kernel]"]
    );
}

/// Opens a profile in speedscope's own page; its table of functions, as text.
fn in_speedscope(browser: &mut Browser, page: &Path, file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy();
    let loader = file.with_extension("js");
    std::fs::write(
        &loader,
        format!("speedscope.loadFileFromBase64({name:?}, {:?})", BASE64_STANDARD.encode(&bytes)),
    )
    .unwrap();
    browser.open(&format!(
        "file://{}/index.html#view=sandwich&localProfilePath={}",
        page.display(),
        loader.display().to_string().trim_start_matches('/')
    ));
    browser.until("document.body.innerText.includes('Symbol Name')");
    browser.text("document.body.innerText")
}

#[test]
fn speedscope_itself_opens_the_file_and_shows_the_functions() {
    let test = "speedscope_itself_opens_the_file_and_shows_the_functions";
    let Some(page) = std::env::var_os(SPEEDSCOPE).map(PathBuf::from) else {
        return skip(test, "STACKSONDE_TEST_SPEEDSCOPE names no folder; run `cargo xtask test --tier suite`");
    };
    let Some(program) = browser::program() else {
        return skip(test, "there is no chromium-headless-shell or chromium in PATH");
    };
    let mut browser = Browser::start(&program);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile.speedscope.json");
    std::fs::write(&file, encoded(Format::Speedscope, &profile::batch(1))).unwrap();
    let shown = in_speedscope(&mut browser, &page, &file);
    for expected in [
        "nginx",
        "parse",
        "operator new(unsigned long)",
        "vfs_read [kernel]",
        "[incomplete: no_user_registers]",
        "120.00ms (67%)",
    ] {
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    }
}
