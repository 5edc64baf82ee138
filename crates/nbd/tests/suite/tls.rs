//! TLS between our server and our client, and what a listener with TLS refuses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use nbd::client::{self, ClientOptions, ClientTls};
use nbd::protocol::constants::{option, option_reply};
use nbd::protocol::{ClientHello, OptionHeader, OptionReplyHeader, ServerHello};
use nbd::server::{Limits, ListenerOptions, TlsPolicy};
use nbd::{Client, Error};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::fixture::{Fixture, PATIENCE, eventually, pattern};

/// A certificate for localhost, the authority that made it, and a client that trusts it.
pub struct Identity {
    pub server: Arc<rustls::ServerConfig>,
    pub authority_pem: String,
    client: Arc<rustls::ClientConfig>,
}

impl Identity {
    pub fn new() -> Self {
        // GnuTLS wants an authority that says it is one, so a self-signed certificate is not enough.
        let mut authority = rcgen::CertificateParams::new([]).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let authority =
            rcgen::CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate().unwrap())
                .unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let certificate: CertificateDer<'static> = certificate.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Identity {
            server: Arc::new(server),
            authority_pem: authority.pem(),
            client: Arc::new(client),
        }
    }

    fn options(&self) -> ClientOptions {
        let server_name = "localhost".try_into().unwrap();
        ClientOptions {
            tls: Some(ClientTls {
                config: self.client.clone(),
                server_name,
            }),
            ..ClientOptions::default()
        }
    }
}

fn listen(fixture: &Fixture, tls: TlsPolicy) -> SocketAddr {
    let any = "127.0.0.1:0".parse().unwrap();
    fixture
        .server
        .listen_tcp(any, ListenerOptions { tls })
        .unwrap()
        .1
}

#[test]
fn bytes_travel_under_tls() {
    let fixture = Fixture::silent(Limits::default());
    let identity = Identity::new();
    let address = listen(&fixture, TlsPolicy::Required(identity.server.clone()));
    let mut client = Client::connect_tcp(address, "disk", &identity.options()).unwrap();
    assert!(fixture.server.connections()[0].peer.tls);
    for length in [1, 4096, 100_000, 3 << 20] {
        let data = pattern(length as u8, length);
        client.write(&data, 7).unwrap();
        let mut back = vec![0; length];
        client.read(&mut back, 7).unwrap();
        assert!(back == data, "{length} bytes");
    }
    client.flush().unwrap();
    client.disconnect().unwrap();
    eventually("the connection to end", || {
        fixture.server.connections().is_empty()
    });
}

#[test]
fn required_tls_refuses_plain_clients() {
    let fixture = Fixture::silent(Limits::default());
    let identity = Identity::new();
    let address = listen(&fixture, TlsPolicy::Required(identity.server.clone()));
    let refused = Client::connect_tcp(address, "disk", &ClientOptions::default());
    assert!(matches!(
        refused,
        Err(Error::OptionRefused {
            reply: option_reply::ERR_TLS_REQD,
            ..
        })
    ));
    let refused = client::list_tcp(address, &ClientOptions::default());
    assert!(matches!(
        refused,
        Err(Error::OptionRefused {
            reply: option_reply::ERR_TLS_REQD,
            ..
        })
    ));
    assert_eq!(
        fixture.catalogue.finds.load(Ordering::SeqCst),
        0,
        "no name was looked up"
    );
}

#[test]
fn a_tls_client_refuses_a_plain_server() {
    let fixture = Fixture::silent(Limits::default());
    let identity = Identity::new();
    let address = listen(&fixture, TlsPolicy::Plaintext);
    let refused = Client::connect_tcp(address, "disk", &identity.options());
    assert!(matches!(
        refused,
        Err(Error::OptionRefused {
            option: "STARTTLS",
            ..
        })
    ));
}

#[test]
fn offered_tls_is_the_choice_of_the_client_and_of_the_export() {
    let fixture = Fixture::silent(Limits::default());
    let identity = Identity::new();
    let address = listen(&fixture, TlsPolicy::Offered(identity.server.clone()));
    Client::connect_tcp(address, "disk", &ClientOptions::default()).unwrap();
    Client::connect_tcp(address, "disk", &identity.options()).unwrap();
    fixture.catalogue.tls_only.store(true, Ordering::SeqCst);
    let refused = Client::connect_tcp(address, "disk", &ClientOptions::default());
    assert!(matches!(
        refused,
        Err(Error::OptionRefused {
            reply: option_reply::ERR_TLS_REQD,
            ..
        })
    ));
    Client::connect_tcp(address, "disk", &identity.options()).unwrap();
}

#[test]
fn a_client_that_distrusts_the_certificate_is_forgotten() {
    let fixture = Fixture::silent(Limits::default());
    let address = listen(&fixture, TlsPolicy::Required(Identity::new().server));
    let refused = Client::connect_tcp(address, "disk", &Identity::new().options());
    assert!(matches!(refused, Err(Error::Tls { .. })));
    eventually("the connection to end", || {
        fixture.server.connections().is_empty()
    });
}

/// What comes in front of the TLS session may be from somebody in between, and must not be taken for the client's.
#[test]
fn plain_bytes_after_starttls_end_the_connection() {
    let fixture = Fixture::silent(Limits::default());
    let address = listen(&fixture, TlsPolicy::Required(Identity::new().server));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0; ServerHello::LENGTH]).unwrap();
    let mut message = ClientHello { flags: 3 }.to_bytes().to_vec();
    message.extend_from_slice(
        &OptionHeader {
            option: option::STARTTLS,
            length: 0,
        }
        .to_bytes(),
    );
    message.extend_from_slice(
        &OptionHeader {
            option: option::STRUCTURED_REPLY,
            length: 0,
        }
        .to_bytes(),
    );
    stream.write_all(&message).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(
        rest.len() <= OptionReplyHeader::LENGTH,
        "no TLS and no second reply: {rest:?}"
    );
    eventually("the connection to end", || {
        fixture.server.connections().is_empty()
    });
}

#[test]
fn several_encrypted_connections_work_at_once() {
    let fixture = Fixture::silent(Limits::default());
    let identity = Identity::new();
    let address = listen(&fixture, TlsPolicy::Required(identity.server.clone()));
    thread::scope(|scope| {
        for part in 0..4u8 {
            let options = identity.options();
            scope.spawn(move || {
                let mut client = Client::connect_tcp(address, "disk", &options).unwrap();
                let data = pattern(part, 300_000);
                let offset = u64::from(part) * (1 << 20);
                client.write(&data, offset).unwrap();
                let mut back = vec![0; data.len()];
                client.read(&mut back, offset).unwrap();
                assert!(back == data);
                client.disconnect().unwrap();
            });
        }
    });
}
