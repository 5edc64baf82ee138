//! XML answers, written straight into a string.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::super::request::RequestId;
use super::fault::OK;

/// A document being written. Element names are ours; texts are escaped.
pub(super) struct Xml {
    text: String,
    root: String,
}

impl Xml {
    /// Begins `<ActionResponse>` with the request id; `action` is written only once it is known to be one of ours.
    pub(super) fn response(action: &str, version: &str, id: &RequestId) -> Self {
        let root = format!("{}Response", escape(action));
        let mut document = Xml {
            text: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://ec2.amazonaws.com/doc/{version}/\">"
            ),
            root,
        };
        document.text("requestId", id.uuid());
        document
    }

    /// `<name>value</name>`
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.open(name);
        self.text.push_str(&escape(value));
        self.close(name);
    }

    /// `<name/>`
    pub(super) fn empty(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push_str("/>");
    }

    /// `<name>` with what the closure writes, and its end.
    pub(super) fn element(&mut self, name: &str, inner: impl FnOnce(&mut Xml)) {
        self.open(name);
        inner(self);
        self.close(name);
    }

    /// `<name>` with an `<item>` for each.
    pub(super) fn items<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut inner: impl FnMut(&mut Xml, T),
    ) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return self.empty(name);
        }
        self.open(name);
        for item in items {
            self.element("item", |xml| inner(xml, item));
        }
        self.close(name);
    }

    /// Ends the document.
    pub(super) fn end(&mut self) {
        let root = std::mem::take(&mut self.root);
        self.close(&root);
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
}

/// Escapes markup, and replaces what XML 1.0 cannot hold at all.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", letter as u32)),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
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
    }
}
