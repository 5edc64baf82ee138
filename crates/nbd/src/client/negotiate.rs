//! The handshake as the client sees it.

use super::connect::ClientTls;
use super::{MAX_OPTION_REPLIES, MAX_OPTION_REPLY};
use crate::Error;
use crate::channel::{Channel, Receiver, Sender};
use crate::protocol::constants::{
    BASE_ALLOCATION, MAX_STRING, PORTABLE_PAYLOAD, handshake_flag, info, option, option_reply,
};
use crate::protocol::{
    ClientHello, ExportRequest, Info, MetaContext, MetaContextRequest, OptionHeader,
    OptionReplyHeader, ServerEntry, ServerHello,
};

/// Smallest maximum payload that makes sense to believe.
const MIN_PAYLOAD: u32 = 4096;

/// A handshake under way.
pub(super) struct Negotiation {
    pub(super) channel: Channel,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
}

/// What the server says of the export.
pub(super) struct Chosen {
    pub(super) size: u64,
    pub(super) flags: u16,
    pub(super) max_payload: u32,
}

/// One reply to an option that is no error and not the last.
struct Reply {
    kind: u32,
    data: Vec<u8>,
}

impl Negotiation {
    /// Reads the greeting and answers it.
    pub(super) fn greet(channel: Channel) -> Result<Self, Error> {
        let mut negotiation = Negotiation {
            channel,
            receiver: Receiver::new(),
            sender: Sender::default(),
        };
        let mut hello = [0; ServerHello::LENGTH];
        negotiation.receiver.read_exact(
            &negotiation.channel,
            &mut hello,
            "the server's greeting",
        )?;
        let flags = ServerHello::parse(&hello)?.flags;
        if flags & handshake_flag::FIXED_NEWSTYLE == 0 {
            return Err(Error::NotOffered {
                feature: "fixed newstyle negotiation",
            });
        }
        let ours = flags & (handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        negotiation.sender.send_bytes(
            &negotiation.channel,
            &ClientHello { flags: ours.into() }.to_bytes(),
        )?;
        Ok(negotiation)
    }

    pub(super) fn start_tls(&mut self, tls: &ClientTls) -> Result<(), Error> {
        self.option(option::STARTTLS, "STARTTLS", &[])?;
        if self.receiver.buffered() > 0 {
            return Err(Error::PlaintextAfterStartTls);
        }
        let session = rustls::ClientConnection::new(tls.config.clone(), tls.server_name.clone())
            .map_err(|source| Error::Tls { source })?;
        self.channel.start_tls(rustls::Connection::Client(session))
    }

    /// Asks for structured replies; a server without them is fine.
    pub(super) fn structured_reply(&mut self) -> Result<bool, Error> {
        match self.option(option::STRUCTURED_REPLY, "STRUCTURED_REPLY", &[]) {
            Ok(_) => Ok(true),
            Err(Error::OptionRefused {
                reply: option_reply::ERR_UNSUP,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Chooses `base:allocation`; a server without it is fine.
    pub(super) fn allocation_context(&mut self, export: &str) -> Result<Option<u32>, Error> {
        let request = MetaContextRequest {
            name: bounded(export)?,
            queries: vec![BASE_ALLOCATION.to_owned()],
        };
        let replies = match self.option(
            option::SET_META_CONTEXT,
            "SET_META_CONTEXT",
            &request.to_bytes(),
        ) {
            Ok(replies) => replies,
            Err(Error::OptionRefused {
                reply: option_reply::ERR_UNSUP,
                ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        };
        for reply in replies
            .iter()
            .filter(|reply| reply.kind == option_reply::META_CONTEXT)
        {
            let context = MetaContext::parse(&reply.data)?;
            if context.name == BASE_ALLOCATION {
                return Ok(Some(context.id));
            }
        }
        Ok(None)
    }

    /// Chooses the export and ends the handshake.
    pub(super) fn go(&mut self, export: &str) -> Result<Chosen, Error> {
        let request = ExportRequest {
            name: bounded(export)?,
            info: vec![info::BLOCK_SIZE],
        };
        let replies = self.option(option::GO, "GO", &request.to_bytes())?;
        let mut about = None;
        let mut max_payload = PORTABLE_PAYLOAD;
        for reply in replies
            .iter()
            .filter(|reply| reply.kind == option_reply::INFO)
        {
            match Info::parse(&reply.data)? {
                Info::Export { size, flags } => about = Some((size, flags)),
                Info::BlockSize(sizes) => {
                    max_payload = sizes.maximum.clamp(MIN_PAYLOAD, PORTABLE_PAYLOAD)
                }
                Info::Other(_) => {}
            }
        }
        let (size, flags) = about.ok_or(Error::NotOffered {
            feature: "the size in its reply to GO",
        })?;
        Ok(Chosen {
            size,
            flags,
            max_payload,
        })
    }

    pub(super) fn list(mut self) -> Result<Vec<String>, Error> {
        let replies = self.option(option::LIST, "LIST", &[])?;
        let entries = replies
            .iter()
            .filter(|reply| reply.kind == option_reply::SERVER);
        let names = entries
            .map(|reply| Ok(ServerEntry::parse(&reply.data)?.name))
            .collect();
        // The server may close without an answer to this one.
        let _ = self.option(option::ABORT, "ABORT", &[]);
        names
    }

    /// Sends an option and collects its replies before the final acknowledgement.
    fn option(&mut self, code: u32, name: &'static str, data: &[u8]) -> Result<Vec<Reply>, Error> {
        let mut message = OptionHeader {
            option: code,
            length: data.len() as u32,
        }
        .to_bytes()
        .to_vec();
        message.extend_from_slice(data);
        self.sender.send_bytes(&self.channel, &message)?;
        let mut replies = Vec::new();
        loop {
            let mut head = [0; OptionReplyHeader::LENGTH];
            self.receiver
                .read_exact(&self.channel, &mut head, "an option reply")?;
            let header = OptionReplyHeader::parse(&head)?;
            if header.option != code {
                return Err(Error::Unexpected {
                    what: "option of a reply",
                    found: header.option.into(),
                });
            }
            if header.length > MAX_OPTION_REPLY {
                let (found, limit) = (header.length.into(), MAX_OPTION_REPLY.into());
                return Err(Error::Limit {
                    what: "option reply length",
                    found,
                    limit,
                });
            }
            let mut data = vec![0; header.length as usize];
            self.receiver
                .read_exact(&self.channel, &mut data, "an option reply's data")?;
            if header.reply & option_reply::ERROR_BIT != 0 {
                let message = printable(&data);
                return Err(Error::OptionRefused {
                    option: name,
                    reply: header.reply,
                    message,
                });
            }
            if header.reply == option_reply::ACK {
                return Ok(replies);
            }
            if replies.len() == MAX_OPTION_REPLIES {
                let limit = MAX_OPTION_REPLIES as u64;
                return Err(Error::Limit {
                    what: "count of option replies",
                    found: limit + 1,
                    limit,
                });
            }
            replies.push(Reply {
                kind: header.reply,
                data,
            });
        }
    }
}

fn bounded(name: &str) -> Result<String, Error> {
    match name.len() {
        0..=MAX_STRING => Ok(name.to_owned()),
        length => Err(Error::Limit {
            what: "export name length",
            found: length as u64,
            limit: MAX_STRING as u64,
        }),
    }
}

/// Text of a server as it may be shown on a terminal.
fn printable(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(&data[..data.len().min(MAX_STRING)]);
    text.chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect()
}
