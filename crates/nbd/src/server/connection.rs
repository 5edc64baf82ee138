//! The transmission phase of one connection: workers that take turns at receiving.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::buffer::{AlignedBuffer, Batch};
use super::check::{Against, Denied, check};
use super::handshake::Negotiated;
use super::limits::{CLOSE_TIMEOUT, FAST_IO, MAX_REQUEST, PIECE, SHORT_REQUEST};
use super::registry::Registration;
use crate::channel::{Channel, Receiver, Sender};
use crate::protocol::constants::{command, command_flag};
use crate::protocol::{ErrorCode, Request};
use crate::{Error, Export};

/// Weight of one request in the running average of I/O times, as a power of two.
const AVERAGE_SHIFT: u32 = 3;

/// A connection in its transmission phase.
///
/// Fields drop in this order: the export goes before the registration, whose drop tells a waiting disconnection that
/// nothing of this connection touches the export any more.
pub(super) struct Connection {
    pub(super) export: Arc<dyn Export>,
    pub(super) structured: bool,
    block_status: bool,
    channel: Channel,
    receiver: Mutex<Receiver>,
    sender: Mutex<Sender>,
    ended: AtomicBool,
    workers: AtomicUsize,
    waiting: AtomicUsize,
    max_workers: usize,
    average_io_ns: AtomicU64,
    registration: Registration,
}

/// What a worker does after a turn.
enum Turn {
    Again,
    End,
}

/// Buffers of one worker.
#[derive(Default)]
struct Buffers {
    batch: Batch,
    payload: AlignedBuffer,
}

impl Connection {
    pub(super) fn new(
        negotiated: Negotiated,
        channel: Channel,
        receiver: Receiver,
        sender: Sender,
        registration: Registration,
        max_workers: usize,
    ) -> Arc<Self> {
        Arc::new(Connection {
            export: negotiated.export,
            structured: negotiated.structured,
            block_status: negotiated.block_status,
            channel,
            receiver: Mutex::new(receiver),
            sender: Mutex::new(sender),
            ended: AtomicBool::new(false),
            workers: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            max_workers: max_workers.max(1),
            average_io_ns: AtomicU64::new(0),
            registration,
        })
    }

    /// Serves requests on the calling thread until the connection ends.
    pub(super) fn work(self: Arc<Self>) {
        let guard = PanicGuard(&self);
        let mut buffers = Buffers::default();
        loop {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let receiver = self.receiver.lock();
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            // A poisoned half means that an export panicked in the middle of a payload.
            let Ok(receiver) = receiver else { break };
            if self.ended.load(Ordering::Acquire) {
                break;
            }
            match self.turn(receiver, &mut buffers) {
                Ok(Turn::Again) => {}
                Ok(Turn::End) => {
                    self.ended.store(true, Ordering::Release);
                    break;
                }
                // A TLS session that this side cut ends without the peer's goodbye.
                Err(Error::Closed { .. }) if self.registration.is_ending() => {
                    self.ended.store(true, Ordering::Release);
                    break;
                }
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        drop(guard);
    }

    fn fail(&self, error: &Error) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            let cause = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::debug!(connection.id = self.registration.id(), %error, cause, "NBD connection ended");
        }
        // Wakes the worker that receives; what others still have to send has lost its receiver.
        self.channel.socket().shutdown(Shutdown::Both);
    }

    /// Serves requests under the receive lock until one is slow, which is carried out after the lock was passed on.
    fn turn(
        self: &Arc<Self>,
        mut receiver: MutexGuard<'_, Receiver>,
        buffers: &mut Buffers,
    ) -> Result<Turn, Error> {
        let Buffers { batch, payload } = buffers;
        loop {
            if receiver.buffered() < Request::LENGTH {
                // The next step may wait for the client, who may wait for these.
                self.send(batch)?;
            }
            let mut head = [0; Request::LENGTH];
            if !receiver.read_or_end(&self.channel, &mut head, "a request")? {
                self.send(batch)?;
                return Ok(Turn::End);
            }
            let request = Request::parse(&head)?;
            if request.command == command::DISC {
                self.send(batch)?;
                return Ok(Turn::End);
            }
            let verdict = self.admit(&request)?;
            let length = request.length as usize;
            if request.command == command::WRITE && receiver.buffered() < length {
                self.send(batch)?;
            }
            let denied = match (verdict, request.command) {
                (Err(denied), command::WRITE) => {
                    receiver.discard(&self.channel, request.length.into(), "a payload")?;
                    Some(denied)
                }
                (Err(denied), _) => Some(denied),
                (Ok(()), command::WRITE) if length > PIECE => {
                    self.write_in_pieces(&request, &mut receiver, payload, batch)?;
                    continue;
                }
                (Ok(()), command::WRITE) => {
                    payload.reserve(length);
                    receiver.read_exact(
                        &self.channel,
                        payload.slice_mut(0..length),
                        "a payload",
                    )?;
                    None
                }
                (Ok(()), _) => None,
            };
            if let Some(denied) = denied {
                self.make_room(batch, 0)?;
                self.push_error(&request, denied, batch);
                continue;
            }
            let data = if request.command == command::WRITE {
                payload.slice(0..length)
            } else {
                &[]
            };
            if self.is_slow(&request) {
                self.send(batch)?;
                self.pass_on(receiver);
                self.timed(&request, data, batch)?;
                self.send(batch)?;
                return Ok(Turn::Again);
            }
            self.make_room(
                batch,
                if request.command == command::READ {
                    length
                } else {
                    0
                },
            )?;
            self.timed(&request, data, batch)?;
        }
    }

    /// Decides on a request; an error ends the connection.
    fn admit(&self, request: &Request) -> Result<Result<(), Denied>, Error> {
        if request.command == command::WRITE && request.length > MAX_REQUEST {
            // Reading four gigabytes to refuse them helps nobody.
            let found = request.length.into();
            return Err(Error::Limit {
                what: "length of a write",
                found,
                limit: MAX_REQUEST.into(),
            });
        }
        if self.registration.is_ending() {
            return Ok(Err(Denied {
                code: ErrorCode::Shutdown,
                message: "the export is going away",
            }));
        }
        let against = Against {
            size: self.export.size(),
            read_only: self.export.is_read_only(),
            structured: self.structured,
            block_status: self.block_status,
        };
        Ok(check(request, against))
    }

    /// True when other requests should not wait for this one.
    fn is_slow(&self, request: &Request) -> bool {
        let short = matches!(request.command, command::READ | command::WRITE)
            && request.length <= SHORT_REQUEST
            && request.flags & command_flag::FUA == 0;
        !short || u128::from(self.average_io_ns.load(Ordering::Relaxed)) > FAST_IO.as_nanos()
    }

    fn timed(&self, request: &Request, data: &[u8], batch: &mut Batch) -> Result<(), Error> {
        if request.length > SHORT_REQUEST || request.command > command::WRITE {
            return self.perform(request, data, batch);
        }
        let started = Instant::now();
        let result = self.perform(request, data, batch);
        let taken = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Workers may overwrite one another's figure; it is an estimate.
        let average = self.average_io_ns.load(Ordering::Relaxed);
        let average = average - (average >> AVERAGE_SHIFT) + (taken >> AVERAGE_SHIFT);
        self.average_io_ns.store(average, Ordering::Relaxed);
        result
    }

    /// Lets another worker receive, starting one if none waits and one more is allowed.
    fn pass_on(self: &Arc<Self>, receiver: MutexGuard<'_, Receiver>) {
        let nobody_waits = self.waiting.load(Ordering::Relaxed) == 0;
        drop(receiver);
        if !nobody_waits || self.workers.load(Ordering::Relaxed) >= self.max_workers {
            return;
        }
        if self.workers.fetch_add(1, Ordering::Relaxed) >= self.max_workers {
            self.workers.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let worker = self.clone();
        if let Err(error) = thread::Builder::new()
            .name("nbd-worker".to_owned())
            .spawn(move || worker.work())
        {
            self.workers.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "an NBD connection goes on with fewer threads");
        }
    }

    /// Receives and writes a long payload piece by piece, under the receive lock.
    fn write_in_pieces(
        &self,
        request: &Request,
        receiver: &mut Receiver,
        payload: &mut AlignedBuffer,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        payload.reserve(PIECE);
        let mut outcome = Ok(());
        let mut done = 0;
        let total = request.length as usize;
        while done < total {
            let step = PIECE.min(total - done);
            receiver.read_exact(&self.channel, payload.slice_mut(0..step), "a payload")?;
            if outcome.is_ok() {
                outcome = self
                    .export
                    .write_at(payload.slice(0..step), request.offset + done as u64);
            }
            done += step;
        }
        let outcome = outcome.and_then(|()| self.flush_if_asked(request));
        self.make_room(batch, 0)?;
        self.push_outcome(request, outcome, batch);
        Ok(())
    }

    /// Sends the batch if a reply with `length` bytes of data does not fit any more.
    fn make_room(&self, batch: &mut Batch, length: usize) -> Result<(), Error> {
        match batch.has_room(length) {
            true => Ok(()),
            false => self.send(batch),
        }
    }

    pub(super) fn send(&self, batch: &mut Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        batch.send(&self.channel, &mut self.sender())
    }

    /// Runs `send` with the sending half, so that nothing comes between what it sends.
    pub(super) fn with_sender<T>(&self, send: impl FnOnce(&Channel, &mut Sender) -> T) -> T {
        send(&self.channel, &mut self.sender())
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        // Only bytes are moved under this lock.
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.channel.bound_sends(CLOSE_TIMEOUT);
        let sender = self
            .sender
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        sender.close(&self.channel);
        self.channel.socket().shutdown(Shutdown::Both);
    }
}

/// Ends the connection when an export panics, since a request would stay without its reply.
struct PanicGuard<'a>(&'a Connection);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.ended.store(true, Ordering::Release);
            self.0.channel.socket().shutdown(Shutdown::Both);
        }
    }
}
