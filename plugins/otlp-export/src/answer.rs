//! Requests of the other side's answer, as the OTLP specification says (opentelemetry.io: "OTLP/gRPC Response",
//! "OTLP/HTTP Response", "Retryable Response Codes").

use prost::Message;
use serde::Deserialize;
use std::time::{Duration, SystemTime};

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// For the operator.
    pub(crate) message: String,
}

/// The reaction that is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same later: not before so long, if that was said.
    Retryable(Option<Duration>),
    /// Nobody was there, or the connection broke: the same later, over another connection.
    Unreachable,
    /// The same in smaller messages.
    TooLarge,
    /// Nothing: this message will never be taken.
    Permanent,
    /// Nothing, until something is changed here or there: no message will be taken.
    Hopeless,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// `google.rpc.Status`, in the trailer `grpc-status-details-bin` and in bodies of HTTP errors.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Span>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The pause that a `google.rpc.Status` asks for.
pub(crate) fn pause(details: &[u8]) -> Option<Duration> {
    let status = Status::decode(details).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos))
}

/// The answer of a gRPC server. `details` are the bytes of its `google.rpc.Status`.
pub(crate) fn of_grpc(code: tonic::Code, message: &str, details: &[u8]) -> Refusal {
    use tonic::Code;
    let pause = pause(details);
    let kind = match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Kind::Retryable(pause),
        // Without a pause it is the message's size, not the moment.
        Code::ResourceExhausted if pause.is_some() => Kind::Retryable(pause),
        Code::ResourceExhausted => Kind::TooLarge,
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => Kind::Hopeless,
        _ => Kind::Permanent,
    };
    // What tonic says where an HTTP server answered that knows no gRPC.
    let is_http =
        ["mapped from HTTP status", "invalid compression flag"].iter().any(|it| message.contains(it));
    let remedy = match is_http && !matches!(kind, Kind::Retryable(_)) {
        true => "; is it a port for HTTP (`protocol` = \"http/protobuf\", usually 4318)?",
        false => remedy(kind, code == Code::Unimplemented),
    };
    Refusal::new(kind, format!("the receiver answered {code:?}: {}{remedy}", told(message)))
}

/// The answer of an HTTP server that is not a success.
pub(crate) fn of_http(
    status: u16,
    retry_after: Option<&str>,
    location: Option<&str>,
    body: &[u8],
    now: SystemTime,
) -> Refusal {
    let kind = match status {
        429 | 502 | 503 | 504 => Kind::Retryable(retry_after.and_then(|text| after(text, now))),
        413 => Kind::TooLarge,
        // Redirections are not followed: they lead to logins, and headers hold secrets.
        300..=399 | 401 | 403 | 404 | 405 | 415 => Kind::Hopeless,
        _ => Kind::Permanent,
    };
    let said = said(body);
    // The words of Go's servers and of nginx.
    let wants_tls = status == 400
        && ["HTTP request to an HTTPS server", "sent to HTTPS port"].iter().any(|it| said.contains(it));
    let remedy = if wants_tls { "; begin `endpoint` with https://" } else { remedy(kind, status == 404) };
    let elsewhere = location.map(|location| format!(" to {}", told(location))).unwrap_or_default();
    Refusal::new(kind, format!("the receiver answered {status}{elsewhere}: {}{}", told(&said), remedy))
}

/// The message of a `google.rpc.Status`, in protocol buffers or in JSON; else the body as it is.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct InJson {
        message: String,
    }
    let in_json = || serde_json::from_slice::<InJson>(body).ok().map(|status| status.message);
    let message = Status::decode(body).ok().map(|status| status.message).or_else(in_json);
    let message = message.filter(|message| !message.is_empty());
    message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

fn remedy(kind: Kind, is_unknown: bool) -> &'static str {
    match kind {
        Kind::Hopeless if is_unknown => {
            "; does it take profiles? A Collector needs --feature-gates=service.profilesSupport and a pipeline for them"
        }
        Kind::Hopeless => "; check `endpoint`, `headers` and `tls`",
        _ => "",
    }
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A stranger's text in a message of ours: one line, not too long.
pub(crate) fn told(text: &str) -> String {
    const MOST: usize = 300;
    let line: String =
        text.trim().chars().map(|it| if it.is_control() { ' ' } else { it }).take(MOST + 1).collect();
    match line.chars().count() {
        0 => "nothing more".into(),
        count if count > MOST => line.chars().take(MOST).chain(['…']).collect(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn details(seconds: i64) -> Vec<u8> {
        let info = RetryInfo { retry_delay: Some(Span { seconds, nanos: 500_000_000 }) };
        let detail =
            Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info.encode_to_vec() };
        Status { code: 14, message: String::new(), details: vec![detail] }.encode_to_vec()
    }

    #[test]
    fn codes_are_retried_as_the_specification_says() {
        let kind = |code, details: &[u8]| of_grpc(code, "", details).kind;
        for code in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert_eq!(kind(code, &[]), Kind::Retryable(None), "{code:?}");
        }
        for code in [Code::InvalidArgument, Code::Internal, Code::NotFound, Code::Unknown] {
            assert_eq!(kind(code, &[]), Kind::Permanent, "{code:?}");
        }
        let pause = Some(Duration::from_millis(7500));
        assert_eq!(kind(Code::ResourceExhausted, &details(7)), Kind::Retryable(pause));
        assert_eq!(kind(Code::ResourceExhausted, &[]), Kind::TooLarge);
        assert_eq!(kind(Code::Unavailable, &details(7)), Kind::Retryable(pause));
        assert_eq!(kind(Code::Unauthenticated, &details(7)), Kind::Hopeless);
    }

    #[test]
    fn http_statuses_are_retried_as_the_specification_says() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let kind = |status, after| of_http(status, after, None, b"", now).kind;
        for status in [429, 502, 503, 504] {
            assert_eq!(kind(status, None), Kind::Retryable(None));
            assert_eq!(kind(status, Some("120")), Kind::Retryable(Some(Duration::from_secs(120))));
        }
        let date = "Sun, 06 Nov 1994 08:50:07 GMT";
        assert_eq!(kind(503, Some(date)), Kind::Retryable(Some(Duration::from_secs(30))));
        assert_eq!(kind(503, Some("soon")), Kind::Retryable(None));
        assert_eq!((kind(400, Some("9")), kind(413, None)), (Kind::Permanent, Kind::TooLarge));
    }

    #[test]
    fn what_was_answered_is_told_in_one_line() {
        let body = Status { code: 3, message: "no\nprofiles".into(), details: Vec::new() }.encode_to_vec();
        let refusal = of_http(400, None, None, &body, SystemTime::UNIX_EPOCH);
        assert_eq!(refusal.message, "the receiver answered 400: no profiles");
        let json =
            of_http(400, None, None, br#"{"code":3,"message":"no\nprofiles"}"#, SystemTime::UNIX_EPOCH);
        assert_eq!(json.message, "the receiver answered 400: no profiles");
        let login = of_http(302, None, Some("https://login.example/\x1b[m"), b"", SystemTime::UNIX_EPOCH);
        assert_eq!(
            (login.kind, login.message.as_str()),
            (
                Kind::Hopeless,
                "the receiver answered 302 to https://login.example/ [m: nothing more; check `endpoint`, `headers` and `tls`"
            )
        );
        let long = of_http(400, None, None, "é".repeat(1000).as_bytes(), SystemTime::UNIX_EPOCH).message;
        assert!(long.ends_with("é…") && long.chars().count() < 400);
        let unknown = of_grpc(Code::Unimplemented, "unknown service", &[]).message;
        assert!(unknown.contains("service.profilesSupport"), "{unknown}");
    }
}
