//! Where a pool listens.

use super::error::Error;
use std::fmt;
use std::path::PathBuf;

/// An address of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// HTTP. Credentials travel in the clear: for loopback and tests.
    Http {
        /// Name or address, an IPv6 one without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// HTTPS.
    Https {
        /// Name or address, an IPv6 one without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Endpoint {
    /// Parses `unix:///path`, `http://host[:port]` or `https://host[:port]`.
    ///
    /// # Errors
    /// [`Error::Endpoint`] for anything else, also for a user, a path or a query in it.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let invalid = |expected: &'static str| Error::Endpoint {
            url: url.to_owned(),
            expected,
        };
        if let Some(path) = url.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(invalid("an absolute path after unix://"));
            }
            return Ok(Endpoint::Unix(PathBuf::from(path)));
        }
        let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(invalid("unix://, http:// or https://")),
        };
        let authority: http::uri::Authority = rest
            .strip_suffix('/')
            .unwrap_or(rest)
            .parse()
            .map_err(|_| invalid("host or host:port"))?;
        if authority.as_str().contains('@') {
            return Err(Error::Endpoint {
                url: "(with a user)".to_owned(),
                expected: "no user in the URL",
            });
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(invalid("a host"));
        }
        if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
            return Err(invalid("a port from 0 to 65535"));
        }
        let port = authority
            .port_u16()
            .unwrap_or(if secure { 443 } else { 80 });
        Ok(if secure {
            Endpoint::Https { host, port }
        } else {
            Endpoint::Http { host, port }
        })
    }

    /// The same scheme and port at another host; nothing for a unix socket, which has none, and for what is no host.
    pub(super) fn at_host(&self, host: &str) -> Option<Self> {
        let host = host
            .trim()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let moved = match self {
            Endpoint::Unix(_) => return None,
            Endpoint::Http { port, .. } => Endpoint::Http { host, port: *port },
            Endpoint::Https { port, .. } => Endpoint::Https { host, port: *port },
        };
        moved.uri().map(|_| moved)
    }

    /// The URI of a request; for a unix socket the host is only a word for the `Host` header.
    pub(super) fn uri(&self) -> Option<http::Uri> {
        let (scheme, host, port) = match self {
            Endpoint::Unix(_) => return Some(http::Uri::from_static("http://localhost/")),
            Endpoint::Http { host, port } => ("http", host, port),
            Endpoint::Https { host, port } => ("https", host, port),
        };
        if host.is_empty()
            || !host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte))
        {
            return None;
        }
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        format!("{scheme}://{host}:{port}/").parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Http { host, port } => write!(f, "http://{host}:{port}"),
            Endpoint::Https { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let https = |host: &str, port| Endpoint::Https {
            host: host.to_owned(),
            port,
        };
        assert_eq!(
            Endpoint::parse("unix:///run/x").unwrap(),
            Endpoint::Unix("/run/x".into())
        );
        assert_eq!(Endpoint::parse("https://pool").unwrap(), https("pool", 443));
        assert_eq!(
            Endpoint::parse("https://[::1]:8443/").unwrap(),
            https("::1", 8443)
        );
        assert_eq!(
            Endpoint::parse("http://h:81").unwrap(),
            Endpoint::Http {
                host: "h".to_owned(),
                port: 81
            }
        );
        for url in [
            "pool",
            "ftp://pool",
            "https://",
            "https://u:p@pool",
            "https://pool/x",
            "unix://x",
            "http://h:99999",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
        assert!(
            !Endpoint::parse("https://u:secret@pool")
                .unwrap_err()
                .to_string()
                .contains("secret")
        );
    }

    #[test]
    fn redirects_keep_scheme_and_port() {
        let member = Endpoint::parse("https://a:8443").unwrap();
        assert_eq!(
            member.at_host("b"),
            Some(Endpoint::parse("https://b:8443").unwrap())
        );
        assert_eq!(
            member
                .at_host("fe80::1")
                .unwrap()
                .uri()
                .unwrap()
                .to_string(),
            "https://[fe80::1]:8443/"
        );
        assert_eq!(member.at_host("b/evil?"), None);
        assert_eq!(member.at_host(""), None);
        assert_eq!(Endpoint::Unix("/x".into()).at_host("b"), None);
    }
}
