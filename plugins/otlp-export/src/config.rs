//! The operator's configuration, together with the environment's.

use crate::environment::{self, Variables};
use crate::proxy::{self, Proxy};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// The largest message that a Collector takes by default, over gRPC: 4 MiB.
pub(crate) const DEFAULT_MESSAGE_BYTES: u32 = 4 << 20;
/// Below this a single sample with its names might not fit.
pub(crate) const LEAST_MESSAGE_BYTES: u32 = 64 << 10;
const DEFAULT_TIMEOUT_MS: u32 = 10_000;
/// The path of the signal below an endpoint, over HTTP.
const PATH: &str = "v1development/profiles";

/// The plugin's keys. What is left out comes from OpenTelemetry's variables (`OTEL_EXPORTER_OTLP_*`), else is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address that profiles go to, with `http://` or, for TLS, `https://`; `http://localhost:4317` for gRPC and `http://localhost:4318` for HTTP if it is left out.
    pub endpoint: Option<String>,
    /// The protocol that they go by; `grpc` if it is left out.
    pub protocol: Option<Protocol>,
    /// The compression of messages; `gzip` if it is left out.
    pub compression: Option<Compression>,
    /// Milliseconds that one message may take, from connecting to the answer; 10000 if it is left out.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub timeout_ms: Option<u32>,
    /// Headers of every request, by name: each a `value`, or better the name of a `file` or of a variable (`env`) that holds it.
    pub headers: BTreeMap<String, Header>,
    /// Certificates, for an endpoint with `https://`.
    pub tls: Tls,
    /// Bytes of a message, uncompressed, that the receiver takes; a larger profile is sent in parts. 4194304 if it is left out, the Collector's default.
    #[cfg_attr(test, schemars(range(min = 65_536, max = 1_073_741_824)))]
    pub max_message_bytes: Option<u32>,
    /// Who finds the names of functions.
    pub symbolize: Symbolize,
    /// True to send each sample's time, eight bytes a sample before compression; true if it is left out.
    pub timestamps: Option<bool>,
}

/// A header's value and where it comes from: exactly one of `value`, `file` and `env`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Header {
    /// The value itself; for what is not a secret.
    pub value: Option<String>,
    /// A file that holds the value; white space at its end is left away. It is read again for each profile.
    pub file: Option<PathBuf>,
    /// A variable of the agent's environment that holds the value.
    pub env: Option<String>,
    /// Text to put before the value, such as `Bearer ` and a space.
    pub prefix: String,
}

/// Files with certificates, all in PEM. They are read when a connection is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities that are trusted, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate by which the agent shows who it is; needs `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// Key of that certificate.
    pub key_file: Option<PathBuf>,
    /// Name that the receiver's certificate must carry, if it is another one than the endpoint's.
    pub server_name: Option<String>,
}

/// The protocol that messages travel by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Protocol {
    /// gRPC.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// Protocol buffers over HTTP/1.1.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// The compression of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, which every receiver understands.
    #[default]
    Gzip,
    /// zstd: smaller and cheaper; Collectors understand it.
    Zstd,
}

/// Who finds the names of functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Symbolize {
    /// The agent, from what is installed on this machine.
    #[default]
    Local,
    /// The receiver, by build ids and addresses in the files.
    Off,
}

/// A fault of a [`Config`]: the key or variable, its value, the allowed values.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An endpoint that is none.
    #[error(
        "{origin}: `{endpoint}` is not an endpoint; write it as `http://collector:4317`, or with https://"
    )]
    Endpoint {
        /// The key or variable.
        origin: String,
        /// Its value.
        endpoint: String,
    },
    /// A variable with a value that it does not take.
    #[error("{variable} is `{value}`; allowed: {allowed}")]
    Variable {
        /// Its name.
        variable: String,
        /// Its value.
        value: String,
        /// A description of the allowed values.
        allowed: &'static str,
    },
    /// A number out of its range.
    #[error("`{key}` is {value}; allowed: {allowed}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u32,
        /// A description of the allowed values.
        allowed: String,
    },
    /// A header with no source, or several.
    #[error("`headers.{0}` needs exactly one of `value`, `file` and `env`")]
    HeaderSource(String),
    /// A name that a header cannot have.
    #[error(
        "`headers`: `{0}` cannot be a header here; use letters, digits and hyphens, and none of those that the protocol sets itself"
    )]
    HeaderName(String),
    /// A header whose value cannot be had. The value itself is not told.
    #[error("header `{name}`: {reason}")]
    HeaderValue {
        /// The header.
        name: String,
        /// Why, with what to do.
        reason: String,
    },
    /// Half of a client's certificate.
    #[error("`tls.certificate_file` and `tls.key_file` belong together; set both or neither")]
    HalfIdentity,
    /// Certificates for an endpoint that uses none.
    #[error("`tls` is set, but the endpoint {0} uses no TLS; begin it with https://, or remove `tls`")]
    TlsUnused(String),
    /// A variable that names no proxy that can be used. Its value may hold a password and is not told.
    #[error(
        "{variable} names no proxy that can be used; write it as `http://host:port` or \
         `http://user:password@host:port`, or name `{host}` in NO_PROXY to reach it directly"
    )]
    Proxy {
        /// The variable.
        variable: &'static str,
        /// The receiver.
        host: String,
    },
    /// There are no threads to be had.
    #[error("the plugin's threads cannot be started: {0}")]
    Threads(String),
    /// A file of certificates that cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The destination of messages and the way there, after all checks but those of files.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) protocol: Protocol,
    /// Scheme, authority and, for HTTP, the path.
    pub(crate) uri: Uri,
    pub(crate) compression: Compression,
    pub(crate) timeout: Duration,
    pub(crate) headers: BTreeMap<String, Header>,
    pub(crate) tls: Tls,
    pub(crate) proxy: Option<Proxy>,
}

/// Header fields that the protocols set themselves.
const RESERVED: &[&str] = &["content-type", "content-encoding", "content-length", "host", "te", "user-agent"];

impl Config {
    /// Bytes of the largest message.
    pub(crate) fn message_bytes(&self) -> usize {
        let bytes = self.max_message_bytes.unwrap_or(DEFAULT_MESSAGE_BYTES);
        usize::try_from(bytes.max(LEAST_MESSAGE_BYTES)).unwrap_or(usize::MAX)
    }

    /// Puts these keys and the variables together; keys win. Opens no file.
    pub(crate) fn destination(&self, variables: &Variables<'_>) -> Result<Destination, ConfigError> {
        for (key, value, least, most) in [
            ("timeout_ms", self.timeout_ms, 1, u32::MAX),
            ("max_message_bytes", self.max_message_bytes, LEAST_MESSAGE_BYTES, 1 << 30),
        ] {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                let allowed = format!("{least} to {most}");
                return Err(ConfigError::Range { key, value, allowed });
            }
        }
        let protocol = match self.protocol {
            Some(protocol) => protocol,
            None => environment::protocol(variables)?.unwrap_or_default(),
        };
        let compression = match self.compression {
            Some(compression) => compression,
            None => environment::compression(variables)?.unwrap_or_default(),
        };
        let timeout_ms = match self.timeout_ms {
            Some(timeout) => timeout,
            None => environment::timeout_ms(variables)?.unwrap_or(DEFAULT_TIMEOUT_MS),
        };
        let uri = self.uri(protocol, variables)?;
        let tls = self.tls_with(variables);
        if tls.certificate_file.is_some() != tls.key_file.is_some() {
            return Err(ConfigError::HalfIdentity);
        }
        if self.tls != Tls::default() && uri.scheme_str() != Some("https") {
            return Err(ConfigError::TlsUnused(uri.to_string()));
        }
        let mut headers = environment::headers(variables)?;
        headers.extend(self.headers.iter().map(|(name, header)| (name.to_ascii_lowercase(), header.clone())));
        for (name, header) in &headers {
            header_name(name)?;
            let sources = [header.value.is_some(), header.file.is_some(), header.env.is_some()];
            if sources.iter().filter(|is_set| **is_set).count() != 1 {
                return Err(ConfigError::HeaderSource(name.clone()));
            }
        }
        let timeout = Duration::from_millis(timeout_ms.into());
        let proxy = proxy::of(&uri, protocol, variables)?;
        Ok(Destination { protocol, uri, compression, timeout, headers, tls, proxy })
    }

    /// The endpoint; over HTTP with the signal's path, which `OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT` alone is
    /// taken to have already.
    fn uri(&self, protocol: Protocol, variables: &Variables<'_>) -> Result<Uri, ConfigError> {
        let port = if protocol == Protocol::Grpc { 4317 } else { 4318 };
        let (origin, endpoint, is_whole) = match (&self.endpoint, environment::endpoint(variables)) {
            (Some(endpoint), _) => ("`endpoint`".to_owned(), endpoint.clone(), false),
            (None, Some((variable, endpoint, is_whole))) => (variable, endpoint, is_whole),
            (None, None) => ("`endpoint`".into(), format!("http://localhost:{port}"), false),
        };
        let wrong = || ConfigError::Endpoint { origin: origin.clone(), endpoint: endpoint.clone() };
        let uri: Uri = endpoint.trim().parse().map_err(|_| wrong())?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else { return Err(wrong()) };
        let given = uri.path().trim_end_matches('/');
        let path = match protocol {
            Protocol::Grpc if given.is_empty() => "/".to_owned(),
            // gRPC has paths of its own.
            Protocol::Grpc => return Err(wrong()),
            Protocol::HttpProtobuf if is_whole => uri.path().to_owned(),
            Protocol::HttpProtobuf if given.ends_with(PATH) => given.to_owned(),
            Protocol::HttpProtobuf => format!("{given}/{PATH}"),
        };
        Uri::builder()
            .scheme(scheme)
            .authority(authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| wrong())
    }

    fn tls_with(&self, variables: &Variables<'_>) -> Tls {
        let from = |name| environment::value(variables, name).map(|(_, path)| PathBuf::from(path));
        let mut tls = self.tls.clone();
        tls.ca_file = tls.ca_file.or_else(|| from("CERTIFICATE"));
        if tls.certificate_file.is_none() && tls.key_file.is_none() {
            (tls.certificate_file, tls.key_file) = (from("CLIENT_CERTIFICATE"), from("CLIENT_KEY"));
        }
        tls
    }
}

fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    let refused = || ConfigError::HeaderName(name.to_owned());
    // A gRPC header that ends so holds bytes.
    if RESERVED.contains(&name) || name.starts_with("grpc-") || name.ends_with("-bin") {
        return Err(refused());
    }
    name.parse().map_err(|_| refused())
}

impl Destination {
    /// The headers of a request, their values read now.
    pub(crate) fn headers(&self) -> Result<HeaderMap, ConfigError> {
        let mut map = HeaderMap::new();
        for (name, header) in &self.headers {
            let refused = |reason: String| ConfigError::HeaderValue { name: name.clone(), reason };
            let value = header.read().map_err(refused)?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| refused("its value has characters that no header can have".into()))?;
            value.set_sensitive(true);
            map.insert(header_name(name)?, value);
        }
        Ok(map)
    }
}

impl Header {
    fn read(&self) -> Result<String, String> {
        let value = match self {
            Self { file: Some(file), .. } => std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?,
            Self { env: Some(name), .. } => {
                std::env::var(name).map_err(|_| format!("{name} is not set in the agent's environment"))?
            }
            Self { value, .. } => value.clone().unwrap_or_default(),
        };
        Ok(format!("{}{}", self.prefix, value.trim_end()))
    }
}

/// A file's bytes, or an error that names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| ConfigError::File { path: path.into(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
