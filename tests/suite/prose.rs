//! Language of the tree: doc comments begin with a verb or a noun, a type's name stands for one thing, links lead
//! somewhere.

use stacksonde_tests::plugin;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Words that begin half a sentence: the verb of such a comment is missing, or the noun.
const HALF_SENTENCES: &[&str] = &["What", "Whether", "Where", "Whose", "How"];

/// Type names that are defined more than once in a crate, by crate, in the order of the alphabet.
///
/// `Arguments` are the flags of one command each, and no file sees those of two. The adapters and clients of a crate
/// are one for each role or protocol. The others are older than this rule: they belong to modules that do not meet, and
/// whoever renames one takes it off the list. A new type gets a name of its own instead of a place here.
const DEFINED_AGAIN: &[(&str, &str)] = &[
    (
        "host",
        "Arguments Backoff Budget Bytes Call Damaged Dropped Entry Event Exporter Extent Filter \
         Findings Found Frame Function Health Identity Kept Keys Labels Loaded Log Memory Origin \
         Place Profile Refusal Rule Section Seen Segment Server Settings Shared Stack Standing State \
         Table Tables Thread Tree Value Waiting",
    ),
    ("plugins/otlp-export", "Client"),
    ("sdk/plugin", "Adapter"),
    ("xtask", "Outcome Program Recording Results Row Stacks"),
];

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let root = plugin::workspace();
    let (mut all, mut halves) = (0, Vec::new());
    for path in files(&root, &["rs", "h", "c"]) {
        let is_rust = path.extension().is_some_and(|it| it == "rs");
        let text = fs::read_to_string(&path).unwrap();
        for (number, comment) in comments(&text, is_rust) {
            all += 1;
            let word = comment.split(|it: char| !it.is_alphabetic()).next().unwrap_or_default();
            if HALF_SENTENCES.contains(&word) {
                let place = path.strip_prefix(&root).unwrap().display();
                halves.push(format!("{place}:{number}: {comment}"));
            }
        }
    }
    assert!(all > 5000, "only {all} comments were found");
    // 3 in 100: sometimes such a word begins a whole sentence.
    assert!(
        halves.len() * 100 <= all * 3,
        "{} of {all} begin with one of {HALF_SENTENCES:?}: say what a function does and what a type is:\n{}",
        halves.len(),
        halves.join("\n")
    );
}

#[test]
fn first_lines_of_comments_are_found() {
    let rust = "//! Head.\n//! More.\n\n/// One.\n///\n/// More.\n#[test]\nfn f() {\n    // No doc.\n}\n//// No doc.\n";
    assert_eq!(comments(rust, true), [(1, "Head."), (4, "One.")]);
    assert_eq!(
        comments("/* One. */\n\t/* Two\n * more. */\nint x; /* No doc. */\n", false),
        [(1, "One. */"), (2, "Two")]
    );
}

#[test]
fn type_names_are_defined_once() {
    let root = plugin::workspace();
    let mut again: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut places = Vec::new();
    for folder in crates(&root) {
        let name = folder.strip_prefix(&root).unwrap().display().to_string();
        let mut defined: BTreeMap<String, Vec<(PathBuf, bool)>> = BTreeMap::new();
        for path in files(&folder, &["rs"]) {
            let text = fs::read_to_string(&path).unwrap();
            // Alternatives for architectures stand in one file, and are one type.
            for (type_name, is_public) in types(&text).into_iter().collect::<BTreeMap<_, _>>() {
                defined.entry(type_name.into()).or_default().push((path.clone(), is_public));
            }
        }
        for (type_name, by) in defined {
            // A name that is a file's own is read beside its definition: two of those confuse nobody.
            if by.iter().filter(|(_, is_public)| *is_public).count() > 1 || by.len() > 2 {
                let files =
                    by.iter().map(|(path, _)| path.strip_prefix(&root).unwrap().display().to_string());
                places.push(format!("{type_name}: {}", files.collect::<Vec<_>>().join(", ")));
                again.entry(name.clone()).or_default().insert(type_name);
            }
        }
    }
    let allowed: BTreeMap<String, BTreeSet<String>> = DEFINED_AGAIN
        .iter()
        .map(|(name, types)| ((*name).to_owned(), types.split_whitespace().map(str::to_owned).collect()))
        .collect();
    let names = |of: &BTreeMap<String, BTreeSet<String>>| -> BTreeSet<String> {
        of.iter().flat_map(|(name, types)| types.iter().map(move |it| format!("{name} {it}"))).collect()
    };
    let (again, allowed) = (names(&again), names(&allowed));
    let new: Vec<_> = again.difference(&allowed).collect();
    assert!(new.is_empty(), "give these another name: {new:?}\n{}", places.join("\n"));
    let gone: Vec<_> = allowed.difference(&again).collect();
    assert!(gone.is_empty(), "these are defined once by now; take them off `DEFINED_AGAIN`: {gone:?}");
}

#[test]
fn definitions_of_types_are_found() {
    let text = "pub(crate) struct A<T>(T);\n    enum B {\n\npub trait C: D {\n    type Item;\n}\ntype E = u8;\nlet structure = 1;\nstruct r#F;\n";
    assert_eq!(types(text), [("A", true), ("B", false), ("C", true), ("E", false)]);
}

#[test]
fn links_between_documents_lead_to_files_and_headings() {
    let root = plugin::workspace();
    let mut links = 0;
    for path in files(&root, &["md"]) {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link)) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            assert!(target.exists(), "{}: nothing is at `{link}`", path.display());
            let has = |text: &str| text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(
                heading.is_empty() || has(&fs::read_to_string(&target).unwrap()),
                "{}: no heading is at `{link}`",
                path.display()
            );
        }
    }
    assert!(links > 50, "only {links} links were found");
}

/// The name of a heading in links, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|it| it.is_alphanumeric() || "-_".contains(*it)).collect()
}

/// The first line of each doc comment with its number, from 1. In C it is each comment that begins a line.
fn comments(text: &str, is_rust: bool) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_inside = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").filter(|rest| !rest.starts_with('/')).or(line.strip_prefix("//!"));
        let first = match is_rust {
            true => doc.filter(|_| !is_inside),
            false => line.strip_prefix("/*"),
        };
        is_inside = doc.is_some();
        found.extend(first.map(|first| (number + 1, first.trim_start_matches('*').trim())));
    }
    found
}

/// The types that a file defines, and whether others can see them.
fn types(text: &str) -> Vec<(&str, bool)> {
    text.lines().filter_map(defined_by).collect()
}

fn defined_by(line: &str) -> Option<(&str, bool)> {
    let code = line.trim_start();
    let after_visibility = match code.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ").map(|(_, rest)| rest),
        Some(rest) => rest.strip_prefix(' '),
        None => None,
    };
    let (keyword, rest) = after_visibility.unwrap_or(code).split_once(' ')?;
    let is_type = match keyword {
        "struct" | "enum" | "union" | "trait" => true,
        // One that is indented belongs to a trait.
        "type" => code.len() == line.len(),
        _ => false,
    };
    let name = rest.split(|it: char| !(it.is_alphanumeric() || it == '_')).next()?;
    (is_type && name.starts_with(char::is_uppercase)).then_some((name, after_visibility.is_some()))
}

/// The folders of all crates: those with a manifest, but for the root's, which has members only.
fn crates(root: &Path) -> Vec<PathBuf> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    members.split('"').skip(1).step_by(2).map(|member| root.join(member)).collect()
}

/// Source files of ours below `folder`, with one of these extensions, in the order of their names.
///
/// Plugins that tests compile are no members of the workspace, and have their reasons for equal names.
pub(crate) fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "fixtures", "node_modules"].contains(&name) {
                found.extend(files(&path, extensions));
            }
        } else if path.extension().is_some_and(|it| extensions.iter().any(|extension| it == *extension)) {
            found.push(path);
        }
    }
    found
}
