//! OpenTelemetry's variables for exporters (opentelemetry.io: "OTLP Exporter Configuration"): each as
//! `OTEL_EXPORTER_OTLP_PROFILES_<NAME>`, else as `OTEL_EXPORTER_OTLP_<NAME>`. One that is empty counts as not set.

use crate::config::{Compression, ConfigError, Header, Protocol};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// Looks a variable up.
pub(crate) type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The name and value of the variable that decides.
pub(crate) fn value(variables: &Variables<'_>, name: &str) -> Option<(String, String)> {
    ["OTEL_EXPORTER_OTLP_PROFILES_", "OTEL_EXPORTER_OTLP_"].iter().find_map(|prefix| {
        let variable = format!("{prefix}{name}");
        let value = variables(&variable)?.trim().to_owned();
        (!value.is_empty()).then_some((variable, value))
    })
}

/// The variable, the endpoint, and whether it is the whole URL rather than one to append the signal's path to.
/// Without a scheme, `OTEL_EXPORTER_OTLP_INSECURE` chooses it.
pub(crate) fn endpoint(variables: &Variables<'_>) -> Option<(String, String, bool)> {
    let (variable, endpoint) = value(variables, "ENDPOINT")?;
    let is_whole = variable.contains("_PROFILES_");
    if endpoint.contains("://") {
        return Some((variable, endpoint, is_whole));
    }
    let insecure = value(variables, "INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    let scheme = if insecure { "http" } else { "https" };
    Some((variable, format!("{scheme}://{endpoint}"), is_whole))
}

pub(crate) fn protocol(variables: &Variables<'_>) -> Result<Option<Protocol>, ConfigError> {
    choice(variables, "PROTOCOL", "grpc, http/protobuf", |value| match value {
        "grpc" => Some(Protocol::Grpc),
        "http/protobuf" => Some(Protocol::HttpProtobuf),
        _ => None,
    })
}

pub(crate) fn compression(variables: &Variables<'_>) -> Result<Option<Compression>, ConfigError> {
    choice(variables, "COMPRESSION", "none, gzip, zstd", |value| match value {
        "none" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        _ => None,
    })
}

pub(crate) fn timeout_ms(variables: &Variables<'_>) -> Result<Option<u32>, ConfigError> {
    let positive = |value: &str| value.parse().ok().filter(|value| *value > 0);
    choice(variables, "TIMEOUT", "milliseconds, at least 1", positive)
}

fn choice<T>(
    variables: &Variables<'_>,
    name: &str,
    allowed: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    let Some((variable, value)) = value(variables, name) else { return Ok(None) };
    match read(&value) {
        Some(read) => Ok(Some(read)),
        None => Err(ConfigError::Variable { variable, value, allowed }),
    }
}

/// Headers of both variables, those for profiles winning: `name=value,name=value`, values percent-encoded.
pub(crate) fn headers(variables: &Variables<'_>) -> Result<BTreeMap<String, Header>, ConfigError> {
    let mut headers = BTreeMap::new();
    for variable in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_PROFILES_HEADERS"] {
        for (name, value) in pairs(&variables(variable).unwrap_or_default()) {
            let Some(value) = value else {
                // What stands there may be a secret, so it is not shown.
                let value = "not a list of names and values".to_owned();
                return Err(ConfigError::Variable {
                    variable: variable.into(),
                    value,
                    allowed: "name=value,name=value",
                });
            };
            let header = Header { value: Some(value), ..Header::default() };
            headers.insert(name.to_ascii_lowercase(), header);
        }
    }
    Ok(headers)
}

/// The pairs of a list; `None` as the value of what has no `=` or is no UTF-8.
pub(crate) fn pairs(text: &str) -> Vec<(String, Option<String>)> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => {
                let value = percent_decode_str(value.trim()).decode_utf8().ok();
                (name.trim().to_owned(), value.map(std::borrow::Cow::into_owned))
            }
            None => (part.to_owned(), None),
        })
        .collect()
}
