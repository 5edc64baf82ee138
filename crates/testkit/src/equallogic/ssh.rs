//! The SSH server in front of the CLI: a password, a terminal, a shell; nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, run_stream};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodKind, MethodSet,
};
use tokio::net::{TcpListener, TcpStream};

use super::array::{Array, OpenSession};
use super::command::Command;
use super::faults::{Cut, Fate, Refused};
use super::shell::{Reaction, Shell};
use super::wire::Wire;

/// How long a wrong password takes.
const REJECTION: Duration = Duration::from_millis(50);
/// Most channels of a connection.
const MOST_CHANNELS: usize = 32;
/// What one session too many is told, when it is told anything.
const TOO_MANY: &str = "% Error - Maximum number of CLI sessions reached.\r\n";

/// The configuration of the server with the host key of this seed.
pub fn config(seed: [u8; 32]) -> Config {
    Config {
        methods: MethodSet::from(&[MethodKind::Password][..]),
        auth_rejection_time: REJECTION,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key(seed)],
        inactivity_timeout: None,
        ..Config::default()
    }
}

/// The host key of a seed.
pub fn host_key(seed: [u8; 32]) -> russh::keys::PrivateKey {
    russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&seed).into()
}

/// Serves connections until it is dropped. The host key is looked up anew for each.
pub async fn serve(listener: TcpListener, array: Arc<Array>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seed = array.state().host_key_seed;
        tokio::spawn(connection(
            stream,
            Arc::new(config(seed)),
            Arc::clone(&array),
        ));
    }
}

async fn connection(stream: TcpStream, config: Arc<Config>, array: Arc<Array>) {
    let Ok((wire, stream)) = Wire::new(stream) else {
        return;
    };
    let connection = Connection {
        array,
        wire,
        account: String::new(),
        channels: HashMap::new(),
    };
    if let Ok(session) = run_stream(config, stream, connection).await {
        // How a connection ends is the client's business, or the fault's that cut it.
        let _ = session.await;
    }
}

struct Connection {
    array: Arc<Array>,
    /// The connection itself, to cut it.
    wire: Arc<Wire>,
    account: String,
    channels: HashMap<ChannelId, Waiting>,
}

/// A channel without a shell, with the size of its terminal.
struct Waiting {
    channel: Channel<Msg>,
    columns: u32,
    rows: u32,
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        if !self.array.knows(user, password) {
            return Ok(Auth::reject());
        }
        user.clone_into(&mut self.account);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.channels.len() < MOST_CHANNELS {
            let waiting = Waiting {
                channel,
                columns: 0,
                rows: 0,
            };
            self.channels.insert(waiting.channel.id(), waiting);
            reply.accept().await;
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        columns: u32,
        rows: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.get_mut(&channel) {
            Some(waiting) => {
                (waiting.columns, waiting.rows) = (columns, rows);
                session.channel_success(channel)
            }
            None => session.channel_failure(channel),
        }
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(waiting) = self.channels.remove(&channel) else {
            return session.channel_failure(channel);
        };
        let Some(open) = self.array.open_session() else {
            let refused = self.array.state().faults.refused;
            if refused == Refused::Disconnected {
                self.wire.cut();
                return Ok(());
            }
            session.channel_success(channel)?;
            session.data(channel, TOO_MANY.as_bytes().to_vec())?;
            session.exit_status_request(channel, 1)?;
            session.eof(channel)?;
            return session.close(channel);
        };
        session.channel_success(channel)?;
        let shell = Shell::new(
            &self.account,
            waiting.columns as usize,
            waiting.rows as usize,
        );
        let (input, output) = waiting.channel.split();
        let terminal = Console {
            array: Arc::clone(&self.array),
            wire: Arc::clone(&self.wire),
            shell,
            output,
            _open: open,
        };
        tokio::spawn(terminal.run(input));
        Ok(())
    }
}

/// A shell with its channel.
struct Console {
    array: Arc<Array>,
    wire: Arc<Wire>,
    shell: Shell,
    output: ChannelWriteHalf<Msg>,
    _open: OpenSession,
}

/// Why a session is over.
struct Over;

impl Console {
    async fn run(mut self, mut input: ChannelReadHalf) {
        let greeting = self.shell.greeting(&self.array);
        if self.show(greeting).await.is_err() {
            return;
        }
        while let Some(message) = self.next(&mut input).await {
            let heard = match message {
                ChannelMsg::Data { data } => self.hear(&data).await,
                ChannelMsg::WindowChange {
                    col_width,
                    row_height,
                    ..
                } => {
                    self.shell.resize(col_width as usize, row_height as usize);
                    Ok(())
                }
                ChannelMsg::Eof | ChannelMsg::Close => Err(Over),
                _ => Ok(()),
            };
            if heard.is_err() {
                break;
            }
        }
        // The client may be gone before this.
        let _ = self.output.exit_status(0).await;
        let _ = self.output.eof().await;
        let _ = self.output.close().await;
    }

    /// What comes next; none when the client is silent for too long.
    async fn next(&mut self, input: &mut ChannelReadHalf) -> Option<ChannelMsg> {
        let idle = self.array.state().faults.idle;
        match idle {
            Some(longest) if self.shell.may_idle_out(&self.array) => {
                match tokio::time::timeout(longest, input.wait()).await {
                    Ok(message) => message,
                    Err(_) => {
                        let _ = self
                            .show("\r\nSession idle for too long; logging out.\r\n".to_owned())
                            .await;
                        None
                    }
                }
            }
            _ => input.wait().await,
        }
    }

    async fn hear(&mut self, data: &[u8]) -> Result<(), Over> {
        let mut shown = String::new();
        for byte in data {
            match self.shell.typed(*byte, &self.array) {
                Reaction::Text(text) => shown.push_str(&text),
                Reaction::Run(command, line) => {
                    shown.push_str("\r\n");
                    self.show(std::mem::take(&mut shown)).await?;
                    self.carry_out(command, line).await?;
                }
                Reaction::End => {
                    shown.push_str("\r\n");
                    self.show(shown).await?;
                    return Err(Over);
                }
            }
        }
        self.show(shown).await
    }

    async fn carry_out(&mut self, command: Command, line: String) -> Result<(), Over> {
        let (fate, delay) = {
            let mut state = self.array.state();
            let counts = !command.is_of_session();
            if counts {
                state.log.push(line);
            }
            let fate = if counts {
                state.faults.meet()
            } else {
                Fate::Normal
            };
            (fate, state.faults.delay)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        let text = match &fate {
            Fate::Cut(Cut::Before) => return self.cut(),
            Fate::Fail(text) => self.shell.fail(text, &self.array),
            Fate::Normal | Fate::Cut(_) => {
                let result = self.array.run(self.shell.account(), &command);
                self.shell.finish(&command, result, &self.array)
            }
        };
        match fate {
            Fate::Cut(Cut::After) => self.cut(),
            Fate::Cut(_) => {
                let half: String = text.chars().take(text.len() / 2).collect();
                // The packets are longer than the text in them, so this is when it has left.
                let left = self.wire.sent() + half.len() as u64;
                self.show(half).await?;
                self.wire.wait_for(left).await;
                self.cut()
            }
            _ => self.show(text).await,
        }
    }

    fn cut(&self) -> Result<(), Over> {
        self.wire.cut();
        Err(Over)
    }

    async fn show(&self, text: String) -> Result<(), Over> {
        if text.is_empty() {
            return Ok(());
        }
        self.output
            .data_bytes(text.into_bytes())
            .await
            .map_err(|_| Over)
    }
}
