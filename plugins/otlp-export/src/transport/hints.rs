//! Hints at what is likely wrong where the other side answers in another language: ports and schemes are easily mixed up.

use crate::config::Protocol;

/// The next step after a connection to an endpoint that never answered failed with `error`, its causes included; nothing
/// if that says enough itself.
pub(super) fn hint(error: &str, protocol: Protocol, is_secure: bool) -> &'static str {
    let says = |texts: &[&str]| texts.iter().any(|text| error.contains(text));
    // rustls: what came is not a record of TLS.
    if is_secure && says(&["InvalidContentType", "corrupt message"]) {
        return "; no TLS is spoken there: begin `endpoint` with http://, or name the port for TLS";
    }
    // Servers end a connection that begins with what they do not understand, before or after they say so in their own
    // language, which h2 takes for a frame of any size, and hyper for a line of HTTP.
    let is_cut = says(&[
        "broken pipe",
        "connection reset",
        "reset by peer",
        "connection closed",
        "unexpected end of file",
    ]);
    match (protocol, is_secure) {
        (Protocol::Grpc, false) if is_cut || says(&["FRAME_SIZE_ERROR", "frame with invalid size"]) => {
            "; is it a port for HTTP (`protocol` = \"http/protobuf\", usually 4318), or for TLS (https://)?"
        }
        (Protocol::HttpProtobuf, false)
            if is_cut || says(&["invalid HTTP version", "unexpected message"]) =>
        {
            "; is it a port for gRPC (`protocol` = \"grpc\", usually 4317), or for TLS (https://)?"
        }
        (Protocol::HttpProtobuf, true) if is_cut => {
            "; is it a port for gRPC (`protocol` = \"grpc\", usually 4317)?"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_say_of_another_language_is_told_with_the_key_to_change() {
        use Protocol::{Grpc, HttpProtobuf as Http};
        // Seen with a Collector, and with servers of Go.
        for (error, protocol, is_secure, expected) in [
            (
                "transport error: connection error: stream closed because of a broken pipe",
                Grpc,
                false,
                "http/protobuf",
            ),
            ("transport error: connection error: connection reset", Grpc, false, "http/protobuf"),
            ("http2 error: connection error detected: frame with invalid size", Grpc, false, "https://"),
            ("transport error: received corrupt message of type InvalidContentType", Grpc, true, "http://"),
            (
                "client error (SendRequest): received unexpected message from connection",
                Http,
                false,
                "\"grpc\"",
            ),
            ("connection error: Connection reset by peer (os error 104)", Http, false, "https://"),
            (
                "client error (SendRequest): connection closed before message completed",
                Http,
                true,
                "\"grpc\"",
            ),
            (
                "client error (Connect): received corrupt message of type InvalidContentType",
                Http,
                true,
                "http://",
            ),
        ] {
            assert!(hint(error, protocol, is_secure).contains(expected), "{error}");
        }
        assert_eq!(hint("transport error: Connection refused (os error 111)", Grpc, false), "");
    }
}
