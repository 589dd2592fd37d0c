//! Loads the analysis program, and attaches it where that is the way.

use super::error::Error;
use crate::object::{ObjectError, Unloaded};
use aya_obj::generated::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_FLAG_FD_CLOEXEC, bpf_prog_type, perf_event_attr,
    perf_type_id::PERF_TYPE_TRACEPOINT,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Loads the program `name` of an object; `maps` are those that the object speaks of, by name.
pub(super) fn load(
    object: &[u8],
    name: &str,
    kind: bpf_prog_type,
    maps: &[(&str, BorrowedFd<'_>)],
) -> Result<OwnedFd, Error> {
    let refused = |error: ObjectError| Error::Refused(error.to_string());
    let object = Unloaded::parse(object).and_then(|object| object.link_to(maps)).map_err(refused)?;
    object.load_program(name, kind).map_err(refused)
}

/// Usual mount points of tracefs.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Runs a program at a tracepoint, on every CPU, until the descriptor is closed.
pub(super) fn attach_tracepoint(category: &str, name: &str, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let read = |root: &&str| std::fs::read_to_string(format!("{root}/events/{category}/{name}/id")).ok();
    let id = TRACEFS.iter().find_map(read).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("tracefs shows no {category}:{name}"))
    })?;
    // SAFETY: perf_event_attr is plain integers, for which zero is a value, the documented default.
    let mut attributes: perf_event_attr = unsafe { std::mem::zeroed() };
    attributes.type_ = PERF_TYPE_TRACEPOINT as u32;
    attributes.size = u32::try_from(size_of::<perf_event_attr>()).map_err(io::Error::other)?;
    attributes.config = id.trim().parse().map_err(io::Error::other)?;
    // SAFETY: `attributes` outlives the call and states its own size; the other arguments are plain numbers.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attributes),
            -1 as libc::pid_t,
            0 as libc::c_int,
            -1 as libc::c_int,
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        )
    };
    let descriptor = match libc::c_int::try_from(descriptor) {
        Ok(descriptor @ 0..) => descriptor,
        _ => return Err(io::Error::last_os_error()),
    };
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    let event = unsafe { OwnedFd::from_raw_fd(descriptor) };
    for (request, argument) in [(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()), (PERF_EVENT_IOC_ENABLE, 0)] {
        // SAFETY: these requests take a number, not a pointer.
        if unsafe { libc::ioctl(event.as_fd().as_raw_fd(), request.into(), argument) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}
