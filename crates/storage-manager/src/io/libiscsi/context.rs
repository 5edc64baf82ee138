//! One connection to a target, or to a portal for discovery.
//!
//! The library never blocks: what it has to say comes as [`Event`]s of [`Context::service`], which is called when the descriptor
//! is ready. It does not reconnect by itself either; whoever wants that opens another context.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::functions::{Functions, Library, MAX_CDB, RawContext, RawDiscovered, RawIovec, RawTask};
use super::lend::{Direction, Lent};

/// Longest name, user or password. Source: `MAX_STRING_SIZE` of the header.
const MAX_STRING: usize = 255;

/// Most bytes that one command moves.
pub const MAX_TRANSFER: usize = 16 << 20;

/// Most targets, and portals of one target, that are taken from a discovery.
const MAX_DISCOVERED: usize = 4096;

/// A user and the password that both sides know. Its `Debug` leaves the password out.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The secret.
    pub password: crate::Secret,
}

/// What a connection is opened with.
pub struct Opening<'a> {
    /// The initiator's name.
    pub initiator: &'a str,
    /// The target's name; none for discovery.
    pub target: Option<&'a str>,
    /// Who we are, if the target wants to know.
    pub credentials: Option<&'a Credentials>,
    /// Who the target must prove to be; needs `credentials`.
    pub target_credentials: Option<&'a Credentials>,
    /// 24 bits and 16 bits that tell this session from others of the initiator: a session with the same ones takes the place of one
    /// that the target has not missed yet, whose commands end with that (RFC 7143, 6.3.5).
    pub isid: (u32, u16),
    /// Asks for checksums, of headers and where the library can of data.
    pub digests: bool,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Well.
    Good,
    /// With sense data.
    CheckCondition,
    /// The device is busy, or has more commands than it takes: try again.
    Busy,
    /// Another initiator has reserved the device.
    ReservationConflict,
    /// The target wants to be found at another address.
    Redirect,
    /// The connection was closed first.
    Cancelled,
    /// Otherwise; the library's number.
    Other(i32),
}

/// Why a device did not do as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// The sense key.
    pub key: u8,
    /// Additional code and qualifier.
    pub code: u16,
}

/// The end of a command.
#[derive(Debug)]
pub struct Answer {
    /// The command's tag.
    pub tag: u64,
    /// How it ended.
    pub status: Status,
    /// With `CheckCondition`.
    pub sense: Option<Sense>,
    /// Bytes that were asked for and did not move.
    pub missing: usize,
    /// The command's memory.
    pub memory: Lent,
}

/// A target that a portal tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Where it is: `address:port,group`.
    pub portals: Vec<String>,
}

/// What [`Context::wait`] has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readiness {
    /// For [`Context::service`].
    pub events: i16,
    /// The target has closed the connection; what it had sent before may be there to be read.
    pub is_closed: bool,
    /// The waker was written to.
    pub is_woken: bool,
}

/// What has happened on a connection.
#[derive(Debug)]
pub enum Event {
    /// The connection was made, or not.
    Connected(Status),
    /// The target has let us in, or not.
    LoggedIn(Status),
    /// The session has ended as was asked for.
    LoggedOut,
    /// The portal has told its targets.
    Discovered(Status, Vec<Target>),
    /// The target has answered a ping.
    Pong(Status),
    /// A command has ended.
    Answer(Answer),
}

/// A connection.
pub struct Context {
    functions: &'static Functions,
    /// None once it is destroyed.
    raw: Option<NonNull<RawContext>>,
    /// What callbacks write to; freed after the context.
    inbox: NonNull<Inbox>,
    flights: HashMap<u64, NonNull<Flight>>,
}

// SAFETY: libiscsi keeps nothing in thread-local storage; a context may be used by any thread, by one at a time, which
// `&mut self` and the lack of `Sync` ensure.
unsafe impl Send for Context {}

#[derive(Default)]
struct Inbox {
    notices: RefCell<Vec<Notice>>,
}

/// What a callback has noted.
enum Notice {
    Connected(c_int),
    LoggedIn(c_int),
    LoggedOut,
    Discovered(c_int, Vec<Target>),
    Pong(c_int),
    Command(u64, c_int),
}

/// A command that the library has.
struct Flight {
    tag: u64,
    inbox: NonNull<Inbox>,
    task: NonNull<RawTask>,
    iovec: RawIovec,
    memory: Lent,
}

impl Context {
    /// Prepares a connection.
    pub fn open(library: &'static Library, opening: &Opening<'_>) -> io::Result<Self> {
        let functions = &library.functions;
        let initiator = c_string("initiator name", opening.initiator)?;
        // SAFETY: the string ends with a zero and is copied.
        let raw = unsafe { (functions.create_context)(initiator.as_ptr()) };
        let raw = NonNull::new(raw).ok_or(io::ErrorKind::OutOfMemory)?;
        let context = Context {
            functions,
            raw: Some(raw),
            // SAFETY: a box is never null.
            inbox: unsafe { NonNull::new_unchecked(Box::into_raw(Box::default())) },
            flights: HashMap::new(),
        };
        let (random, qualifier) = opening.isid;
        let digest = if opening.digests { 2 } else { 0 };
        let session_type = if opening.target.is_some() { 2 } else { 1 };
        let raw = raw.as_ptr();
        // SAFETY: the context was made above; these set numbers in it.
        unsafe {
            (functions.set_no_auto_reconnect)(raw, 1);
            (functions.set_isid_random)(raw, random & 0x00ff_ffff, u32::from(qualifier));
            context.check(
                "set the session's type",
                (functions.set_session_type)(raw, session_type),
            )?;
            context.check("set digests", (functions.set_header_digest)(raw, digest))?;
            if let Some(set) = functions.set_data_digest {
                context.check("set digests", set(raw, digest))?;
            }
        }
        if let Some(target) = opening.target {
            let name = c_string("target name", target)?;
            // SAFETY: the string ends with a zero and is copied.
            let set = unsafe { (functions.set_targetname)(raw, name.as_ptr()) };
            context.check("set the target's name", set)?;
        }
        // The order matters: the library takes the target's credentials only after our own.
        for (credentials, set) in [
            (opening.credentials, functions.set_initiator_credentials),
            (opening.target_credentials, functions.set_target_credentials),
        ] {
            let Some(credentials) = credentials else {
                continue;
            };
            let user = c_string("CHAP user", &credentials.user)?;
            let password = c_string("CHAP password", credentials.password.expose())?;
            // SAFETY: both strings end with a zero and are copied.
            let set = unsafe { set(raw, user.as_ptr(), password.as_ptr()) };
            context.check("set CHAP credentials", set)?;
        }
        Ok(context)
    }

    /// Begins to connect to `address:port`; ends with [`Event::Connected`].
    pub fn connect(&mut self, portal: &str) -> io::Result<()> {
        let portal = c_string("portal", portal)?;
        let (raw, inbox) = (self.raw()?, self.inbox.as_ptr().cast());
        // SAFETY: the string is copied; the inbox outlives the context, which is destroyed first.
        let begun = unsafe { (self.functions.connect)(raw, portal.as_ptr(), on_connect, inbox) };
        self.check("connect", begun)
    }

    /// Begins to log in; ends with [`Event::LoggedIn`].
    pub fn login(&mut self) -> io::Result<()> {
        let (raw, inbox) = (self.raw()?, self.inbox.as_ptr().cast());
        // SAFETY: the inbox outlives the context.
        let begun = unsafe { (self.functions.login)(raw, on_login, inbox) };
        self.check("log in", begun)
    }

    /// Begins to log out; ends with [`Event::LoggedOut`].
    pub fn logout(&mut self) -> io::Result<()> {
        let (raw, inbox) = (self.raw()?, self.inbox.as_ptr().cast());
        // SAFETY: the inbox outlives the context.
        let begun = unsafe { (self.functions.logout)(raw, on_logout, inbox) };
        self.check("log out", begun)
    }

    /// Asks the portal for its targets; ends with [`Event::Discovered`].
    pub fn discover(&mut self) -> io::Result<()> {
        let (raw, inbox) = (self.raw()?, self.inbox.as_ptr().cast());
        // SAFETY: the inbox outlives the context.
        let begun = unsafe { (self.functions.discover)(raw, on_discovery, inbox) };
        self.check("ask for targets", begun)
    }

    /// Pings the target; ends with [`Event::Pong`].
    pub fn ping(&mut self) -> io::Result<()> {
        let (raw, inbox) = (self.raw()?, self.inbox.as_ptr().cast());
        // SAFETY: no data is sent, so that none is pointed at; the inbox outlives the context.
        let begun = unsafe { (self.functions.nop_out)(raw, on_pong, ptr::null_mut(), 0, inbox) };
        self.check("ping", begun)
    }

    /// Sends a command to a LUN; ends with [`Event::Answer`].
    ///
    /// # Errors
    /// Nothing was sent, and the memory is back.
    pub fn submit(
        &mut self,
        tag: u64,
        lun: u16,
        cdb: &[u8],
        memory: Lent,
    ) -> Result<(), (io::Error, Lent)> {
        let refuse = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason);
        if cdb.is_empty() || cdb.len() > MAX_CDB || memory.length() > MAX_TRANSFER {
            return Err((refuse("a command or its data is too long"), memory));
        }
        if self.flights.contains_key(&tag) {
            return Err((refuse("a tag is used twice"), memory));
        }
        let raw = match self.raw() {
            Ok(raw) => raw,
            Err(error) => return Err((error, memory)),
        };
        let direction = match memory.direction() {
            Direction::None => 0,
            Direction::In => 1,
            Direction::Out => 2,
        };
        let mut cdb = cdb.to_vec();
        let lengths = (cdb.len() as c_int, memory.length() as c_int);
        // SAFETY: as many bytes of the command are copied as it has.
        let task = unsafe {
            (self.functions.create_task)(lengths.0, cdb.as_mut_ptr(), direction, lengths.1)
        };
        let Some(task) = NonNull::new(task) else {
            return Err((io::ErrorKind::OutOfMemory.into(), memory));
        };
        let flight = Box::new(Flight {
            tag,
            inbox: self.inbox,
            task,
            iovec: RawIovec {
                base: memory.pointer().as_ptr().cast(),
                length: memory.length(),
            },
            memory,
        });
        let flight = Box::into_raw(flight);
        // SAFETY: the flight stays where it is until the library has called back or is destroyed, and with it the vector and
        // the memory that it points at, which is lent for the direction that the task has. What is lent for `Out` is only
        // read by the library.
        let sent = unsafe {
            let iovec = &raw mut (*flight).iovec;
            match direction {
                1 => (self.functions.set_iov_in)(task.as_ptr(), iovec, 1),
                2 => (self.functions.set_iov_out)(task.as_ptr(), iovec, 1),
                _ => {}
            }
            let lun = c_int::from(lun);
            (self.functions.command)(
                raw,
                lun,
                task.as_ptr(),
                on_command,
                ptr::null_mut(),
                flight.cast(),
            )
        };
        if sent != 0 {
            let error = self.error("send a command");
            // SAFETY: the library has refused the task: it neither keeps it nor calls back.
            let flight = unsafe {
                (self.functions.free_task)(task.as_ptr());
                Box::from_raw(flight)
            };
            return Err((error, flight.memory));
        }
        // SAFETY: a box is never null.
        self.flights
            .insert(tag, unsafe { NonNull::new_unchecked(flight) });
        Ok(())
    }

    /// True when there is something to send that the target takes now.
    pub fn has_output(&self) -> bool {
        self.wanted()
            .is_some_and(|(_, events)| events & PollFlags::OUT.bits() as i16 != 0)
    }

    /// Sends what can be sent at once.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn send(&mut self) -> io::Result<()> {
        self.service(PollFlags::OUT.bits() as i16)
    }

    /// The descriptor to poll, and the `poll(2)` events to wait for; none without a connection.
    fn wanted(&self) -> Option<(RawFd, i16)> {
        let raw = self.raw().ok()?;
        // SAFETY: the context is alive; these read numbers from it.
        let (descriptor, events) = unsafe {
            (
                (self.functions.descriptor)(raw),
                (self.functions.which_events)(raw),
            )
        };
        (descriptor >= 0).then_some((descriptor, events as i16))
    }

    /// Waits until the target or `waker` has something to say, at most `patience`.
    pub fn wait(&self, waker: BorrowedFd<'_>, patience: Duration) -> io::Result<Readiness> {
        let Some((descriptor, wanted)) = self.wanted() else {
            return wait_for(waker, patience);
        };
        // SAFETY: the library closes its descriptor only when it is called, which the borrow of this value excludes.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let wanted = PollFlags::from_bits_retain(wanted as u16) | PollFlags::RDHUP;
        let mut polled = [
            PollFd::from_borrowed_fd(descriptor, wanted),
            PollFd::from_borrowed_fd(waker, PollFlags::IN),
        ];
        poll(&mut polled, patience)?;
        let seen = polled[0].revents();
        Ok(Readiness {
            events: seen.difference(PollFlags::RDHUP).bits() as i16,
            is_closed: seen.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR),
            is_woken: !polled[1].revents().is_empty(),
        })
    }

    /// Reads and writes what is ready, according to the `poll(2)` events that were seen.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn service(&mut self, events: i16) -> io::Result<()> {
        let raw = self.raw()?;
        // SAFETY: the context is alive; callbacks use flights and the inbox, which are not borrowed here.
        let served = unsafe { (self.functions.service)(raw, c_int::from(events)) };
        self.check("talk to the target", served)
    }

    /// What has happened since the last call, in its order.
    pub fn events(&mut self) -> Vec<Event> {
        // SAFETY: the inbox lives as long as this value; callbacks, which use it too, do not run now.
        let notices = unsafe { self.inbox.as_ref() }.notices.take();
        notices
            .into_iter()
            .filter_map(|notice| self.event(notice))
            .collect()
    }

    /// Commands that have not ended.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// What the library said last.
    pub fn last_error(&self) -> String {
        let Ok(raw) = self.raw() else {
            return String::new();
        };
        // SAFETY: the answer is null or a string inside of the context, which is alive.
        unsafe { text((self.functions.error)(raw)) }
    }

    /// Where the target wants to be found, after [`Status::Redirect`].
    pub fn redirected_to(&self) -> String {
        let Ok(raw) = self.raw() else {
            return String::new();
        };
        // SAFETY: the answer is null or a string inside of the context, which is alive.
        unsafe { text((self.functions.target_address)(raw)) }
    }

    /// Closes the connection. What had not ended ends with [`Status::Cancelled`]; after this the library has no memory of ours.
    pub fn close(mut self) -> Vec<Event> {
        self.destroy();
        let mut events = self.events();
        let left: Vec<u64> = self.flights.keys().copied().collect();
        let cancelled = left
            .into_iter()
            .filter_map(|tag| self.land(tag, Status::Cancelled));
        events.extend(cancelled.map(Event::Answer));
        events
    }

    fn destroy(&mut self) {
        if let Some(raw) = self.raw.take() {
            // SAFETY: the context is alive, and nobody uses it after this; its callbacks run for what had not ended.
            unsafe { (self.functions.destroy_context)(raw.as_ptr()) };
        }
    }

    fn event(&mut self, notice: Notice) -> Option<Event> {
        Some(match notice {
            Notice::Connected(status) => Event::Connected(Status::from(status)),
            Notice::LoggedIn(status) => Event::LoggedIn(Status::from(status)),
            Notice::LoggedOut => Event::LoggedOut,
            Notice::Discovered(status, targets) => Event::Discovered(Status::from(status), targets),
            Notice::Pong(status) => Event::Pong(Status::from(status)),
            Notice::Command(tag, status) => Event::Answer(self.land(tag, Status::from(status))?),
        })
    }

    /// Takes a command that the library has called back for.
    fn land(&mut self, tag: u64, status: Status) -> Option<Answer> {
        let flight = self.flights.remove(&tag)?;
        // SAFETY: the flight was made by `Box::into_raw` and is in the map once. The library has called back for it, or is
        // destroyed: it has no pointer to it.
        let flight = unsafe { Box::from_raw(flight.as_ptr()) };
        // SAFETY: the task was made for this flight and is freed below, once. The fields lie where the header says.
        let (residual_status, residual, sense) = unsafe {
            let task = flight.task.as_ptr();
            let read = ((*task).residual_status, (*task).residual, (*task).sense);
            (self.functions.free_task)(task);
            read
        };
        let sense = (status == Status::CheckCondition).then_some(Sense {
            key: sense.key as u8,
            code: sense.ascq as u16,
        });
        Some(Answer {
            tag,
            status,
            sense,
            missing: if residual_status == 1 { residual } else { 0 },
            memory: flight.memory,
        })
    }

    fn raw(&self) -> io::Result<*mut RawContext> {
        let raw = self.raw.ok_or(io::ErrorKind::NotConnected)?;
        Ok(raw.as_ptr())
    }

    fn check(&self, action: &str, result: c_int) -> io::Result<()> {
        if result == 0 {
            Ok(())
        } else {
            Err(self.error(action))
        }
    }

    fn error(&self, action: &str) -> io::Error {
        io::Error::other(format!("{action}: {}", self.last_error()))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.destroy();
        let left: Vec<u64> = self.flights.keys().copied().collect();
        for tag in left {
            self.land(tag, Status::Cancelled);
        }
        // SAFETY: the inbox was made by `Box::into_raw`; the context, the only other user, is destroyed.
        drop(unsafe { Box::from_raw(self.inbox.as_ptr()) });
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("in_flight", &self.flights.len())
            .finish_non_exhaustive()
    }
}

impl From<c_int> for Status {
    /// Source: `enum scsi_status` of the header.
    fn from(number: c_int) -> Self {
        match number {
            0 => Status::Good,
            0x02 => Status::CheckCondition,
            0x08 | 0x28 => Status::Busy,
            0x18 => Status::ReservationConflict,
            0x101 => Status::Redirect,
            0x0f00_0000 => Status::Cancelled,
            other => Status::Other(other),
        }
    }
}

/// Waits for `waker` alone, at most `patience`.
pub fn wait_for(waker: BorrowedFd<'_>, patience: Duration) -> io::Result<Readiness> {
    let mut polled = [PollFd::from_borrowed_fd(waker, PollFlags::IN)];
    poll(&mut polled, patience)?;
    Ok(Readiness {
        is_woken: !polled[0].revents().is_empty(),
        ..Readiness::default()
    })
}

fn poll(polled: &mut [PollFd<'_>], patience: Duration) -> io::Result<()> {
    let patience = Timespec {
        tv_sec: patience.as_secs().min(3600) as i64,
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    match rustix::event::poll(polled, Some(&patience)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn c_string(what: &str, text: &str) -> io::Result<CString> {
    let refuse = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
    if text.is_empty() || text.len() > MAX_STRING {
        return Err(refuse(format!(
            "a {what} has 1 to {MAX_STRING} bytes, not {}",
            text.len()
        )));
    }
    CString::new(text).map_err(|_| refuse(format!("a {what} has no zero byte")))
}

/// A copy of a string of the library.
///
/// # Safety
/// `pointer` is null or points at a string that ends with a zero.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_string_lossy().trim().to_owned()
}

/// Notes something in the inbox that a callback was given.
///
/// # Safety
/// `inbox` points at the inbox of a context that lives, or is being destroyed.
unsafe fn note(inbox: *mut c_void, notice: Notice) {
    // SAFETY: as the caller says; nothing else borrows the inbox while the library runs.
    let inbox = unsafe { &*inbox.cast::<Inbox>() };
    inbox.notices.borrow_mut().push(notice);
}

unsafe extern "C" fn on_connect(
    _: *mut RawContext,
    status: c_int,
    _: *mut c_void,
    inbox: *mut c_void,
) {
    // SAFETY: `connect` has given this inbox.
    unsafe { note(inbox, Notice::Connected(status)) };
}

unsafe extern "C" fn on_login(
    _: *mut RawContext,
    status: c_int,
    _: *mut c_void,
    inbox: *mut c_void,
) {
    // SAFETY: `login` has given this inbox.
    unsafe { note(inbox, Notice::LoggedIn(status)) };
}

unsafe extern "C" fn on_logout(_: *mut RawContext, _: c_int, _: *mut c_void, inbox: *mut c_void) {
    // SAFETY: `logout` has given this inbox.
    unsafe { note(inbox, Notice::LoggedOut) };
}

unsafe extern "C" fn on_pong(
    _: *mut RawContext,
    status: c_int,
    _: *mut c_void,
    inbox: *mut c_void,
) {
    // SAFETY: `ping` has given this inbox.
    unsafe { note(inbox, Notice::Pong(status)) };
}

unsafe extern "C" fn on_discovery(
    _: *mut RawContext,
    status: c_int,
    found: *mut c_void,
    inbox: *mut c_void,
) {
    let mut targets = Vec::new();
    let mut next = if status == 0 {
        found.cast_const().cast::<RawDiscovered>()
    } else {
        ptr::null()
    };
    // SAFETY: with status 0 the library passes a list that ends with null, of names that end with zero, which it frees when
    // this function has returned; they are copied.
    while let Some(found) = unsafe { next.as_ref() } {
        let mut portals = Vec::new();
        let mut portal = found.portals;
        // SAFETY: as above.
        while let Some(raw) = unsafe { portal.as_ref() } {
            if portals.len() < MAX_DISCOVERED {
                // SAFETY: as above.
                portals.push(unsafe { text(raw.portal) });
            }
            portal = raw.next;
        }
        if targets.len() < MAX_DISCOVERED {
            // The library puts what comes last first.
            portals.reverse();
            // SAFETY: as above.
            let name = unsafe { text(found.target_name) };
            targets.push(Target { name, portals });
        }
        next = found.next;
    }
    targets.reverse();
    // SAFETY: `discover` has given this inbox.
    unsafe { note(inbox, Notice::Discovered(status, targets)) };
}

unsafe extern "C" fn on_command(
    _: *mut RawContext,
    status: c_int,
    _: *mut c_void,
    flight: *mut c_void,
) {
    // SAFETY: `submit` has given this flight, which is freed only after this was noted.
    let flight = unsafe { &*flight.cast::<Flight>() };
    // SAFETY: the flight holds the inbox of its context.
    unsafe {
        note(
            flight.inbox.as_ptr().cast(),
            Notice::Command(flight.tag, status),
        )
    };
}
