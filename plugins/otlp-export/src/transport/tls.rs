//! Certificates: whom we trust, and who we are.

use crate::config::{ConfigError, Destination, read};
use crate::proxy::Proxy;
use hyper_rustls::ConfigBuilderExt;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::path::Path;
use tonic::codegen::http::Uri;

/// For the receiver.
pub(super) fn of_receiver(destination: &Destination) -> Result<ClientConfig, ConfigError> {
    let builder = roots(destination, &destination.uri)?;
    match (&destination.tls.certificate_file, &destination.tls.key_file) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| wrong(key, &error))?;
            let chain = certificates(certificate)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| wrong(certificate, &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// For a proxy that is spoken to by TLS. It does not learn who we are.
pub(super) fn of_proxy(proxy: &Proxy, destination: &Destination) -> Result<ClientConfig, ConfigError> {
    Ok(roots(destination, &proxy.uri)?.with_no_client_auth())
}

fn roots(
    destination: &Destination,
    to: &Uri,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, ConfigError> {
    let builder = ClientConfig::builder();
    if to.scheme_str() != Some("https") {
        // None is asked for.
        return Ok(builder.with_root_certificates(RootCertStore::empty()));
    }
    let Some(file) = &destination.tls.ca_file else {
        let roots = builder.with_native_roots();
        return roots.map_err(|error| wrong(Path::new("the system's certificates"), &error));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| wrong(file, &error))?;
    }
    Ok(builder.with_root_certificates(roots))
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
