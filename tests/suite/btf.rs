//! Our reader of BTF against another one, on the BTF of the kernel that runs.

use stacksonde_btf_offsets::VMLINUX;
use stacksonde_btf_offsets::btf::{Btf, Error};
use stacksonde_tests::skip::skip;
use std::process::Command;

/// A member as bpftool prints it: `'stack' type_id=118 bits_offset=256`.
struct Printed {
    name: String,
    offset_bits: u64,
    bit_field: bool,
}

/// The members of a structure of that name, from `bpftool btf dump file vmlinux format raw`.
fn by_bpftool(structure: &str) -> Result<Vec<Printed>, String> {
    let output = Command::new("bpftool")
        .args(["btf", "dump", "file", VMLINUX, "format", "raw"])
        .output()
        .map_err(|error| format!("bpftool: {error}"))?;
    if !output.status.success() {
        return Err(format!("bpftool: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let head = format!("] STRUCT '{structure}' ");
    let lines = text.lines().skip_while(|line| !line.contains(&head)).skip(1);
    Ok(lines.take_while(|line| line.starts_with('\t')).filter_map(printed).collect())
}

fn printed(line: &str) -> Option<Printed> {
    let (name, rest) = line.trim().strip_prefix('\'')?.split_once('\'')?;
    let field = |name: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(name));
    let offset_bits = field("bits_offset=")?.parse().ok()?;
    let bit_field = field("bitfield_size=").is_some();
    Some(Printed { name: name.into(), offset_bits, bit_field })
}

#[test]
fn every_member_lies_where_bpftool_says() {
    let bytes = match std::fs::read(VMLINUX) {
        Ok(bytes) => bytes,
        Err(error) => return skip("btf", &format!("{VMLINUX}: {error}")),
    };
    let mut btf = Btf::parse(&bytes).unwrap();
    for structure in ["task_struct", "thread_struct", "pid", "mm_struct"] {
        let members = match by_bpftool(structure) {
            Ok(members) => members,
            Err(why) => return skip("btf", &why),
        };
        assert!(!members.is_empty(), "bpftool knows no {structure}");
        let id = btf.structure(structure).unwrap();
        for Printed { name, offset_bits, bit_field } in members.iter().filter(|m| m.name != "(anon)") {
            let found = btf.member(id, &[name]);
            if *bit_field {
                assert_eq!(found, Err(Error::BitField(name.clone())), "{structure}.{name}");
            } else {
                assert_eq!(found.unwrap().offset_bytes * 8, *offset_bits, "{structure}.{name}");
            }
        }
    }
}
