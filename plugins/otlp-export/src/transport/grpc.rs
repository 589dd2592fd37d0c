//! Over gRPC.

use super::{Accepted, with_causes};
use crate::answer::{Kind, Refusal, of_grpc};
use crate::config::{Compression, ConfigError, Destination, read};
use bytes::{Buf, BufMut, Bytes};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::HeaderMap;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

const METHOD: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

pub(super) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    pub(super) fn new(destination: &Destination) -> Result<Self, ConfigError> {
        let mut endpoint = Endpoint::from(destination.uri.clone())
            .connect_timeout(destination.timeout)
            .user_agent(concat!("stacksonde/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| failed(destination, &error))?;
        if destination.uri.scheme_str() == Some("https") {
            let mut tls = ClientTlsConfig::new();
            tls = match &destination.tls.ca_file {
                Some(file) => tls.ca_certificate(Certificate::from_pem(read(file)?)),
                None => tls.with_native_roots(),
            };
            if let (Some(certificate), Some(key)) =
                (&destination.tls.certificate_file, &destination.tls.key_file)
            {
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            if let Some(name) = &destination.tls.server_name {
                tls = tls.domain_name(name);
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| failed(destination, &error))?;
        }
        let mut grpc = Grpc::new(endpoint.connect_lazy());
        grpc = match destination.compression {
            Compression::None => grpc,
            Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => grpc.send_compressed(CompressionEncoding::Zstd),
        };
        let grpc =
            grpc.accept_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Zstd);
        Ok(Self { grpc })
    }

    pub(super) async fn send(&self, message: Vec<u8>, headers: HeaderMap) -> Result<Accepted, Refusal> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| Refusal::new(Kind::Unreachable, with_causes(&error)))?;
        let request = Request::from_parts(
            MetadataMap::from_headers(headers),
            tonic::Extensions::default(),
            Bytes::from(message),
        );
        match grpc.unary(request, PathAndQuery::from_static(METHOD), Encoded).await {
            Ok(response) => Ok(Accepted::new(response.into_inner())),
            Err(status) => Err(refusal(&status)),
        }
    }
}

fn refusal(status: &Status) -> Refusal {
    // With a source it was made on this side: the connection failed, nobody answered.
    match std::error::Error::source(status) {
        Some(cause) => Refusal::new(Kind::Unreachable, with_causes(cause)),
        None => of_grpc(status.code(), status.message(), status.details()),
    }
}

fn failed(destination: &Destination, error: &tonic::transport::Error) -> ConfigError {
    ConfigError::File { path: destination.uri.to_string().into(), reason: with_causes(error) }
}

/// Requests are encoded already; what they are is known to the byte before they are sent.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportProfilesServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportProfilesServiceResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let response = ExportProfilesServiceResponse::decode(from.copy_to_bytes(from.remaining()));
        response.map(Some).map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
    }
}
