//! Independent witnesses of what we read: other programs' readings of the kernel.

use std::process::Command;

/// The file in which the kernel shows its BTF.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A member as bpftool prints it: `'stack' type_id=118 bits_offset=256`.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Its name; `(anon)` for none.
    pub name: String,
    /// Its distance from the start of the structure.
    pub offset_bits: u64,
    /// True if it is a bit field.
    pub bit_field: bool,
}

/// The members of a structure of that name; the error says why there are none, from `bpftool btf dump file vmlinux format raw`.
pub fn by_bpftool(structure: &str) -> Result<Vec<Printed>, String> {
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
