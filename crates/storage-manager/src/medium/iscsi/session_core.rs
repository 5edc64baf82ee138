//! The state of a session: which commands wait, which are under way, what the connection is at.
//!
//! ```text
//!   Down --(pause over)--> Connecting --> LoggingIn --> Up
//!    ^                         |              |          |
//!    +-------------------------+--------------+----------+   closed, refused, silent, too slow
//! ```
//!
//! A connection that ends gives back what it had not answered; that is sent again over the next one. Every command that is used may be
//! carried out twice: reads, writes of given bytes at a given place, questions. The next connection has the same ISID: the
//! target ends what is left of the old session, and its commands, before it lets the new one in (RFC 7143, 6.3.5).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cdb::Cdb;
use super::error::{Error, Refusal};
use super::portal::Portal;
use super::sense::{Attention, attention, failure};
use super::session::{Login, Slot};
use crate::io::libiscsi::{
    Answer, Context, Event, Lent, Library, Opening, Readiness, Status, wait_for,
};

/// Most commands that a session has under way; targets bound it further by their command window.
pub const DEPTH: usize = 128;

/// Longest wait for a connection and a login.
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);

/// Pause before the first attempt to connect again, doubled for each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Pause before a command is sent again to a device that was busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How often a command is repeated because the device had news or was busy.
const MAX_TRIES: u32 = 500;

/// How often a login is sent on to another address.
const MAX_REDIRECTS: u32 = 4;

/// A command and who waits for it.
pub struct Command {
    pub lun: u16,
    pub cdb: Cdb,
    /// None while the library has it.
    pub memory: Option<Lent>,
    pub slot: Arc<Slot>,
    pub deadline: Instant,
    pub tries: u32,
}

enum State {
    Down { until: Instant },
    Connecting { context: Context, until: Instant },
    LoggingIn { context: Context, until: Instant },
    Up { context: Context },
}

/// What others than the holder of the core may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often what was not flushed may have been lost.
    pub resets: u64,
    /// How often the target told that LUNs came, went or grew.
    pub lun_changes: u64,
}

/// See the module.
pub struct Core {
    library: &'static Library,
    login: Login,
    state: State,
    pause: Duration,
    redirects: u32,
    /// Where the target wanted to be found last.
    redirected: Option<Portal>,
    waiting: VecDeque<Command>,
    under_way: BTreeMap<u64, Command>,
    next_tag: u64,
    /// Nothing is sent before: a device was busy.
    hold_until: Option<Instant>,
    last_heard: Instant,
    pinged: Option<Instant>,
    has_been_up: bool,
    /// Why the connection ended last, or could not be made.
    pub failure: Option<Error>,
    pub counts: Counts,
}

impl Core {
    pub fn new(library: &'static Library, login: Login) -> Self {
        let now = Instant::now();
        Core {
            library,
            login,
            state: State::Down { until: now },
            pause: FIRST_PAUSE,
            redirects: 0,
            redirected: None,
            waiting: VecDeque::new(),
            under_way: BTreeMap::new(),
            next_tag: 0,
            hold_until: None,
            last_heard: now,
            pinged: None,
            has_been_up: false,
            failure: None,
            counts: Counts::default(),
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub fn accept(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.waiting.extend(commands);
    }

    /// Does what can be done without waiting: connects again, sends, gives up what is too late.
    pub fn advance(&mut self) {
        let now = Instant::now();
        match &self.state {
            State::Down { until } if *until <= now => self.connect(now),
            State::Connecting { until, .. } if *until <= now => self.too_slow("connect"),
            State::LoggingIn { until, .. } if *until <= now => self.too_slow("log in"),
            _ => {}
        }
        self.expire(now);
        self.ping_if_silent(now);
        self.send_waiting(now);
    }

    /// Waits for the target or the waker, at most `patience`, and takes what came. True when the waker was written to.
    pub fn wait(&mut self, waker: BorrowedFd<'_>, patience: Duration) -> bool {
        let patience = patience.min(self.next_change());
        let ready = match self.context() {
            Some(context) => context.wait(waker, patience),
            None => wait_for(waker, patience),
        };
        let ready = ready.unwrap_or_else(|error| {
            self.lose(&error.to_string());
            Readiness::default()
        });
        if ready.events != 0 || ready.is_closed {
            self.serve(ready);
        }
        ready.is_woken
    }

    fn serve(&mut self, ready: Readiness) {
        let Some(context) = self.context() else {
            return;
        };
        let served = context.service(ready.events);
        self.take_events();
        if let Err(error) = served {
            self.lose(&error.to_string());
        } else if ready.is_closed && self.context().is_some() {
            self.lose("the target has closed the connection");
        }
    }

    fn context(&mut self) -> Option<&mut Context> {
        match &mut self.state {
            State::Down { .. } => None,
            State::Connecting { context, .. }
            | State::LoggingIn { context, .. }
            | State::Up { context } => Some(context),
        }
    }

    /// Until when nothing happens unless somebody says something.
    fn next_change(&self) -> Duration {
        let now = Instant::now();
        let own = match &self.state {
            State::Down { until }
            | State::Connecting { until, .. }
            | State::LoggingIn { until, .. } => Some(*until),
            State::Up { .. } => Some(match self.pinged {
                Some(at) => at + self.login.patience / 2,
                None => self.last_heard + self.login.patience / 2,
            }),
        };
        let deadlines = self.waiting.iter().chain(self.under_way.values());
        let next = deadlines
            .map(|command| command.deadline)
            .chain(own)
            .chain(self.hold_until.filter(|_| !self.waiting.is_empty()))
            .min();
        next.map_or(Duration::MAX, |next| next.saturating_duration_since(now))
    }

    fn portal(&self) -> Portal {
        self.redirected.unwrap_or(self.login.portal)
    }

    fn connect(&mut self, now: Instant) {
        let opening = Opening {
            initiator: &self.login.initiator,
            target: Some(&self.login.target),
            credentials: self.login.credentials.as_ref(),
            target_credentials: self.login.target_credentials.as_ref(),
            isid: self.login.isid,
            digests: self.login.digests,
        };
        let portal = self.portal();
        let context = Context::open(self.library, &opening).and_then(|mut context| {
            context.connect(&portal.to_string())?;
            Ok(context)
        });
        match context {
            Ok(context) => {
                let until = now + LOGIN_PATIENCE.min(self.login.patience * 2);
                self.state = State::Connecting { context, until };
            }
            Err(error) => {
                let reason = error.to_string();
                self.fail(Error::Unreachable { portal, reason });
            }
        }
    }

    fn take_events(&mut self) {
        let Some(context) = self.context() else {
            return;
        };
        let events = context.events();
        if !events.is_empty() {
            self.last_heard = Instant::now();
            self.pinged = None;
        }
        let mut has_broken = false;
        for event in events {
            match event {
                // The library lets go of commands by itself only when the connection is of no use; it lets go of all.
                Event::Answer(answer) if answer.status == Status::Cancelled => {
                    self.take_back(answer);
                    has_broken = true;
                }
                Event::Connected(Status::Good) => self.log_in(),
                Event::Connected(_) => {
                    let reason = self.last_error();
                    let portal = self.portal();
                    self.fail(Error::Unreachable { portal, reason });
                }
                Event::LoggedIn(Status::Good) => self.come_up(),
                Event::LoggedIn(Status::Redirect) => self.redirect(),
                Event::LoggedIn(_) => {
                    let reason = self.last_error();
                    self.refused(reason);
                }
                Event::Pong(Status::Good) | Event::Discovered(..) => {}
                Event::Pong(_) | Event::LoggedOut => has_broken = true,
                Event::Answer(answer) => self.answered(answer),
            }
        }
        if has_broken && self.is_up() {
            self.lose("the connection broke");
        }
    }

    /// Keeps the memory of a command that is to be sent again.
    fn take_back(&mut self, answer: Answer) {
        if let Some(command) = self.under_way.get_mut(&answer.tag) {
            command.memory = Some(answer.memory);
        }
    }

    fn last_error(&mut self) -> String {
        self.context()
            .map_or_else(String::new, |context| context.last_error())
    }

    fn log_in(&mut self) {
        let State::Connecting { .. } = self.state else {
            return;
        };
        let down = State::Down {
            until: Instant::now(),
        };
        if let State::Connecting { mut context, until } = std::mem::replace(&mut self.state, down) {
            match context.login() {
                Ok(()) => self.state = State::LoggingIn { context, until },
                Err(error) => self.refused(error.to_string()),
            }
        }
    }

    fn come_up(&mut self) {
        let down = State::Down {
            until: Instant::now(),
        };
        if let State::LoggingIn { context, .. } = std::mem::replace(&mut self.state, down) {
            if self.has_been_up {
                tracing::info!(target = self.login.target, portal = %self.portal(), "iSCSI session is back");
            }
            self.state = State::Up { context };
            self.has_been_up = true;
            self.pause = FIRST_PAUSE;
            self.redirects = 0;
            self.failure = None;
        }
    }

    fn redirect(&mut self) {
        let address = self.context().map(|context| context.redirected_to());
        let portal = Portal::parse(&address.unwrap_or_default());
        match portal {
            Ok(portal) if self.redirects < MAX_REDIRECTS => {
                self.redirects += 1;
                self.redirected = Some(portal);
                self.close();
                self.state = State::Down {
                    until: Instant::now(),
                };
            }
            _ => self.refused("it sends us on to addresses that lead nowhere".to_owned()),
        }
    }

    fn refused(&mut self, reason: String) {
        let error = Error::Refused {
            target: self.login.target.clone(),
            portal: self.portal(),
            initiator: self.login.initiator.clone(),
            refusal: Refusal::of(&reason),
            reason,
        };
        self.fail(error);
    }

    fn too_slow(&mut self, action: &'static str) {
        let error = Error::TooSlow {
            portal: self.portal(),
            action,
            waited: LOGIN_PATIENCE.min(self.login.patience * 2),
        };
        self.fail(error);
    }

    /// The connection was not made.
    fn fail(&mut self, error: Error) {
        if self.has_been_up {
            tracing::debug!(target = self.login.target, %error, "iSCSI session is not back yet");
        }
        self.failure = Some(error);
        self.redirected = None;
        self.redirects = 0;
        self.close();
        self.state = State::Down {
            until: Instant::now() + self.pause,
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// The connection has ended; what the target had not put on stable storage may be gone with it.
    fn lose(&mut self, reason: &str) {
        if !self.is_up() {
            let (portal, reason) = (self.portal(), reason.to_owned());
            return self.fail(Error::Unreachable { portal, reason });
        }
        tracing::warn!(
            target = self.login.target,
            portal = %self.portal(),
            commands = self.under_way.len(),
            reason,
            "iSCSI session was lost; it is made again"
        );
        self.failure = Some(Error::Unreachable {
            portal: self.portal(),
            reason: reason.to_owned(),
        });
        self.counts.resets += 1;
        self.redirected = None;
        self.pinged = None;
        self.close();
        self.state = State::Down {
            until: Instant::now(),
        };
    }

    /// Closes the connection and takes back what it had not answered, in its order, before all that waits.
    fn close(&mut self) {
        let down = State::Down {
            until: Instant::now(),
        };
        let context = match std::mem::replace(&mut self.state, down) {
            State::Down { .. } => None,
            State::Connecting { context, .. }
            | State::LoggingIn { context, .. }
            | State::Up { context } => Some(context),
        };
        for event in context.map_or_else(Vec::new, Context::close) {
            match event {
                Event::Answer(answer) if answer.status == Status::Cancelled => {
                    self.take_back(answer)
                }
                // An answer that came with the last bytes counts.
                Event::Answer(answer) => self.answered(answer),
                _ => {}
            }
        }
        for command in std::mem::take(&mut self.under_way).into_values().rev() {
            self.waiting.push_front(command);
        }
    }

    fn answered(&mut self, answer: Answer) {
        let Some(mut command) = self.under_way.remove(&answer.tag) else {
            return;
        };
        command.memory = Some(answer.memory);
        let news = attention(answer.sense);
        match news {
            Some(Attention::Reset) => self.counts.resets += 1,
            Some(Attention::LunsChanged) => self.counts.lun_changes += 1,
            _ => {}
        }
        command.tries += 1;
        let may_be_another = matches!(news, Some(Attention::LunsChanged | Attention::Reset));
        if may_be_another && command.cdb.moves_blocks() {
            // Who sent it must look first whether the number is still that of its LUN. A session that is new, after one was
            // lost, begins with such news (SAM-5, 5.14.1), so that no write goes on over it unseen.
            let changed = "the target tells that its LUNs have changed, or that it was reset";
            command.finish(Err(io::Error::new(io::ErrorKind::Interrupted, changed)));
            return;
        }
        let again = news.is_some() || answer.status == Status::Busy;
        if again && command.tries < MAX_TRIES {
            if answer.status == Status::Busy {
                self.hold_until = Some(Instant::now() + BUSY_PAUSE);
            }
            self.waiting.push_front(command);
            return;
        }
        let result = match answer.status {
            Status::Good => Ok(answer.missing),
            status => Err(failure(status, answer.sense)),
        };
        command.finish(result);
    }

    /// Fails what is too late. What is under way is taken back from the target first, which ends the connection.
    fn expire(&mut self, now: Instant) {
        if self
            .under_way
            .values()
            .any(|command| command.deadline <= now)
        {
            self.lose("a command was not answered in time");
        }
        if self.waiting.iter().all(|command| command.deadline > now) {
            return;
        }
        let (late, rest): (Vec<Command>, Vec<Command>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|command| command.deadline <= now);
        self.waiting.extend(rest);
        let reason = match &self.failure {
            Some(error) => error.chain_text(),
            None => format!("{} does not answer", self.portal()),
        };
        for command in late {
            command.finish(Err(io::Error::new(io::ErrorKind::TimedOut, reason.clone())));
        }
    }

    fn ping_if_silent(&mut self, now: Instant) {
        let half = self.login.patience / 2;
        if !self.is_up() {
            return;
        }
        match self.pinged {
            Some(at) if now >= at + half => self.lose("the target is silent"),
            None if now >= self.last_heard + half => {
                let sent = self.context().map(|context| {
                    context.ping()?;
                    context.send()
                });
                if let Some(Err(error)) = sent {
                    return self.lose(&error.to_string());
                }
                self.pinged = Some(now);
            }
            _ => {}
        }
    }

    fn send_waiting(&mut self, now: Instant) {
        if self.hold_until.is_some_and(|until| until > now) {
            return;
        }
        self.hold_until = None;
        let State::Up { context } = &mut self.state else {
            return;
        };
        let mut refusal = None;
        while self.under_way.len() < DEPTH
            && let Some(mut command) = self.waiting.pop_front()
        {
            let Some(memory) = command.memory.take() else {
                command.finish(Err(io::Error::other("the command's memory was lost")));
                continue;
            };
            let tag = self.next_tag;
            self.next_tag += 1;
            if self.under_way.is_empty() && self.pinged.is_none() {
                // Silence counts from the moment at which an answer is due.
                self.last_heard = now;
            }
            match context.submit(tag, command.lun, command.cdb.bytes(), memory) {
                Ok(()) => {
                    self.under_way.insert(tag, command);
                }
                Err((error, memory)) => {
                    command.memory = Some(memory);
                    if error.kind() == io::ErrorKind::InvalidInput {
                        command.finish(Err(error));
                    } else {
                        self.waiting.push_front(command);
                        refusal = Some(error);
                        break;
                    }
                }
            }
        }
        let sent = if context.has_output() {
            context.send()
        } else {
            Ok(())
        };
        if let Some(error) = refusal.or(sent.err()) {
            self.take_events();
            self.lose(&error.to_string());
        }
    }

    /// Ends the session, and waits a moment for the target to agree.
    pub fn log_out(&mut self, waker: BorrowedFd<'_>, patience: Duration) {
        let until = Instant::now() + patience;
        if let State::Up { context } = &mut self.state
            && context.logout().is_ok()
        {
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                let Ok(ready) = context.wait(waker, left) else {
                    break;
                };
                let served = context.service(ready.events);
                let is_out = context
                    .events()
                    .iter()
                    .any(|event| matches!(event, Event::LoggedOut));
                if is_out || served.is_err() || ready.is_closed {
                    break;
                }
            }
        }
        self.close();
    }
}

impl Command {
    /// Gives the memory back and tells who waits.
    fn finish(mut self, result: io::Result<usize>) {
        drop(self.memory.take());
        self.slot.finish(result);
    }
}
