//! Listens for HTTP, with TLS or without, and has each request answered by a thread of the connection.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::http::{Request, Response};

/// How long a connection may be silent.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// Connections that are held at once.
const MOST_CONNECTIONS: usize = 256;

/// Answers a request; nothing means that the connection is cut.
pub type Answer = dyn Fn(&Request) -> Option<Response> + Send + Sync;

/// A certificate of an authority of its own.
pub struct Certificate {
    /// The authority's certificate (PEM), for clients to trust.
    pub authority: String,
    configuration: Arc<ServerConfig>,
}

/// Listens; stops with the value.
pub struct Listener {
    address: SocketAddr,
    shared: Arc<ListenerShared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct ListenerShared {
    tls: Option<Arc<ServerConfig>>,
    answer: Arc<Answer>,
    is_closing: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Certificate {
    /// A new certificate for an address and `localhost`.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn new(address: &str) -> Self {
        let mut authority = rcgen::CertificateParams::new([]).expect("no names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let name = rcgen::DnType::CommonName;
        authority
            .distinguished_name
            .push(name.clone(), "authority of an emulated array");
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let own = rcgen::KeyPair::generate().expect("a key");
        let issuer = rcgen::CertifiedIssuer::self_signed(authority, own).expect("an authority");
        let names = [address.to_owned(), "localhost".to_owned()];
        let mut server = rcgen::CertificateParams::new(names).expect("names");
        server.distinguished_name.push(name, "emulated array");
        server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = rcgen::KeyPair::generate().expect("a key");
        let signed = server.signed_by(&key, &issuer).expect("a certificate");
        let chain = vec![signed.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("ring knows the versions of TLS");
        let configuration = builder.with_no_client_auth();
        let configuration = configuration.with_single_cert(chain, PrivateKeyDer::from(key));
        Certificate {
            authority: issuer.pem(),
            configuration: Arc::new(configuration.expect("the key fits its certificate")),
        }
    }
}

impl Listener {
    /// Listens on any free port of an address.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(
        address: &str,
        certificate: Option<&Certificate>,
        answer: Arc<Answer>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(ListenerShared {
            tls: certificate.map(|certificate| Arc::clone(&certificate.configuration)),
            answer,
            is_closing: AtomicBool::new(false),
            connections: Mutex::new(Vec::new()),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("http".to_owned());
        let thread = thread.spawn(move || {
            for connection in listener.incoming() {
                if own.is_closing.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(connection) = connection {
                    own.accept(connection);
                }
            }
        })?;
        Ok(Listener {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for connection in self.shared.connections().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl ListenerShared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, connection: TcpStream) {
        let mut all = self.connections();
        all.retain(|one| one.peer_addr().is_ok());
        if let Ok(copy) = connection.try_clone()
            && all.len() < MOST_CONNECTIONS
        {
            all.push(copy);
            let own = Arc::clone(self);
            let thread = std::thread::Builder::new().name("request".to_owned());
            let _ = thread.spawn(move || {
                let _ = own.serve(&connection);
                let _ = connection.shutdown(Shutdown::Both);
            });
        }
    }

    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(LONGEST_SILENCE))?;
        match &self.tls {
            None => self.converse(&mut BufReader::new(connection.try_clone()?)),
            Some(configuration) => {
                let tls =
                    ServerConnection::new(Arc::clone(configuration)).map_err(io::Error::other)?;
                let stream = StreamOwned::new(tls, connection.try_clone()?);
                self.converse(&mut BufReader::new(stream))
            }
        }
    }

    fn converse<S: Read + Write>(&self, stream: &mut BufReader<S>) -> io::Result<()> {
        while let Some(request) = Request::read(stream)? {
            let Some(response) = (self.answer)(&request) else {
                return Ok(());
            };
            response.write(stream.get_mut())?;
            if !request.keeps_open() {
                return Ok(());
            }
        }
        Ok(())
    }
}
