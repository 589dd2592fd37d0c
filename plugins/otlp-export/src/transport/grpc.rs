//! Over gRPC.

use super::connect::Connector;
use super::{Deadline, tls, with_causes};
use crate::acceptance::Accepted;
use crate::answer::{Kind, Refusal, of_grpc};
use crate::config::{Compression, ConfigError, Destination, read};
use bytes::{Buf, BufMut, Bytes};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use prost::Message;
use tokio::time::timeout_at;
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
            // What tonic says of files without a certificate is nothing, until no connection comes about.
            tls::of_receiver(destination)?;
            let mut client = ClientTlsConfig::new();
            client = match &destination.tls.ca_file {
                Some(file) => client.ca_certificate(Certificate::from_pem(read(file)?)),
                None => client.with_native_roots(),
            };
            if let (Some(certificate), Some(key)) =
                (&destination.tls.certificate_file, &destination.tls.key_file)
            {
                client = client.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            if let Some(name) = &destination.tls.server_name {
                client = client.domain_name(name);
            }
            endpoint = endpoint.tls_config(client).map_err(|error| failed(destination, &error))?;
        }
        let mut grpc = Grpc::new(endpoint.connect_with_connector_lazy(Connector::new(destination)?));
        grpc = match destination.compression {
            Compression::None => grpc,
            Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => grpc.send_compressed(CompressionEncoding::Zstd),
        };
        let grpc =
            grpc.accept_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Zstd);
        Ok(Self { grpc })
    }

    pub(super) async fn send(
        &self,
        message: Vec<u8>,
        headers: HeaderMap,
        deadline: Deadline,
    ) -> Result<Accepted, Refusal> {
        timeout_at(deadline.at, self.call(message, headers)).await.unwrap_or_else(|_| Err(deadline.missed()))
    }

    async fn call(&self, message: Vec<u8>, headers: HeaderMap) -> Result<Accepted, Refusal> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| Refusal::new(Kind::Unreachable, with_causes(&error)))?;
        let request = Request::from_parts(
            MetadataMap::from_headers(headers),
            tonic::Extensions::default(),
            Bytes::from(message),
        );
        let path = PathAndQuery::from_static(METHOD);
        // As a stream, so that a success without a message is one.
        let answered = grpc.server_streaming(request, path, Encoded).await;
        let mut answer = answered.map_err(|status| refusal(&status))?.into_inner();
        let response = answer.message().await.map_err(|status| refusal(&status))?;
        answer.trailers().await.map_err(|status| refusal(&status))?;
        Ok(response.unwrap_or_default().into())
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
        // The status says what became of the message, not what comes with it.
        Ok(Some(response.unwrap_or_default()))
    }
}
