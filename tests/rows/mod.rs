//! Our rows beside those that binutils' `readelf` makes of the same file (x86-64).

use stacksonde::unwind::{CallFrames, Row, Rule};
use stacksonde_ebpf::tables::{NOT_SAVED, PAGE_BITS, rule_kind};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// `rsp+16` as kind and offset; `None` for what is not a register and an offset.
fn cfa(text: &str) -> Option<(u8, i64)> {
    let at = text.find(['+', '-']).filter(|at| *at > 0)?;
    let offset: i64 = text[at..].parse().ok()?;
    let kind = match &text[..at] {
        "rsp" => rule_kind::SP,
        "rbp" => rule_kind::FP,
        "rbx" => rule_kind::BX,
        "rax" => rule_kind::REGISTER,
        "rdx" => rule_kind::REGISTER + 1,
        "rcx" => rule_kind::REGISTER + 2,
        "rsi" => rule_kind::REGISTER + 4,
        "rdi" => rule_kind::REGISTER + 5,
        other => rule_kind::REGISTER + other.strip_prefix('r')?.parse::<u8>().ok()?,
    };
    Some((kind, offset))
}

/// Tells whether a rule says the same as readelf's columns; `None` for rules that these do not spell out.
fn agrees(rule: Rule, cfa_text: &str, fp: Option<&str>, ra: Option<&str>) -> Option<bool> {
    if ra == Some("u") {
        return Some(rule.kind == rule_kind::END);
    }
    let saved = |text: Option<&str>| match text {
        None | Some("u" | "s") => Some(NOT_SAVED),
        Some(text) => text.strip_prefix('c')?.parse::<i64>().ok().and_then(|at| i16::try_from(at / 8).ok()),
    };
    if rule.kind == rule_kind::SIGNAL || rule.kind >= rule_kind::RETURN_IN || ra != Some("c-8") {
        return None;
    }
    let (kind, offset) = cfa(cfa_text)?;
    let fp = saved(fp)?;
    Some((rule.kind, i64::from(rule.cfa) * 8, rule.fp) == (kind, offset, fp))
}

/// The result for one file.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Rows that say the same.
    pub(crate) equal: u64,
    /// Rows that readelf's columns do not spell out: expressions, signal frames.
    pub(crate) other: u64,
    /// Rows that we do not understand, and say so.
    pub(crate) unsupported: u64,
    /// Rows that say something else, the first of them.
    pub(crate) different: u64,
    pub(crate) first: Option<String>,
}

/// The addresses of a function: `... FDE cie=00000000 pc=0000000000001040..0000000000001051`.
fn range(line: &str) -> Option<std::ops::Range<u64>> {
    let (start, end) = line.split_once(" FDE ")?.1.split_once("pc=")?.1.split_once("..")?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end.trim(), 16).ok()?)
}

/// Reads where a program of ELF begins (`e_entry`).
fn entry_of(file: &File) -> Option<u64> {
    let mut entry = [0; 8];
    file.read_exact_at(&mut entry, 24).ok()?;
    Some(u64::from_le_bytes(entry))
}

/// Compares all rows of a file; `None` if it has no unwind information that we read.
pub(crate) fn compare(path: &Path) -> Option<Compared> {
    let file = File::open(path).ok()?;
    let frames = CallFrames::find(&file).ok()??;
    let entry = entry_of(&file)?;
    let mut readelf = Command::new("readelf")
        .args(["--debug-dump=frames-interp", "--wide"])
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("readelf (Debian: binutils): {error}"));
    let mut compared = Compared::default();
    let mut page: Option<(u64, Vec<Row>)> = None;
    // A section's name stands above what is read of it; ours are of `.eh_frame` where there is one.
    let (mut columns, mut function) = (Vec::new(), 0..0);
    let output = readelf.stdout.take().into_iter();
    for line in output.flat_map(|output| BufReader::new(output).split(b'\n')).map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("Contents of the .debug_frame") && compared.equal > 0 {
            break;
        }
        if line.contains(" FDE ") || line.contains(" CIE ") {
            function = range(&line).unwrap_or(0..0);
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"LOC") {
            columns = words.iter().map(|word| (*word).to_owned()).collect();
            continue;
        }
        let Some(Ok(address)) = words.first().map(|word| u64::from_str_radix(word, 16)) else { continue };
        // The last row may begin where the function ends, and holds for nothing.
        if !function.contains(&address) || words.len() != columns.len() {
            continue;
        }
        let column = |name: &str| columns.iter().position(|column| column == name).map(|at| words[at]);
        let number = address >> PAGE_BITS;
        if page.as_ref().is_none_or(|(known, _)| *known != number) {
            page = Some((number, frames.rows_of_page(&file, number).unwrap_or_default()));
        }
        let rows = page.as_ref().map_or(&[][..], |(_, rows)| rows);
        let rule =
            rows.iter().rev().find(|(start, _)| *start <= address).map_or(Rule::NONE, |(_, rule)| *rule);
        match agrees(rule, words[1], column("rbp"), column("ra")) {
            Some(true) => compared.equal += 1,
            Some(false) if rule == Rule::UNSUPPORTED => compared.unsupported += 1,
            // The kernel jumps there: nobody has called it, whatever is said.
            Some(false) if rule == Rule::END && function.start == entry => compared.other += 1,
            Some(false) => {
                compared.different += 1;
                compared.first.get_or_insert_with(|| format!("{line}: {rule:?}"));
            }
            None => compared.other += 1,
        }
    }
    let _killed = readelf.kill();
    let _status = readelf.wait();
    Some(compared)
}
