//! Where a target is reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The port of iSCSI. Source: RFC 7143, 14.
pub const DEFAULT_PORT: u16 = 3260;

/// An address of a target, with the group that the target says it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Portal {
    /// Address and port.
    pub address: SocketAddr,
    /// The portal group.
    pub group: Option<u16>,
}

/// Why a text names no portal.
#[derive(Debug, thiserror::Error)]
pub enum PortalError {
    /// It is none.
    #[error("{text:?} is not an address with a port, like 10.0.0.9:3260")]
    Malformed {
        /// What was found.
        text: String,
    },
    /// The name means nothing to the resolver.
    #[error("the name {name:?} does not resolve")]
    Unknown {
        /// The name.
        name: String,
        /// What the resolver said.
        #[source]
        source: std::io::Error,
    },
}

impl Portal {
    /// Reads what targets tell and libiscsi takes: `address[:port][,group]`, an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, PortalError> {
        let malformed = || PortalError::Malformed {
            text: text.to_owned(),
        };
        let (place, group) = match text.split_once(',') {
            Some((place, group)) => (place, Some(group.parse().map_err(|_| malformed())?)),
            None => (text, None),
        };
        let address = match place.parse::<SocketAddr>() {
            Ok(address) => address,
            Err(_) => {
                let bare = place.trim_start_matches('[').trim_end_matches(']');
                let address: IpAddr = bare.parse().map_err(|_| malformed())?;
                SocketAddr::new(address, DEFAULT_PORT)
            }
        };
        Ok(Portal { address, group })
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The addresses of a host, by name or by number, in the resolver's order.
pub fn resolve(host: &str, port: u16) -> Result<Vec<Portal>, PortalError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, port).to_socket_addrs();
    let found = found.map_err(|source| PortalError::Unknown {
        name: host.to_owned(),
        source,
    })?;
    let portals: Vec<Portal> = found
        .map(|address| Portal {
            address,
            group: None,
        })
        .collect();
    if portals.is_empty() {
        let source = std::io::ErrorKind::NotFound.into();
        let name = host.to_owned();
        return Err(PortalError::Unknown { name, source });
    }
    Ok(portals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_targets_tell() {
        for (text, shown, group) in [
            ("10.0.0.9:3261,1", "10.0.0.9:3261", Some(1)),
            ("10.0.0.9,2", "10.0.0.9:3260", Some(2)),
            ("10.0.0.9", "10.0.0.9:3260", None),
            ("[fe80::1]:3260,1", "[fe80::1]:3260", Some(1)),
            ("[fe80::1]", "[fe80::1]:3260", None),
        ] {
            let portal = Portal::parse(text).unwrap();
            assert_eq!((portal.to_string().as_str(), portal.group), (shown, group));
        }
        for text in [
            "",
            "name:3260",
            "10.0.0.9:70000",
            "10.0.0.9:3260,x",
            ":3260",
        ] {
            Portal::parse(text).unwrap_err();
        }
    }

    #[test]
    fn resolves_names_and_numbers() {
        let portals = resolve("127.0.0.1", 3261).unwrap();
        assert_eq!(portals[0].to_string(), "127.0.0.1:3261");
        assert_eq!(resolve("[::1]", 1).unwrap()[0].to_string(), "[::1]:1");
        let error = resolve("no-such-host.invalid", 3260).unwrap_err();
        assert!(matches!(error, PortalError::Unknown { .. }));
    }
}
