//! TLS of the API listeners and of the client of this program.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::{Exit, Failure, Result};

/// What a listener needs to speak TLS.
pub fn server_config(cert_file: &Path, key_file: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let certificates = read_certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|cause| {
        Failure::new(
            Exit::Usage,
            format!(
                "{} holds no private key in PEM form: {cause}",
                key_file.display()
            ),
        )
    })?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(certificates, key)
        })
        .map_err(|cause| {
            Failure::failed(
                format!("use {} with {}", cert_file.display(), key_file.display()),
                &cause,
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What this program's client trusts: the certificates of a file and nothing else.
pub fn client_config(ca_file: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in read_certificates(ca_file)? {
        roots.add(certificate).map_err(|cause| {
            Failure::failed(
                format!("trust the certificates of {}", ca_file.display()),
                &cause,
            )
        })?;
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|cause| Failure::failed("set up TLS", &cause))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let attempt = || format!("read the certificates of {}", path.display());
    let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|cause| Failure::failed(attempt(), &cause))?
        .collect();
    let certificates = certificates.map_err(|cause| Failure::failed(attempt(), &cause))?;
    if certificates.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} holds no certificate in PEM form", path.display()),
        ));
    }
    Ok(certificates)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
