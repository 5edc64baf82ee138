//! Writes a text in the form that LVM2 gives it on a device.

use std::fmt::Write;

use super::{Entry, Item, Value};

/// A text under construction.
#[derive(Default)]
pub struct Printer {
    text: String,
}

impl Printer {
    /// An empty text with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Printer {
            text: String::with_capacity(bytes),
        }
    }

    /// `key = "text"`
    pub fn text(&mut self, key: &str, text: &str) {
        self.begin(key);
        self.quoted(text);
        self.text.push('\n');
    }

    /// `key = 1`
    pub fn number(&mut self, key: &str, number: impl std::fmt::Display) {
        self.begin(key);
        self.push(format_args!("{number}\n"));
    }

    /// `key = ["a", "b"]`
    pub fn texts(&mut self, key: &str, texts: &[String]) {
        self.begin(key);
        self.text.push('[');
        for (number, text) in texts.iter().enumerate() {
            if number > 0 {
                self.text.push_str(", ");
            }
            self.quoted(text);
        }
        self.text.push_str("]\n");
    }

    /// `key = [` and one line for each name with its number, as the areas of a segment are written.
    pub fn areas<'a>(&mut self, key: &str, areas: impl ExactSizeIterator<Item = (&'a str, u64)>) {
        self.begin(key);
        self.text.push_str("[\n");
        let mut left = areas.len();
        for (name, number) in areas {
            left -= 1;
            self.quoted(name);
            let comma = if left > 0 { "," } else { "" };
            self.push(format_args!(", {number}{comma}\n"));
        }
        self.text.push_str("]\n");
    }

    /// `key {`, what `inside` writes, and `}`.
    pub fn section(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        self.key(key);
        self.text.push_str(" {\n");
        inside(self);
        self.text.push_str("}\n");
    }

    /// An empty line, or what else people read.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Entries as they were read.
    pub fn entries<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) {
        for entry in entries {
            match &entry.item {
                Item::Section(inside) => self.section(&entry.key, |out| out.entries(inside)),
                Item::Value(value) => {
                    self.begin(&entry.key);
                    self.value(value);
                    self.text.push('\n');
                }
            }
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Integer(number) => self.push(format_args!("{number}")),
            Value::Decimal(number) => self.text.push_str(number),
            Value::Text(text) => self.quoted(text),
            Value::List(values) => {
                self.text.push('[');
                for (number, value) in values.iter().enumerate() {
                    if number > 0 {
                        self.text.push_str(", ");
                    }
                    self.value(value);
                }
                self.text.push(']');
            }
        }
    }

    fn begin(&mut self, key: &str) {
        self.key(key);
        self.text.push_str(" = ");
    }

    fn key(&mut self, key: &str) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-/@:".contains(&byte);
        match !key.is_empty() && key.bytes().all(is_plain) {
            true => self.text.push_str(key),
            false => self.quoted(key),
        }
    }

    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(character);
        }
        self.text.push('"');
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(arguments)
            .expect("a string takes every byte");
    }
}
