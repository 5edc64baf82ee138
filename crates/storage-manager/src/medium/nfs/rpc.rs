//! Remote procedure calls: the head of a call, the head of an answer, credentials.
//!
//! Source: RFC 5531, sections 8.2 (AUTH_SYS), 9 (messages), 11 (record marking).

use super::error::Refusal;
use super::xdr::{Malformed, Reader, Writer, padding};

/// Version of RPC.
const RPC_VERSION: u32 = 2;

/// `msg_type` of a call.
pub const CALL: u32 = 0;

/// `msg_type` of an answer.
pub const REPLY: u32 = 1;

/// Credentials of nobody.
const AUTH_NONE: u32 = 0;

/// Credentials that name a user by number.
const AUTH_SYS: u32 = 1;

/// Longest verifier of an answer: `opaque_auth` has at most 400 bytes.
const MAX_AUTH: usize = 400;

/// Longest machine name in credentials.
const MAX_MACHINE_NAME: usize = 255;

/// The bit of a record mark that says that no fragment follows.
pub const LAST_FRAGMENT: u32 = 1 << 31;

/// A program and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its number.
    pub number: u32,
    /// Its version.
    pub version: u32,
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Credentials {
    encoded: Writer,
}

impl Credentials {
    /// A user of this machine by number.
    pub fn user(machine: &str, user: u32, group: u32) -> Self {
        let name = machine.get(..MAX_MACHINE_NAME).unwrap_or(machine);
        let mut body = Writer::default();
        // The stamp is the caller's own; no further groups.
        body.u32(0)
            .opaque(name.as_bytes())
            .u32(user)
            .u32(group)
            .u32(0);
        let mut encoded = Writer::default();
        encoded.u32(AUTH_SYS).opaque(&body.into_bytes());
        Credentials { encoded }
    }
}

/// A call, ready to be sent as often as it must be: with the same number each time, by which the server knows it again.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// What is called, for messages.
    pub procedure: &'static str,
    /// The call's number.
    pub xid: u32,
    /// Record mark, head and arguments.
    head: Vec<u8>,
    /// What follows the arguments, without a copy.
    data: &'a [u8],
}

impl<'a> Call<'a> {
    /// A call with its arguments; `data` comes after them, as the bytes of a string whose length ends the arguments.
    pub fn new(
        (procedure, number): (&'static str, u32),
        xid: u32,
        program: Program,
        credentials: &Credentials,
        arguments: &Writer,
        data: &'a [u8],
    ) -> Self {
        let mut head = Writer::default();
        head.u32(0)
            .u32(xid)
            .u32(CALL)
            .u32(RPC_VERSION)
            .u32(program.number)
            .u32(program.version)
            .u32(number)
            .append(&credentials.encoded)
            .u32(AUTH_NONE)
            .u32(0)
            .append(arguments);
        let length = head.len() - 4 + data.len() + padding(data.len());
        head.patch_u32(0, length as u32 | LAST_FRAGMENT);
        Call {
            procedure,
            xid,
            head: head.into_bytes(),
            data,
        }
    }

    /// The bytes to send, in this order.
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.data, &[0; 3][..padding(self.data.len())]]
    }
}

/// Reads the head of an answer, after its number and type; what is left are the results.
pub fn read_reply_head(reader: &mut Reader<'_>) -> Result<Result<(), Refusal>, Malformed> {
    match reader.u32()? {
        0 => {
            reader.u32()?;
            reader.opaque(MAX_AUTH)?;
            Ok(match reader.u32()? {
                0 => Ok(()),
                1 => Err(Refusal::NoProgram),
                2 => Err(Refusal::Version {
                    lowest: reader.u32()?,
                    highest: reader.u32()?,
                }),
                3 => Err(Refusal::NoProcedure),
                4 => Err(Refusal::Arguments),
                5 => Err(Refusal::System),
                _ => return Err(Malformed("an unknown accept_stat")),
            })
        }
        1 => Ok(Err(match reader.u32()? {
            0 => Refusal::RpcVersion,
            1 => Refusal::Credentials(reader.u32()?),
            _ => return Err(Malformed("an unknown reject_stat")),
        })),
        _ => Err(Malformed("an unknown reply_stat")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_one_record() {
        let credentials = Credentials::user("m", 0, 0);
        let mut arguments = Writer::default();
        arguments.u32(3);
        let program = Program {
            number: 100_003,
            version: 3,
        };
        let call = Call::new(("WRITE", 7), 9, program, &credentials, &arguments, b"abc");
        let bytes: Vec<u8> = call.parts().concat();
        let mut reader = Reader::new(&bytes);
        assert_eq!(
            reader.u32().unwrap(),
            (bytes.len() - 4) as u32 | LAST_FRAGMENT
        );
        let words: Vec<u32> = (0..6).map(|_| reader.u32().unwrap()).collect();
        assert_eq!(words, [9, 0, 2, 100_003, 3, 7]);
        assert_eq!(&bytes[bytes.len() - 8..], [0, 0, 0, 3, b'a', b'b', b'c', 0]);
    }

    #[test]
    fn refusals_are_told_apart() {
        let answer = |words: &[u32]| {
            let mut writer = Writer::default();
            words.iter().for_each(|word| {
                writer.u32(*word);
            });
            let bytes = writer.into_bytes();
            read_reply_head(&mut Reader::new(&bytes))
        };
        assert_eq!(answer(&[0, 0, 0, 0]), Ok(Ok(())));
        assert_eq!(answer(&[0, 0, 0, 1]), Ok(Err(Refusal::NoProgram)));
        let version = Refusal::Version {
            lowest: 2,
            highest: 4,
        };
        assert_eq!(answer(&[0, 0, 0, 2, 2, 4]), Ok(Err(version)));
        assert_eq!(answer(&[1, 1, 5]), Ok(Err(Refusal::Credentials(5))));
        assert!(answer(&[0, 0, 0, 9]).is_err());
        assert!(answer(&[7]).is_err());
        assert!(answer(&[]).is_err());
    }
}
