//! Confirming facts on our own task before anything relies on them.

use stacksonde_ebpf::selfprobe::{Error, Selfprobe};

/// Proves that `*(task + task_struct_stack) + stack_pt_regs` is where the kernel keeps the
/// registers with which a thread entered it: values planted in our own registers are there, and
/// others after them, on this thread and on a second one.
///
/// Both in bytes, as the facts `task_struct.stack` and `stack.pt_regs`.
pub fn confirm_entry_registers(task_struct_stack: u64, stack_pt_regs: u64) -> Result<(), Error> {
    Selfprobe::load()?.confirm(task_struct_stack, stack_pt_regs)
}
