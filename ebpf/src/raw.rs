//! bpf(2) itself, as far as small programs need it (`include/uapi/linux/bpf.h`): for trying what the kernel
//! has, and for the analysis program. The library that loads the sampler reads all of the kernel's BTF
//! first, whether it is wanted or not, which takes longer than all the rest.

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_cmd::*, bpf_insn, bpf_map_type, bpf_prog_type};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The type and size of a map.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapShape {
    /// A value of [`bpf_map_type`].
    pub kind: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// The largest number of entries; for a ring buffer, bytes.
    pub entries: u32,
    /// `BPF_F_` flags.
    pub flags: u32,
}

/// Creates a map without a name; `inner` is one of those that a map of maps shall hold.
pub fn create_map(
    kind: bpf_map_type,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    inner: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    create_named_map("", &MapShape { kind: kind as u32, key_bytes, value_bytes, entries, flags: 0 }, inner)
}

/// Creates a map; `inner` is one of those that a map of maps shall hold.
pub fn create_named_map(name: &str, shape: &MapShape, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_1.map_type = shape.kind;
    attributes.__bindgen_anon_1.key_size = shape.key_bytes;
    attributes.__bindgen_anon_1.value_size = shape.value_bytes;
    attributes.__bindgen_anon_1.max_entries = shape.entries;
    attributes.__bindgen_anon_1.map_flags = shape.flags;
    attributes.__bindgen_anon_1.map_name = object_name(name);
    if let Some(inner) = inner {
        attributes.__bindgen_anon_1.inner_map_fd = number(inner)?;
    }
    descriptor(BPF_MAP_CREATE, &mut attributes)
}

/// Makes a map one that only programs read; arrays of constants.
pub fn freeze_map(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_2.map_fd = number(map)?;
    bpf(BPF_MAP_FREEZE, &mut attributes).map(drop)
}

/// Writes an element of an array.
///
/// # Safety
///
/// The array's values must not be larger than `value`.
pub unsafe fn update_element(map: BorrowedFd<'_>, index: u32, value: &[u8]) -> io::Result<()> {
    element(BPF_MAP_UPDATE_ELEM, map, index, value.as_ptr().cast_mut())
}

/// Writes elements of an array, `bytes` of each side by side in `values`: at once where the kernel has that for
/// such an array (`BPF_MAP_UPDATE_BATCH`), else one after the other.
///
/// # Safety
///
/// The array's values must be of this size.
pub unsafe fn update_elements(
    map: BorrowedFd<'_>,
    indices: &[u32],
    values: &[u8],
    bytes: usize,
) -> io::Result<()> {
    let count = indices.len().min(values.len() / bytes.max(1));
    let mut attributes = zeroed();
    attributes.batch.map_fd = number(map)?;
    attributes.batch.keys = indices.as_ptr().expose_provenance() as u64;
    attributes.batch.values = values.as_ptr().expose_provenance() as u64;
    attributes.batch.count = u32::try_from(count).map_err(io::Error::other)?;
    if bpf(BPF_MAP_UPDATE_BATCH, &mut attributes).is_ok() {
        return Ok(());
    }
    for (index, value) in indices.iter().zip(values.chunks_exact(bytes)) {
        // SAFETY: the caller's promise.
        unsafe { update_element(map, *index, value)? };
    }
    Ok(())
}

/// Reads an element of an array into `value`; of an array per CPU the values of all possible CPUs side by side,
/// each rounded up to 8 bytes.
///
/// # Safety
///
/// The array's values must not be larger than `value`; of an array per CPU all together.
pub unsafe fn read_element<T: Plain>(map: BorrowedFd<'_>, index: u32, value: &mut [T]) -> io::Result<()> {
    element(BPF_MAP_LOOKUP_ELEM, map, index, value.as_mut_ptr().cast())
}

fn element(command: bpf_cmd, map: BorrowedFd<'_>, index: u32, value: *mut u8) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_2.map_fd = number(map)?;
    attributes.__bindgen_anon_2.key = std::ptr::from_ref(&index).expose_provenance() as u64;
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = value.expose_provenance() as u64;
    bpf(command, &mut attributes).map(drop)
}

/// Loads types (BTF, Documentation/bpf/btf.rst).
pub fn load_btf(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_7.btf = types.as_ptr().expose_provenance() as u64;
    attributes.__bindgen_anon_7.btf_size = u32::try_from(types.len()).map_err(io::Error::other)?;
    descriptor(BPF_BTF_LOAD, &mut attributes)
}

/// The types of a program's functions, without which the kernel takes none of them for global.
#[derive(Debug)]
pub struct Types<'a> {
    /// BTF in the kernel.
    pub btf: BorrowedFd<'a>,
    /// `struct bpf_func_info` of each function, side by side.
    pub functions: Vec<u8>,
    /// Bytes of each.
    pub function_bytes: usize,
    /// `struct bpf_line_info` of each line, side by side.
    pub lines: Vec<u8>,
    /// Bytes of each.
    pub line_bytes: usize,
}

/// A program to be loaded, under the licence GPL.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: &'a str,
    /// Its type.
    pub kind: bpf_prog_type,
    /// Its instructions, those of the functions that it calls at the end.
    pub instructions: &'a [bpf_insn],
    /// Types of its functions.
    pub types: Option<&'a Types<'a>>,
}

/// Loads a program without a name and types.
pub fn load_program(kind: bpf_prog_type, instructions: &[bpf_insn]) -> io::Result<OwnedFd> {
    load_once(&Program { name: "", kind, instructions, types: None }, &mut [])
}

/// Loads a program; if the kernel refuses it, the error comes with what the verifier wrote, where it did.
pub fn load_named_program(program: &Program<'_>) -> Result<OwnedFd, (io::Error, String)> {
    const LOG_BYTES: [usize; 3] = [64 << 10, 1 << 20, 16 << 20];
    let mut refused = match load_once(program, &mut []) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => error,
    };
    let mut log = Vec::new();
    for bytes in LOG_BYTES {
        log = vec![0; bytes];
        match load_once(program, &mut log) {
            Ok(loaded) => return Ok(loaded),
            // It had more to say.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => refused = error,
            Err(error) => {
                refused = error;
                break;
            }
        }
    }
    log.truncate(log.iter().position(|byte| *byte == 0).unwrap_or(log.len()));
    Err((refused, String::from_utf8_lossy(&log).into_owned()))
}

fn load_once(program: &Program<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let count = |length: usize| u32::try_from(length).map_err(io::Error::other);
    let mut attributes = zeroed();
    attributes.__bindgen_anon_3.prog_type = program.kind as u32;
    attributes.__bindgen_anon_3.prog_name = object_name(program.name);
    attributes.__bindgen_anon_3.insn_cnt = count(program.instructions.len())?;
    attributes.__bindgen_anon_3.insns = program.instructions.as_ptr().expose_provenance() as u64;
    attributes.__bindgen_anon_3.license = license.as_ptr().expose_provenance() as u64;
    if let Some(types) = program.types {
        let records = |bytes: &[u8], each: usize| count(bytes.len() / each.max(1));
        attributes.__bindgen_anon_3.prog_btf_fd = number(types.btf)?;
        attributes.__bindgen_anon_3.func_info = types.functions.as_ptr().expose_provenance() as u64;
        attributes.__bindgen_anon_3.func_info_cnt = records(&types.functions, types.function_bytes)?;
        attributes.__bindgen_anon_3.func_info_rec_size = count(types.function_bytes)?;
        attributes.__bindgen_anon_3.line_info = types.lines.as_ptr().expose_provenance() as u64;
        attributes.__bindgen_anon_3.line_info_cnt = records(&types.lines, types.line_bytes)?;
        attributes.__bindgen_anon_3.line_info_rec_size = count(types.line_bytes)?;
    }
    if !log.is_empty() {
        attributes.__bindgen_anon_3.log_level = 1;
        attributes.__bindgen_anon_3.log_size = count(log.len())?;
        attributes.__bindgen_anon_3.log_buf = log.as_mut_ptr().expose_provenance() as u64;
    }
    descriptor(BPF_PROG_LOAD, &mut attributes)
}

/// A name as the kernel wants it: 15 bytes at most, letters, digits, `_` and `.`
/// (`bpf_obj_name_cpy`, kernel/bpf/syscall.c); others are made `_`.
fn object_name(name: &str) -> [libc::c_char; 16] {
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().take(15).zip(name.bytes()) {
        let byte = if byte.is_ascii_alphanumeric() || byte == b'.' { byte } else { b'_' };
        *place = byte.cast_signed();
    }
    bytes
}

/// Runs a program once, without a context (BPF_PROG_TEST_RUN).
pub fn run(program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.test.prog_fd = number(program)?;
    bpf(BPF_PROG_TEST_RUN, &mut attributes).map(drop)
}

/// Attaches a program to a raw tracepoint, until the descriptor is closed.
pub fn open_raw_tracepoint(name: &CStr, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.raw_tracepoint.name = name.as_ptr().expose_provenance() as u64;
    attributes.raw_tracepoint.prog_fd = number(program)?;
    descriptor(BPF_RAW_TRACEPOINT_OPEN, &mut attributes)
}

/// An array of one value of the type `T`.
#[derive(Debug)]
pub struct One<T> {
    map: OwnedFd,
    value: std::marker::PhantomData<T>,
}

/// Types that are plain numbers without padding: any bytes are a value.
///
/// # Safety
///
/// That must be so.
pub unsafe trait Plain: Copy {}

impl<T: Plain> One<T> {
    /// Creates it.
    pub fn create() -> io::Result<Self> {
        let bytes = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
        let map = create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY, 4, bytes, 1, None)?;
        Ok(Self { map, value: std::marker::PhantomData })
    }

    /// For programs that use it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Reads the value into `value`.
    pub fn get(&self, value: &mut T) -> io::Result<()> {
        // SAFETY: the map was created for one value of this type.
        unsafe { read_element(self.map.as_fd(), 0, std::slice::from_mut(value)) }
    }

    /// Writes the value.
    pub fn set(&self, value: &T) -> io::Result<()> {
        element(BPF_MAP_UPDATE_ELEM, self.map.as_fd(), 0, std::ptr::from_ref(value).cast_mut().cast())
    }
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of plain integers, for which zero is a value, the documented default.
    unsafe { std::mem::zeroed() }
}

fn number(descriptor: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(descriptor.as_raw_fd()).map_err(io::Error::other)
}

fn descriptor(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let descriptor = bpf(command, attributes)?;
    let descriptor = libc::c_int::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<libc::c_long> {
    let bytes = libc::c_uint::try_from(size_of::<bpf_attr>()).map_err(io::Error::other)?;
    // SAFETY: `attributes` has the stated size; the pointers in it, if any, are of live values of
    // the callers, as large as the maps' keys and values.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_uint, std::ptr::from_mut(attributes), bytes)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
