//! A connected socket, plain or under TLS, with one receiving and one sending half.
//!
//! The halves have their own buffers and are used by one thread each at a time. Under TLS they share the session
//! behind a lock that is never held during a system call, so that a reader waiting for its peer does not stop a writer.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;

/// Bytes received at once beyond what was asked for.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Encrypted bytes received at once.
const CIPHER_BUFFER: usize = 32 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&*stream).read(buffer),
            Socket::Tcp(stream) => (&*stream).read(buffer),
        }
    }

    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&*stream).write_vectored(slices),
            Socket::Tcp(stream) => (&*stream).write_vectored(slices),
        }
    }

    /// Ends one or both directions; a socket that is gone already is no error.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Socket::Unix(stream) => stream.shutdown(how),
            Socket::Tcp(stream) => stream.shutdown(how),
        };
    }

    fn set_receive_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Unix(stream) => stream.set_read_timeout(timeout),
            Socket::Tcp(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn set_send_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Unix(stream) => stream.set_write_timeout(timeout),
            Socket::Tcp(stream) => stream.set_write_timeout(timeout),
        }
    }
}

/// A socket with its TLS session, if there is one, and its deadline.
pub(crate) struct Channel {
    socket: Arc<Socket>,
    tls: Option<Mutex<rustls::Connection>>,
    deadline: Option<Instant>,
}

impl Channel {
    pub(crate) fn new(socket: Arc<Socket>) -> Self {
        Channel {
            socket,
            tls: None,
            deadline: None,
        }
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Sets the instant after which every wait fails, or none.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.deadline = deadline;
        if deadline.is_none() {
            self.socket
                .set_receive_timeout(None)
                .map_err(Error::io("clear the receive timeout"))?;
            self.socket
                .set_send_timeout(None)
                .map_err(Error::io("clear the send timeout"))?;
        }
        Ok(())
    }

    /// Bounds every later send by `timeout`.
    pub(crate) fn bound_sends(&self, timeout: Duration) {
        let _ = self.socket.set_send_timeout(Some(timeout));
    }

    fn remaining(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }

    fn receive_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(left) = self.remaining()? {
                self.socket.set_receive_timeout(Some(left))?;
            }
            match self.socket.receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                other => return other,
            }
        }
    }

    fn send_all(&self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            if let Some(left) = self.remaining()? {
                self.socket.set_send_timeout(Some(left))?;
            }
            match self.socket.send(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Runs the TLS handshake of `session` and goes on under TLS.
    pub(crate) fn start_tls(&mut self, mut session: rustls::Connection) -> Result<(), Error> {
        let mut stream = DeadlineStream(self);
        while session.is_handshaking() {
            session
                .complete_io(&mut stream)
                .map_err(|error| tls_error(error, "TLS handshake"))?;
        }
        self.tls = Some(Mutex::new(session));
        Ok(())
    }
}

/// The socket of a channel as rustls wants it during the handshake.
struct DeadlineStream<'a>(&'a Channel);

impl Read for DeadlineStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.receive_some(buffer)
    }
}

impl Write for DeadlineStream<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.send_all(&mut [IoSlice::new(data)])?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The receiving half: bytes received and not used yet.
pub(crate) struct Receiver {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    cipher: Box<[u8]>,
    cipher_start: usize,
    cipher_end: usize,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Receiver {
            buffer: vec![0; RECEIVE_BUFFER].into(),
            start: 0,
            end: 0,
            cipher: Box::default(),
            cipher_start: 0,
            cipher_end: 0,
        }
    }

    /// Bytes that can be had without waiting.
    pub(crate) fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Fills `out`, waiting for the peer as long as it takes or the channel's deadline allows.
    pub(crate) fn read_exact(
        &mut self,
        channel: &Channel,
        out: &mut [u8],
        what: &'static str,
    ) -> Result<(), Error> {
        match self.read_or_end(channel, out, what)? {
            true => Ok(()),
            false => Err(Error::Closed { what }),
        }
    }

    /// Fills `out`, or tells that the peer closed the connection before the first byte of it.
    pub(crate) fn read_or_end(
        &mut self,
        channel: &Channel,
        out: &mut [u8],
        what: &'static str,
    ) -> Result<bool, Error> {
        let mut filled = 0;
        while filled < out.len() {
            if self.start == self.end {
                // What is larger than the buffer goes straight to its place.
                let count = if out.len() - filled >= self.buffer.len() {
                    let count = self.receive(channel, &mut out[filled..], what)?;
                    filled += count;
                    count
                } else {
                    self.fill(channel, what)?
                };
                if count == 0 && filled == 0 {
                    return Ok(false);
                }
                if count == 0 {
                    return Err(Error::Closed { what });
                }
                continue;
            }
            let count = (self.end - self.start).min(out.len() - filled);
            out[filled..filled + count]
                .copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
            filled += count;
        }
        Ok(true)
    }

    /// Reads and forgets `count` bytes.
    pub(crate) fn discard(
        &mut self,
        channel: &Channel,
        count: u64,
        what: &'static str,
    ) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            if self.start == self.end && self.fill(channel, what)? == 0 {
                return Err(Error::Closed { what });
            }
            let step = left.min((self.end - self.start) as u64);
            self.start += step as usize;
            left -= step;
        }
        Ok(())
    }

    /// Receives into the empty buffer.
    fn fill(&mut self, channel: &Channel, what: &'static str) -> Result<usize, Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.receive(channel, &mut buffer, what);
        self.buffer = buffer;
        self.start = 0;
        self.end = *result.as_ref().unwrap_or(&0);
        result
    }

    fn receive(
        &mut self,
        channel: &Channel,
        out: &mut [u8],
        what: &'static str,
    ) -> Result<usize, Error> {
        let result = match &channel.tls {
            None => channel.receive_some(out),
            Some(session) => self.receive_tls(channel, session, out),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            other => other.map_err(|error| receive_error(error, what)),
        }
    }

    fn receive_tls(
        &mut self,
        channel: &Channel,
        session: &Mutex<rustls::Connection>,
        out: &mut [u8],
    ) -> io::Result<usize> {
        if self.cipher.is_empty() {
            self.cipher = vec![0; CIPHER_BUFFER].into();
        }
        loop {
            {
                let mut session = lock(session);
                loop {
                    match session.reader().read(out) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        other => return other,
                    }
                    if self.cipher_start == self.cipher_end {
                        break;
                    }
                    let mut pending = &self.cipher[self.cipher_start..self.cipher_end];
                    self.cipher_start += session.read_tls(&mut pending)?;
                    session
                        .process_new_packets()
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                }
            }
            self.cipher_start = 0;
            self.cipher_end = 0;
            self.cipher_end = channel.receive_some(&mut self.cipher)?;
            if self.cipher_end == 0 {
                // No close_notify came: a connection cut by somebody in between looks like this.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The sending half.
#[derive(Default)]
pub(crate) struct Sender {
    cipher: Vec<u8>,
}

impl Sender {
    /// Sends all of `slices`.
    pub(crate) fn send(
        &mut self,
        channel: &Channel,
        slices: &mut [IoSlice<'_>],
    ) -> Result<(), Error> {
        match &channel.tls {
            None => channel.send_all(slices).map_err(send_error),
            Some(session) => {
                for slice in slices.iter() {
                    self.send_tls(channel, session, slice)?;
                }
                Ok(())
            }
        }
    }

    pub(crate) fn send_bytes(&mut self, channel: &Channel, data: &[u8]) -> Result<(), Error> {
        self.send(channel, &mut [IoSlice::new(data)])
    }

    fn send_tls(
        &mut self,
        channel: &Channel,
        session: &Mutex<rustls::Connection>,
        data: &[u8],
    ) -> Result<(), Error> {
        let mut rest = data;
        while !rest.is_empty() {
            {
                let mut session = lock(session);
                let count = session.writer().write(rest).map_err(Error::io("encrypt"))?;
                rest = &rest[count..];
                collect(&mut session, &mut self.cipher)?;
            }
            let sent = channel.send_all(&mut [IoSlice::new(&self.cipher)]);
            self.cipher.clear();
            sent.map_err(send_error)?;
        }
        Ok(())
    }

    /// Tells a TLS peer that nothing more comes; nothing for a plain one.
    pub(crate) fn close(&mut self, channel: &Channel) {
        let Some(session) = &channel.tls else { return };
        let collected = {
            let mut session = lock(session);
            session.send_close_notify();
            collect(&mut session, &mut self.cipher)
        };
        if collected.is_ok() {
            // The peer may be gone; nothing is lost then.
            let _ = channel.send_all(&mut [IoSlice::new(&self.cipher)]);
        }
        self.cipher.clear();
    }
}

fn collect(session: &mut rustls::Connection, cipher: &mut Vec<u8>) -> Result<(), Error> {
    while session.wants_write() {
        session.write_tls(cipher).map_err(Error::io("encrypt"))?;
    }
    Ok(())
}

fn lock(session: &Mutex<rustls::Connection>) -> MutexGuard<'_, rustls::Connection> {
    // rustls calls nothing of ours under this lock, so a poisoned session is still whole.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

fn receive_error(error: io::Error, what: &'static str) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::Deadline { what },
        io::ErrorKind::UnexpectedEof => Error::Closed { what },
        _ => tls_error(error, "receive from the peer"),
    }
}

fn send_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::Deadline {
            what: "the peer to take data",
        },
        _ => Error::Io {
            action: "send to the peer",
            source: error,
        },
    }
}

/// Unwraps the TLS error that rustls put into an I/O error.
fn tls_error(error: io::Error, action: &'static str) -> Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return Error::Deadline { what: action };
    }
    match error.downcast::<rustls::Error>() {
        Ok(source) => Error::Tls { source },
        Err(source) => Error::Io { action, source },
    }
}
