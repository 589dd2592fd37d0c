//! Our rows beside those that binutils' `readelf` makes of the same files (x86-64).

use stacksonde::unwind::{CallFrames, Row, Rule};
use stacksonde_ebpf::tables::{NOT_SAVED, PAGE_BITS, rule_kind};
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Programs and libraries of every Debian installation, small ones and the C library.
const FILES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/usr/lib/x86_64-linux-gnu/libm.so.6",
    "/usr/bin/bash",
    "/usr/bin/perl",
];

/// `rsp+16` as kind and offset; `None` for what is no register and an offset.
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

/// Whether a rule says what readelf's columns say; `None` for rules that these do not spell out.
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

#[test]
fn rows_are_those_of_readelf() {
    let mut compared = 0;
    for path in FILES.iter().filter(|path| Path::new(path).exists()) {
        let file = File::open(path).unwrap();
        let frames = CallFrames::find(&file).unwrap_or_else(|| panic!("{path} has no unwind information"));
        let output =
            Command::new("readelf").args(["--debug-dump=frames-interp", "--wide", path]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut page: Option<(u64, Vec<Row>)> = None;
        let (mut columns, mut in_function, mut different) = (Vec::new(), false, Vec::new());
        for line in text.lines() {
            if line.contains(" FDE ") || line.contains(" CIE ") {
                in_function = line.contains(" FDE ");
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first() == Some(&"LOC") {
                columns = words.iter().map(|word| (*word).to_owned()).collect();
                continue;
            }
            let Some(Ok(address)) = words.first().map(|word| u64::from_str_radix(word, 16)) else { continue };
            if !in_function || words.len() != columns.len() {
                continue;
            }
            let column = |name: &str| columns.iter().position(|column| column == name).map(|at| words[at]);
            let number = address >> PAGE_BITS;
            if page.as_ref().is_none_or(|(known, _)| *known != number) {
                page = Some((number, frames.rows_of_page(&file, number).unwrap()));
            }
            let rows = &page.as_ref().unwrap().1;
            let rule = rows.iter().rev().find(|(start, _)| *start <= address).unwrap().1;
            match agrees(rule, words[1], column("rbp"), column("ra")) {
                Some(true) => compared += 1,
                Some(false) => different.push(format!("{line}: {rule:?}")),
                None => {}
            }
        }
        assert!(different.is_empty(), "{path}: {} rows differ, the first: {}", different.len(), different[0]);
    }
    assert!(compared > 20_000, "only {compared} rows were compared");
}
