//! Inlined functions and lines, from debug information, as far as memory allows.

use super::elf::{Bytes, name_of, sections, u64_at};
use super::names::{Known, Name, Names};
use crate::process::Executable;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Symbolized, Symbolizer};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Where distributions put debug information that they split off, by build id.
const SPLIT: &str = "/usr/lib/debug/.build-id";
const SHT_SYMTAB: u32 = 2;
/// Sections that are gone through from end to end to find an address, or a good part of them.
const READ_WIDELY: [&[u8]; 9] = [
    b".debug_info\0",
    b".debug_abbrev\0",
    b".debug_line\0",
    b".debug_ranges\0",
    b".debug_rnglists\0",
    b".debug_addr\0",
    b".debug_aranges\0",
    b".debug_str_offsets\0",
    b".debug_types\0",
];

/// The file with an executable's debug information: itself, or what was split off from it.
pub(super) fn file_of(executable: &Executable, own: &Arc<File>) -> Option<(Arc<File>, u64)> {
    let with_bytes = |file: Arc<File>| bytes_read(&*file).ok().flatten().map(|bytes| (file, bytes));
    with_bytes(Arc::clone(own)).or_else(|| {
        let id = executable.build_id.as_ref().filter(|id| id.len() > 1)?;
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = File::open(format!("{SPLIT}/{}/{}.debug", &hex[..2], &hex[2..])).ok()?;
        with_bytes(Arc::new(file))
    })
}

/// Bytes that looking up an address may bring into memory, before what is made of them; `None` without debug
/// information.
pub fn bytes_read(file: &(impl Bytes + ?Sized)) -> io::Result<Option<u64>> {
    let (sections, names) = sections(file)?;
    let Some(names) = sections.get(names) else { return Ok(None) };
    let (mut all, mut found) = (0u64, false);
    for section in &sections {
        let name = name_of(file, names, section);
        if section.kind != SHT_SYMTAB && !READ_WIDELY.iter().any(|known| name.starts_with(known)) {
            continue;
        }
        found |= name.starts_with(b".debug_info\0");
        all = all.saturating_add(section.bytes);
        if section.compressed {
            // ch_size: what it is once it is unpacked.
            let mut header = [0; 24];
            file.fill(&mut header, section.offset)?;
            all = all.saturating_add(u64_at(&header, 8));
        }
    }
    Ok(found.then_some(all))
}

/// What is at each address; empty where debug information does not say. All memory that this takes is free after it.
pub(super) fn look_up(file: &File, addresses: &[u64], known: &mut Known) -> Vec<Names> {
    let symbolizer = Symbolizer::builder().enable_code_info(true).enable_inlined_fns(true).build();
    // The file is the one with the debug information, so that there is none to look for.
    let source = Source::Elf(Elf::new(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))));
    match symbolizer.symbolize(&source, Input::VirtOffset(addresses)) {
        Ok(found) => found.iter().map(|symbol| names_of(symbol, known)).collect(),
        Err(error) => {
            tracing::debug!(%error, "debug information is not understood");
            vec![Names::from([]); addresses.len()]
        }
    }
}

fn names_of(symbol: &Symbolized<'_>, known: &mut Known) -> Names {
    let Symbolized::Sym(symbol) = symbol else { return Names::from([]) };
    let mut name = |function: &str, code: Option<&CodeInfo<'_>>| Name {
        function: known.text(function),
        file: known.text(&code.map(|code| code.to_path().to_string_lossy().into_owned()).unwrap_or_default()),
        line: code.and_then(|code| code.line).unwrap_or(0),
        column: code.and_then(|code| code.column).map_or(0, u32::from),
    };
    let mut names: Vec<_> =
        symbol.inlined.iter().rev().map(|inner| name(&inner.name, inner.code_info.as_ref())).collect();
    names.push(name(&symbol.name, symbol.code_info.as_deref()));
    names.into()
}
