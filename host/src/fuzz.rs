//! Plain functions of bytes for fuzzers: each parser may refuse its input, none may panic.

use crate::bpf::{parse_idle_times, parse_lifecycle, parse_notice};
use crate::kernel::{in_uname_version, in_vdso, in_version_signature};
use crate::plugins::{parse_manifest, read_library};
use crate::process::{build_id_of, parse_maps, segments};

/// A perf side-band record.
pub fn fuzz_notice(data: &[u8]) {
    let _answer = parse_notice(data);
}

/// A record of the programs that notice exec and exit.
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
    let _lines = parse_maps(data);
}

/// `/proc/stat`.
pub fn fuzz_idle_times(data: &[u8]) {
    let _times = parse_idle_times(&String::from_utf8_lossy(data), 100);
}

/// The headers of an ELF file.
pub fn fuzz_elf(data: &[u8]) {
    for segment in segments(data).unwrap_or_default() {
        let _address = segment.address_of(segment.file_offset);
    }
    let _build_id = build_id_of(data);
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
