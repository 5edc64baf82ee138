//! Where a consumer finds an export.

use std::net::SocketAddr;
use std::path::PathBuf;

/// An attached VDI on its unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The socket, mode 0600.
    pub unix_socket: PathBuf,
    /// The export's name; the empty name means the same on this socket.
    pub export_name: String,
}

impl Endpoint {
    /// The address as NBD tools take it.
    ///
    /// Source: NBD URI specification, `nbd+unix:///name?socket=path`.
    pub fn uri(&self) -> String {
        let path: String = self
            .unix_socket
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .map(|&byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                    (byte as char).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect();
        format!("nbd+unix:///{}?socket={path}", self.export_name)
    }
}

/// The listener for readers with a session, as `VDI.get_nbd_info` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsEndpoint {
    /// Address and port that were bound.
    pub address: SocketAddr,
    /// The listener's certificate, PEM.
    pub certificate_pem: String,
    /// A DNS name in the certificate.
    pub subject: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_escaped() {
        let endpoint = Endpoint {
            unix_socket: "/a b/c%d/x.sock".into(),
            export_name: "e".to_owned(),
        };
        assert_eq!(endpoint.uri(), "nbd+unix:///e?socket=/a%20b/c%25d/x.sock");
    }
}
