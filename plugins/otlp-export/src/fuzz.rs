//! Fuzz targets: plain functions of bytes.

use crate::convert::Messages;
use crate::{acceptance, answer, body, environment, proxy};
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

/// Answers of a receiver: the details of a gRPC status, a `Retry-After` with a body, a success, packed bodies.
pub fn fuzz_answer(data: &[u8]) {
    let _pause = answer::of_grpc(tonic::Code::Unavailable, &String::from_utf8_lossy(data), data);
    let text = String::from_utf8_lossy(data);
    let _refusal = answer::of_http(503, Some(&text), Some(&text), data, SystemTime::now());
    for kind in [None, Some("application/json"), Some("application/x-protobuf")] {
        let _accepted = acceptance::of_success(200, kind, data);
    }
    for encoding in ["gzip", "deflate", "zstd"] {
        assert!(body::unpacked(encoding, data.to_vec(), 1000).len() <= data.len().max(1000));
    }
}

/// `OTEL_EXPORTER_OTLP_HEADERS`.
pub fn fuzz_headers(data: &[u8]) {
    let _pairs = environment::pairs(&String::from_utf8_lossy(data));
}

/// `NO_PROXY`.
pub fn fuzz_no_proxy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for host in ["collector.example", "10.1.2.3", "fd00::1"] {
        let _is_direct = proxy::is_direct(host, 4317, &text);
    }
}
