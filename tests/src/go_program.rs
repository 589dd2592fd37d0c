//! A file as Go's linker makes it, as small as can be: code of four functions, and the table that tells of them.
#![allow(clippy::cast_possible_truncation, reason = "the file is small")]

/// The address of its code, in memory and in the file.
pub const TEXT: u64 = 0x40_1000;

/// x86-64, Go 1.20's table: `main.leaf` takes no stack, `main.work` 8 bytes from its second instruction on and 40 from
/// its third, `runtime.sigreturn` is what signals return to, `runtime.goexit` has nothing below it.
pub fn go_program() -> Vec<u8> {
    let text_offset = 0x1000_u64;
    let code: [(&str, u8, &[u8], &[u8]); 4] = [
        // Steps of {size, zigzag; bytes of code}, from -1 on.
        ("main.leaf", 0, &[0x90; 31], &[2, 32, 0]),
        ("main.work", 0, &[0x55, 0x48, 0x89, 0xe5], &[2, 1, 16, 3, 64, 28, 0]),
        ("runtime.sigreturn", 4, &[0xb8, 15, 0, 0, 0, 0x0f, 0x05, 0xcc], &[2, 32, 0]),
        ("runtime.goexit", 1 | 4, &[0x90, 0xe8, 0, 0, 0, 0], &[2, 32, 0]),
    ];
    let count = code.len() as u64;
    let (mut text, mut names, mut sizes) = (Vec::new(), vec![0], vec![0]);
    let (mut table, mut functions) = (Vec::new(), Vec::new());
    let table_bytes = code.len() * 8 + 4;
    for (name, flags, bytes, steps) in code {
        let (start, at) = (text.len() as u32, (table_bytes + functions.len()) as u32);
        table.extend([start, at].iter().flat_map(|word| word.to_le_bytes()));
        // entryOff, nameOff, args, deferreturn, pcsp, pcfile, pcln, npcdata, cuOffset, startLine; funcID, flag, _, nfuncdata.
        let words = [start, names.len() as u32, 0, 0, sizes.len() as u32, 0, 0, 0, 0, 1];
        functions.extend(words.iter().flat_map(|word| word.to_le_bytes()).chain([0, flags, 0, 0]));
        names.extend(name.bytes().chain([0]));
        sizes.extend(steps);
        text.extend(bytes);
        text.resize(text.len().next_multiple_of(32), 0xcc);
    }
    table.extend((text.len() as u32).to_le_bytes());
    let names_at = 72;
    let sizes_at = names_at + names.len() as u64;
    let table_at = (sizes_at + sizes.len() as u64).next_multiple_of(8);
    let mut pclntab = [&0xffff_fff1_u32.to_le_bytes()[..], &[0, 0, 1, 8]].concat();
    let words = [count, 0, TEXT, names_at, 0, 0, sizes_at, table_at];
    pclntab.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    pclntab.extend(names.iter().chain(&sizes));
    pclntab.resize(table_at as usize, 0);
    pclntab.extend(table.iter().chain(&functions));
    let section_names = b"\0.text\0.gopclntab\0.shstrtab\0";
    let pclntab_offset = text_offset + text.len() as u64;
    let names_offset = pclntab_offset + pclntab.len() as u64;
    let sections_offset = (names_offset + section_names.len() as u64).next_multiple_of(8);
    // e_ident; ET_EXEC, EM_X86_64, version, entry, program headers, section headers, flags, sizes and numbers.
    let mut file = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[2, 0, 62, 0, 1, 0, 0, 0]].concat();
    file.extend([TEXT, 64, sections_offset].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([0; 4]);
    file.extend([64_u16, 56, 1, 64, 4, 3].iter().flat_map(|word| word.to_le_bytes()));
    // PT_LOAD, R X; offset, virtual and physical address, sizes in file and memory, alignment.
    file.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes()));
    let length = text.len() as u64;
    file.extend([text_offset, TEXT, TEXT, length, length, 0x1000].iter().flat_map(|word| word.to_le_bytes()));
    file.resize(text_offset as usize, 0);
    file.extend(text.iter().chain(&pclntab).chain(section_names));
    file.resize(sections_offset as usize, 0);
    for (name, kind, address, offset, bytes) in [
        (0_u32, 0_u32, 0, 0, 0),
        (1, 1, TEXT, text_offset, length),
        (7, 1, 0, pclntab_offset, pclntab.len() as u64),
        (18, 3, 0, names_offset, section_names.len() as u64),
    ] {
        file.extend([name, kind].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([0, address, offset, bytes, 0, 1, 0].iter().flat_map(|word: &u64| word.to_le_bytes()));
    }
    file
}
