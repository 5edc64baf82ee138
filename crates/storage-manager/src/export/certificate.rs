//! The self-signed certificate of the NBD listener: made on the first start and kept.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::io::durable::replace_file;

/// The file in the data directory that holds the key, the certificate and its name. One file, so that no crash parts them.
pub const CERTIFICATE_FILE: &str = "nbd-tls.pem";

/// Longest such file that is read.
const MAX_FILE: u64 = 64 * 1024;

/// How the line with the name starts; PEM lets text stand before the first block.
const SUBJECT_LINE: &str = "# subject: ";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read or written.
    #[error("{action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file does not hold what it should.
    #[error(
        "{} does not hold a subject, a private key and a certificate; remove it and a new one is made at the next start",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate cannot be used for TLS.
    #[error("use the key and certificate in {}; remove the file and new ones are made at the next start", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// A key or certificate could not be made.
    #[error("make a certificate for {name:?}")]
    Generate {
        /// The DNS name.
        name: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate with its key, ready for a listener.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The DNS name in it that clients should expect.
    pub subject: String,
    /// For the listener.
    pub config: Arc<rustls::ServerConfig>,
}

impl Certificate {
    /// Reads the certificate of this data directory, or makes one for `host_name` and keeps it.
    pub fn load_or_create(data_dir: &Path, host_name: &str) -> Result<Self, CertificateError> {
        let path = data_dir.join(CERTIFICATE_FILE);
        let file_error = |action, source| CertificateError::File {
            action,
            path: path.clone(),
            source,
        };
        let text = match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MAX_FILE)
                    .read_to_string(&mut text)
                    .map_err(|source| file_error("read", source))?;
                text
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = generate(host_name)?;
                replace_file(&path, text.as_bytes(), 0o600)
                    .map_err(|source| file_error("write", source))?;
                text
            }
            Err(error) => return Err(file_error("open", error)),
        };
        parse(&text, &path)
    }
}

fn generate(host_name: &str) -> Result<String, CertificateError> {
    let is_dns_name = !host_name.is_empty()
        && host_name.len() <= 253
        && host_name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    let subject = if is_dns_name { host_name } else { "localhost" };
    let mut names = vec![
        subject.to_owned(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    names.dedup();
    let failed = |source| CertificateError::Generate {
        name: subject.to_owned(),
        source,
    };
    let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, subject);
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(format!(
        "{SUBJECT_LINE}{subject}\n{}{}",
        key.serialize_pem(),
        certificate.pem()
    ))
}

fn parse(text: &str, path: &Path) -> Result<Certificate, CertificateError> {
    let damaged = || CertificateError::Damaged {
        path: path.to_owned(),
    };
    let first_line = text.lines().next().unwrap_or_default();
    let subject = first_line
        .strip_prefix(SUBJECT_LINE)
        .ok_or_else(damaged)?
        .to_owned();
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| damaged())?;
    let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| damaged())?;
    let start = text
        .find("-----BEGIN CERTIFICATE-----")
        .ok_or_else(damaged)?;
    let unusable = |source| CertificateError::Unusable {
        path: path.to_owned(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(unusable)?;
    Ok(Certificate {
        certificate_pem: text[start..].to_owned(),
        subject,
        config: Arc::new(config),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Certificate::load_or_create(dir.path(), "storage-1.example").unwrap();
        assert_eq!(first.subject, "storage-1.example");
        assert!(
            first
                .certificate_pem
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
        assert!(!first.certificate_pem.contains("PRIVATE"));
        let mode = dir
            .path()
            .join(CERTIFICATE_FILE)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = Certificate::load_or_create(dir.path(), "another").unwrap();
        assert_eq!(second.certificate_pem, first.certificate_pem);
        assert_eq!(second.subject, "storage-1.example");
    }

    #[test]
    fn a_name_that_is_no_dns_name_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            Certificate::load_or_create(dir.path(), "my host\n")
                .unwrap()
                .subject,
            "localhost"
        );
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_alone() {
        for content in [
            "",
            "# subject: x\n",
            "-----BEGIN CERTIFICATE-----",
            "# subject: x\n-----BEGIN CERTIFICATE-----\n",
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(CERTIFICATE_FILE), content).unwrap();
            let error = Certificate::load_or_create(dir.path(), "x").unwrap_err();
            assert!(matches!(error, CertificateError::Damaged { .. }), "{error}");
            assert_eq!(
                std::fs::read_to_string(dir.path().join(CERTIFICATE_FILE)).unwrap(),
                content
            );
        }
    }
}
