//! Cuts XML into the tokens of XML-RPC, over quick-xml.
//!
//! Every token borrows from the body. Attributes are not looked at; comments and the XML declaration are left out.

use crate::wire::Error;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use std::borrow::Cow;

/// A piece of a body. Tags are paired, so a [`Token::Close`] closes the element opened last.
pub(super) enum Token<'a> {
    Open(Tag),
    Close,
    Text(Cow<'a, str>),
    End,
}

/// The tokens of one body.
pub(super) struct Tokens<'a> {
    reader: Reader<&'a [u8]>,
    /// Whether an element without content was just opened.
    ///
    /// The reader could write such an element as two tags itself, and would allocate a name for each.
    empty: bool,
}

impl<'a> Tokens<'a> {
    /// The reader keeps its settings: names of closing tags are compared, text is not trimmed, a bare `&` is refused.
    pub(super) fn new(body: &'a str) -> Self {
        Tokens {
            reader: Reader::from_str(body),
            empty: false,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// The next token. Text comes in pieces, cut at references, comments and CDATA, and is not trimmed.
    pub(super) fn next(&mut self) -> Result<Token<'a>, Error> {
        if self.empty {
            self.empty = false;
            return Ok(Token::Close);
        }
        loop {
            let event = self.reader.read_event().map_err(|source| Error::Xml {
                offset: self.reader.error_position(),
                source,
            })?;
            return match event {
                Event::Start(start) => self.open(&start),
                Event::End(_) => Ok(Token::Close),
                Event::Text(text) => Ok(Token::Text(text.into_inner())),
                Event::Empty(start) => {
                    self.empty = true;
                    self.open(&start)
                }
                Event::GeneralRef(reference) => self.reference(&reference),
                Event::CData(text) => Ok(Token::Text(text.into_inner())),
                Event::Decl(_) | Event::Comment(_) => continue,
                Event::PI(_) => Err(Error::ProcessingInstruction {
                    offset: self.offset(),
                }),
                Event::DocType(_) => Err(Error::DocumentType {
                    offset: self.offset(),
                }),
                Event::Eof => Ok(Token::End),
            };
        }
    }

    fn open(&self, start: &BytesStart<'_>) -> Result<Token<'a>, Error> {
        tag(start.name().as_ref())
            .map(Token::Open)
            .ok_or_else(|| Error::Unexpected {
                offset: self.offset(),
                expected: "an element of XML-RPC",
            })
    }

    /// One of XML's five entities, or a character by its number.
    fn reference(&self, reference: &BytesRef<'_>) -> Result<Token<'a>, Error> {
        let unknown = || Error::UnknownEntity {
            offset: self.offset(),
        };
        if reference.is_char_ref() {
            let character = reference
                .resolve_char_ref()
                .ok()
                .flatten()
                .ok_or_else(unknown)?;
            return Ok(Token::Text(Cow::Owned(character.to_string())));
        }
        let text = quick_xml::escape::resolve_xml_entity(reference).ok_or_else(unknown)?;
        Ok(Token::Text(Cow::Borrowed(text)))
    }
}

/// An element of XML-RPC; a name that is none is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Array,
    Base64,
    Boolean,
    Data,
    DateTime,
    Double,
    Fault,
    Int,
    Member,
    MethodCall,
    MethodName,
    MethodResponse,
    Name,
    Nil,
    Param,
    Params,
    String,
    Struct,
    Value,
}

fn tag(name: &str) -> Option<Tag> {
    Some(match name {
        "value" => Tag::Value,
        "member" => Tag::Member,
        "name" => Tag::Name,
        "string" => Tag::String,
        "int" | "i4" | "i8" | "ex:i8" => Tag::Int,
        "boolean" => Tag::Boolean,
        "dateTime.iso8601" => Tag::DateTime,
        "double" => Tag::Double,
        "struct" => Tag::Struct,
        "array" => Tag::Array,
        "data" => Tag::Data,
        "nil" | "ex:nil" => Tag::Nil,
        "base64" => Tag::Base64,
        "param" => Tag::Param,
        "params" => Tag::Params,
        "fault" => Tag::Fault,
        "methodCall" => Tag::MethodCall,
        "methodName" => Tag::MethodName,
        "methodResponse" => Tag::MethodResponse,
        _ => return None,
    })
}
