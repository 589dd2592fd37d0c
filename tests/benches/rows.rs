//! Our rows beside those of `readelf`, for every executable and library that is installed. Run by
//! `cargo xtask proof rows`, or of the files that are named; prints a table, and fails if anything differs.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::panic, reason = "a check may panic")]

#[path = "../rows/mod.rs"]
mod rows;

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders in which a distribution puts programs and libraries.
const FOLDERS: [&str; 3] = ["/usr/bin", "/usr/sbin", "/usr/lib"];

/// Tells whether it begins as a 64-bit ELF file for x86-64 does that can be executed or loaded.
fn is_elf(path: &Path) -> bool {
    let mut head = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.starts_with(b"\x7fELF\x02\x01") && matches!(head[16..20], [2 | 3, 0, 62, 0])
}

/// Every such file below the folders, each inode once.
fn files() -> Vec<PathBuf> {
    let mut folders: VecDeque<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(folder) = folders.pop_front() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            // Links are not followed: what they lead to is below these folders, too.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push_back(entry.path());
            } else if metadata.is_file()
                && seen.insert((metadata.dev(), metadata.ino()))
                && is_elf(&entry.path())
            {
                found.push(entry.path());
            }
        }
    }
    found
}

fn main() {
    let (mut with, mut without) = (0, 0);
    let (mut equal, mut other, mut unsupported, mut different) = (0, 0, 0, Vec::new());
    // `cargo bench` itself adds flags.
    let named: Vec<_> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).map(PathBuf::from).collect();
    for path in if named.is_empty() { files() } else { named } {
        match rows::compare(&path) {
            Some(compared) => {
                with += 1;
                equal += compared.equal;
                other += compared.other;
                unsupported += compared.unsupported;
                if let Some(first) = compared.first {
                    eprintln!("{}: {} differ, the first: {first}", path.display(), compared.different);
                    different.push(compared.different);
                }
            }
            None => without += 1,
        }
    }
    println!("| what | count |\n|------|-------|");
    println!("| files with call frame information | {with} |");
    println!("| files without | {without} |");
    println!("| rows that are equal | {equal} |");
    println!("| rows that readelf does not spell out (expressions, signal frames) | {other} |");
    println!("| rows that we do not understand, and say so | {unsupported} |");
    println!("| rows that differ | {} |", different.iter().sum::<u64>());
    assert!(different.is_empty(), "{} files have rows that differ", different.len());
}
