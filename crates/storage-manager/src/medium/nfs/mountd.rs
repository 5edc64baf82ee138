//! The services beside NFS version 3: the one that hands out the handle of an export, and the one that knows ports.
//!
//! Source: RFC 1813, appendix I (MOUNT); RFC 1833, section 3 (port mapper, version 2).

use std::net::SocketAddr;
use std::sync::OnceLock;

use super::error::{NfsError, Refusal, Result};
use super::protocol::{Handle, MAX_NAME};
use super::rpc::{Credentials, Program};
use super::transport::{Patience, Transport, check};
use super::xdr::{Malformed, Reader, Writer};

const MOUNT: Program = Program {
    number: 100_005,
    version: 3,
};
const MNT: (&str, u32) = ("MNT", 1);
const EXPORT: (&str, u32) = ("EXPORT", 5);

const PORT_MAPPER: Program = Program {
    number: 100_000,
    version: 2,
};
const GETPORT: (&str, u32) = ("GETPORT", 3);

/// Where the port mapper listens.
const PORT_MAPPER_PORT: u16 = 111;

/// `IPPROTO_TCP`.
const TCP: u32 = 6;

/// Longest handle: `FHSIZE3`.
const MAX_HANDLE: usize = 64;

/// Most exports, and most groups of one, that are taken from a server.
const MAX_EXPORTS: usize = 4096;

/// An export as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its path.
    pub path: String,
    /// Who may use it; nobody in particular: everybody.
    pub groups: Vec<String>,
}

/// The mount service of a server.
#[derive(Debug)]
pub struct MountService {
    addresses: Vec<SocketAddr>,
    /// The port, when the options say it.
    port: Option<u16>,
    reserved_port: bool,
    patience: Patience,
    credentials: Credentials,
    transport: OnceLock<Transport>,
}

impl MountService {
    /// The service at the machine of `addresses`, whose ports do not matter.
    pub fn new(
        addresses: Vec<SocketAddr>,
        port: Option<u16>,
        reserved_port: bool,
        patience: Patience,
        credentials: Credentials,
    ) -> Self {
        MountService {
            addresses,
            port,
            reserved_port,
            patience,
            credentials,
            transport: OnceLock::new(),
        }
    }

    /// The handle of an export.
    pub fn mount(&self, path: &str) -> Result<Handle> {
        let mut arguments = Writer::default();
        arguments.opaque(path.as_bytes());
        self.call(MNT, &arguments, &mut |reader, repeated| {
            let malformed = |source| NfsError::Malformed {
                procedure: MNT.0,
                source,
            };
            // The numbers are those of NFS.
            check(MNT.0, reader.u32().map_err(malformed)?, repeated)?;
            Handle::read(reader, MAX_HANDLE).map_err(malformed)
        })
    }

    /// The exports of the server.
    pub fn exports(&self) -> Result<Vec<Export>> {
        self.call(EXPORT, &Writer::default(), &mut |reader, _| {
            read_exports(reader).map_err(|source| NfsError::Malformed {
                procedure: EXPORT.0,
                source,
            })
        })
    }

    /// Ends waits.
    pub fn close(&self) {
        if let Some(transport) = self.transport.get() {
            transport.close();
        }
    }

    fn call<T>(
        &self,
        procedure: (&'static str, u32),
        arguments: &Writer,
        read: &mut dyn FnMut(&mut Reader<'_>, bool) -> Result<T>,
    ) -> Result<T> {
        let transport = match self.transport.get() {
            Some(transport) => transport,
            None => {
                let port = match self.port {
                    Some(port) => port,
                    None => self.ask_for_port()?,
                };
                let transport = self.transport_to(port);
                self.transport.get_or_init(|| transport)
            }
        };
        call_once(transport, procedure, MOUNT, arguments, read)
    }

    fn ask_for_port(&self) -> Result<u16> {
        let transport = self.transport_to(PORT_MAPPER_PORT);
        let mut arguments = Writer::default();
        arguments
            .u32(MOUNT.number)
            .u32(MOUNT.version)
            .u32(TCP)
            .u32(0);
        let port = call_once(
            &transport,
            GETPORT,
            PORT_MAPPER,
            &arguments,
            &mut |reader, _| {
                reader.u32().map_err(|source| NfsError::Malformed {
                    procedure: GETPORT.0,
                    source,
                })
            },
        )?;
        match u16::try_from(port) {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(NfsError::Refused {
                procedure: GETPORT.0,
                reason: Refusal::NoProgram,
            }),
        }
    }

    fn transport_to(&self, port: u16) -> Transport {
        let addresses = self.addresses.iter().map(|address| {
            let mut address = *address;
            address.set_port(port);
            address
        });
        Transport::new(
            addresses.collect(),
            self.reserved_port,
            self.patience,
            self.credentials.clone(),
        )
    }
}

fn call_once<T>(
    transport: &Transport,
    procedure: (&'static str, u32),
    program: Program,
    arguments: &Writer,
    read: &mut dyn FnMut(&mut Reader<'_>, bool) -> Result<T>,
) -> Result<T> {
    let call = transport.call(procedure, program, arguments, &[]);
    let mut result = None;
    transport.exchange(
        std::slice::from_ref(&call),
        transport.deadline(),
        &mut |_, mut reader, repeated| {
            result = Some(read(&mut reader, repeated)?);
            Ok(())
        },
    )?;
    Ok(result.expect("an exchange without error has an answer"))
}

fn read_exports(reader: &mut Reader<'_>) -> Result<Vec<Export>, Malformed> {
    let mut exports = Vec::new();
    while reader.bool()? {
        let path = reader.text(MAX_NAME)?;
        let mut groups = Vec::new();
        while reader.bool()? {
            groups.push(reader.text(MAX_NAME)?);
            if groups.len() > MAX_EXPORTS {
                return Err(Malformed("an export has too many groups"));
            }
        }
        exports.push(Export { path, groups });
        if exports.len() > MAX_EXPORTS {
            return Err(Malformed("the server has too many exports"));
        }
    }
    Ok(exports)
}
