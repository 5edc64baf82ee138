//! The transmission phase of one connection: workers that take turns at receiving.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::budget::{Budget, Lease};
use super::buffer::{AlignedBuffer, Batch};
use super::check::{Against, Denied, check};
use super::contexts::Context;
use super::handshake::Negotiated;
use super::limits::{
    BUFFER_PATIENCE, CLOSE_TIMEOUT, FAST_IO, MAX_REQUEST, OWN_PAYLOAD, PIECE, SHORT_REQUEST,
};
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
    pub(super) contexts: Vec<Context>,
    channel: Channel,
    receiving: Mutex<Receiving>,
    sender: Mutex<Sender>,
    ended: AtomicBool,
    workers: AtomicUsize,
    waiting: AtomicUsize,
    max_workers: usize,
    average_io_ns: AtomicU64,
    budget: Arc<Budget>,
    registration: Registration,
}

/// What a worker does after a turn.
enum Turn {
    Again,
    End,
}

/// The receiving half, and the connection's own memory, which belongs to who receives.
struct Receiving {
    receiver: Receiver,
    batch: Batch,
    payload: AlignedBuffer,
    /// True when the last request that wanted shared memory got none: the next one does not wait for it.
    is_starved: bool,
}

/// What is left of a turn after a slow request was dealt with.
enum Slow {
    /// It was carried out under the receive lock, which the worker still has.
    Done,
    /// The lock may be passed on; the request is to be carried out with this memory and payload length.
    PassOn(Option<Lease>, usize),
}

impl Connection {
    pub(super) fn new(
        negotiated: Negotiated,
        channel: Channel,
        receiver: Receiver,
        sender: Sender,
        registration: Registration,
        budget: Arc<Budget>,
        max_workers: usize,
    ) -> Arc<Self> {
        Arc::new(Connection {
            export: negotiated.export,
            structured: negotiated.structured,
            contexts: negotiated.contexts,
            channel,
            receiving: Mutex::new(Receiving {
                receiver,
                batch: Batch::default(),
                payload: AlignedBuffer::default(),
                is_starved: false,
            }),
            sender: Mutex::new(sender),
            ended: AtomicBool::new(false),
            workers: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            max_workers: max_workers.max(1),
            average_io_ns: AtomicU64::new(0),
            budget,
            registration,
        })
    }

    /// Serves requests on the calling thread until the connection ends.
    pub(super) fn work(self: Arc<Self>) {
        let guard = PanicGuard(&self);
        loop {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let receiving = self.receiving.lock();
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            // A poisoned half means that an export panicked in the middle of a payload.
            let Ok(receiving) = receiving else { break };
            if self.ended.load(Ordering::Acquire) {
                break;
            }
            match self.turn(receiving) {
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
    fn turn(self: &Arc<Self>, mut receiving: MutexGuard<'_, Receiving>) -> Result<Turn, Error> {
        loop {
            let Receiving {
                receiver,
                batch,
                payload,
                ..
            } = &mut *receiving;
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
            let length = request.length as usize;
            let verdict = self.admit(&request)?;
            if request.command == command::WRITE && receiver.buffered() < length {
                self.send(batch)?;
            }
            if let Err(denied) = verdict {
                if request.command == command::WRITE {
                    receiver.discard(&self.channel, length as u64, "a payload")?;
                }
                self.make_room(batch, 0)?;
                self.push_error(&request, denied, batch);
                continue;
            }
            if !self.is_slow(&request) {
                let mut room = length;
                let mut data: &[u8] = &[];
                if request.command == command::WRITE {
                    payload.reserve(OWN_PAYLOAD);
                    let place = payload.slice_mut(0..length);
                    receiver.read_exact(&self.channel, place, "a payload")?;
                    (room, data) = (0, place);
                }
                self.make_room(batch, room)?;
                self.timed(&request, data, batch)?;
                continue;
            }
            self.send(batch)?;
            let Slow::PassOn(lease, payload_length) =
                self.receive_slow(&request, &mut receiving)?
            else {
                continue;
            };
            self.pass_on(receiving);
            let (mut batch, payload) = match (lease, request.command) {
                (Some(lease), command::WRITE) => (Batch::default(), Some(lease)),
                (Some(lease), _) => (Batch::leased(lease), None),
                (None, _) => (Batch::default(), None),
            };
            let data = payload
                .as_ref()
                .map_or(&[][..], |lease| lease.buffer().slice(0..payload_length));
            self.timed(&request, data, &mut batch)?;
            self.send(&mut batch)?;
            return Ok(Turn::Again);
        }
    }

    /// Gets memory for a slow request, and its payload. What must be done in order (a long payload) or without memory of
    /// its own is carried out here and now.
    fn receive_slow(&self, request: &Request, receiving: &mut Receiving) -> Result<Slow, Error> {
        let mut lease = self.memory_for(request, &mut receiving.is_starved);
        let Receiving {
            receiver,
            batch,
            payload,
            ..
        } = receiving;
        let length = request.length as usize;
        match (request.command, &mut lease) {
            (command::WRITE, Some(lease)) if length > PIECE => {
                self.write_in_pieces(request, receiver, lease.buffer_mut(), batch)?;
            }
            (command::WRITE, Some(memory)) => {
                let place = memory.buffer_mut().slice_mut(0..length);
                receiver.read_exact(&self.channel, place, "a payload")?;
                return Ok(Slow::PassOn(lease, length));
            }
            (command::WRITE, None) if length > 0 => {
                payload.reserve(OWN_PAYLOAD);
                self.write_in_pieces(request, receiver, payload, batch)?;
            }
            (command::READ, None) if length > 0 => {
                if request.flags & command_flag::DF != 0 && length > batch.piece() {
                    let denied = Denied {
                        code: ErrorCode::Overflow,
                        message: "too long for one chunk while memory is short",
                    };
                    self.push_error(request, denied, batch);
                } else {
                    self.timed(request, &[], batch)?;
                }
            }
            (command::CACHE, None) => self.push_outcome(request, Ok(()), batch),
            _ => return Ok(Slow::PassOn(lease, 0)),
        }
        Ok(Slow::Done)
    }

    /// Shared memory for the data of a request; none when it has no data, or when too much is in use.
    fn memory_for(&self, request: &Request, is_starved: &mut bool) -> Option<Lease> {
        let has_data = matches!(
            request.command,
            command::READ | command::WRITE | command::CACHE
        );
        if !has_data || request.length == 0 {
            return None;
        }
        let patience = if *is_starved || request.command == command::CACHE {
            Duration::ZERO
        } else {
            BUFFER_PATIENCE
        };
        let lease = self
            .budget
            .lease(PIECE.min(request.length as usize), patience);
        *is_starved = lease.is_none();
        lease
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
            block_status: !self.contexts.is_empty(),
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
    fn pass_on(self: &Arc<Self>, receiving: MutexGuard<'_, Receiving>) {
        let nobody_waits = self.waiting.load(Ordering::Relaxed) == 0;
        drop(receiving);
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
        memory: &mut AlignedBuffer,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let piece = memory.capacity().min(PIECE);
        let mut outcome = Ok(());
        let mut done = 0;
        let total = request.length as usize;
        while done < total {
            let step = piece.min(total - done);
            receiver.read_exact(&self.channel, memory.slice_mut(0..step), "a payload")?;
            if outcome.is_ok() {
                outcome = self
                    .export
                    .write_at(memory.slice(0..step), request.offset + done as u64);
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
