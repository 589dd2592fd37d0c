//! What is likely wrong where the other side answers in another language: ports and schemes are easily mixed up.

use crate::config::Protocol;

/// The next step after a connection failed with `error`, its causes included; nothing if it says enough itself.
pub(super) fn hint(error: &str, protocol: Protocol, is_secure: bool) -> &'static str {
    let says = |texts: &[&str]| texts.iter().any(|text| error.contains(text));
    match protocol {
        // rustls: what came is no record of TLS.
        _ if is_secure && says(&["InvalidContentType", "corrupt message"]) => {
            "; no TLS is spoken there: begin `endpoint` with http://, or name the port for TLS"
        }
        // h2: a greeting of HTTP/1 or TLS, read as the size of a frame.
        Protocol::Grpc if says(&["FRAME_SIZE_ERROR", "frame with invalid size"]) => {
            "; no gRPC is spoken there: is it a port for HTTP (`protocol` = \"http/protobuf\", usually 4318), or for TLS \
             (https://)?"
        }
        // hyper: a frame of HTTP/2 or a record of TLS, read as a line of HTTP/1.
        Protocol::HttpProtobuf
            if says(&["invalid HTTP version", "invalid HTTP status-code", "HTTP status line"]) =>
        {
            "; no HTTP/1.1 is spoken there: is it a port for gRPC (`protocol` = \"grpc\", usually 4317), or for TLS \
             (https://)?"
        }
        _ => "",
    }
}
