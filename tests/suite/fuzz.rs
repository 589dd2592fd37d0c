//! Every parser on damaged input: a line each. It may refuse, it must not panic.

use stacksonde_batch::Batch;
use stacksonde_file_export::Format;
use stacksonde_tests::go_program::go_program;
use stacksonde_tests::plugin::File;
use stacksonde_tests::target::compile;
use stacksonde_tests::{fuzz, profile};

/// `test: function of bytes, corpus of sound inputs;`
macro_rules! parsers {
    ($($test:ident: $target:path, $corpus:expr;)+) => {$(
        #[test]
        fn $test() {
            fuzz::run(stringify!($test), &$corpus, $target);
        }
    )+};
}

parsers! {
    a_damaged_batch_is_refused_or_read: stacksonde_batch::fuzz::fuzz_batch, batches();
    any_batch_that_is_read_can_be_put_together: stacksonde_batch::fuzz::fuzz_merge, batches();
    any_batch_that_is_read_can_be_written_to_files: stacksonde_file_export::fuzz::fuzz_formats, batches();
    damaged_maps_are_read_as_far_as_they_make_sense: stacksonde::fuzz::fuzz_maps, [file("/proc/self/maps")];
    damaged_environments_and_cgroups_make_labels_or_none: stacksonde::fuzz::fuzz_labels, [environment()];
    any_batch_that_is_read_can_be_sent: stacksonde_otlp_export::fuzz::fuzz_convert, batches();
    any_answer_of_a_receiver_is_understood_or_not: stacksonde_otlp_export::fuzz::fuzz_answer, answers();
    a_damaged_control_answer_is_refused_or_shown: stacksonde::fuzz::fuzz_control_answer, [b"refused\nno such key\n".to_vec()];
    a_damaged_answer_about_health_is_refused_or_shown: stacksonde::fuzz::fuzz_health_answer, [b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\nfailing\n".to_vec()];
    a_damaged_request_is_refused_or_answered: stacksonde::fuzz::fuzz_request, [b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()];
    any_host_of_a_request_is_ours_or_not: stacksonde::fuzz::fuzz_host, [b"GET /a/ HTTP/1.1\r\nHost: [::1]:80\r\nX: y\r\n\r\n".to_vec()];
    a_damaged_profile_of_pprof_is_refused_or_shown: stacksonde::fuzz::fuzz_pprof, [unpacked_pprof()];
    damaged_folded_stacks_are_refused_or_shown: stacksonde::fuzz::fuzz_folded, [encoded(Format::Folded)];
    any_file_is_refused_or_shown: stacksonde::fuzz::fuzz_viewed_file, [encoded(Format::Pprof), encoded(Format::Folded)];
    a_damaged_file_of_a_spool_is_refused_or_read: stacksonde::fuzz::fuzz_spool, [spooled()];
    damaged_headers_are_read_or_refused: stacksonde_otlp_export::fuzz::fuzz_headers, [b"api-key=a%20b,x=1".to_vec()];
    any_list_of_exceptions_from_proxies_is_read: stacksonde_otlp_export::fuzz::fuzz_no_proxy, [b"*.example:4317, 10.0.0.0/8,[fd00::1]:1,.x,*".to_vec()];
    damaged_idle_times_are_read_as_far_as_they_make_sense: stacksonde::fuzz::fuzz_idle_times, [file("/proc/stat")];
    a_damaged_elf_file_is_refused_or_read: stacksonde::fuzz::fuzz_elf, [head_of_our_own_program()];
    a_file_with_damaged_symbols_is_read_as_far_as_it_makes_sense: stacksonde::fuzz::fuzz_symbols, [small_library()];
    a_file_with_damaged_debug_information_is_read_as_far_as_it_makes_sense: stacksonde::fuzz::fuzz_debug, debug_information();
    any_name_is_shown_within_limits: stacksonde::fuzz::fuzz_name, mangled_names();
    damaged_kallsyms_is_read_as_far_as_it_makes_sense: stacksonde::fuzz::fuzz_kernel_symbols, [kallsyms()];
    any_code_has_rules_or_none: stacksonde::fuzz::fuzz_code, [code()];
    a_damaged_unwind_entry_is_refused_or_read: stacksonde::fuzz::fuzz_unwind_entry, [unwind_entry()];
    a_file_with_damaged_unwind_information_is_read_as_far_as_it_makes_sense: stacksonde::fuzz::fuzz_unwind_file, [small_library()];
    a_damaged_table_of_go_is_read_as_far_as_it_makes_sense: stacksonde::fuzz::fuzz_unwind_file, [go_program()];
    a_damaged_sample_is_refused_or_read: stacksonde::fuzz::fuzz_sample, [sample()];
    a_damaged_notice_is_refused_or_read: stacksonde::fuzz::fuzz_notice, [mapping_notice()];
    a_damaged_vdso_or_release_has_a_version_or_none: stacksonde::fuzz::fuzz_kernel_version, kernel_versions();
    a_damaged_plugin_file_is_refused_or_read: stacksonde::fuzz::fuzz_plugin_file, [plugin_file().bytes()];
    a_damaged_manifest_is_refused_or_read: stacksonde::fuzz::fuzz_manifest, [plugin_file().manifest.into_bytes()];
    a_damaged_schema_is_applied_as_far_as_it_makes_sense: stacksonde::fuzz::fuzz_schema, [schema()];
    damaged_kallsyms_has_the_function_or_not: stacksonde_probe_read_safety::fuzz::fuzz_kallsyms, [kallsyms()];
    any_code_is_judged: stacksonde_probe_read_safety::fuzz::fuzz_code, [code()];
    a_damaged_kernel_config_has_the_option_or_not: stacksonde_probe_read_safety::fuzz::fuzz_kernel_config, [options()];
    a_damaged_lifecycle_notice_is_read_or_not: stacksonde::fuzz::fuzz_lifecycle_notice, [lifecycle_notice()];
    damaged_files_of_a_process_are_read_as_far_as_they_make_sense: stacksonde::fuzz::fuzz_process_files, [file("/proc/self/cgroup"), file("/proc/self/stat")];
    damaged_mounts_are_read_as_far_as_they_make_sense: stacksonde::fuzz::fuzz_mounts, [file("/proc/self/mountinfo")];
    any_pattern_on_any_text_is_right_or_wrong: stacksonde::fuzz::fuzz_pattern, [b"/a*b?/**c\0/aab1/c/d".to_vec(), b"no_frame_pointers\0no_frame_pointe".to_vec()];
    any_batch_that_is_read_can_be_shown: stacksonde::fuzz::fuzz_top, batches();
    any_keys_are_keys_or_not: stacksonde::fuzz::fuzz_keys, [b"\x1b[A\x1bOB\x1b[1;5C\x1b[5~q\xc3\xa9\x1b".to_vec()];
    any_text_is_harmless_when_shown: stacksonde::fuzz::fuzz_text, ["\x1b[2J名\u{202e}é\r".as_bytes().to_vec()];
    damaged_btf_is_refused_or_read: stacksonde_btf_offsets::fuzz::fuzz_btf, [task_struct()];
}

fn environment() -> Vec<u8> {
    let id = "4b3f1c8a9d2e7f60514233aabbccddeeff00112233445566778899aabbccddee";
    let pod = "pod0a1b2c3d-1111-2222-3333-444455556666";
    format!("HOME=/\0OTEL_RESOURCE_ATTRIBUTES=team=blue%20team,x=y\0OTEL_SERVICE_NAME=shop\0\n/kubepods/{pod}/{id}").into_bytes()
}

/// Sixteen bytes of header; the length 9 and a frame of zstd with a raw block of nine bytes.
fn spooled() -> Vec<u8> {
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 9, 0x49, 0, 0];
    [&b"SONDSPL1\x11\x36\x9e\x2c\x01\x02\x03\x04"[..], &9_u64.to_le_bytes(), &frame, b"a batch.."].concat()
}

/// A `google.rpc.Status` with a `RetryInfo` of 7 s; a date; seconds.
fn answers() -> [Vec<u8>; 5] {
    let kind = b"type.googleapis.com/google.rpc.RetryInfo";
    let any = [&[0x0a, 40][..], kind, &[0x12, 4, 0x0a, 2, 8, 7]].concat();
    let json = b"{\"partialSuccess\":{\"rejectedProfiles\":\"3\",\"errorMessage\":\"odd\"}}";
    let status = [&[8, 14, 0x12, 3][..], b"not", &[0x1a, 48], &any].concat();
    [status, b"Sun, 06 Nov 1994 08:49:37 GMT".to_vec(), b"120".to_vec(), json.to_vec(), gzip(json)]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::default());
    std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
    packed
}

/// A small program with debug information of versions 4 and 5, and compressed.
fn debug_information() -> [Vec<u8>; 3] {
    let folder = tempfile::tempdir().unwrap();
    let small = ["-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector"];
    ["-gdwarf-4", "-gdwarf-5", "-gz"].map(|kind| {
        let program = compile("c_chain.c", folder.path(), &[&small[..], &[kind]].concat());
        file(program.to_str().unwrap())
    })
}

/// Names of C++ and Rust: templates, expressions, substitutions, back references.
fn mangled_names() -> [Vec<u8>; 3] {
    let cpp = b"_ZNKSt6vectorI1AIiiES_IS0_S1_EE1fIXnwclfp_EEDTplfp_fL0p_EEEvT_S3_DpT0_".to_vec();
    let legacy = b"_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE".to_vec();
    [cpp, legacy, b"_RINvNtC1a1b1cTB3_B3_EKj7b_E".to_vec()]
}

fn kallsyms() -> Vec<u8> {
    b"ffffffff81000200 T copy_from_user_nofault\nffffffff81000300 t next\t[module]\n\
      ffffffff810001f0 t __pfx_nmi_uaccess_okay\nffffffff81000200 T nmi_uaccess_okay\n"
        .to_vec()
}

/// x86-64: mov rax, imm64; call; ret.
fn code() -> Vec<u8> {
    [&[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8][..], &[0xe8, 0, 1, 0, 0], &[0xc3]].concat()
}

fn options() -> Vec<u8> {
    b"CONFIG_HARDENED_USERCOPY=y\n# CONFIG_HARDENED_USERCOPY is not set\n".to_vec()
}

fn lifecycle_notice() -> Vec<u8> {
    let mut bytes = 9u64.to_ne_bytes().to_vec();
    bytes.extend([7u32, 8, 1, 0].iter().flat_map(|word| word.to_ne_bytes()));
    bytes.extend(b"busy\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes
}

fn batches() -> [Vec<u8>; 2] {
    [profile::batch(1), profile::empty_batch()]
}

fn encoded(format: Format) -> Vec<u8> {
    format.encode(&Batch::parse(&profile::batch(1)).unwrap()).unwrap()
}

fn unpacked_pprof() -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(encoded(Format::Pprof).as_slice()),
        &mut bytes,
    )
    .unwrap();
    bytes
}

fn file(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Headers and notes lie in the first pages.
fn head_of_our_own_program() -> Vec<u8> {
    let mut bytes = file("/proc/self/exe");
    bytes.truncate(8192);
    bytes
}

/// A sample of two kernel and three user frames.
/// Two bytes that say where the description begins, a common entry, a description of 64 bytes of code.
pub(super) fn unwind_entry() -> Vec<u8> {
    let mut common = vec![0, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b];
    // cfa = rsp + 8, the return address at cfa - 8.
    common.extend([0x0c, 7, 8, 0x90, 1, 0, 0]);
    common[0] = u8::try_from(common.len() - 4).unwrap();
    let at = u16::try_from(common.len()).unwrap();
    let back = u8::try_from(common.len() + 4).unwrap();
    // Push rbp, take it as a base, then the return.
    let mut description = vec![0, 0, 0, 0, back, 0, 0, 0, 0, 1, 0, 0, 64, 0, 0, 0, 0];
    description.extend([0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x70, 0x0c, 7, 8]);
    description[0] = u8::try_from(description.len() - 4).unwrap();
    [&at.to_le_bytes()[..], &common, &description].concat()
}

/// The dynamic loader: every Linux has one, and it is small.
fn small_library() -> Vec<u8> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/ld-"));
    file(path.unwrap_or("/proc/self/exe"))
}

fn sample() -> Vec<u8> {
    let mut bytes = vec![0; size_of::<stacksonde_ebpf::Sample>() + 5 * 8];
    bytes[std::mem::offset_of!(stacksonde_ebpf::Sample, kernel_frames)] = 2;
    bytes[std::mem::offset_of!(stacksonde_ebpf::Sample, user_frames)] = 3;
    bytes
}

/// PERF_RECORD_MMAP2 with a build id.
fn mapping_notice() -> Vec<u8> {
    let mut bytes = [10u32.to_ne_bytes(), (1u32 << 14).to_ne_bytes()].concat();
    bytes.extend([1u8; 8]);
    bytes.extend([0x1000u64, 0x1000, 0].iter().flat_map(|word| word.to_ne_bytes()));
    bytes.extend([20; 24]);
    bytes.extend([0; 8]);
    bytes.extend(b"/usr/bin/true\0\0\0");
    bytes.extend([0; 16]);
    bytes
}

/// A vDSO with a version note, and what distributions write.
fn kernel_versions() -> [Vec<u8>; 3] {
    let mut elf = vec![0; 120];
    elf[..5].copy_from_slice(b"\x7fELF\x02");
    // One program header, at 64: a note of 20 bytes at 120.
    (elf[32], elf[54], elf[56]) = (64, 56, 1);
    (elf[64], elf[72], elf[96]) = (4, 120, 24);
    elf.extend([6u32, 4, 0].iter().flat_map(|word| word.to_ne_bytes()));
    elf.extend(b"Linux\0\0\0\0\x01\x06\0");
    [elf, b"Ubuntu 5.4.0-12.15-generic 5.4.8".into(), b"#1 SMP Debian 6.1.55-1 (2023-09-29)".into()]
}

/// With everything that is read of a plugin before it is loaded.
fn plugin_file() -> File {
    let sound = File::with_manifest(|_| {});
    File { needed: vec!["libc.so.6".into()], runpath: "/opt".into(), ..sound }
}

/// The schema of file-export, and keys of which some are wrong.
fn schema() -> Vec<u8> {
    let manifest: serde_json::Value =
        serde_json::from_str(include_str!("../../plugins/file-export/plugin.json")).unwrap();
    let config = serde_json::json!({ "formats": ["pprof", 3], "keep": 0, "files": "x", "other": {} });
    serde_json::to_vec(&(&manifest["config_schema"], config)).unwrap()
}

/// BTF: `struct task_struct { struct { struct task_struct *stack; } ; int thread : 3; }`.
fn task_struct() -> Vec<u8> {
    let strings = b"\0task_struct\0stack\0thread\0";
    let (task_struct, stack, thread) = (1u32, 13u32, 19u32);
    let types: [u32; 21] = [
        0,
        2 << 24,
        3, // 1: a pointer to 3
        0,
        4 << 24 | 1,
        8,
        stack,
        1,
        0, // 2: a structure without a name
        task_struct,
        4 << 24 | 1 << 31 | 2,
        16,
        0,
        2,
        0,
        thread,
        4,
        3 << 24 | 64, // 3
        0,
        8 << 24,
        1, // 4: another name of 1
    ];
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let [types_bytes, strings_bytes] =
        [types.len(), strings.len()].map(|bytes| u32::try_from(bytes).unwrap());
    let mut file = 0xeb9f_u16.to_ne_bytes().to_vec();
    file.extend([1, 0]);
    file.extend([24, 0, types_bytes, types_bytes, strings_bytes].iter().flat_map(|word| word.to_ne_bytes()));
    [file, types, strings.to_vec()].concat()
}
