//! Connections to the receiver: straight, or through a proxy.

use super::tls;
use crate::config::{ConfigError, Destination, Protocol};
use crate::proxy::Proxy;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::upgrade::Upgraded;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tonic::codegen::http::{Request, StatusCode, Uri, header};
use tonic::codegen::{BoxFuture, Service, StdError};

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    /// To the receiver, where it is reached straight.
    tcp: HttpConnector,
    through: Option<Through>,
}

#[derive(Clone)]
struct Through {
    proxy: Proxy,
    /// To the proxy.
    connector: HttpsConnector<HttpConnector>,
    /// Set if the proxy is asked for a tunnel; else it is sent the requests themselves.
    is_tunnel: bool,
}

impl Connector {
    /// Reads certificates where the proxy is spoken to by TLS; connects to nothing.
    pub(super) fn new(destination: &Destination) -> Result<Self, ConfigError> {
        let mut tcp = HttpConnector::new();
        // TLS comes on top.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(destination.timeout));
        let through = match destination.proxy.clone() {
            Some(proxy) => {
                let builder =
                    HttpsConnectorBuilder::new().with_tls_config(tls::of_proxy(&proxy, destination)?);
                let connector = builder.https_or_http().enable_http1().wrap_connector(tcp.clone());
                let is_tunnel =
                    destination.protocol == Protocol::Grpc || destination.uri.scheme_str() == Some("https");
                Some(Through { proxy, connector, is_tunnel })
            }
            None => None,
        };
        Ok(Self { tcp, through })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = StdError;
    type Future = BoxFuture<Stream, StdError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        // Neither of the connectors below is ever busy.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(mut through) = self.through.clone() else {
            let connecting = self.tcp.call(to);
            return Box::pin(async move { Ok(Stream::Straight(connecting.await?)) });
        };
        Box::pin(async move {
            let stream = through.connector.call(through.proxy.uri.clone()).await?;
            match through.is_tunnel {
                true => Ok(Stream::Tunnel(tunnel(stream, &to, &through.proxy).await?)),
                false => Ok(Stream::ToProxy(Box::new(stream))),
            }
        })
    }
}

/// A proxy that makes no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("{0} wants a user and a password; write them into the variable: http://user:password@host:port")]
    Unknown(String),
    #[error("{proxy} answered {status} to CONNECT {to}{}", if .status.is_client_error() {
        "; have it allow that, or name the receiver in NO_PROXY"
    } else {
        ""
    })]
    Refused { proxy: String, status: StatusCode, to: String },
    #[error("the receiver's address {0} has no host")]
    NoHost(Uri),
}

impl ProxyError {
    /// Of a proxy that wants to know who asks.
    pub(super) fn unknown(proxy: &Proxy) -> Self {
        Self::Unknown(proxy.to_string())
    }
}

/// RFC 9110, 9.3.6.
async fn tunnel(
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    to: &Uri,
    proxy: &Proxy,
) -> Result<Upgraded, StdError> {
    let port = to.port_u16().unwrap_or(if to.scheme_str() == Some("https") { 443 } else { 80 });
    let host = to.host().ok_or_else(|| ProxyError::NoHost(to.clone()))?;
    let to = format!("{host}:{port}");
    let mut request = Request::connect(&to).header(header::HOST, &to);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(stream).await?;
    // It ends with the tunnel.
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await?;
    match response.status() {
        status if status.is_success() => Ok(hyper::upgrade::on(response).await?),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(ProxyError::unknown(proxy).into()),
        status => Err(ProxyError::Refused { proxy: proxy.to_string(), status, to }.into()),
    }
}

/// A connection.
pub(super) enum Stream {
    Straight(TokioIo<TcpStream>),
    /// Requests on it name the whole address.
    ToProxy(Box<MaybeHttpsStream<TokioIo<TcpStream>>>),
    Tunnel(Upgraded),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Straight(stream) => stream.connected(),
            Self::ToProxy(stream) => stream.connected().proxy(true),
            Self::Tunnel(_) => Connected::new(),
        }
    }
}

/// Calls a function of the stream that it is.
macro_rules! delegate {
    ($self:ident, $function:path, $($argument:expr),*) => {
        match $self.get_mut() {
            Self::Straight(stream) => $function(Pin::new(stream), $($argument),*),
            Self::ToProxy(stream) => $function(Pin::new(&mut **stream), $($argument),*),
            Self::Tunnel(stream) => $function(Pin::new(stream), $($argument),*),
        }
    };
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, Read::poll_read, context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, Write::poll_write, context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, Write::poll_write_vectored, context, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, Write::poll_flush, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, Write::poll_shutdown, context)
    }
}
