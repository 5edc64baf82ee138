//! Connecting to a server.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;

use super::negotiate::Negotiation;
use super::{Client, DEFAULT_TIMEOUT};
use crate::Error;
use crate::channel::{Channel, Socket};

/// TLS as a client wants it; a server without TLS is refused then.
#[derive(Clone)]
pub struct ClientTls {
    /// Whom the client trusts.
    pub config: Arc<rustls::ClientConfig>,
    /// Whose certificate the server must show.
    pub server_name: ServerName<'static>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// TLS, or a plain connection.
    pub tls: Option<ClientTls>,
    /// Time for the handshake, and for each request.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            tls: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl Client {
    /// Connects to `export` through a unix socket.
    pub fn connect_unix(
        path: &Path,
        export: &str,
        options: &ClientOptions,
    ) -> Result<Client, Error> {
        Self::negotiate(unix(path)?, export, options)
    }

    /// Connects to `export` over TCP.
    pub fn connect_tcp(
        address: SocketAddr,
        export: &str,
        options: &ClientOptions,
    ) -> Result<Client, Error> {
        Self::negotiate(tcp(address, options)?, export, options)
    }

    /// Negotiates on a connection that was made elsewhere.
    pub fn from_stream(
        stream: UnixStream,
        export: &str,
        options: &ClientOptions,
    ) -> Result<Client, Error> {
        Self::negotiate(Socket::Unix(stream), export, options)
    }

    fn negotiate(socket: Socket, export: &str, options: &ClientOptions) -> Result<Client, Error> {
        let mut negotiation = begin(socket, options)?;
        let structured = negotiation.structured_reply()?;
        let allocation = if structured {
            negotiation.allocation_context(export)?
        } else {
            None
        };
        let export = negotiation.go(export)?;
        let Negotiation {
            channel,
            receiver,
            sender,
        } = negotiation;
        Ok(Client {
            channel,
            receiver,
            sender,
            timeout: options.timeout,
            size: export.size,
            flags: export.flags,
            structured,
            allocation,
            max_payload: export.max_payload,
            next_cookie: 1,
            broken: false,
        })
    }
}

/// Lists the exports of the server behind a unix socket; most servers refuse.
pub fn list_unix(path: &Path, options: &ClientOptions) -> Result<Vec<String>, Error> {
    begin(unix(path)?, options)?.list()
}

/// Lists the exports of a server; most servers refuse.
pub fn list_tcp(address: SocketAddr, options: &ClientOptions) -> Result<Vec<String>, Error> {
    begin(tcp(address, options)?, options)?.list()
}

/// The handshake up to where options are sent, under TLS if it is wanted.
fn begin(socket: Socket, options: &ClientOptions) -> Result<Negotiation, Error> {
    let mut channel = Channel::new(Arc::new(socket));
    channel.set_deadline(Some(Instant::now() + options.timeout))?;
    let mut negotiation = Negotiation::greet(channel)?;
    if let Some(tls) = &options.tls {
        negotiation.start_tls(tls)?;
    }
    Ok(negotiation)
}

fn unix(path: &Path) -> Result<Socket, Error> {
    UnixStream::connect(path)
        .map(Socket::Unix)
        .map_err(Error::io("connect to an NBD unix socket"))
}

fn tcp(address: SocketAddr, options: &ClientOptions) -> Result<Socket, Error> {
    let failed = "connect to an NBD server over TCP";
    let stream =
        TcpStream::connect_timeout(&address, options.timeout).map_err(Error::io(failed))?;
    stream
        .set_nodelay(true)
        .map_err(Error::io("turn off Nagle's algorithm"))?;
    Ok(Socket::Tcp(stream))
}
