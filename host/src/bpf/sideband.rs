//! The ring in which the kernel leaves one CPU's process events (`struct perf_event_mmap_page`).

use super::notice::{Notice, parse_notice};
use super::perf::Event;
use aya_obj::generated::perf_event_mmap_page;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// A side-band event and its ring, mapped.
#[derive(Debug)]
pub(super) struct SideBand {
    event: Event,
    base: NonNull<libc::c_void>,
    page_bytes: usize,
    data_bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; it is used through `&mut self` only.
unsafe impl Send for SideBand {}

impl SideBand {
    /// Opens the event of one CPU with a ring of `data_bytes`, a power of two of at least a page.
    pub(super) fn open(cpu: u32, data_bytes: u32) -> io::Result<Self> {
        let event = Event::side_band(cpu, data_bytes / 2)?;
        // SAFETY: a plain question.
        let page_bytes =
            usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
        let data_bytes = usize::try_from(data_bytes).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice, of a descriptor that we own.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page_bytes + data_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        let base = match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => base,
            _ => return Err(io::Error::last_os_error()),
        };
        Ok(Self { event, base, page_bytes, data_bytes })
    }

    pub(super) fn enable(&self) -> io::Result<()> {
        self.event.enable()
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Takes everything out of the ring. Returns the number of records that could not be read.
    pub(super) fn drain(&mut self, notices: &mut Vec<Notice>) -> u64 {
        let (head, tail) = self.cursors();
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        let mut bad = 0;
        let mut record = Vec::with_capacity(256);
        while at < end {
            let size = {
                record.clear();
                self.copy(at, 8, &mut record);
                usize::from(u16::from_ne_bytes([record[6], record[7]]))
            };
            // A record is at least its header; anything else means that the ring cannot be followed further.
            if size < 8 || size as u64 > end - at {
                bad += 1;
                at = end;
                break;
            }
            record.clear();
            self.copy(at, size, &mut record);
            match parse_notice(&record) {
                Ok(notice) => notices.extend(notice),
                Err(_) => bad += 1,
            }
            at += size as u64;
        }
        tail.store(at, Ordering::Release);
        bad
    }

    fn cursors(&self) -> (&AtomicU64, &AtomicU64) {
        let page = self.base.cast::<perf_event_mmap_page>().as_ptr();
        // SAFETY: the first page of the mapping is a perf_event_mmap_page, live as long as `self`. The kernel
        // writes data_head, we write data_tail; both are aligned and only ever accessed atomically.
        unsafe {
            (AtomicU64::from_ptr(&raw mut (*page).data_head), AtomicU64::from_ptr(&raw mut (*page).data_tail))
        }
    }

    /// Appends `length` bytes of the ring from position `at`, across its end if need be.
    fn copy(&self, at: u64, length: usize, to: &mut Vec<u8>) {
        #[expect(clippy::cast_possible_truncation, reason = "masked by the ring's size, a usize")]
        let offset = at as usize & (self.data_bytes - 1);
        let first = length.min(self.data_bytes - offset);
        let data = self.base.cast::<u8>().as_ptr().wrapping_add(self.page_bytes);
        // SAFETY: both parts lie inside the mapped data area; the kernel does not write between tail and head.
        unsafe {
            to.extend_from_slice(std::slice::from_raw_parts(data.add(offset), first));
            to.extend_from_slice(std::slice::from_raw_parts(data, length - first));
        }
    }
}

impl Drop for SideBand {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `open`; nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr(), self.page_bytes + self.data_bytes) };
    }
}
