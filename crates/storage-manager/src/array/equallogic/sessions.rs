//! The CLI sessions with a group: few, shared by all SRs of the group, each used by one command at a time.
//!
//! A group bears about seven sessions (reference 2.1), of which administrators want some.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::CliError;
use super::screen::Answer;

/// Most sessions with one group: a long clone leaves one for the rest.
const MAX_SESSIONS: usize = 2;

/// Longest wait for a session that others use.
const QUEUE_PATIENCE: Duration = Duration::from_secs(30);

/// Pause before a group is asked once more that had no session left.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// How long a session may have been unused to be trusted: the group may have ended it since, and a command that changes something
/// must not be lost in it.
const TRUSTED_IDLE: Duration = Duration::from_secs(2);

/// Longest wait for the answer of a command.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest wait for a command that copies a volume.
const COPY_PATIENCE: Duration = Duration::from_secs(80);

/// A command of the CLI.
#[derive(Clone, Debug)]
pub struct Command {
    /// One line.
    pub text: String,
    /// Longest wait for the answer.
    pub patience: Duration,
    /// Answers yes where the group asks whether that is meant; otherwise no.
    pub is_confirmed: bool,
}

impl Command {
    /// One that takes no time.
    pub fn new(text: impl Into<String>) -> Self {
        Command {
            text: text.into(),
            patience: PATIENCE,
            is_confirmed: false,
        }
    }

    /// One that copies a volume.
    pub fn copying(text: impl Into<String>) -> Self {
        Command {
            patience: COPY_PATIENCE,
            ..Command::new(text)
        }
    }

    /// One that the group may want confirmed.
    pub fn confirmed(text: impl Into<String>) -> Self {
        Command {
            is_confirmed: true,
            ..Command::new(text)
        }
    }
}

/// A session.
pub trait Shell: Send {
    /// Runs a command to its end.
    fn run(&mut self, command: &Command) -> Result<Answer, CliError>;

    /// True when the group still answers.
    fn is_alive(&mut self) -> bool;
}

/// Makes sessions.
pub trait Dial: Send + Sync + fmt::Debug {
    /// Where to, for messages.
    fn address(&self) -> String;

    /// Makes one, ready for a command.
    fn dial(&self) -> Result<Box<dyn Shell>, CliError>;
}

/// The sessions with a group.
pub struct Sessions {
    dial: Arc<dyn Dial>,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<(Box<dyn Shell>, Instant)>,
    in_use: usize,
    /// Why the last command had no answer; none once another has one.
    silence: Option<String>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").field(&self.dial).finish()
    }
}

impl Sessions {
    /// None is made before a command wants it.
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Sessions {
            dial,
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Where to, for messages.
    pub fn address(&self) -> String {
        self.dial.address()
    }

    /// Runs a command that changes nothing; once more when its session ends.
    pub fn ask(&self, command: &Command) -> Result<Answer, CliError> {
        match self.tell(command) {
            Err(error) if error.is_lost_session() => {
                tracing::debug!(%error, "a question is asked again");
                self.tell(command)
            }
            result => result,
        }
    }

    /// Runs a command that changes something, once: when its session ends nobody knows whether it was carried out.
    pub fn tell(&self, command: &Command) -> Result<Answer, CliError> {
        // The last guard: what ends a line or is no text would be a command of its own.
        if !command
            .text
            .bytes()
            .all(|byte| (0x20..0x7f).contains(&byte))
        {
            return Err(CliError::Untypable {
                command: command.text.clone(),
            });
        }
        let turn = self.take_turn(command)?;
        let dialled = turn.shell().map_or_else(|| self.dial(), Ok);
        let (result, shell) = match dialled {
            Ok(mut shell) => (shell.run(command), Some(shell)),
            Err(error) => (Err(error), None),
        };
        let mut state = self.state();
        state.silence = silence(&result);
        let is_over = result.as_ref().is_err_and(CliError::ends_session);
        if !is_over {
            state
                .idle
                .extend(shell.map(|shell| (shell, Instant::now())));
        }
        result
    }

    /// Why the group does not answer, from the last command that any SR of it ran; no I/O.
    pub fn health(&self) -> Option<String> {
        self.state().silence.clone()
    }

    /// Ends the sessions that nobody uses.
    pub fn release(&self) {
        let idle = std::mem::take(&mut self.state().idle);
        drop(idle);
    }

    fn dial(&self) -> Result<Box<dyn Shell>, CliError> {
        match self.dial.dial() {
            Err(CliError::TooManySessions { .. }) => {
                // Others may have ended theirs; ours that are idle are in the way too.
                self.release();
                let state = self.state();
                drop(self.freed.wait_timeout(state, BUSY_PAUSE));
                self.dial.dial()
            }
            result => result,
        }
    }

    fn take_turn(&self, command: &Command) -> Result<Turn<'_>, CliError> {
        let state = self.state();
        let is_full = |state: &mut State| state.in_use >= MAX_SESSIONS;
        let waited = self
            .freed
            .wait_timeout_while(state, QUEUE_PATIENCE, is_full);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.in_use >= MAX_SESSIONS {
            return Err(CliError::Queue {
                address: self.address(),
                command: command.text.clone(),
                waited: QUEUE_PATIENCE,
            });
        }
        state.in_use += 1;
        Ok(Turn { sessions: self })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a command had no answer; a group that says no answers.
fn silence<T>(result: &Result<T, CliError>) -> Option<String> {
    let error = result.as_ref().err()?;
    let is_silent = matches!(
        error,
        CliError::Unreachable { .. }
            | CliError::HostKey { .. }
            | CliError::Login { .. }
            | CliError::TooManySessions { .. }
            | CliError::TooSlow { .. }
            | CliError::Ended { .. }
    );
    is_silent.then(|| error.chain_text())
}

/// The right to use one session, until this is dropped.
struct Turn<'a> {
    sessions: &'a Sessions,
}

impl Turn<'_> {
    /// A session that stands; those that do not are ended on the way.
    fn shell(&self) -> Option<Box<dyn Shell>> {
        loop {
            let (mut shell, since) = self.sessions.state().idle.pop()?;
            if since.elapsed() <= TRUSTED_IDLE || shell.is_alive() {
                return Some(shell);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.sessions.state().in_use -= 1;
        self.sessions.freed.notify_one();
    }
}
