//! Offsets on this machine's kernel: two independent ways to them agree, and wrong ones are not confirmed.

use stacksonde::bpf::confirm_entry_registers;
use stacksonde_plugin::OffsetProvider;
use stacksonde_plugin::fact::{STACK_PT_REGS, TASK_STRUCT_STACK};
use stacksonde_selfprobe_offsets::{EntryRegisters, SelfprobeOffsets, entry_registers};
use stacksonde_tests::root_only;
use stacksonde_tests::skip::skip;

#[test]
fn measuring_and_reading_btf_give_the_same_offset() {
    root_only!();
    let query = [TASK_STRUCT_STACK.to_owned()];
    let Ok(read) = &stacksonde_btf_offsets::BtfOffsets.discover(&query)[0] else {
        return skip("measuring_and_reading_btf_give_the_same_offset", "this kernel has no BTF");
    };
    let measured = SelfprobeOffsets.discover(&query)[0].clone().unwrap();
    assert_eq!(measured.value, read.value, "{measured:?} {read:?}");
}

#[test]
fn measuring_gives_the_same_every_time_and_on_any_thread() {
    root_only!();
    let first = entry_registers().unwrap();
    for _ in 0..8 {
        let again = std::thread::spawn(entry_registers).join().unwrap().unwrap();
        assert_eq!(
            (again.task_struct_stack, again.stack_pt_regs),
            (first.task_struct_stack, first.stack_pt_regs)
        );
    }
}

#[test]
fn confirms_what_is_right_and_nothing_else() {
    root_only!();
    let EntryRegisters { task_struct_stack, stack_pt_regs, .. } = entry_registers().unwrap();
    confirm_entry_registers(task_struct_stack, stack_pt_regs).unwrap();
    for (stack, registers) in [
        (task_struct_stack + 8, stack_pt_regs),
        (task_struct_stack - 8, stack_pt_regs),
        (task_struct_stack, stack_pt_regs + 8),
        (task_struct_stack, stack_pt_regs - 8),
        (task_struct_stack, 1 << 20),
        (task_struct_stack, u64::MAX),
        (u64::MAX - 7, stack_pt_regs),
    ] {
        let error = confirm_entry_registers(stack, registers).unwrap_err();
        assert!(!error.to_string().is_empty(), "{stack:#x} {registers:#x}");
    }
}

#[test]
fn answers_come_in_the_order_of_the_queries() {
    root_only!();
    let queries = [STACK_PT_REGS, "pid.level", TASK_STRUCT_STACK].map(String::from);
    let answers = SelfprobeOffsets.discover(&queries);
    let measured = entry_registers().unwrap();
    assert_eq!(answers[0].as_ref().unwrap().value, measured.stack_pt_regs);
    assert!(answers[1].is_err());
    assert_eq!(answers[2].as_ref().unwrap().value, measured.task_struct_stack);
}
