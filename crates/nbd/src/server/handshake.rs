//! The handshake of one connection, from the greeting to the choice of an export.

use std::sync::Arc;

use super::accept::TlsPolicy;
use super::contexts::{self, Context};
use super::exports::{Exports, Found, Peer, Refusal};
use super::limits::{MAX_LISTED, MAX_OPTION, MAX_OPTIONS, MAX_REQUEST, MAX_SKIPPED_OPTION};
use super::registry::{Bind, Registration};
use crate::channel::{Channel, Receiver, Sender};
use crate::protocol::constants::{
    MAX_STRING, handshake_flag, info, option, option_reply, transmission_flag,
};
use crate::protocol::{
    BlockSizes, ClientHello, ExportReply, ExportRequest, Info, MetaContext, MetaContextRequest,
    OptionHeader, OptionReplyHeader, ServerEntry, ServerHello,
};
use crate::{Error, Export};

/// What a handshake that led to transmission agreed on.
pub(super) struct Negotiated {
    pub(super) export: Arc<dyn Export>,
    pub(super) structured: bool,
    /// The metadata contexts that were chosen.
    pub(super) contexts: Vec<Context>,
}

/// A handshake under way.
pub(super) struct Handshake<'a> {
    pub(super) channel: &'a mut Channel,
    pub(super) receiver: &'a mut Receiver,
    pub(super) sender: &'a mut Sender,
    pub(super) exports: &'a dyn Exports,
    pub(super) tls: &'a TlsPolicy,
    pub(super) registration: &'a Registration,
    pub(super) peer: Peer,
    pub(super) state: Agreed,
}

/// What the options so far have agreed on; forgotten when TLS begins.
#[derive(Default)]
pub(super) struct Agreed {
    no_zeroes: bool,
    structured: bool,
    /// The metadata contexts that were chosen, and the name of the export for which they were.
    contexts: Option<(String, Vec<Context>)>,
}

/// What an option leads to.
enum Next {
    Option,
    Transmission(Negotiated),
    End,
}

/// A reply that refuses an option.
struct No {
    reply: u32,
    message: &'static str,
}

const fn no(reply: u32, message: &'static str) -> No {
    No { reply, message }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => no(option_reply::ERR_UNKNOWN, "no such export"),
            Refusal::Forbidden { reason } => no(option_reply::ERR_POLICY, reason),
            Refusal::TlsRequired => no(option_reply::ERR_TLS_REQD, "this export needs TLS"),
            Refusal::ShuttingDown => no(option_reply::ERR_SHUTDOWN, "the server is going down"),
        }
    }
}

impl Handshake<'_> {
    /// Runs the handshake; nothing comes out when the client ended it.
    pub(super) fn run(mut self) -> Result<Option<Negotiated>, Error> {
        let offered = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        self.send(&ServerHello { flags: offered }.to_bytes())?;
        let mut hello = [0; ClientHello::LENGTH];
        if !self
            .receiver
            .read_or_end(self.channel, &mut hello, "client flags")?
        {
            return Ok(None);
        }
        let flags = ClientHello::parse(hello).flags;
        if flags & !u32::from(offered) != 0 {
            return Err(Error::Unexpected {
                what: "client flags",
                found: flags.into(),
            });
        }
        self.state.no_zeroes = flags & u32::from(handshake_flag::NO_ZEROES) != 0;
        for _ in 0..MAX_OPTIONS {
            match self.option()? {
                Next::Option => {}
                Next::Transmission(negotiated) => return Ok(Some(negotiated)),
                Next::End => return Ok(None),
            }
        }
        let limit = MAX_OPTIONS as u64;
        Err(Error::Limit {
            what: "count of options in one handshake",
            found: limit + 1,
            limit,
        })
    }

    fn option(&mut self) -> Result<Next, Error> {
        let mut head = [0; OptionHeader::LENGTH];
        if !self
            .receiver
            .read_or_end(self.channel, &mut head, "an option")?
        {
            return Ok(Next::End);
        }
        let OptionHeader {
            option: code,
            length,
        } = OptionHeader::parse(&head)?;
        if length > MAX_SKIPPED_OPTION
            || (code == option::EXPORT_NAME && length as usize > MAX_STRING)
        {
            return Err(Error::Limit {
                what: "option length",
                found: length.into(),
                limit: MAX_OPTION.into(),
            });
        }
        if length > MAX_OPTION {
            self.receiver
                .discard(self.channel, length.into(), "an option's data")?;
            return self.refuse(
                code,
                no(option_reply::ERR_TOO_BIG, "the option is too long"),
            );
        }
        let mut data = vec![0; length as usize];
        self.receiver
            .read_exact(self.channel, &mut data, "an option's data")?;

        let needs_tls = matches!(self.tls, TlsPolicy::Required(_)) && !self.channel.is_tls();
        match code {
            option::ABORT => {
                // The client may be gone already; that is as good.
                let _ = self.reply(code, option_reply::ACK, &[]);
                Ok(Next::End)
            }
            option::STARTTLS => self.start_tls(&data),
            option::EXPORT_NAME if needs_tls => Err(Error::Unexpected {
                what: "EXPORT_NAME before the required TLS",
                found: code.into(),
            }),
            _ if needs_tls => {
                self.refuse(code, no(option_reply::ERR_TLS_REQD, "TLS must come first"))
            }
            option::EXPORT_NAME => self.export_name(&data),
            option::LIST => self.list(&data),
            option::INFO | option::GO => self.info_or_go(code, &data),
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.state.structured = true;
                self.acknowledge(code)
            }
            option::STRUCTURED_REPLY => self.refuse(
                code,
                no(option_reply::ERR_INVALID, "the option has no data"),
            ),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.meta_context(code, &data),
            _ => self.refuse(code, no(option_reply::ERR_UNSUP, "unknown option")),
        }
    }

    fn start_tls(&mut self, data: &[u8]) -> Result<Next, Error> {
        let code = option::STARTTLS;
        let config = match self.tls {
            TlsPolicy::Plaintext => {
                return self.refuse(code, no(option_reply::ERR_UNSUP, "no TLS here"));
            }
            TlsPolicy::Offered(config) | TlsPolicy::Required(config) => config.clone(),
        };
        if !data.is_empty() || self.channel.is_tls() {
            return self.refuse(code, no(option_reply::ERR_INVALID, "TLS cannot begin here"));
        }
        // Whoever sits between the peers could put options in front of the TLS session; nothing may be waiting here.
        if self.receiver.buffered() > 0 {
            return Err(Error::PlaintextAfterStartTls);
        }
        self.reply(code, option_reply::ACK, &[])?;
        let session =
            rustls::ServerConnection::new(config).map_err(|source| Error::Tls { source })?;
        self.channel
            .start_tls(rustls::Connection::Server(session))?;
        self.peer.tls = true;
        self.registration.set_tls();
        self.state = Agreed {
            no_zeroes: self.state.no_zeroes,
            ..Agreed::default()
        };
        Ok(Next::Option)
    }

    fn export_name(&mut self, data: &[u8]) -> Result<Next, Error> {
        let Ok(name) = std::str::from_utf8(data) else {
            return Err(Error::NotUtf8 {
                what: "EXPORT_NAME",
            });
        };
        // This option has no error reply: the session ends.
        let Ok(found) = self.bind(name) else {
            return Ok(Next::End);
        };
        let reply = ExportReply {
            size: found.export.size(),
            flags: self.flags(&*found.export),
        }
        .to_padded_bytes();
        let length = if self.state.no_zeroes {
            ExportReply::LENGTH
        } else {
            ExportReply::PADDED_LENGTH
        };
        self.send(&reply[..length])?;
        Ok(Next::Transmission(self.negotiated(name, found)))
    }

    fn info_or_go(&mut self, code: u32, data: &[u8]) -> Result<Next, Error> {
        let Ok(request) = ExportRequest::parse(data) else {
            return self.refuse(
                code,
                no(option_reply::ERR_INVALID, "malformed export request"),
            );
        };
        let found = match code {
            option::GO => self.bind(&request.name),
            _ => self
                .exports
                .find(&request.name, &self.peer)
                .map_err(No::from),
        };
        let found = match found {
            Ok(found) => found,
            Err(answer) => return self.refuse(code, answer),
        };
        let mut out = Vec::new();
        let about = Info::Export {
            size: found.export.size(),
            flags: self.flags(&*found.export),
        };
        append_reply(&mut out, code, option_reply::INFO, &about.to_bytes());
        if request.info.contains(&info::BLOCK_SIZE) {
            let sizes = BlockSizes {
                minimum: 1,
                preferred: 4096,
                maximum: MAX_REQUEST,
            };
            append_reply(
                &mut out,
                code,
                option_reply::INFO,
                &Info::BlockSize(sizes).to_bytes(),
            );
        }
        append_reply(&mut out, code, option_reply::ACK, &[]);
        self.send(&out)?;
        Ok(match code {
            option::GO => Next::Transmission(self.negotiated(&request.name, found)),
            _ => Next::Option,
        })
    }

    fn list(&mut self, data: &[u8]) -> Result<Next, Error> {
        let code = option::LIST;
        if !data.is_empty() {
            return self.refuse(
                code,
                no(option_reply::ERR_INVALID, "the option has no data"),
            );
        }
        let names = match self.exports.list(&self.peer) {
            Ok(names) => names,
            Err(refusal) => return self.refuse(code, refusal.into()),
        };
        let mut out = Vec::new();
        for name in names
            .into_iter()
            .filter(|name| name.len() <= MAX_STRING)
            .take(MAX_LISTED)
        {
            append_reply(
                &mut out,
                code,
                option_reply::SERVER,
                &ServerEntry { name }.to_bytes(),
            );
        }
        append_reply(&mut out, code, option_reply::ACK, &[]);
        self.send(&out)?;
        Ok(Next::Option)
    }

    fn meta_context(&mut self, code: u32, data: &[u8]) -> Result<Next, Error> {
        let sets = code == option::SET_META_CONTEXT;
        if sets {
            // A failing option forgets the earlier choice too.
            self.state.contexts = None;
        }
        if !self.state.structured {
            return self.refuse(
                code,
                no(
                    option_reply::ERR_INVALID,
                    "structured replies must come first",
                ),
            );
        }
        let Ok(request) = MetaContextRequest::parse(data) else {
            return self.refuse(
                code,
                no(
                    option_reply::ERR_INVALID,
                    "malformed metadata context request",
                ),
            );
        };
        let found = match self.exports.find(&request.name, &self.peer) {
            Ok(found) => found,
            Err(refusal) => return self.refuse(code, refusal.into()),
        };
        let offered = contexts::offered(&*found.export);
        let chosen: Vec<Context> = offered
            .into_iter()
            .filter(|context| match sets {
                true => context.is_chosen_by(&request.queries),
                false => context.is_listed_by(&request.queries),
            })
            .collect();
        let mut out = Vec::new();
        for context in &chosen {
            let context = MetaContext {
                id: if sets { context.id } else { 0 },
                name: context.name().to_owned(),
            };
            append_reply(
                &mut out,
                code,
                option_reply::META_CONTEXT,
                &context.to_bytes(),
            );
        }
        append_reply(&mut out, code, option_reply::ACK, &[]);
        if sets {
            self.state.contexts = Some((request.name, chosen));
        }
        self.send(&out)?;
        Ok(Next::Option)
    }

    /// Finds the export and ties this connection to it, so that a disconnection of the export reaches it.
    fn bind(&self, name: &str) -> Result<Found, No> {
        loop {
            let epoch = self.registration.epoch();
            let found = self.exports.find(name, &self.peer)?;
            match self.registration.bind(epoch, &found.key) {
                Bind::Bound => return Ok(found),
                Bind::Closing => return Err(Refusal::ShuttingDown.into()),
                // Bounded by the number of disconnections during one handshake; each turn asks the exports again.
                Bind::Stale => {}
            }
        }
    }

    fn negotiated(&mut self, name: &str, found: Found) -> Negotiated {
        // What was chosen for another export does not count.
        let chosen = self.state.contexts.take().filter(|(of, _)| of == name);
        Negotiated {
            export: found.export,
            structured: self.state.structured,
            contexts: chosen.map(|(_, contexts)| contexts).unwrap_or_default(),
        }
    }

    fn flags(&self, export: &dyn Export) -> u16 {
        use transmission_flag as flag;
        let mut flags = flag::HAS_FLAGS
            | flag::SEND_FLUSH
            | flag::SEND_FUA
            | flag::CAN_MULTI_CONN
            | flag::SEND_CACHE;
        flags |= match export.is_read_only() {
            true => flag::READ_ONLY,
            false => flag::SEND_TRIM | flag::SEND_WRITE_ZEROES,
        };
        if self.state.structured {
            flags |= flag::SEND_DF;
        }
        flags
    }

    fn acknowledge(&mut self, code: u32) -> Result<Next, Error> {
        self.reply(code, option_reply::ACK, &[])?;
        Ok(Next::Option)
    }

    fn refuse(&mut self, code: u32, answer: No) -> Result<Next, Error> {
        self.reply(code, answer.reply, answer.message.as_bytes())?;
        Ok(Next::Option)
    }

    fn reply(&mut self, code: u32, reply: u32, data: &[u8]) -> Result<(), Error> {
        let mut out = Vec::new();
        append_reply(&mut out, code, reply, data);
        self.send(&out)
    }

    fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        self.sender.send_bytes(self.channel, data)
    }
}

fn append_reply(out: &mut Vec<u8>, code: u32, reply: u32, data: &[u8]) {
    let header = OptionReplyHeader {
        option: code,
        reply,
        length: data.len() as u32,
    };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(data);
}
