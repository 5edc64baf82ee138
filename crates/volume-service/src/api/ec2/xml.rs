//! XML answers, written straight into a string.

use std::fmt::Write;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::super::request::RequestId;
use super::super::timestamp;
use super::fault::OK;
use super::route::{Action, Element};

/// A document being written. Element names are ours and of the action's table; texts are escaped.
pub(super) struct Xml {
    text: String,
    root: &'static str,
    /// What may stand here, from the outermost element inwards; looked at where assertions are.
    shape: Vec<&'static [Element]>,
}

impl Xml {
    /// Begins `<ActionResponse>` with the request id.
    pub(super) fn response(action: &Action, version: &str, id: &RequestId) -> Self {
        let root = action.name;
        let mut text = String::with_capacity(512);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        text.push_str(root);
        text.push_str("Response xmlns=\"http://ec2.amazonaws.com/doc/");
        escape_into(&mut text, version);
        text.push_str("/\"><requestId>");
        escape_into(&mut text, id.uuid());
        text.push_str("</requestId>");
        Xml {
            text,
            root,
            shape: vec![action.answer],
        }
    }

    /// Makes room for items, so that the text does not move while it grows.
    pub(super) fn reserve(&mut self, items: usize, bytes_each: usize) {
        self.text.reserve(items.saturating_mul(bytes_each));
    }

    /// `<name>value</name>`
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.expect(name);
        self.open(name);
        escape_into(&mut self.text, value);
        self.close(name);
    }

    /// `<name>7</name>`
    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.expect(name);
        self.open(name);
        // Writing to a string does not fail.
        let _ = write!(self.text, "{value}");
        self.close(name);
    }

    /// `<name>true</name>`
    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// `<name>2015-08-30T12:36:00.120Z</name>`; microseconds since 1970.
    pub(super) fn time(&mut self, name: &'static str, us: i64) {
        self.expect(name);
        self.open(name);
        timestamp::write_ec2(&mut self.text, us);
        self.close(name);
    }

    /// `<name/>`
    pub(super) fn empty(&mut self, name: &'static str) {
        self.expect(name);
        self.text.push('<');
        self.text.push_str(name);
        self.text.push_str("/>");
    }

    /// `<name>` with what the closure writes, and its end.
    pub(super) fn element(&mut self, name: &'static str, inner: impl FnOnce(&mut Xml)) {
        self.enter(name);
        self.open(name);
        inner(self);
        self.close(name);
        self.shape.pop();
    }

    /// `<name>` with an `<item>` for each; `<name/>` for none.
    pub(super) fn items<T>(
        &mut self,
        name: &'static str,
        items: impl IntoIterator<Item = T>,
        mut inner: impl FnMut(&mut Xml, T),
    ) {
        self.enter(name);
        let start = self.text.len();
        self.open(name);
        let without_items = self.text.len();
        for item in items {
            self.open("item");
            inner(self, item);
            self.close("item");
        }
        self.shape.pop();
        if self.text.len() == without_items {
            self.text.truncate(start);
            return self.empty(name);
        }
        self.close(name);
    }

    /// `<name>` with an `<item>` for each text.
    pub(super) fn texts(&mut self, name: &'static str, texts: &[&str]) {
        self.items(name, texts, |xml, text| escape_into(&mut xml.text, text));
    }

    /// Ends the document.
    pub(super) fn end(&mut self) {
        self.text.push_str("</");
        self.text.push_str(self.root);
        self.text.push_str("Response>");
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response {
        let mut response = (OK, self.text).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/xml;charset=UTF-8"),
        );
        response
    }

    fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// The table of actions is compared with EC2's model, so that what is written must be in the table.
    fn expect(&self, name: &str) {
        debug_assert!(
            self.known(name).is_some(),
            "the answer of {} has no element {name} here",
            self.root
        );
    }

    fn enter(&mut self, name: &str) {
        self.expect(name);
        let inner = self.known(name).map_or(&[][..], |element| element.inner);
        self.shape.push(inner);
    }

    fn known(&self, name: &str) -> Option<&'static Element> {
        let here = *self.shape.last()?;
        here.iter().find(|element| element.name == name)
    }
}

/// Escapes markup, and replaces what XML 1.0 cannot hold at all.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(&mut out, text);
    out
}

/// The same behind what is there already.
fn escape_into(out: &mut String, text: &str) {
    let is_plain = |byte: u8| {
        matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'')
    };
    if text.bytes().all(is_plain) {
        return out.push_str(text);
    }
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_markup_and_what_xml_cannot_hold() {
        assert_eq!(
            escape("<a b='\"'>&\u{0}\u{8}\n\u{e9}"),
            "&lt;a b=&apos;&quot;&apos;&gt;&amp;\u{fffd}\u{fffd}&#10;\u{e9}"
        );
        assert_eq!(escape("plain ~"), "plain ~");
    }
}
