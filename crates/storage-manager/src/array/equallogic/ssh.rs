//! CLI sessions over SSH, behind calls that block.
//!
//! Each session has a runtime of its own, which runs while a call waits. Limits and deadlines are those of the commands.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::client::{self, Handle, Handler};
use russh::keys::HashAlg;
use russh::{Channel, ChannelMsg, Disconnect, Preferred, cipher, kex, mac};
use tokio::runtime::Runtime;

use super::error::CliError;
use super::screen::{Answer, Awaited, Prompt, awaited, has_echo, text_of};
use super::sessions::{Command, Dial, Shell};
use crate::Secret;

/// Longest wait for a connection, for the login and for the first prompt, each.
const LOGIN_PATIENCE: Duration = Duration::from_secs(15);

/// Longest wait for the answer to an empty line.
const PING_PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for the group's word when a session is ended.
const LOGOUT_PATIENCE: Duration = Duration::from_millis(500);

/// Most bytes of an answer: a thousand volumes have less than a tenth.
const MAX_ANSWER: usize = 4 << 20;

/// Bytes at the end of an answer that are looked at for the prompt.
const TAIL: usize = 512;

/// Most pages of an answer and questions of a command.
const MAX_KEYS: usize = 2000;

/// How deep a shell may be inside of objects.
const MAX_CONTEXTS: usize = 4;

/// Width of the terminal, and rows. Source: reference 6.1.
const COLUMNS: u32 = 255;
const ROWS: u32 = 255;

/// What each session is told first. A firmware that does not know one of them does without.
const SETTINGS: [&str; 7] = [
    "stty columns 255",
    "stty hardwrap off",
    "cli-settings confirmation off",
    "cli-settings paging off",
    "cli-settings events off",
    "cli-settings formatoutput off",
    "cli-settings displayinMB on",
];

/// Where a group is and who we are there.
pub struct SshDial {
    host: String,
    port: u16,
    user: String,
    password: Secret,
    /// The fingerprint that the group must show; the first one that it shows where none is known.
    host_key: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for SshDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshDial({}@{})", self.user, self.address())
    }
}

impl SshDial {
    /// Knows where to go; `host_key` is the fingerprint in the form of OpenSSH, `SHA256:...`, if it is known.
    pub fn new(
        host: &str,
        port: u16,
        user: &str,
        password: Secret,
        host_key: Option<&str>,
    ) -> Self {
        SshDial {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            password,
            host_key: Arc::new(Mutex::new(host_key.map(str::to_owned))),
        }
    }

    /// The fingerprint of the group's key, once it is known.
    pub fn host_key(&self) -> Option<String> {
        lock(&self.host_key).clone()
    }

    async fn connect(&self) -> Result<(Handle<HostKey>, Channel<client::Msg>), CliError> {
        let address = self.address();
        let stranger = Arc::new(Mutex::new(None));
        let handler = HostKey {
            pinned: Arc::clone(&self.host_key),
            stranger: Arc::clone(&stranger),
        };
        let unreachable = |source: io::Error| CliError::Unreachable {
            address: address.clone(),
            source,
        };
        let place = (
            self.host.trim_start_matches('[').trim_end_matches(']'),
            self.port,
        );
        let connected = in_time(
            LOGIN_PATIENCE,
            client::connect(Arc::new(configuration()), place, handler),
        )
        .await;
        let mut handle = match connected {
            Ok(Ok(handle)) => handle,
            Ok(Err(error)) => {
                if let Some(found) = lock(&stranger).take() {
                    let pinned = self.host_key().unwrap_or_default();
                    return Err(CliError::HostKey {
                        address,
                        found,
                        pinned,
                    });
                }
                return Err(unreachable(io::Error::other(error.to_string())));
            }
            Err(late) => return Err(unreachable(late)),
        };
        let login = handle.authenticate_password(self.user.clone(), self.password.expose());
        match in_time(LOGIN_PATIENCE, login).await {
            Ok(Ok(result)) if result.success() => {}
            Ok(Ok(_)) => {
                let user = self.user.clone();
                return Err(CliError::Login { address, user });
            }
            Ok(Err(error)) => return Err(too_many(&address, &error.to_string())),
            Err(late) => return Err(unreachable(late)),
        }
        let opened = in_time(LOGIN_PATIENCE, async {
            let channel = handle.channel_open_session().await?;
            channel
                .request_pty(false, "vt100", COLUMNS, ROWS, 0, 0, &[])
                .await?;
            channel.request_shell(false).await?;
            Ok::<_, russh::Error>(channel)
        });
        match opened.await {
            Ok(Ok(channel)) => Ok((handle, channel)),
            Ok(Err(error)) => Err(too_many(&address, &error.to_string())),
            Err(late) => Err(unreachable(late)),
        }
    }
}

/// What is refused after the host key was shown, though the account is right, is another session.
fn too_many(address: &str, text: &str) -> CliError {
    CliError::TooManySessions {
        address: address.to_owned(),
        text: text.to_owned(),
    }
}

impl Dial for SshDial {
    fn address(&self) -> String {
        format!("group {}:{}", self.host, self.port)
    }

    fn dial(&self) -> Result<Box<dyn Shell>, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(CliError::System)?;
        let (handle, channel) = match runtime.block_on(self.connect()) {
            Ok(connected) => connected,
            Err(error) => {
                // A name that is still being looked for is not waited for.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let mut shell = SshShell {
            runtime: Some(runtime),
            handle,
            channel,
            address: self.address(),
            group: None,
        };
        shell.log_in()?;
        Ok(Box::new(shell))
    }
}

/// Algorithms of today first, then those that the firmware of old groups knows.
fn configuration() -> client::Config {
    let default = Preferred::DEFAULT;
    let more = |kex: &[kex::Name]| [default.kex.as_ref(), kex].concat();
    client::Config {
        preferred: Preferred {
            kex: Cow::Owned(more(&[kex::DH_GEX_SHA1, kex::DH_G14_SHA1])),
            cipher: Cow::Owned(
                [
                    default.cipher.as_ref(),
                    &[cipher::AES_256_CBC, cipher::AES_128_CBC],
                ]
                .concat(),
            ),
            mac: Cow::Owned([default.mac.as_ref(), &[mac::HMAC_SHA1]].concat()),
            ..default
        },
        nodelay: true,
        ..client::Config::default()
    }
}

/// Knows the group by its host key.
struct HostKey {
    pinned: Arc<Mutex<Option<String>>>,
    /// Another key that was shown.
    stranger: Arc<Mutex<Option<String>>>,
}

impl Handler for HostKey {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        let found = key.fingerprint(HashAlg::Sha256).to_string();
        let mut pinned = lock(&self.pinned);
        let pinned = pinned.get_or_insert_with(|| found.clone());
        let is_known = *pinned == found;
        if !is_known {
            *lock(&self.stranger) = Some(found);
        }
        Ok(is_known)
    }
}

/// A shell of a group.
struct SshShell {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    handle: Handle<HostKey>,
    channel: Channel<client::Msg>,
    address: String,
    /// The name in the prompt.
    group: Option<String>,
}

impl SshShell {
    /// Waits for the first prompt, and makes the shell one for programs.
    fn log_in(&mut self) -> Result<(), CliError> {
        let first = Command {
            patience: LOGIN_PATIENCE,
            ..Command::new("")
        };
        let mut screen = Vec::new();
        match self.read(&first, &mut screen, |_| true) {
            Ok(prompt) => self.group = Some(prompt.group),
            Err(CliError::Ended { .. }) => {
                // It ends at once, with or without a word of why.
                let text = text_of(&screen);
                let words: Vec<&str> = text.split_whitespace().collect();
                return Err(too_many(&self.address, &words.join(" ")));
            }
            Err(error) => return Err(error),
        }
        for setting in SETTINGS {
            let setting = Command {
                patience: PING_PATIENCE,
                ..Command::new(setting)
            };
            match self.run(&setting) {
                Err(error) if error.ends_session() => return Err(error),
                Err(error) => tracing::debug!(%error, "the group does not know a setting"),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: Vec<u8>, command: &Command) -> Result<(), CliError> {
        let sent = self.wait(PING_PATIENCE, |channel| async move {
            channel.data_bytes(bytes).await
        });
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.ended(command)),
        }
    }

    /// Collects what is shown until the shell waits for a command and the whole is an end.
    fn read(
        &mut self,
        command: &Command,
        screen: &mut Vec<u8>,
        is_end: impl Fn(&str) -> bool,
    ) -> Result<Prompt, CliError> {
        let begun = Instant::now();
        let group = self.group.clone();
        let mut keys = 0;
        loop {
            let tail = &screen[screen.len().saturating_sub(TAIL)..];
            let key = match awaited(&text_of(tail), group.as_deref()) {
                Awaited::Output => None,
                // Only the whole screen shows whether this is the end.
                Awaited::Command(prompt) if is_end(&text_of(screen)) => return Ok(prompt),
                Awaited::Command(_) => None,
                Awaited::Page => Some(&b" "[..]),
                Awaited::Confirmation if command.is_confirmed => Some(&b"y\r"[..]),
                Awaited::Confirmation => Some(&b"n\r"[..]),
            };
            if let Some(key) = key {
                keys += 1;
                screen.push(b'\n');
                self.send(key.to_vec(), command)?;
            }
            let left = command.patience.saturating_sub(begun.elapsed());
            if left.is_zero() || keys > MAX_KEYS {
                return Err(self.too_slow(command));
            }
            match self.wait(left, |channel| async { channel.wait().await }) {
                None => return Err(self.too_slow(command)),
                Some(Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. })) => {
                    screen.extend_from_slice(&data);
                }
                Some(None | Some(ChannelMsg::Eof | ChannelMsg::Close)) => {
                    return Err(self.ended(command));
                }
                Some(Some(_)) => {}
            }
            if screen.len() > MAX_ANSWER {
                let reason = format!("it has more than {MAX_ANSWER} bytes");
                let command = command.text.clone();
                return Err(CliError::Unreadable { command, reason });
            }
        }
    }

    /// Runs the runtime until something is done; none when that takes longer than `patience`.
    fn wait<'a, T, F: Future<Output = T>>(
        &'a mut self,
        patience: Duration,
        work: impl FnOnce(&'a mut Channel<client::Msg>) -> F,
    ) -> Option<T> {
        let runtime = self.runtime.as_ref()?;
        let channel = &mut self.channel;
        runtime.block_on(async { tokio::time::timeout(patience, work(channel)).await.ok() })
    }

    fn ended(&self, command: &Command) -> CliError {
        CliError::Ended {
            address: self.address.clone(),
            command: command.text.clone(),
        }
    }

    fn too_slow(&self, command: &Command) -> CliError {
        CliError::TooSlow {
            address: self.address.clone(),
            command: command.text.clone(),
            waited: command.patience,
        }
    }

    /// Types a line and takes what is shown for it; then leaves the objects that the shell may have entered.
    fn type_line(&mut self, command: &Command) -> Result<Answer, CliError> {
        self.send(format!("{}\r", command.text).into_bytes(), command)?;
        let mut screen = Vec::new();
        // A prompt that an event repeated before the line was echoed is no end.
        let mut prompt = self.read(command, &mut screen, |text| has_echo(text, &command.text))?;
        let answer = Answer::of(&text_of(&screen), &command.text);
        for _ in 0..MAX_CONTEXTS {
            if prompt.context.is_none() {
                break;
            }
            let exit = Command::new("exit");
            self.send(b"exit\r".to_vec(), &exit)?;
            prompt = self.read(&exit, &mut Vec::new(), |text| has_echo(text, "exit"))?;
        }
        answer
    }
}

impl Shell for SshShell {
    fn run(&mut self, command: &Command) -> Result<Answer, CliError> {
        let begun = Instant::now();
        let answer = self.type_line(command);
        let elapsed_ms = begun.elapsed().as_millis();
        tracing::debug!(
            command = command.text,
            elapsed_ms,
            is_ok = answer.is_ok(),
            "a group ran a command"
        );
        answer
    }

    fn is_alive(&mut self) -> bool {
        let empty = Command {
            patience: PING_PATIENCE,
            ..Command::new("")
        };
        if self.send(b"\r".to_vec(), &empty).is_err() {
            return false;
        }
        // What events left before it is read too.
        self.read(&empty, &mut Vec::new(), |_| true).is_ok()
    }
}

impl Drop for SshShell {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        let (channel, handle) = (&self.channel, &self.handle);
        runtime.block_on(async {
            let bye = async {
                let _ = channel.data_bytes(&b"logout\r"[..]).await;
                let _ = handle.disconnect(Disconnect::ByApplication, "", "en").await;
                // Lets the connection's task send both.
                while !handle.is_closed() {
                    tokio::task::yield_now().await;
                }
            };
            let _ = tokio::time::timeout(LOGOUT_PATIENCE, bye).await;
        });
        runtime.shutdown_background();
    }
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = T>) -> io::Result<T> {
    let done = tokio::time::timeout(patience, work).await;
    done.map_err(|_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {patience:?}"),
        )
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
