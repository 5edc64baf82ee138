//! By what the client knows the certificate of a pool.

use crate::pool_server::{Server, with_login};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use xenapi::Value;
use xenapi::client::{Client, Credentials, Endpoint, Error, Options, Outcome, Trust};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server with a certificate for the name, and the fingerprint of that.
    async fn server(&self, name: &str) -> (Server, [u8; 32]) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        let der: CertificateDer<'static> = certificate.der().clone();
        let fingerprint = ring::digest::digest(&ring::digest::SHA256, &der)
            .as_ref()
            .try_into()
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        (
            Server::tls(
                Arc::new(config),
                with_login(|_| Value::Array(Vec::new()).into()),
            )
            .await,
            fingerprint,
        )
    }

    fn file(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.0.pem()).unwrap();
        file
    }
}

async fn call(server: &Server, trust: &Trust) -> Result<Vec<String>, Error> {
    let endpoint = Endpoint::parse(&server.url("https")).unwrap();
    let client = Client::connect(
        endpoint,
        Some(trust),
        Credentials::new("root", "hunter2"),
        Options::default(),
    )
    .unwrap();
    client.sr().get_supported_types().await
}

fn refused(server: &Server, result: Result<Vec<String>, Error>) {
    let error = result.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(
        matches!(&error, Error::Login { source, .. } if matches!(**source, Error::Transport { .. })),
        "{error:?}"
    );
    assert_eq!(
        server.calls(),
        [""; 0],
        "the password was sent to a stranger"
    );
}

#[tokio::test]
async fn a_certificate_of_the_authority_is_accepted() {
    let authority = Authority::new();
    let (server, _) = authority.server("127.0.0.1").await;
    let file = authority.file();
    call(&server, &Trust::CaFile(file.path().to_owned()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_name_is_refused() {
    let authority = Authority::new();
    let (server, _) = authority.server("127.0.0.1").await;
    let other = Authority::new().file();
    refused(
        &server,
        call(&server, &Trust::CaFile(other.path().to_owned())).await,
    );
    let (server, _) = authority.server("elsewhere.example").await;
    let file = authority.file();
    refused(
        &server,
        call(&server, &Trust::CaFile(file.path().to_owned())).await,
    );
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_and_no_other() {
    let authority = Authority::new();
    let (server, fingerprint) = authority.server("elsewhere.example").await;
    call(&server, &Trust::Fingerprints(vec![[0; 32], fingerprint]))
        .await
        .unwrap();
    let (server, _) = authority.server("elsewhere.example").await;
    refused(
        &server,
        call(&server, &Trust::Fingerprints(vec![fingerprint])).await,
    );
    refused(
        &server,
        call(&server, &Trust::Fingerprints(Vec::new())).await,
    );
}

#[tokio::test]
async fn there_is_no_https_without_trust() {
    let endpoint = || Endpoint::parse("https://127.0.0.1").unwrap();
    let credentials = || Credentials::new("root", "hunter2");
    let error = Client::connect(endpoint(), None, credentials(), Options::default()).unwrap_err();
    assert!(matches!(error, Error::TrustMissing { .. }));
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path(), std::path::Path::new("/nonexistent/ca.pem")] {
        let trust = Trust::CaFile(path.to_owned());
        let error = Client::connect(endpoint(), Some(&trust), credentials(), Options::default())
            .unwrap_err();
        assert!(matches!(error, Error::CaFile { .. }), "{error:?}");
    }
}
