//! Over HTTP/1.1, as protocol buffers.

use super::{Accepted, with_causes};
use crate::answer::{Kind, Refusal, of_http};
use crate::config::{Compression, ConfigError, Destination, read};
use bytes::Bytes;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;
use tonic::codegen::http::{HeaderMap, Request, Uri, header};

/// What is read of an answer.
const ANSWER_BYTES: usize = 1 << 20;

pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    compression: Compression,
}

impl Client {
    pub(super) fn new(destination: &Destination) -> Result<Self, ConfigError> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(destination)?).https_or_http();
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
        let mut http = HttpConnector::new();
        // TLS comes on top.
        http.enforce_http(false);
        http.set_connect_timeout(Some(destination.timeout));
        let http = legacy::Client::builder(TokioExecutor::new())
            .build(connector.enable_http1().wrap_connector(http));
        Ok(Self { http, uri: destination.uri.clone(), compression: destination.compression })
    }

    pub(super) async fn send(&self, message: Vec<u8>, headers: HeaderMap) -> Result<Accepted, Refusal> {
        let (body, encoding) = self.compress(message);
        let mut request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("stacksonde/", env!("CARGO_PKG_VERSION")));
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        let mut request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Refusal::new(Kind::Permanent, error.to_string()))?;
        request.headers_mut().extend(headers);
        let broken =
            |error: &(dyn std::error::Error + 'static)| Refusal::new(Kind::Unreachable, with_causes(error));
        let response = self.http.request(request).await.map_err(|error| broken(&error))?;
        let (parts, body) = response.into_parts();
        let body =
            Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| broken(&*error))?.to_bytes();
        if !parts.status.is_success() {
            let after = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            return Err(of_http(parts.status.as_u16(), after, &body, SystemTime::now()));
        }
        let response = ExportProfilesServiceResponse::decode(body).map_err(|error| {
            let status = parts.status.as_u16();
            Refusal::new(
                Kind::Permanent,
                format!("an answer {status} that is not OTLP's ({error}); is it an OTLP receiver?"),
            )
        })?;
        Ok(Accepted::new(response))
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

fn tls(destination: &Destination) -> Result<ClientConfig, ConfigError> {
    let builder = ClientConfig::builder();
    let builder = match &destination.tls.ca_file {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| wrong(file, &error))?;
            }
            builder.with_root_certificates(roots)
        }
        None if destination.uri.scheme_str() == Some("https") => {
            let roots = builder.with_native_roots();
            roots.map_err(|error| wrong(Path::new("the system's certificates"), &error))?
        }
        // None is asked for.
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    match (&destination.tls.certificate_file, &destination.tls.key_file) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| wrong(key, &error))?;
            let chain = certificates(certificate)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| wrong(certificate, &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found.map_err(|error| wrong(file, &error))? {
        none if none.is_empty() => {
            Err(ConfigError::File { path: file.into(), reason: "no certificate in PEM is in it".into() })
        }
        found => Ok(found),
    }
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::File { path: path.into(), reason: error.to_string() }
}
