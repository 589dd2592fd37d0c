//! Plain functions of bytes for fuzzers: each parser may refuse its input, none may panic.

use crate::bpf::{parse_cpu_list, parse_cpu_times, parse_lifecycle, parse_notice};
use crate::filter::{Glob, Patterns, parse_mounts};
use crate::health::{parse_answer, parse_request};
use crate::kernel::{in_uname_version, in_vdso, in_version_signature, parse_proc_mount};
use crate::plugins::{check_schema, parse_manifest, read_library, read_spooled};
use crate::process::{
    GoFunctions, Pieces, build_id_of, cgroup_path, in_memory, labels, parent_in_stat, parse_maps, read_maps,
    segments, stat_field,
};
use crate::symbolize::{
    CpuLimit, KernelSymbols, Texts, function_names, look_up_debug, readable_name, stub_names,
};
use crate::terminal::{Charset, Key, Keys, Paint, Palette, columns, fit, fit_name, wrap};
use crate::top::{Setting, Top};
use crate::unwind::{Architecture, CallFrames, Entry, rows, rules_of_code};
use crate::view::{host_is_this_machine, parse_file, read_folded, read_pprof};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use std::time::Duration;

/// A perf side-band record.
pub fn fuzz_notice(data: &[u8]) {
    let _answer = parse_notice(data);
}

/// Parses a record of the programs that report exec and exit.
pub fn fuzz_lifecycle_notice(data: &[u8]) {
    let _answer = parse_lifecycle(data);
}

/// A record of the sampler.
pub fn fuzz_sample(data: &[u8]) {
    if let Ok(record) = stacksonde_ebpf::sample::Record::parse(data) {
        let _frames: Vec<u64> = record.kernel_frames().chain(record.user_frames()).collect();
    }
}

/// `/proc/<pid>/maps`.
pub fn fuzz_maps(data: &[u8]) {
    let lines = parse_maps(data);
    let mut read = Vec::new();
    let _any = read_maps(data, |line| read.push(line));
    // Lines longer than any that the kernel writes are the only ones that may differ.
    assert!(data.len() > 17_000 || lines == read);
}

/// `/proc/<pid>/environ`, then a line feed and the path of a cgroup.
pub fn fuzz_labels(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let environment = parts.next().unwrap_or_default();
    let _labels = labels(environment, &String::from_utf8_lossy(parts.next().unwrap_or_default()));
}

/// `/proc/stat`.
pub fn fuzz_idle_times(data: &[u8]) {
    let _times = parse_cpu_times(data, 100);
    let _cpus = parse_cpu_list(data);
}

/// The headers of an ELF file.
pub fn fuzz_elf(data: &[u8]) {
    for segment in segments(data).unwrap_or_default() {
        let _address = segment.address_of(segment.file_offset);
    }
    let _build_id = build_id_of(data);
}

/// Addresses that may be those of symbols: numbers in the file, and others.
fn addresses_in(data: &[u8]) -> Vec<u64> {
    let words =
        data.chunks_exact(8).take(512).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
    let mut addresses: Vec<u64> = (0..64).map(|at| at * 997).chain([u64::MAX]).chain(words).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The sections and symbol tables of an ELF file.
pub fn fuzz_symbols(data: &[u8]) {
    let limit = CpuLimit::after(Duration::from_secs(3600));
    let addresses = addresses_in(data);
    let names = function_names(data, &addresses, |_| Ok(None), &Texts::within(1 << 16), limit);
    assert!(names.is_ok(), "bytes in memory can be read, in time");
    assert!(stub_names(data, &addresses, limit).is_ok(), "bytes in memory can be read, in time");
}

/// The debug information of an ELF file.
pub fn fuzz_debug(data: &[u8]) {
    // In small programs code is in the first pages.
    let mut addresses = addresses_in(data);
    addresses.extend((0x1000..0x1400).chain(0x40_1000..0x40_1400));
    addresses.sort_unstable();
    addresses.dedup();
    let limit = CpuLimit::after(Duration::from_secs(3600));
    let found = look_up_debug(&data, &addresses, 1 << 20, &Texts::within(1 << 16), limit);
    // A damaged compressed section is not a failure of reading either.
    assert!(
        found.is_ok_and(|found| found.frames.len() == addresses.len()),
        "bytes in memory can be read, in time"
    );
}

/// The name of a function, perhaps mangled.
pub fn fuzz_name(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    assert!(readable_name(&name).len() <= 4096, "names are shown up to a limit");
}

/// `/proc/kallsyms`.
pub fn fuzz_kernel_symbols(data: &[u8]) {
    if let Ok(symbols) = KernelSymbols::read(data, 1 << 20) {
        let _names: Vec<_> =
            [0, 1, u64::MAX / 2, u64::MAX].iter().map(|address| symbols.at(*address)).collect();
    }
}

/// A vDSO, and the texts that state a kernel's version.
pub fn fuzz_kernel_version(data: &[u8]) {
    let _version = in_vdso(data);
    let text = String::from_utf8_lossy(data);
    let _version = (in_version_signature(&text), in_uname_version(&text));
}

/// A plugin's file, up to its manifest.
pub fn fuzz_plugin_file(data: &[u8]) {
    let _library = read_library(data);
}

/// A plugin's manifest.
pub fn fuzz_manifest(data: &[u8]) {
    let _manifest = parse_manifest(data);
}

/// The code of a page.
pub fn fuzz_code(data: &[u8]) {
    const START: u64 = 0x40_0000;
    let code = |address: u64, length: usize| {
        let at = address.checked_sub(START).and_then(|at| usize::try_from(at).ok());
        let bytes = at.and_then(|at| data.get(at..)).unwrap_or_default();
        Ok(bytes[..bytes.len().min(length)].to_vec())
    };
    for range in [START..START + 4096, START + 1..START + 17] {
        let rules = rules_of_code(&range, code).unwrap_or_default();
        assert!(rules.iter().all(|(at, _)| range.contains(at)) && rules.is_sorted_by_key(|(at, _)| *at));
    }
}

/// A function's call frame information; the first two bytes say where its description begins.
pub fn fuzz_unwind_entry(data: &[u8]) {
    let Some((at, bytes)) = data.split_first_chunk::<2>() else { return };
    let entry = Entry { bytes, description: u16::from_le_bytes(*at).into(), address: 0x40_0000 };
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let _rows = rows(entry, &(0..u64::MAX), architecture);
    }
}

/// A file with call frame information or Go's table, and the rows of some of its pages.
pub fn fuzz_unwind_file(data: &[u8]) {
    let file = in_memory(c"fuzz", data);
    assert!(file.is_ok(), "a file in memory can be made");
    let Ok(file) = file else { return };
    if let Ok(Some(frames)) = CallFrames::find(&file) {
        for page in [0, 1, 2, 3, 0x400, 0x401, u64::from(u32::MAX)] {
            let _rows = frames.rows_of_page(&file, page);
        }
    }
    if let Ok(Some(functions)) = GoFunctions::find(&file) {
        for address in [0, 0x40_1000, 0x40_1020, u64::MAX] {
            let _name = functions.name_at(&mut Pieces::of(&file), address);
        }
    }
}

/// Parses the files of `/proc` about a process's cgroups and its parent.
pub fn fuzz_process_files(data: &[u8]) {
    let _answers = (cgroup_path(data), parent_in_stat(data), stat_field(data, 22));
}

/// The answer of a daemon on its control socket.
pub fn fuzz_control_answer(data: &[u8]) {
    let _answer = crate::control::parse(data);
}

/// The answer to a request for health or metrics.
pub fn fuzz_health_answer(data: &[u8]) {
    let _answer = parse_answer(data);
}

/// A request for health or metrics.
pub fn fuzz_request(data: &[u8]) {
    let _request = parse_request(data);
}

/// A request for the page of `view`.
pub fn fuzz_host(data: &[u8]) {
    let _ours = host_is_this_machine(data);
}

/// A protocol buffer of pprof, and the page that is made of it.
pub fn fuzz_pprof(data: &[u8]) {
    for wanted in [None, Some("cpu")] {
        if let Ok(profile) = read_pprof(data, wanted) {
            let mut page = Vec::new();
            assert!(stacksonde_flame::write(&profile.about, profile.graph, &mut page).is_ok());
        }
    }
}

/// Folded stacks, and the page that is made of them.
pub fn fuzz_folded(data: &[u8]) {
    if let Ok(profile) = read_folded(&String::from_utf8_lossy(data)) {
        let mut page = Vec::new();
        assert!(stacksonde_flame::write(&profile.about, profile.graph, &mut page).is_ok());
    }
}

/// A file for `view`, packed or not.
pub fn fuzz_viewed_file(data: &[u8]) {
    let _page = parse_file(std::path::Path::new("profile"), data.to_vec(), None, 1 << 16);
}

/// A file of a spool.
pub fn fuzz_spool(data: &[u8]) {
    read_spooled(data);
}

/// Mounts as `/proc/self/mountinfo` lists them.
pub fn fuzz_mounts(data: &[u8]) {
    let _proc = parse_proc_mount(data);
    if let Some((_, point)) = parse_mounts(data) {
        assert!(point.is_absolute(), "{point:?}");
    }
}

/// A pattern, a zero byte, and a text; a name's rules and a path's by the same two.
pub fn fuzz_pattern(data: &[u8]) {
    let (pattern, text) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let text = text.strip_prefix(b"\0").unwrap_or(text);
    let pattern = String::from_utf8_lossy(pattern).into_owned();
    let glob = Glob::new(&pattern);
    let matched = glob.matches(text);
    assert!(!glob.is_literal() || matched == (pattern.as_bytes() == text), "{pattern:?} {text:?}");
    assert!(Glob::new(&format!("*{pattern}*")).matches(text) || !matched, "{pattern:?} {text:?}");
    let path = String::from_utf8_lossy(text);
    for patterns in [Patterns::of_names, Patterns::of_cgroups] {
        let deny = patterns(&[], std::slice::from_ref(&pattern));
        let allow = patterns(std::slice::from_ref(&pattern), &[]);
        assert_ne!(deny.exclude_name(text), allow.exclude_name(text), "{pattern:?} {text:?}");
        assert_ne!(deny.exclude_cgroup(Some(text)), allow.exclude_cgroup(Some(text)), "{pattern:?} {path:?}");
    }
}

/// A plugin's schema and an instance's keys: `[schema, table of keys]` as JSON.
pub fn fuzz_schema(data: &[u8]) {
    if let Ok((schema, config)) = serde_json::from_slice(data) {
        let _problems = check_schema(&schema, "exporters.x.config", &config);
    }
}

/// Parses input from a keyboard, or pasted from other programs.
pub fn fuzz_keys(data: &[u8]) {
    let mut keys = Keys::default();
    for chunk in data.chunks(7) {
        let _keys = keys.read(chunk);
    }
    keys.settle();
    assert!(!keys.is_waiting());
}

/// Text of others on a terminal.
pub fn fuzz_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for charset in [Charset::Unicode, Charset::Ascii] {
        let plain = charset.plain(&text);
        assert!(!plain.chars().any(char::is_control));
        for most in [0, 1, 2, 7, 80] {
            assert!(columns(&fit(&plain, most, charset)) <= most);
            assert!(columns(&fit_name(&plain, most, charset)) <= most);
            let _lines = wrap(&plain, most);
        }
    }
}

/// A batch, shown: in little memory, on small and large screens, while keys are pressed.
pub fn fuzz_top(data: &[u8]) {
    let budget = 64 << 10;
    let mut top = Top::new(Setting { window_ns: 10_000_000_000, budget, ..Setting::default() });
    for _ in 0..2 {
        if top.take(data).is_err() {
            return;
        }
    }
    let keys =
        [Key::Tab, Key::Down, Key::Enter, Key::Tab, Key::Down, Key::Enter, Key::Char('/'), Key::Char('a')];
    for key in keys {
        top.key(key);
        for (width, height) in [(80, 24), (33, 7)] {
            let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
            top.draw(&mut buffer, Palette::Many);
        }
    }
    assert!(
        !top.text(Paint(false), Some(40))
            .chars()
            .any(|character| character.is_control() && character != '\n')
    );
}
