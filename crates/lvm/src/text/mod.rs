//! The language of the metadata: sections of keys with numbers, strings and lists.
//!
//! [`parse`] reads a text and [`Printer`] writes one; neither knows what the keys mean.

mod lexer;
mod parser;
mod printer;

pub use parser::{Document, SyntaxError, parse};
pub use printer::Printer;

/// Bytes of the longest text that is read: room for the volumes of a metadata area of 64 MiB.
pub const MAX_TEXT: u64 = 32 << 20;
/// Sections inside sections. LVM2 uses four.
pub const MAX_DEPTH: usize = 8;
/// Keys and values of one text: what 16,000 volumes of several segments have, a few times over.
pub const MAX_NODES: usize = 2 << 20;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A number with a point, as it was written.
    Decimal(String),
    /// A string, without its quotes and escapes.
    Text(String),
    /// A list, which holds no lists.
    List(Vec<Value>),
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `key = value`
    Value(Value),
    /// `key { ... }`
    Section(Vec<Entry>),
}

/// A key with what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name; each is there once in a section.
    pub key: String,
    /// What it stands for.
    pub item: Item,
}

impl Value {
    /// A list of strings.
    pub fn texts<S: AsRef<str>>(texts: &[S]) -> Self {
        let texts = texts
            .iter()
            .map(|text| Value::Text(text.as_ref().to_owned()));
        Value::List(texts.collect())
    }
}

#[cfg(test)]
mod tests;
