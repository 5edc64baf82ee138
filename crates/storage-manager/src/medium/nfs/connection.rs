//! One TCP connection to a server: whole records out, whole records in.
//!
//! Whoever has a connection has it alone: he sends calls and takes the answers on his own thread, so that a call costs no
//! change of threads.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_socket_keepalive, set_socket_reuseaddr, set_socket_timeout, set_tcp_keepcnt,
    set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay, set_tcp_user_timeout,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::rpc::{Call, LAST_FRAGMENT};

/// Longest record that is taken from a server: the longest read and the heads around it.
pub const MAX_RECORD: usize = super::MAX_TRANSFER + 64 * 1024;

/// Bytes that are asked of the kernel at a time, at least.
const READ_CHUNK: usize = 64 * 1024;

/// How often a wait looks whether its deadline has passed or the SR is gone.
const TICK: Duration = Duration::from_secs(1);

/// Local ports that exports ask for which take calls from administrators only.
///
/// Source: exports(5), `secure`; the lower half is left to well-known services, as mount.nfs does.
const RESERVED_PORTS: std::ops::Range<u16> = 665..1023;

/// Unanswered keepalive probes after which a connection is broken.
const KEEPALIVE_PROBES: u32 = 3;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What was received and not read is `start..end` of the buffer.
    start: usize,
    end: usize,
    /// The record that came in several fragments.
    joined: Vec<u8>,
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub enum Trouble {
    /// The deadline passed.
    Deadline,
    /// It broke.
    Broken(io::Error),
    /// What was to be sent may not be sent any more.
    Refused(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Broken(error)
    }
}

/// Longest time for which a peer that acknowledges nothing is believed to be there, so that what was sent does not arrive when
/// another storage manager may own the SR.
const UNACKNOWLEDGED: Duration = Duration::from_secs(8);

/// Connects, waiting at most `patience`; a peer that acknowledges nothing for as long is given up later too.
pub fn connect(address: SocketAddr, reserved: bool, patience: Duration) -> io::Result<Connection> {
    let socket = connect_socket(address, reserved, patience)?;
    let patience = patience.min(UNACKNOWLEDGED);
    set_tcp_nodelay(&socket, true)?;
    set_socket_keepalive(&socket, true)?;
    set_tcp_keepidle(&socket, patience.max(TICK))?;
    set_tcp_keepintvl(&socket, (patience / KEEPALIVE_PROBES).max(TICK))?;
    set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    set_tcp_user_timeout(
        &socket,
        u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
    )?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    Ok(Connection {
        stream,
        buffer: Vec::new(),
        start: 0,
        end: 0,
        joined: Vec::new(),
    })
}

fn connect_socket(address: SocketAddr, reserved: bool, patience: Duration) -> io::Result<OwnedFd> {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let local = |port| match address {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], port)),
        SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], port)),
    };
    let open = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        // The kernel gives up connecting after the time that sending may take.
        set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
        Ok(socket)
    };
    let deadline = Instant::now() + patience;
    if reserved && rustix::process::geteuid().is_root() {
        for _ in RESERVED_PORTS {
            let turn = NEXT_PORT.fetch_add(1, Ordering::Relaxed) % RESERVED_PORTS.len() as u16;
            let socket = open()?;
            set_socket_reuseaddr(&socket, true)?;
            match rustix::net::bind(&socket, &local(RESERVED_PORTS.end - 1 - turn)) {
                Ok(()) => {}
                Err(Errno::ADDRINUSE) => continue,
                // No right to such ports: the server decides what it thinks of others.
                Err(_) => break,
            }
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(socket),
                Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) if Instant::now() < deadline => {}
                Err(error) => return Err(connect_error(error)),
            }
        }
    }
    let socket = open()?;
    rustix::net::connect(&socket, &address).map_err(connect_error)?;
    Ok(socket)
}

fn connect_error(error: Errno) -> io::Error {
    match error {
        Errno::INPROGRESS | Errno::AGAIN => io::ErrorKind::TimedOut.into(),
        error => error.into(),
    }
}

impl Connection {
    /// Sends calls, as a whole. `may_send` is asked before anything is given to the kernel, again and again: this process may be
    /// stopped at any moment and go on when the calls are not its to make any more.
    pub fn send(
        &mut self,
        calls: &[&Call<'_>],
        may_send: &dyn Fn() -> io::Result<()>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let mut parts: Vec<IoSlice<'_>> = calls
            .iter()
            .flat_map(|call| call.parts())
            .filter(|part| !part.is_empty())
            .map(IoSlice::new)
            .collect();
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            may_send().map_err(Trouble::Refused)?;
            match self.stream.write_vectored(parts) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut parts, written);
                    // A peer that takes a few bytes at a time is not waited for longer than one that takes none.
                    if !parts.is_empty() && give_up() {
                        return Err(Trouble::Deadline);
                    }
                }
                Err(error) => wait_on(error, give_up)?,
            }
        }
        Ok(())
    }

    /// Waits for a record.
    pub fn receive(&mut self, give_up: &dyn Fn() -> bool) -> Result<&[u8], Trouble> {
        self.joined.clear();
        loop {
            self.fill(4, give_up)?;
            let mut mark = [0; 4];
            mark.copy_from_slice(&self.buffer[self.start..self.start + 4]);
            let mark = u32::from_be_bytes(mark);
            let length = (mark & !LAST_FRAGMENT) as usize;
            if self.joined.len() + length > MAX_RECORD {
                let text = format!(
                    "an answer has more than {MAX_RECORD} bytes; is this port an NFS server's?"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
            }
            self.fill(4 + length, give_up)?;
            let fragment = self.start + 4..self.start + 4 + length;
            self.start = fragment.end;
            let is_last = mark & LAST_FRAGMENT != 0;
            if is_last && self.joined.is_empty() {
                return Ok(&self.buffer[fragment]);
            }
            self.joined.extend_from_slice(&self.buffer[fragment]);
            if is_last {
                return Ok(&self.joined);
            }
            if give_up() {
                return Err(Trouble::Deadline);
            }
        }
    }

    /// Receives until there are `wanted` bytes from `start` on.
    fn fill(&mut self, wanted: usize, give_up: &dyn Fn() -> bool) -> Result<(), Trouble> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let length = wanted.max(READ_CHUNK).max(self.buffer.len());
            self.buffer.resize(length, 0);
        }
        while self.end - self.start < wanted {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(received) => {
                    self.end += received;
                    // A peer that gives a few bytes at a time is not waited for longer than one that gives none.
                    if self.end - self.start < wanted && give_up() {
                        return Err(Trouble::Deadline);
                    }
                }
                Err(error) => wait_on(error, give_up)?,
            }
        }
        Ok(())
    }
}

/// Goes on after a tick or an interruption, unless it is time to give up.
fn wait_on(error: io::Error, give_up: &dyn Fn() -> bool) -> Result<(), Trouble> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if !is_peer_lost(&error) => {
            if give_up() {
                return Err(Trouble::Deadline);
            }
            Ok(())
        }
        _ => Err(error.into()),
    }
}

/// True for the error that says that the peer has acknowledged nothing for too long.
fn is_peer_lost(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::TIMEDOUT)
}
