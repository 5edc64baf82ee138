//! Ports for servers that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where ports are taken from: below those that the kernel gives to connections and to whoever asks for any, from 32768 on
/// (ip(7), `ip_local_port_range`). One of those may be a connection's between the choice and the start of its server, or while
/// that server is restarted.
const RANGE: Range<u16> = 12_000..32_000;

/// A port of 127.0.0.1 on which nobody listens; this process gets it once.
///
/// # Panics
/// When there is none.
pub fn free() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time begin far from each other.
    let begin = std::process::id().wrapping_mul(0x9e37_79b9) >> 8;
    let found = RANGE.clone().find_map(|_| {
        let number = begin + GIVEN.fetch_add(1, Ordering::Relaxed);
        let offset = u16::try_from(number % RANGE.len() as u32).ok()?;
        let port = RANGE.start + offset;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(port)
    });
    found.expect("a port on which nobody listens")
}
