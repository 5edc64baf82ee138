//! What both wires share: the limits of a body and the ways in which it can be wrong.

/// The limits within which a body is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body, in bytes.
    pub body_bytes: usize,
    /// The deepest nesting of arrays and structs.
    pub depth: usize,
    /// The most values (elements and members, at every depth together).
    pub values: usize,
}

impl Limits {
    /// What a server accepts as a call. The largest honest call is a record with its maps, a few KiB.
    pub const CALL: Limits = Limits {
        body_bytes: 1 << 20,
        depth: 16,
        values: 50_000,
    };

    /// What a client accepts as a response. A VDI's record takes about 3.5 KiB and 45 values on XML-RPC, so this holds
    /// the records of 50,000 VDIs in one answer.
    pub const RESPONSE: Limits = Limits {
        body_bytes: 192 << 20,
        depth: 16,
        values: 4_000_000,
    };
}

/// Why a body could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The body is longer than the limit.
    #[error("body of {found} bytes is over the limit of {limit} bytes")]
    BodyTooLarge {
        /// Length of the body.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Arrays and structs are nested deeper than the limit.
    #[error("values are nested deeper than the limit of {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// There are more values than the limit.
    #[error("body holds more than the limit of {limit} values")]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
    /// The body is not UTF-8.
    #[error("body is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// The first byte that is wrong.
        offset: usize,
    },
    /// The text holds a character that XML cannot carry.
    #[error("character {character:?} cannot be carried by XML")]
    IllegalCharacter {
        /// The character.
        character: char,
    },
    /// The body is not well-formed XML.
    #[error("XML at byte {offset}")]
    Xml {
        /// Where the tokenizer stopped.
        offset: u64,
        /// What it found.
        source: quick_xml::Error,
    },
    /// The body declares a document type. Those are refused, because entities can be defined there.
    #[error("document type declaration at byte {offset}")]
    DocumentType {
        /// Where it ends.
        offset: u64,
    },
    /// An entity other than the five of XML.
    #[error("unknown entity at byte {offset}")]
    UnknownEntity {
        /// Where it ends.
        offset: u64,
    },
    /// A processing instruction, which XML-RPC has no use for.
    #[error("processing instruction before byte {offset}")]
    ProcessingInstruction {
        /// Where it ends.
        offset: u64,
    },
    /// The XML is well-formed and is no XML-RPC.
    #[error("XML-RPC at byte {offset}: expected {expected}")]
    Unexpected {
        /// Where it was found.
        offset: u64,
        /// What should have been there.
        expected: &'static str,
    },
    /// The text of a typed value is not of that type.
    #[error("XML-RPC at byte {offset}: text is no {expected}")]
    Malformed {
        /// Where it was found.
        offset: u64,
        /// The type.
        expected: &'static str,
    },
    /// A struct has two members of one name.
    #[error("two members named {name:?}")]
    DuplicateMember {
        /// The name.
        name: String,
    },
    /// The body is not JSON, or not of the shape of JSON-RPC.
    #[error("JSON-RPC")]
    Json(#[source] serde_json::Error),
    /// The body is JSON and lacks a part of JSON-RPC, or has it with the wrong type.
    #[error("JSON-RPC: expected {expected}")]
    NotJsonRpc {
        /// What should have been there.
        expected: &'static str,
    },
    /// A date outside the years 0 to 9999 cannot be written.
    #[error("date {seconds} s from 1970 is outside the years 0 to 9999")]
    DateOutOfRange {
        /// The date, in seconds since 1970.
        seconds: i64,
    },
    /// JSON has no spelling for an infinity or for what is not a number.
    #[error("a float that is not finite cannot be written as JSON")]
    NotFinite,
}

/// Judges length, encoding and characters of a body at once and returns it as text.
pub(crate) fn text<'a>(body: &'a [u8], limits: &Limits) -> Result<&'a str, Error> {
    if body.len() > limits.body_bytes {
        return Err(Error::BodyTooLarge {
            found: body.len(),
            limit: limits.body_bytes,
        });
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    std::str::from_utf8(body).map_err(|error| Error::NotUtf8 {
        offset: error.valid_up_to(),
    })
}
