//! Fuzz targets: plain functions of bytes.

use crate::convert::Messages;
use crate::{answer, environment};
use stacksonde_plugin::batch::Batch;
use std::time::SystemTime;

/// Makes messages of `data`, if it is a batch, with and without times, large and small.
pub fn fuzz_convert(data: &[u8]) {
    let Ok(batch) = Batch::parse(data) else { return };
    for (with_times, most) in [(true, 4 << 20), (false, 300)] {
        let messages = Messages::new(&batch, with_times);
        let mut item = 0;
        while let Some(message) = messages.next(item, most) {
            assert!(message.end > item, "each message goes on");
            item = message.end;
        }
    }
}

/// Answers of a receiver: the details of a gRPC status, a `Retry-After` with a body.
pub fn fuzz_answer(data: &[u8]) {
    let _pause = answer::of_grpc(tonic::Code::Unavailable, &String::from_utf8_lossy(data), data);
    let _refusal = answer::of_http(503, Some(&String::from_utf8_lossy(data)), data, SystemTime::now());
}

/// `OTEL_EXPORTER_OTLP_HEADERS`.
pub fn fuzz_headers(data: &[u8]) {
    let _pairs = environment::pairs(&String::from_utf8_lossy(data));
}
