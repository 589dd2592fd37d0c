//! Over HTTP/1.1, as protocol buffers.

use super::connect::{Connector, ProxyError};
use super::{Deadline, tls, with_causes};
use crate::acceptance::{self, Accepted};
use crate::answer::{Kind, Refusal, of_http};
use crate::body::unpacked;
use crate::config::{Compression, ConfigError, Destination};
use crate::proxy::Proxy;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;
use std::io::Write;
use std::time::SystemTime;
use tokio::time::{Instant, timeout_at};
use tonic::codegen::http::{HeaderMap, Request, Uri, header};

/// Bytes that are read of an answer, packed and unpacked.
const ANSWER_BYTES: usize = 1 << 20;

pub(super) struct Client {
    http: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    uri: Uri,
    compression: Compression,
    /// That is sent the requests themselves.
    proxy: Option<Proxy>,
}

impl Client {
    pub(super) fn new(destination: &Destination) -> Result<Self, ConfigError> {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls::of_receiver(destination)?).https_or_http();
        let connector = match &destination.tls.server_name {
            Some(name) => {
                let name = ServerName::try_from(name.clone()).map_err(|error| ConfigError::File {
                    path: format!("`tls.server_name` {name}").into(),
                    reason: error.to_string(),
                })?;
                connector.with_server_name_resolver(FixedServerNameResolver::new(name))
            }
            None => connector,
        };
        let http = legacy::Client::builder(TokioExecutor::new())
            .build(connector.enable_http1().wrap_connector(Connector::new(destination)?));
        let is_plain = destination.uri.scheme_str() == Some("http");
        Ok(Self {
            http,
            uri: destination.uri.clone(),
            compression: destination.compression,
            proxy: destination.proxy.clone().filter(|_| is_plain),
        })
    }

    pub(super) async fn send(
        &self,
        message: Vec<u8>,
        headers: HeaderMap,
        deadline: Deadline,
    ) -> Result<Accepted, Refusal> {
        let (body, encoding) = self.compress(message);
        let mut request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("stacksonde/", env!("CARGO_PKG_VERSION")));
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        if let Some(authorization) = self.proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref()) {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        let mut request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Refusal::new(Kind::Permanent, error.to_string()))?;
        request.headers_mut().extend(headers);
        let response =
            timeout_at(deadline.at, self.http.request(request)).await.map_err(|_| deadline.missed())?;
        let response = response.map_err(|error| Refusal::new(Kind::Unreachable, with_causes(&error)))?;
        let (parts, body) = response.into_parts();
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let encodings = text(header::CONTENT_ENCODING).unwrap_or_default();
        let body = unpacked(encodings, received(body, deadline.at).await, ANSWER_BYTES);
        let status = parts.status.as_u16();
        match &self.proxy {
            Some(proxy) if status == 407 => {
                Err(Refusal::new(Kind::Unreachable, ProxyError::unknown(proxy).to_string()))
            }
            _ if parts.status.is_success() => {
                acceptance::of_success(status, text(header::CONTENT_TYPE), &body)
            }
            _ => {
                let (after, location) = (text(header::RETRY_AFTER), text(header::LOCATION));
                Err(of_http(status, after, location, &body, SystemTime::now()))
            }
        }
    }

    /// The body, and how it is encoded. Writing to memory does not fail; if it did, it goes as it is.
    fn compress(&self, message: Vec<u8>) -> (Vec<u8>, Option<&'static str>) {
        let compressed = match self.compression {
            Compression::None => return (message, None),
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&message).and_then(|()| encoder.finish()).map(|body| (body, "gzip"))
            }
            Compression::Zstd => zstd::encode_all(message.as_slice(), 0).map(|body| (body, "zstd")),
        };
        compressed.map_or((message, None), |(body, encoding)| (body, Some(encoding)))
    }
}

/// Receives what arrives of a body: the status alone says what became of the message, so a body that breaks off, never ends or is
/// too long changes nothing.
async fn received(mut body: Incoming, until: Instant) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        let Some(data) = frame.data_ref() else { continue };
        let room = ANSWER_BYTES - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if bytes.len() == ANSWER_BYTES {
            break;
        }
    }
    bytes
}
