//! A client of a server, its session, and the slots that make a repetition harmless.
//!
//! Each request goes into a slot with a number that goes up by one. A request that is sent again because its connection broke
//! has the same slot and number, and the server answers it without doing it twice. When the server does not know the session
//! any more, a new one is made and requests that have no answer yet are made anew; a request that may have been carried out
//! before says so in its failure.
//!
//! Source: RFC 8881, sections 2.10.6 (slots), 18.35 (`EXCHANGE_ID`), 18.36 (`CREATE_SESSION`), 18.46 (`SEQUENCE`).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::error::{NfsError, Result};
use super::super::rpc::Call;
use super::super::status::Status;
use super::super::transport::{Pause, Transport};
use super::super::xdr::{Reader, Writer};
use super::super::{MAX_TRANSFER, pieces::Pieces};
use super::compound::{Answer, COMPOUND, NFS, Operation, Request};

/// Most requests of a session at once; a server may allow fewer.
const SLOTS: u32 = 64;

/// Room for what surrounds the bytes of a read or a write.
const HEAD_ROOM: u32 = 4096;

/// Longest answer that the server shall keep.
const KEPT_ANSWER: u32 = 4096;

/// Most operations of a request.
const OPERATIONS: u32 = 64;

/// How long is waited for goodbyes.
const GOODBYE: Duration = Duration::from_secs(2);

/// `EXCHGID4_FLAG_USE_NON_PNFS`.
const USE_NON_PNFS: u32 = 0x0001_0000;

/// Which minor versions may be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinorVersions {
    /// The lowest.
    pub lowest: u32,
    /// The highest, which is tried first.
    pub highest: u32,
}

/// A session with a server, made again whenever the server loses it.
#[derive(Debug)]
pub struct Sessions {
    transport: Transport,
    versions: MinorVersions,
    /// What is spoken; goes down when the server does not know it.
    minor: AtomicU32,
    owner: String,
    verifier: [u8; 8],
    current: Mutex<Option<Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    id: [u8; 16],
    client: u64,
    /// Most bytes of transfers.
    pieces: Pieces,
    slots: Mutex<Vec<Slot>>,
    freed: Condvar,
    is_lost: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    sequence: u32,
    is_busy: bool,
}

/// Slots that are taken until this is dropped.
struct Taken<'a> {
    session: &'a Session,
    slots: Vec<(u32, u32)>,
    /// Those whose number was used up.
    used: Vec<bool>,
}

/// What is done with an answer: its number in the batch, and the answer after its `SEQUENCE`.
pub type OnAnswer<'a> = &'a mut dyn FnMut(usize, Answer<'_>) -> Result<()>;

impl Sessions {
    /// A client of the server at the end of `transport`; nothing is sent yet.
    pub fn new(transport: Transport, versions: MinorVersions) -> Self {
        let unique = uuid::Uuid::new_v4();
        let mut verifier = [0; 8];
        verifier.copy_from_slice(&unique.as_bytes()[..8]);
        Sessions {
            transport,
            versions,
            minor: AtomicU32::new(versions.highest),
            owner: format!("xensm {unique}"),
            verifier,
            current: Mutex::default(),
        }
    }

    /// The way to the server.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The minor version that is spoken.
    pub fn minor(&self) -> u32 {
        self.minor.load(Ordering::Acquire)
    }

    /// The transfer sizes of the session.
    pub fn pieces(&self) -> Result<Pieces> {
        Ok(self.session(self.transport.deadline())?.pieces)
    }

    /// The client that the server knows, for opening files.
    pub fn client(&self) -> Result<u64> {
        Ok(self.session(self.transport.deadline())?.client)
    }

    /// Makes requests and hands over each answer; again while the server asks for patience or has lost the session.
    pub fn run(&self, requests: &[Request<'_>], on_answer: OnAnswer<'_>) -> Result<()> {
        let deadline = self.transport.deadline();
        let mut pause = Pause::default();
        let mut repeated = false;
        let mut first = 0;
        while first < requests.len() {
            let session = self.session(deadline)?;
            let Some(mut taken) = session.take(requests.len() - first, deadline) else {
                return Err(NfsError::Crowded {
                    procedure: requests[first].procedure,
                    limit: SLOTS as usize,
                });
            };
            let batch = &requests[first..first + taken.slots.len()];
            match self.run_batch(
                batch,
                &mut taken,
                deadline,
                &mut repeated,
                &mut |index, answer| on_answer(first + index, answer),
            ) {
                Ok(()) => first += batch.len(),
                Err(Failed::Session) => {
                    session.lose();
                    drop(taken);
                    if !self.transport.pause(&mut pause, deadline) {
                        return Err(NfsError::Status {
                            procedure: batch[0].procedure,
                            status: Status::BADSESSION,
                            repeated,
                        });
                    }
                }
                Err(Failed::Call(error)) if error.is(Status::DELAY) || error.is(Status::GRACE) => {
                    drop(taken);
                    if !self.transport.pause(&mut pause, deadline) {
                        return Err(error);
                    }
                }
                Err(Failed::Call(error)) => {
                    // Without an answer nobody knows what the slots' numbers are.
                    if error.status().is_none() {
                        session.lose();
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn run_batch(
        &self,
        batch: &[Request<'_>],
        taken: &mut Taken<'_>,
        deadline: Instant,
        repeated: &mut bool,
        on_answer: OnAnswer<'_>,
    ) -> Result<(), Failed> {
        let calls: Vec<Call<'_>> = batch
            .iter()
            .zip(&taken.slots)
            .map(|(request, slot)| {
                let sequence = taken.session.sequence(*slot, request.is_kept);
                let arguments = request.arguments(self.minor(), Some(&sequence));
                let procedure = (request.procedure, COMPOUND);
                self.transport
                    .call(procedure, NFS, &arguments, request.following())
            })
            .collect();
        let mut is_session_lost = false;
        let outcome = self
            .transport
            .exchange(&calls, deadline, &mut |index, reader, again| {
                *repeated |= again;
                let mut answer = Answer::new(batch[index].procedure, reader, again)?;
                let sequence = answer.result(Operation::SEQUENCE, |reader| reader.take(36));
                match sequence {
                    Ok(_) => taken.used[index] = true,
                    Err(error) if error.is(Status::DELAY) => return Err(error),
                    Err(error) => {
                        is_session_lost |= error.status().is_some();
                        return Err(error);
                    }
                }
                if *repeated {
                    answer.say_repeated();
                }
                on_answer(index, answer)
            });
        if is_session_lost {
            return Err(Failed::Session);
        }
        outcome.map_err(Failed::Call)
    }

    /// The present session, made if there is none.
    fn session(&self, deadline: Instant) -> Result<Arc<Session>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = current.as_ref()
            && !session.is_lost.load(Ordering::Acquire)
        {
            return Ok(session.clone());
        }
        let old = current.take();
        if let Some(old) = old {
            self.destroy(&old, deadline);
        }
        let mut pause = Pause::default();
        loop {
            match self.create(deadline) {
                Ok(session) => {
                    let session = Arc::new(session);
                    *current = Some(session.clone());
                    return Ok(session);
                }
                Err(error) => {
                    let may_pass = error.is(Status::DELAY)
                        || error.is(Status::GRACE)
                        || error.is(Status::STALE_CLIENTID)
                        || error.is(Status::CLID_INUSE);
                    if !may_pass || !self.transport.pause(&mut pause, deadline) {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn create(&self, deadline: Instant) -> Result<Session> {
        let (client, sequence) = match self.exchange_id(deadline) {
            Err(error)
                if error.is(Status::MINOR_VERS_MISMATCH) && self.minor() > self.versions.lowest =>
            {
                self.minor.fetch_sub(1, Ordering::AcqRel);
                self.exchange_id(deadline)?
            }
            other => other?,
        };
        let session = self.create_session(client, sequence, deadline)?;
        let mut request = Request::new("RECLAIM_COMPLETE");
        request.operation(Operation::RECLAIM_COMPLETE).bool(false);
        let sequence = session.sequence((0, 1), false);
        let told = self.single(&request, Some(&sequence), deadline, |answer| {
            answer.result(Operation::SEQUENCE, |reader| reader.take(36).map(|_| ()))?;
            answer.done(Operation::RECLAIM_COMPLETE)
        });
        match told {
            Err(error) if !error.is(Status::COMPLETE_ALREADY) => return Err(error),
            _ => {}
        }
        if let Some(slot) = session.slots().first_mut() {
            slot.sequence = 2;
        }
        tracing::debug!(
            server.address = %self.transport.address(),
            nfs.minor_version = self.minor(),
            "made a session with an NFS server"
        );
        Ok(session)
    }

    fn exchange_id(&self, deadline: Instant) -> Result<(u64, u32)> {
        let mut request = Request::new("EXCHANGE_ID");
        request
            .operation(Operation::EXCHANGE_ID)
            .fixed(&self.verifier)
            .opaque(self.owner.as_bytes())
            .u32(USE_NON_PNFS)
            // Nothing protects the state; nothing is said of the implementation.
            .u32(0)
            .u32(0);
        self.single(&request, None, deadline, |answer| {
            answer.result(Operation::EXCHANGE_ID, |reader| {
                Ok((reader.u64()?, reader.u32()?))
            })
        })
    }

    fn create_session(&self, client: u64, sequence: u32, deadline: Instant) -> Result<Session> {
        let size = MAX_TRANSFER as u32 + HEAD_ROOM;
        let mut request = Request::new("CREATE_SESSION");
        let arguments = request.operation(Operation::CREATE_SESSION);
        // No flags: the session ends with the server, and nobody calls back.
        arguments.u64(client).u32(sequence).u32(0);
        arguments.u32(0).u32(size).u32(size).u32(KEPT_ANSWER);
        arguments.u32(OPERATIONS).u32(SLOTS).u32(0);
        arguments.u32(0).u32(HEAD_ROOM).u32(HEAD_ROOM).u32(0);
        arguments.u32(2).u32(1).u32(0);
        // The callback program, and that it would be called without credentials.
        arguments.u32(0x4000_0000).u32(1).u32(0);
        self.single(&request, None, deadline, |answer| {
            answer.result(Operation::CREATE_SESSION, |reader| {
                let id = reader.array()?;
                reader.take(8)?;
                reader.u32()?;
                let (longest_request, longest_answer) = (reader.u32()?, reader.u32()?);
                reader.take(8)?;
                let slots = reader.u32()?.clamp(1, SLOTS);
                let slot = Slot {
                    sequence: 1,
                    is_busy: false,
                };
                Ok(Session {
                    id,
                    client,
                    pieces: Pieces {
                        read: longest_answer.saturating_sub(HEAD_ROOM).max(1024),
                        write: longest_request.saturating_sub(HEAD_ROOM).max(1024),
                    },
                    slots: Mutex::new(vec![slot; slots as usize]),
                    freed: Condvar::new(),
                    is_lost: AtomicBool::new(false),
                })
            })
        })
    }

    /// Makes a request outside the slots.
    fn single<T>(
        &self,
        request: &Request<'_>,
        before: Option<&Writer>,
        deadline: Instant,
        mut read: impl FnMut(&mut Answer<'_>) -> Result<T>,
    ) -> Result<T> {
        let arguments = request.arguments(self.minor(), before);
        let procedure = (request.procedure, COMPOUND);
        let call = self.transport.call(procedure, NFS, &arguments, &[]);
        let mut result = None;
        self.transport.exchange(
            std::slice::from_ref(&call),
            deadline,
            &mut |_, reader: Reader<'_>, repeated| {
                let mut answer = Answer::new(request.procedure, reader, repeated)?;
                result = Some(read(&mut answer)?);
                Ok(())
            },
        )?;
        Ok(result.expect("an exchange without error has an answer"))
    }

    /// Tells the server that a session is not used any more; it may not know that, or may not answer.
    fn destroy(&self, session: &Session, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + GOODBYE);
        let mut request = Request::new("DESTROY_SESSION");
        request
            .operation(Operation::DESTROY_SESSION)
            .fixed(&session.id);
        let ended = self.single(&request, None, deadline, |answer| {
            answer.done(Operation::DESTROY_SESSION)
        });
        if let Err(error) = ended {
            tracing::debug!(%error, "an NFS server did not end a session");
        }
    }

    /// Ends the session, and the waits of others.
    pub fn close(&self) {
        // Somebody who holds the lock waits for the server: there is nothing to say goodbye to.
        let current = self
            .current
            .try_lock()
            .ok()
            .and_then(|mut current| current.take());
        if let Some(session) = current
            && !session.is_lost.load(Ordering::Acquire)
        {
            let deadline = Instant::now() + GOODBYE;
            self.destroy(&session, deadline);
            let mut request = Request::new("DESTROY_CLIENTID");
            request
                .operation(Operation::DESTROY_CLIENTID)
                .u64(session.client);
            // The lease would end it too.
            let _ = self.single(&request, None, deadline, |answer| {
                answer.done(Operation::DESTROY_CLIENTID)
            });
        }
        self.transport.close();
    }
}

/// Why a batch ended without all answers.
enum Failed {
    /// The server does not know the session, or not as we do.
    Session,
    /// A call failed.
    Call(NfsError),
}

impl Session {
    fn slots(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `SEQUENCE` of a slot with its number.
    fn sequence(&self, (slot, number): (u32, u32), is_kept: bool) -> Writer {
        let highest = self.slots().len() as u32 - 1;
        let mut operation = Writer::default();
        operation
            .u32(Operation::SEQUENCE.0)
            .fixed(&self.id)
            .u32(number)
            .u32(slot)
            .u32(highest)
            .bool(is_kept);
        operation
    }

    /// Takes between one slot and as many as are wanted; none when the deadline passes first.
    fn take(&self, wanted: usize, deadline: Instant) -> Option<Taken<'_>> {
        let mut slots = self.slots();
        loop {
            let taken: Vec<(u32, u32)> = slots
                .iter_mut()
                .enumerate()
                .filter(|(_, slot)| !slot.is_busy)
                .take(wanted)
                .map(|(index, slot)| {
                    slot.is_busy = true;
                    (index as u32, slot.sequence)
                })
                .collect();
            if !taken.is_empty() {
                let used = vec![false; taken.len()];
                return Some(Taken {
                    session: self,
                    slots: taken,
                    used,
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            slots = self
                .freed
                .wait_timeout(slots, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Has everybody use another session from now on.
    fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut slots = self.session.slots();
        for ((index, _), used) in self.slots.iter().zip(&self.used) {
            if let Some(slot) = slots.get_mut(*index as usize) {
                slot.is_busy = false;
                if *used {
                    slot.sequence = slot.sequence.wrapping_add(1);
                }
            }
        }
        drop(slots);
        self.session.freed.notify_all();
    }
}
