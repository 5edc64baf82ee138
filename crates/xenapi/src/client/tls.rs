//! How a pool's certificate is known. There is no way to accept any certificate.

use super::error::Error;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// By what the certificate of an HTTPS endpoint is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is signed by an authority in this PEM file and names the host.
    CaFile(PathBuf),
    /// As [`Trust::CaFile`], with the file of the operating system.
    SystemCa,
    /// It has one of these SHA-256 fingerprints, whatever name and dates it bears. A pool has one certificate for each
    /// host: name all hosts that may be master.
    Fingerprints(Vec<[u8; 32]>),
}

/// Where operating systems keep the certificates of authorities, in the order in which they are tried.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

impl Trust {
    /// Parses one fingerprint: 64 hexadecimal digits, with or without colons.
    ///
    /// # Errors
    /// [`Error::Fingerprint`].
    pub fn fingerprint(text: &str) -> Result<[u8; 32], Error> {
        let invalid = || Error::Fingerprint {
            text: text.to_owned(),
        };
        let digits: Vec<u8> = text.trim().bytes().filter(|byte| *byte != b':').collect();
        let mut fingerprint = [0; 32];
        if digits.len() != 64 {
            return Err(invalid());
        }
        for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(fingerprint)
    }

    /// What the TLS layer needs to know a certificate.
    ///
    /// # Errors
    /// A file without certificates, versions of TLS that the cryptography lacks.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Trust::CaFile(path) => authorities(path, &provider)?,
            Trust::SystemCa => {
                let file = SYSTEM_CA_FILES
                    .iter()
                    .map(Path::new)
                    .find(|path| path.exists());
                authorities(file.unwrap_or(Path::new(SYSTEM_CA_FILES[0])), &provider)?
            }
            Trust::Fingerprints(fingerprints) => Arc::new(Pinned {
                fingerprints: fingerprints.clone(),
                algorithms: provider.signature_verification_algorithms,
            }),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn authorities(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let unusable = |source: Option<Box<dyn std::error::Error + Send + Sync>>| Error::CaFile {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(Some(Box::new(error))))?
    {
        let certificate = certificate.map_err(|error| unusable(Some(Box::new(error))))?;
        // A bundle may hold a certificate in a form that is not understood; the others still serve.
        roots.add_parsable_certificates([certificate]);
    }
    if roots.is_empty() {
        return Err(unusable(None));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| unusable(Some(Box::new(error))))?;
    Ok(verifier)
}

/// Accepts a certificate by its fingerprint. That its holder has the key is verified as always.
#[derive(Debug)]
struct Pinned {
    fingerprints: Vec<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fingerprint = ::ring::digest::digest(&::ring::digest::SHA256, end_entity);
        if self
            .fingerprints
            .iter()
            .any(|pinned| pinned.as_slice() == fingerprint.as_ref())
        {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let plain = "00ff".repeat(16);
        let colons = ["00:FF"; 16].join(":");
        assert_eq!(
            Trust::fingerprint(&plain).unwrap(),
            Trust::fingerprint(&colons).unwrap()
        );
        for text in ["", "00", &"0g".repeat(32), &"+1".repeat(32)] {
            assert!(Trust::fingerprint(text).is_err(), "{text}");
        }
    }
}
