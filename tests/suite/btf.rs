//! Our reader of BTF against another one, on the BTF of the kernel that runs.

use stacksonde_btf_offsets::VMLINUX;
use stacksonde_btf_offsets::btf::{Btf, Error};
use stacksonde_tests::skip::skip;
use stacksonde_tests::witness::{Printed, by_bpftool};

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
