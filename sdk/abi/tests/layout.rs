//! The layout of everything that crosses, kept as text: `layout-1.txt` may only grow.
//!
//! `cargo test -p stacksonde-abi -- --ignored appends_to_the_snapshot` writes the snapshot again, and refuses
//! to if anything but an append happened.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use stacksonde_abi::abi_stable::type_layout::{TLData, TLField, TypeLayout};
use stacksonde_abi::abi_stable::StableAbi;
use stacksonde_abi::{HostRef, PluginRef};
use std::collections::BTreeMap;
use std::fmt::Write;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/layout-1.txt");

/// A type: its head (kind, size, alignment), and its fields in order.
type Types = BTreeMap<String, (String, Vec<String>)>;

/// Everything that can be reached from `roots`.
fn types(roots: &[&'static TypeLayout]) -> Types {
    let mut types = Types::new();
    let mut todo = roots.to_vec();
    let mut seen = Vec::new();
    while let Some(layout) = todo.pop() {
        if seen.contains(&layout.get_utypeid()) {
            continue;
        }
        seen.push(layout.get_utypeid());
        let (head, fields) = (head(layout), fields(layout));
        let mut name = format!("{}::{}::{}", layout.package(), layout.mod_path(), name(layout, 4));
        // Generic types of others have one name and many shapes.
        if layout.package() != "stacksonde-abi" && !fields.is_empty() {
            write!(name, " {{ {} }}", fields.join("; ")).unwrap();
        }
        types.insert(name, (head, fields));
        todo.extend(layout.shared_vars().type_layouts().iter().map(|layout| layout()));
    }
    types
}

/// With its parameters, and theirs, up to `depth`.
fn name(layout: &TypeLayout, depth: u32) -> String {
    let parameters: Vec<_> = match layout.data() {
        _ if depth == 0 => Vec::new(),
        // `RResult` and `ROption` state no parameters; their variants hold them.
        TLData::Enum(variants) => {
            variants.fields.iter().map(|field| name(field.layout(), depth - 1)).collect()
        }
        _ => layout.generics().type_params().iter().map(|of| name(of(), depth - 1)).collect(),
    };
    match parameters.len() {
        0 => layout.name().into(),
        _ => format!("{}<{}>", layout.name(), parameters.join(", ")),
    }
}

fn head(layout: &TypeLayout) -> String {
    let (size, align) = (layout.size(), layout.alignment());
    match layout.data() {
        // It grows with its fields, which are asked for one by one.
        TLData::PrefixType(prefix) => {
            format!("prefix of {} fields, align {align}", prefix.first_suffix_field)
        }
        TLData::Enum(variants) => {
            format!("enum of {}, size {size}, align {align}", variants.variant_names)
        }
        TLData::Primitive(_) => format!("primitive, size {size}, align {align}"),
        TLData::Opaque => format!("opaque, size {size}, align {align}"),
        TLData::Struct { .. } => format!("struct, size {size}, align {align}"),
        TLData::Union { .. } => format!("union, size {size}, align {align}"),
    }
}

fn fields(layout: &TypeLayout) -> Vec<String> {
    layout.get_fields().map_or_else(Vec::new, |fields| fields.iter().map(|field| line(&field)).collect())
}

fn line(field: &TLField) -> String {
    let mut line = format!("{}: {}", field.name(), name(field.layout(), 4));
    for function in field.function_range().iter() {
        let returned = function.return_type_layout().map_or("()".into(), |layout| name(layout(), 4));
        write!(line, ", {function}, returns {returned}").unwrap();
    }
    one_line(&line)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn to_text(types: &Types) -> String {
    let mut text = String::new();
    for (name, (head, fields)) in types {
        writeln!(text, "{name}\n  {head}").unwrap();
        for field in fields {
            writeln!(text, "    {field}").unwrap();
        }
    }
    text
}

fn from_text(text: &str) -> Types {
    let mut types = Types::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(field) = line.strip_prefix("    ") {
            types.get_mut(&name).unwrap().1.push(field.into());
        } else if let Some(head) = line.strip_prefix("  ") {
            types.insert(name.clone(), (head.into(), Vec::new()));
        } else {
            name = line.into();
        }
    }
    types
}

/// Lists the changes between two layouts that are not appends.
fn breaks(before: &Types, after: &Types) -> Vec<String> {
    let mut breaks = Vec::new();
    for (name, (head, fields)) in before {
        let Some((new_head, new_fields)) = after.get(name) else {
            breaks.push(format!("{name} is gone"));
            continue;
        };
        if head != new_head {
            breaks.push(format!("{name} was `{head}` and is `{new_head}`"));
        }
        for (index, field) in fields.iter().enumerate() {
            if new_fields.get(index) != Some(field) {
                breaks
                    .push(format!("{name}: field {index} was `{field}` and is {:?}", new_fields.get(index)));
            }
        }
        if new_fields.len() > fields.len() && !head.starts_with("prefix") {
            breaks.push(format!("{name} is not a prefix type and has a field more"));
        }
    }
    breaks
}

fn now() -> Types {
    types(&[<PluginRef as StableAbi>::LAYOUT, <HostRef as StableAbi>::LAYOUT])
}

#[test]
fn what_crosses_has_only_grown_since_the_snapshot() {
    let kept = from_text(&std::fs::read_to_string(SNAPSHOT).unwrap());
    let breaks = breaks(&kept, &now());
    assert!(breaks.is_empty(), "a plugin built before would not load any more:\n{}", breaks.join("\n"));
    assert!(
        kept == now(),
        "append it to the snapshot: cargo test -p stacksonde-abi -- --ignored appends_to_the_snapshot"
    );
}

#[test]
#[ignore = "writes the snapshot"]
fn appends_to_the_snapshot() {
    if let Ok(text) = std::fs::read_to_string(SNAPSHOT) {
        let breaks = breaks(&from_text(&text), &now());
        assert!(breaks.is_empty(), "no append:\n{}", breaks.join("\n"));
    }
    std::fs::write(SNAPSHOT, to_text(&now())).unwrap();
}

#[test]
fn the_snapshot_holds_what_both_sides_call() {
    let text = std::fs::read_to_string(SNAPSHOT).unwrap();
    for part in ["init: ", "exporter: ", "enabled: ", "event: ", "negotiate: ", "create: ", "discover: "] {
        assert!(text.contains(&format!("    {part}")), "{part}");
    }
    assert_eq!(to_text(&from_text(&text)), text);
}

#[test]
fn only_appends_are_accepted() {
    let now = now();
    let changed = |change: &dyn Fn(&mut Types)| {
        let mut after = now.clone();
        change(&mut after);
        breaks(&now, &after)
    };
    let find = |types: &Types, part: &str| types.keys().find(|name| name.contains(part)).unwrap().clone();
    let (root, fault) = (find(&now, "root::Plugin"), find(&now, "fault::Fault"));
    let field = |types: &mut Types, name: &str, change: &dyn Fn(&mut Vec<String>)| {
        change(&mut types.get_mut(name).unwrap().1);
    };

    let append: &dyn Fn(&mut Vec<String>) = &|fields| fields.push("later: u64".into());
    assert_eq!(changed(&|types| field(types, &root, append)), Vec::<String>::new());
    assert_eq!(changed(&|types| _ = types.insert("new".into(), Default::default())), Vec::<String>::new());

    let breaking: [&dyn Fn(&mut Types); 6] = [
        &|types| field(types, &fault, append),
        &|types| field(types, &root, &|fields| fields.swap(1, 2)),
        &|types| field(types, &root, &|fields| _ = fields.pop()),
        &|types| field(types, &root, &|fields| fields.insert(0, "first: u64".into())),
        &|types| _ = types.remove(&fault),
        &|types| types.get_mut(&root).unwrap().0 = "prefix of 5 fields, align 8".into(),
    ];
    for change in breaking {
        assert!(!changed(change).is_empty());
    }
}
