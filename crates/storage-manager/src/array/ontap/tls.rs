//! How the certificate of a filer is known.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use xenapi::client::Trust;

/// By what the certificate is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilerTrust {
    /// It names the filer and is signed by an authority of the operating system, or by one in a PEM file.
    Authority(Option<PathBuf>),
    /// It has this SHA-256 fingerprint, whatever it says.
    Fingerprint(String),
    /// By nothing: whoever answers gets the password.
    Anything,
}

impl FilerTrust {
    /// What the TLS layer needs.
    ///
    /// # Errors
    /// A file without certificates, a fingerprint that is none.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, xenapi::client::Error> {
        match self {
            FilerTrust::Authority(None) => Trust::SystemCa.client_config(),
            FilerTrust::Authority(Some(path)) => Trust::CaFile(path.clone()).client_config(),
            FilerTrust::Fingerprint(text) => {
                Trust::Fingerprints(vec![Trust::fingerprint(text)?]).client_config()
            }
            FilerTrust::Anything => Ok(accept_anything()),
        }
    }
}

fn accept_anything() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Anything {
        algorithms: provider.signature_verification_algorithms,
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config)
}

/// Accepts every certificate: `tls_verify=false`.
#[derive(Debug)]
struct Anything {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
