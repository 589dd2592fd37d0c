//! bpf(2) itself, as far as small programs need it (`include/uapi/linux/bpf.h`): for trying what the kernel
//! has, and for the analysis program. The library that loads the sampler reads all of the kernel's BTF
//! first, whether it is wanted or not, which takes longer than all the rest.

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_cmd::*, bpf_insn, bpf_map_type, bpf_prog_type};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Creates a map; `inner` is one of those that a map of maps shall hold.
pub fn create_map(
    kind: bpf_map_type,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    inner: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_1.map_type = kind as u32;
    attributes.__bindgen_anon_1.key_size = key_bytes;
    attributes.__bindgen_anon_1.value_size = value_bytes;
    attributes.__bindgen_anon_1.max_entries = entries;
    if let Some(inner) = inner {
        attributes.__bindgen_anon_1.inner_map_fd = number(inner)?;
    }
    descriptor(BPF_MAP_CREATE, &mut attributes)
}

/// Loads a program under the licence GPL.
pub fn load_program(kind: bpf_prog_type, program: &[bpf_insn]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attributes = zeroed();
    attributes.__bindgen_anon_3.prog_type = kind as u32;
    attributes.__bindgen_anon_3.insn_cnt = u32::try_from(program.len()).map_err(io::Error::other)?;
    attributes.__bindgen_anon_3.insns = program.as_ptr().expose_provenance() as u64;
    attributes.__bindgen_anon_3.license = license.as_ptr().expose_provenance() as u64;
    descriptor(BPF_PROG_LOAD, &mut attributes)
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
        self.element(BPF_MAP_LOOKUP_ELEM, std::ptr::from_mut(value))
    }

    /// Writes the value.
    pub fn set(&self, value: &T) -> io::Result<()> {
        self.element(BPF_MAP_UPDATE_ELEM, std::ptr::from_ref(value).cast_mut())
    }

    fn element(&self, command: bpf_cmd, value: *mut T) -> io::Result<()> {
        let key = 0u32;
        let mut attributes = zeroed();
        attributes.__bindgen_anon_2.map_fd = number(self.map.as_fd())?;
        attributes.__bindgen_anon_2.key = std::ptr::from_ref(&key).expose_provenance() as u64;
        attributes.__bindgen_anon_2.__bindgen_anon_1.value = value.expose_provenance() as u64;
        bpf(command, &mut attributes).map(drop)
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
