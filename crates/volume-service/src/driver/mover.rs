//! The seam to the bytes of VDIs, for the few use cases that pass bytes through the service.
//!
//! Why the service sees bytes here and nowhere else: `docs/decisions/2026-11-23-blocks-through-the-service.md`. What speaks NBD is
//! given by the binary ([`Dialer`]); this crate knows sizes, offsets and buffers only.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use uuid::Uuid;
use xenapi::client::Trust;

use super::error::PoolError;
use super::pool::{NbdEndpoint, PoolFuture};
use crate::config::Secret;

/// Opens VDIs and compares them.
pub trait Mover: Send + Sync {
    /// Opens a VDI of a zone's pool for reading; it stays open until it is dropped. Nothing is left in the pool then.
    ///
    /// # Errors
    /// `Gone` when there is no such VDI, `Unsupported` when the pool serves no bytes.
    fn open<'a>(&'a self, zone: &'a str, vdi: Uuid) -> PoolFuture<'a, Box<dyn Disk>>;

    /// True when blocks can be written to volumes of a zone's pool.
    fn takes_writes<'a>(&'a self, zone: &'a str) -> PoolFuture<'a, bool>;

    /// Opens what a plugged VBD serves.
    fn open_plugged<'a>(&'a self, endpoint: &'a NbdEndpoint) -> PoolFuture<'a, Box<dyn Disk>>;

    /// The ranges that two VDIs may have different; none when the pool cannot tell. What is in no range is the same in both.
    fn differing<'a>(
        &'a self,
        zone: &'a str,
        from: Uuid,
        to: Uuid,
    ) -> PoolFuture<'a, Option<RangeMap>>;
}

/// An open VDI. Calls block; an error leaves it unusable.
pub trait Disk: Send {
    /// Its size in bytes.
    fn size_bytes(&self) -> u64;

    /// Fills the buffer from an offset.
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), PoolError>;

    /// Writes at an offset.
    ///
    /// # Durability
    /// Nothing is on stable storage before [`Disk::flush`] returns.
    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), PoolError>;

    /// Puts everything written on stable storage.
    fn flush(&mut self) -> Result<(), PoolError>;

    /// Describes a range, as far as one question goes: at least one run, in order, without gaps.
    fn runs(&mut self, offset: u64, length: u64) -> Result<Vec<Run>, PoolError>;
}

/// Bytes of a VDI with the same status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Length in bytes.
    pub length: u64,
    /// True when they are known to be zeros.
    pub is_zero: bool,
}

/// Where a VDI is served.
#[derive(Clone, Debug)]
pub enum Door {
    /// On a unix socket of this machine.
    Local {
        /// Its path.
        socket: String,
        /// The export's name, which may hold a session.
        export: Secret,
    },
    /// Over TLS.
    Remote {
        /// The address or name of the host.
        address: String,
        /// The port.
        port: u16,
        /// The export's name, which holds a session.
        export: Secret,
        /// What knows the host's certificate.
        tls: Arc<rustls::ClientConfig>,
        /// A name in the certificate.
        subject: String,
    },
}

impl Door {
    /// A door over TLS of which XenAPI named the certificate, as PEM: that one is trusted, and no other. None when it cannot be
    /// used.
    pub fn remote(
        address: String,
        port: u16,
        export: Secret,
        certificate: &str,
        subject: String,
    ) -> Option<Door> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
        let fingerprint = ring::digest::digest(&ring::digest::SHA256, &certificate);
        let fingerprint: [u8; 32] = fingerprint.as_ref().try_into().ok()?;
        let tls = Trust::Fingerprints(vec![fingerprint])
            .client_config()
            .ok()?;
        Some(Door::Remote {
            address,
            port,
            export,
            tls,
            subject,
        })
    }
}

/// Connects to where VDIs are served; the binary has one.
pub trait Dialer: Send + Sync {
    /// Connects. Blocks, for at most a deadline of its own.
    fn dial(&self, door: &Door) -> Result<Box<dyn Disk>, PoolError>;
}

/// One bit for each unit of a VDI, the most significant of each byte first; units behind its end have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeMap {
    /// Bytes of a unit.
    pub unit_bytes: u64,
    /// The bits.
    pub bits: Vec<u8>,
}

impl RangeMap {
    /// True when some unit that a range touches has its bit.
    pub fn touches(&self, offset: u64, length: u64) -> bool {
        let Some(last) = length
            .checked_sub(1)
            .and_then(|more| offset.checked_add(more))
        else {
            return false;
        };
        let unit = self.unit_bytes.max(1);
        (offset / unit..=last / unit).any(|unit| self.has(unit))
    }

    /// Sets the bit of a unit.
    pub fn set(&mut self, unit: u64) {
        let byte = usize::try_from(unit / 8).unwrap_or(usize::MAX);
        if byte >= self.bits.len() {
            self.bits.resize(byte.saturating_add(1), 0);
        }
        self.bits[byte] |= 0x80 >> (unit % 8);
    }

    /// True when a unit has its bit.
    pub fn has(&self, unit: u64) -> bool {
        let byte = usize::try_from(unit / 8).unwrap_or(usize::MAX);
        self.bits
            .get(byte)
            .is_some_and(|bits| bits & (0x80 >> (unit % 8)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_touched_by_the_units_that_it_lies_in() {
        let mut map = RangeMap {
            unit_bytes: 64,
            bits: Vec::new(),
        };
        map.set(0);
        map.set(9);
        assert_eq!(map.bits, [0x80, 0x40]);
        for (offset, length, expected) in [
            (0, 1, true),
            (63, 1, true),
            (64, 64, false),
            (64, 512, false),
            (64, 513, true),
            (64 * 9 + 63, 1, true),
            (64 * 10, 64 * 100, false),
            (0, 0, false),
            (u64::MAX, 2, false),
        ] {
            assert_eq!(map.touches(offset, length), expected, "{offset} {length}");
        }
    }
}
