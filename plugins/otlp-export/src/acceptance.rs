//! A receiver's answer when it takes a message. A 2xx means that it has it, whatever its body is (opentelemetry.io:
//! "OTLP/HTTP Response"); a body only says whether all of it was taken. What answers 2xx without being a receiver is a
//! page for people: a login, a portal.

use crate::answer::{Kind, Refusal, told};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use prost::Message;
use serde::Deserialize;
use serde_json::Value;

/// Bytes of an answer in plain words; what is longer was not written by a receiver.
const WORDS: usize = 4096;

/// The part that the receiver took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    rejected: i64,
    message: String,
}

impl Accepted {
    /// Logs what was rejected: what was taken in part must not be sent again, so the log is all that is left.
    pub(crate) fn tell(&self) {
        match (self.rejected, self.message.as_str()) {
            (0, "") => {}
            (0, message) => tracing::warn!("the receiver took it and says: {}", told(message)),
            (rejected, message) => {
                tracing::warn!(rejected, "the receiver rejected some profiles: {}", told(message));
            }
        }
    }
}

impl From<ExportProfilesServiceResponse> for Accepted {
    fn from(response: ExportProfilesServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self { rejected: partial.rejected_profiles, message: partial.error_message }
    }
}

/// Reads the answer of an HTTP server to a request that succeeded with `status`. `body` is unpacked, and may be cut.
pub(crate) fn of_success(status: u16, kind: Option<&str>, body: &[u8]) -> Result<Accepted, Refusal> {
    let kind = media_type(kind.unwrap_or_default());
    if is_page(&kind, body) {
        return Err(not_otlp(status, "a page for people"));
    }
    if body.trim_ascii().is_empty() {
        return Ok(Accepted::default());
    }
    if is_json(&kind) {
        return Ok(of_json(body));
    }
    if !kind.starts_with("text/")
        && let Ok(response) = ExportProfilesServiceResponse::decode(body)
    {
        return Ok(response.into());
    }
    // By what it is rather than by its name: what somebody in between wrote carries any.
    if body.trim_ascii_start().starts_with(b"{") {
        return Ok(of_json(body));
    }
    match std::str::from_utf8(body) {
        Ok(text) if body.len() <= WORDS && !text.chars().any(|it| it.is_control() && !it.is_whitespace()) => {
            tracing::debug!("the receiver took it and says: {}", told(text));
            Ok(Accepted::default())
        }
        _ => Err(not_otlp(status, &format!("{} bytes of `{}`", body.len(), told(&kind)))),
    }
}

/// The type without its parameters, in lower case.
fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

/// Tells whether a browser would show the body as a page. Servers that answer with a word or nothing call it HTML by
/// default, so the type alone says little.
fn is_page(media_type: &str, body: &[u8]) -> bool {
    const LONGEST: usize = 1024;
    const ELEMENTS: [&str; 8] =
        ["<!doctype html", "<html", "<head", "<body", "<script", "<meta", "<title", "<style"];
    let begin = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let begin = String::from_utf8_lossy(&begin[..begin.len().min(LONGEST)]).to_ascii_lowercase();
    let mut begin = begin.trim_start();
    // What may stand before the first element.
    for (opening, closing) in [("<?xml", "?>"), ("<!--", "-->"), ("<!--", "-->")] {
        if begin.starts_with(opening) {
            begin = begin.split_once(closing).map_or("", |(_, rest)| rest.trim_start());
        }
    }
    let is_html = matches!(media_type, "text/html" | "application/xhtml+xml");
    is_html && begin.starts_with('<') || ELEMENTS.iter().any(|element| begin.starts_with(element))
}

fn not_otlp(status: u16, what: &str) -> Refusal {
    Refusal::new(
        Kind::Permanent,
        format!("an answer {status} that is not OTLP's ({what}); is it an OTLP receiver? check `endpoint`"),
    )
}

/// The same message in JSON, where numbers of 64 bits may be text (protobuf.dev: "ProtoJSON Format"). JSON of another
/// shape says nothing of what was taken.
fn of_json(body: &[u8]) -> Accepted {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Response {
        #[serde(rename = "partialSuccess", alias = "partial_success")]
        partial: Option<Partial>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Partial {
        #[serde(rename = "rejectedProfiles", alias = "rejected_profiles")]
        rejected: Value,
        #[serde(rename = "errorMessage", alias = "error_message")]
        message: Value,
    }
    let response: Response = serde_json::from_slice(body).unwrap_or_default();
    let partial = response.partial.unwrap_or_default();
    let rejected = match &partial.rejected {
        Value::String(text) => text.trim().parse().ok(),
        // Some writers have every number as a floating one.
        Value::Number(number) => number.as_i64().or_else(|| format!("{:.0}", number.as_f64()?).parse().ok()),
        _ => None,
    };
    let message = partial.message.as_str().unwrap_or_default().to_owned();
    Accepted { rejected: rejected.unwrap_or_default(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesPartialSuccess;

    fn partial(rejected: i64, message: &str) -> Accepted {
        Accepted { rejected, message: message.into() }
    }

    #[test]
    fn a_success_is_one_whatever_its_body_is() {
        let all = Accepted::default();
        for (kind, body) in [
            (None, &b""[..]),
            (Some("application/x-protobuf"), b""),
            (Some("application/x-protobuf"), b"OK"),
            (Some("application/json"), b"{}"),
            (Some("application/json; charset=utf-8"), b"{\"partialSuccess\":{}}"),
            (Some("application/json"), b"{\"partialSuccess\":null}"),
            (Some("application/json"), b"\"ok\""),
            (Some("application/json"), b"{\"status\":\"success\"}"),
            (Some("application/json"), b"{ cut"),
            (Some("text/plain"), b"OK\r\n"),
            (Some("text/plain; charset=utf-8"), b"accepted\n"),
            (None, b"ok"),
            (Some("application/octet-stream"), b"stored"),
            (Some("text/xml"), b"<ok/>"),
            (Some("text/html; charset=utf-8"), b""),
            (Some("text/html"), b"OK"),
        ] {
            assert_eq!(of_success(200, kind, body).as_ref(), Ok(&all), "{kind:?} {body:?}");
        }
    }

    #[test]
    fn what_was_rejected_is_read_in_both_encodings() {
        let success = ExportProfilesPartialSuccess { rejected_profiles: 3, error_message: "odd".into() };
        let bytes = ExportProfilesServiceResponse { partial_success: Some(success) }.encode_to_vec();
        for kind in [None, Some("application/x-protobuf"), Some("application/octet-stream")] {
            assert_eq!(of_success(200, kind, &bytes), Ok(partial(3, "odd")), "{kind:?}");
        }
        // Its first byte is a line break, and its second, of this length, a brace.
        let success = ExportProfilesPartialSuccess { rejected_profiles: 3, error_message: "x".repeat(119) };
        let bytes = ExportProfilesServiceResponse { partial_success: Some(success) }.encode_to_vec();
        assert_eq!(bytes[..2], *b"\n{");
        assert_eq!(of_success(200, None, &bytes), Ok(partial(3, &"x".repeat(119))));
        for body in [
            &br#"{"partialSuccess":{"rejectedProfiles":"3","errorMessage":"odd"}}"#[..],
            br#" {"partialSuccess":{"rejectedProfiles":3,"errorMessage":"odd"},"more":1}"#,
            br#"{"partial_success":{"rejected_profiles":3.0,"error_message":"odd"}}"#,
        ] {
            assert_eq!(of_success(202, Some("application/json"), body), Ok(partial(3, "odd")));
            // A server that forgets to say that it is JSON.
            assert_eq!(of_success(200, Some("text/plain"), body), Ok(partial(3, "odd")));
        }
    }

    #[test]
    fn a_page_for_people_is_refused_with_the_next_step() {
        for (kind, body) in [
            (Some("text/html; charset=utf-8"), &b"<p>please log in"[..]),
            (Some("TEXT/HTML"), b"\n<div>sign in"),
            (None, b"<!-- by a portal --><HEAD><title>Log in"),
            (Some("application/xml"), b"<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC"),
            (Some("text/plain"), b"<script>location = '/login'</script>"),
            (None, b"\xef\xbb\xbf\n <!DOCTYPE html><title>Log in</title>"),
            (Some("application/x-protobuf"), b"<HTML lang=en>"),
            (Some("text/plain"), &b"x".repeat(WORDS + 1)),
            (Some("image/png"), b"\x89PNG\r\n\x1a\n\xff"),
        ] {
            let refusal = of_success(200, kind, body).unwrap_err();
            assert_eq!(refusal.kind, Kind::Permanent);
            assert!(refusal.message.contains("is it an OTLP receiver?"), "{kind:?}: {}", refusal.message);
        }
    }
}
