//! The thread that writes an exporter's batches to its spool. Disks may be slow, so neither the agent nor the
//! exporter waits for one.

use super::Shared;
use crate::plugins::loss::Reason;
use crate::plugins::spool::{Kept, Spool};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The time between a failure and the next attempt.
const PAUSE: Duration = Duration::from_secs(5);

/// Starts it, once there is a spool.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let body = move || {
        if let Some(spool) = shared.spool.get() {
            while let Some((id, batch)) = shared.next_unkept() {
                let last_try = shared.is_stopping();
                if let Err(error) = keep(&shared, spool, id, &batch) {
                    shared.spool_failed(&error);
                    if last_try {
                        break;
                    }
                    shared.pause_keeping(PAUSE);
                }
            }
        }
        shared.keeper_ended();
    };
    std::thread::Builder::new().name("spool".into()).spawn(body).map(drop)
}

/// Writes a batch, for which the oldest go that leave it no room.
fn keep(shared: &Shared, spool: &Spool, id: u64, batch: &[u8]) -> io::Result<()> {
    let packed = Spool::pack(batch)?;
    let bytes = packed.len() as u64;
    if !shared.can_be_kept(id, bytes) {
        return Err(io::Error::other(format!("a batch takes {bytes} bytes, more than `spool_bytes`")));
    }
    while let Some(oldest) = shared.too_old_for(bytes) {
        lose(shared, spool, &oldest);
    }
    loop {
        match spool.write(&packed) {
            Ok(kept) => {
                if !shared.kept(id, kept.clone()) {
                    spool.remove(&kept);
                }
                return Ok(());
            }
            // The disk is smaller than `spool_bytes`: as much as fits stays.
            Err(error) if is_full(&error) => match shared.oldest_on_disk() {
                Some(oldest) => lose(shared, spool, &oldest),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn lose(shared: &Shared, spool: &Spool, kept: &Kept) {
    let batch = spool.read(kept);
    spool.remove(kept);
    match batch {
        Ok(batch) => shared.lost_from_spool(Reason::SpoolFull, &batch),
        Err(error) => shared.damaged(&error),
    }
}
