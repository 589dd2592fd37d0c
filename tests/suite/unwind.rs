//! Unwinding at a desk: the sampler's own C on plain memory, beside the walk in user space; rows beside
//! what `readelf` makes of the same files.

mod desk;
#[cfg(target_arch = "x86_64")]
mod readelf;

use stacksonde::bpf::{Registers, StackCopy, TableMemory, TableSizes};
use stacksonde::process::{parse_maps, segment_of, segments};
use stacksonde::unwind::{
    Architecture, CallFrames, Entry, PageKey, Rule, TableMapping, Tables, leave, name_mark, rows,
};
use stacksonde_ebpf::tables::{NOT_SAVED, PAGE_BITS, mapping_kind, rule_kind};
use stacksonde_ebpf::{LEAF_WORDS, user_end};
use stacksonde_tests::go_program::{TEXT, go_program};
use std::fs::File;

const PID: u32 = 4711;

/// Our own executable mappings and what they show.
struct Ourselves {
    mappings: Vec<TableMapping>,
    files: Vec<(File, CallFrames)>,
}

impl Ourselves {
    fn look() -> Self {
        let mut files: Vec<(String, File, CallFrames)> = Vec::new();
        let mut mappings = Vec::new();
        for map in parse_maps(&std::fs::read("/proc/self/maps").unwrap()) {
            let Ok(file) = File::open(&map.path) else { continue };
            let bytes = std::fs::read(&map.path).unwrap();
            let stated = segment_of(&segments(&*bytes).unwrap(), &map.file_range(), map.file_offset)
                .unwrap()
                .address_of(map.file_offset);
            let index = files.iter().position(|(path, ..)| *path == map.path).unwrap_or_else(|| {
                let frames = CallFrames::find(&file).unwrap().unwrap();
                files.push((map.path.clone(), file, frames));
                files.len() - 1
            });
            mappings.push(TableMapping {
                start: map.start,
                end: map.end,
                bias: stated.wrapping_sub(map.start),
                executable: u32::try_from(index).unwrap(),
                kind: mapping_kind::ROWS,
            });
        }
        Self { mappings, files: files.into_iter().map(|(_, file, frames)| (file, frames)).collect() }
    }

    /// The executable and the file address of an address.
    fn locate(&self, address: u64) -> Option<(u32, u64)> {
        let mapping = self.mappings.iter().find(|map| (map.start..map.end).contains(&address))?;
        Some((mapping.executable, address.wrapping_add(mapping.bias)))
    }

    fn add_page(&self, tables: &mut Tables, executable: u32, address: u64) {
        let (file, frames) = &self.files[executable as usize];
        let rows = frames.rows_of_page(file, address >> PAGE_BITS).unwrap();
        assert!(tables.add_page(PageKey::of(executable, address).unwrap(), &rows));
    }
}

fn tables() -> Tables {
    Tables::new(TableMemory::ours(&TableSizes::for_budget(64, 1024, 1 << 20, 1 << 16)))
}

/// Our registers and the stack above them, taken a few calls deep.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn capture(depth: u32) -> (Registers, StackCopy) {
    if depth > 0 {
        let captured = capture(depth - 1);
        return std::hint::black_box(captured);
    }
    let (pc, sp, fp, bx): (u64, u64, u64, u64);
    // SAFETY: reads registers only.
    unsafe {
        std::arch::asm!(
            "lea {pc}, [rip]", "mov {sp}, rsp", "mov {fp}, rbp", "mov {bx}, rbx",
            pc = out(reg) pc, sp = out(reg) sp, fp = out(reg) fp, bx = out(reg) bx,
        );
    }
    let bytes = usize::try_from(end_of_mapping(sp) - sp).unwrap().min(32 << 10);
    // SAFETY: our own stack, from the stack pointer up to the end of its mapping at most.
    let bytes = unsafe { std::slice::from_raw_parts(sp as *const u8, bytes) };
    let registers = Registers { pc, sp, fp, bx, lr: 0, exact: true };
    (registers, StackCopy::whole(sp, bytes))
}

/// Returns the end of the mapping of an address.
#[cfg(target_arch = "x86_64")]
fn end_of_mapping(address: u64) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
    };
    maps.lines().filter_map(range).find(|range| range.contains(&address)).unwrap().end
}

#[cfg(target_arch = "x86_64")]
#[test]
fn kernel_and_user_space_walk_our_own_stack_alike() {
    let (registers, stack) = std::thread::spawn(|| capture(5)).join().unwrap();
    let ourselves = Ourselves::look();
    let mut tables = tables();
    let leaf = [0; LEAF_WORDS];
    assert_eq!(desk::walk(tables.memory(), (PID, 0), &registers, leaf, &stack).0, user_end::NO_PROCESS);
    assert!(tables.set_process(PID, &ourselves.mappings, 0, 0));

    // The C, each time it lacks a page, gets it.
    let (end, frames) = loop {
        let (end, frames, last) = desk::walk(tables.memory(), (PID, 0), &registers, leaf, &stack);
        if end != user_end::NO_ROWS {
            break (end, frames);
        }
        let (executable, address) = ourselves.locate(last.address()).unwrap();
        assert!(tables.rule_at(executable, address).is_none(), "the page was added and not found");
        ourselves.add_page(&mut tables, executable, address);
    };
    let mut expected = vec![registers.pc];
    let mut frame = registers;
    let expected_end = loop {
        let Some((executable, address)) = ourselves.locate(frame.address()) else {
            break user_end::NO_MAPPING;
        };
        let rule = tables.rule_at(executable, address).unwrap();
        match leave(&frame, rule, Some(&leaf), &stack, Architecture::OURS) {
            Ok(caller) => frame = caller,
            Err(end) => break end,
        }
        expected.push(frame.pc);
    };
    assert_eq!((end, &frames), (expected_end, &expected));
    assert_eq!(end, user_end::COMPLETE, "down to the thread's clone: {frames:x?}");
    assert!(frames.len() > 10, "{frames:x?}");
}

/// Every kind of rule with all sorts of registers: the C and the Rust agree on the caller or on the reason.
#[test]
fn kernel_and_user_space_leave_any_frame_alike() {
    let mut random = stacksonde_tests::fuzz::Random::new(7);
    let stack_start = 0x7fff_0000_0000u64;
    let mut endings = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let bytes: Vec<u8> = (0..256)
            .flat_map(|_| {
                // Words that look like addresses of this stack, of code, or like nothing.
                let word = match random.below(4) {
                    0 => 0,
                    1 => stack_start + random.below(2048) as u64 / 8 * 8,
                    2 => 0x40_0000 + random.below(4096) as u64,
                    _ => random.below(usize::MAX) as u64,
                };
                word.to_ne_bytes()
            })
            .collect();
        let stack = StackCopy::whole(stack_start, bytes);
        let mut near = || stack_start + random.below(260) as u64 * 8;
        let frame = Registers { pc: 0x40_0123, sp: near(), fp: near(), bx: near(), lr: near(), exact: true };
        let leaf = std::array::from_fn(|_| near());
        let kinds = [
            rule_kind::NONE,
            rule_kind::SP,
            rule_kind::FP,
            rule_kind::BX,
            rule_kind::PLT,
            rule_kind::DEREF_SP,
            rule_kind::DEREF_FP,
            rule_kind::SIGNAL,
            rule_kind::END,
            rule_kind::UNSUPPORTED,
            rule_kind::REGISTER + 11,
            rule_kind::RETURN_IN + 5,
        ];
        let offset =
            |random: &mut stacksonde_tests::fuzz::Random| i16::try_from(random.below(40)).unwrap() - 8;
        let rule = Rule {
            kind: kinds[random.below(kinds.len())],
            cfa: offset(&mut random).into(),
            fp: [offset(&mut random), stacksonde_ebpf::tables::NOT_SAVED, stacksonde_ebpf::tables::AT_FP]
                [random.below(3)],
            other: [offset(&mut random), stacksonde_ebpf::tables::NOT_SAVED][random.below(2)],
        };
        let rule = match rule.kind {
            rule_kind::NONE => [Rule::NONE, Rule::BARE][random.below(2)],
            _ => rule,
        };
        let sizes = TableSizes {
            process_lines: 16,
            mappings: 16,
            page_lines: 16,
            row_lines: 64,
            recent_lines: 0,
            rules: 16,
            filter_lines: 16,
        };
        let mut tables = Tables::new(TableMemory::ours(&sizes));
        let mapping = TableMapping {
            start: 0x40_0000,
            end: 0x40_1000,
            bias: 0,
            executable: 1,
            kind: mapping_kind::ROWS,
        };
        assert!(tables.set_process(PID, &[mapping], 0, 0));
        // The rule holds for the sampled address only; whatever is next ends the walk.
        let rows = [(0x40_0000, Rule::END), (0x40_0123, rule), (0x40_0124, Rule::END)];
        assert!(tables.add_page(PageKey::of(1, 0x40_0000).unwrap(), &rows));
        let (end, frames, last) = desk::walk(tables.memory(), (PID, 0), &frame, leaf, &stack);
        match leave(&frame, rule, Some(&leaf), &stack, Architecture::OURS) {
            Ok(caller) => {
                assert!(frames.len() >= 2, "{rule:?} {frame:?}: {end} and not {caller:?}");
                assert_eq!(frames[1], caller.pc, "{rule:?} {frame:?}");
                if frames.len() == 2 {
                    assert_eq!(last, caller, "{rule:?} {frame:?}");
                }
                endings.insert("moved");
            }
            Err(expected) => {
                // What lies far beyond a copy was not tried; the sampler tries.
                let expected =
                    if expected == user_end::STACK_CUT { user_end::STACK_UNREADABLE } else { expected };
                assert_eq!((end, frames.len()), (expected, 1), "{rule:?} {frame:?}");
                endings.insert(user_end::name(expected));
            }
        }
    }
    for ending in ["moved", "complete", "stack_unreadable", "bad_frame", "bad_frame_pointer", "no_code"] {
        assert!(endings.contains(ending), "{ending} did not occur: {endings:?}");
    }
}

#[test]
fn go_s_table_becomes_rows() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("go"), go_program()).unwrap();
    let file = File::open(folder.path().join("go")).unwrap();
    let frames = CallFrames::find(&file).unwrap().unwrap();
    assert!(frames.is_go());
    let rows = frames.rows_of_page(&file, TEXT >> PAGE_BITS).unwrap();
    let taken = |words, fp| Rule { kind: rule_kind::SP, cfa: words, fp, other: NOT_SAVED };
    let expected = [
        (TEXT, taken(1, NOT_SAVED)),
        (TEXT + 0x21, taken(2, -2)),
        (TEXT + 0x24, taken(6, -2)),
        // From the byte before on, where who returns there is looked for.
        (TEXT + 0x3f, Rule::SIGNAL),
        (TEXT + 0x60, Rule::END),
        (TEXT + 0x80, Rule::BARE),
    ];
    assert_eq!(rows, expected);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn who_called_go_s_innermost_function_is_found_when_its_page_is_not_there() {
    let mut tables = tables();
    let kind = mapping_kind::GO;
    let mapping = TableMapping { start: TEXT, end: TEXT + 0x1000, bias: 0, executable: 1, kind };
    assert!(tables.set_process(PID, &[mapping], 0, 0));
    // Two stacks: the frame pointer leads from the one to the other.
    let words = [TEXT + 0x30, 0, 0, 0, 0, TEXT + 0x40];
    let stack =
        StackCopy::whole(0x1000, words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>());
    let frame = Registers { pc: TEXT + 8, sp: 0x1000, fp: 0x1020, exact: true, ..Registers::default() };
    let (end, frames, _) = desk::walk(tables.memory(), (PID, 0), &frame, [0; LEAF_WORDS], &stack);
    assert_eq!(
        (end, &*frames),
        (user_end::NO_ROWS, &[TEXT + 8, TEXT + 0x40][..]),
        "by frame pointers, up to where rows must say whether a stack begins there"
    );
    let leaf = Rule { kind: rule_kind::SP, cfa: 1, fp: NOT_SAVED, other: NOT_SAVED };
    let rows = [(TEXT, leaf), (TEXT + 0x38, Rule::END)];
    assert!(tables.add_page(PageKey::of(1, TEXT).unwrap(), &rows));
    let (end, frames, _) = desk::walk(tables.memory(), (PID, 0), &frame, [0; LEAF_WORDS], &stack);
    assert_eq!((end, frames), (user_end::COMPLETE, vec![TEXT + 8, TEXT + 0x30, TEXT + 0x40]));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn in_the_system_call_that_leaves_a_signal_handler_the_frame_is_still_the_signals() {
    // `mov $15, %rax; syscall` of __restore_rt (glibc's sysdeps/unix/sysv/linux/x86_64/libc_sigaction.c).
    const RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
    let ourselves = Ourselves::look();
    let trampoline = ourselves.mappings.iter().find_map(|mapping| {
        let length = usize::try_from(mapping.end - mapping.start).unwrap();
        // SAFETY: a mapping of our own that stays.
        let code = unsafe { std::slice::from_raw_parts(mapping.start as *const u8, length) };
        Some(mapping.start + code.windows(RETURN.len()).position(|bytes| bytes == RETURN)? as u64)
    });
    let (executable, address) = ourselves.locate(trampoline.unwrap()).unwrap();
    let mut tables = tables();
    ourselves.add_page(&mut tables, executable, address);
    let rule_at = |tables: &mut Tables, offset| tables.rule_at(executable, address + offset);
    for offset in [0, 7, 9] {
        assert_eq!(rule_at(&mut tables, offset), Some(Rule::SIGNAL), "{offset} bytes after its start");
    }
    assert_ne!(rule_at(&mut tables, 10), Some(Rule::SIGNAL));
}

#[test]
fn under_another_name_a_process_is_another_program() {
    let mut tables = tables();
    let mapping = TableMapping {
        start: TEXT,
        end: TEXT + 9,
        bias: 0,
        executable: 0,
        kind: mapping_kind::FRAME_POINTERS,
    };
    let [sh, sed] = [b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"sed\0\0\0\0\0\0\0\0\0\0\0\0\0"];
    for name in [sh, sed, b"fifteen letters\0"] {
        assert_eq!(name_mark(name), desk::name_mark(name), "the same in C and in Rust");
    }
    assert!(tables.set_process(PID, &[mapping], name_mark(sh), 0));
    let frame = Registers { pc: TEXT, sp: 0x1000, exact: true, ..Registers::default() };
    let end = |name| {
        desk::walk(tables.memory(), (PID, name), &frame, [0; LEAF_WORDS], &StackCopy::whole(0x1000, [])).0
    };
    assert_eq!(end(name_mark(sh)), user_end::NO_FRAME_POINTER);
    assert_eq!(end(0), user_end::NO_FRAME_POINTER, "a thread's name tells nothing");
    assert_eq!(end(name_mark(sed)), user_end::NO_PROCESS);
}

#[test]
fn a_functions_entry_becomes_rows() {
    let data = crate::fuzz::unwind_entry();
    let (at, bytes) = data.split_first_chunk::<2>().unwrap();
    let entry = Entry { bytes, description: u16::from_le_bytes(*at).into(), address: 0x40_0000 };
    let (rows, end) = rows(entry, &(0..u64::MAX), Architecture::X86_64).unwrap();
    let rule = |kind, cfa, fp| Rule { kind, cfa, fp, other: NOT_SAVED };
    let first = rows[0].0;
    assert_eq!(end - first, 64);
    let expected = [
        (first, rule(rule_kind::SP, 1, NOT_SAVED)),
        (first + 1, rule(rule_kind::SP, 2, -2)),
        (first + 4, rule(rule_kind::FP, 2, -2)),
        (first + 52, rule(rule_kind::SP, 1, -2)),
    ];
    assert_eq!(rows, expected);
}
