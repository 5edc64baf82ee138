//! XML as ZAPI uses it: elements with text or with children. Pure.
//!
//! Answers are hostile until they are read: elements are counted, their depth is bounded, a document type or a processing
//! instruction is refused, and no entity but the five of XML itself is known, so nothing expands.

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesStart, Event};

/// Elements below one another. Answers have about ten.
const DEEPEST: usize = 32;

/// Elements of an answer. A page of the largest records has a third of it.
const MOST_ELEMENTS: usize = 100_000;

/// Attributes of an element. Answers have three.
const MOST_ATTRIBUTES: usize = 16;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name, without a prefix.
    pub name: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// Its text, without white space around it; empty where it has children.
    pub text: String,
    /// Its children.
    pub children: Vec<Element>,
}

impl Element {
    /// An element with children.
    pub fn new(name: &str, children: impl IntoIterator<Item = Element>) -> Self {
        Element {
            name: name.to_owned(),
            children: children.into_iter().collect(),
            ..Element::default()
        }
    }

    /// An element with a text.
    pub fn leaf(name: &str, text: impl ToString) -> Self {
        Element {
            name: name.to_owned(),
            text: text.to_string(),
            ..Element::default()
        }
    }

    /// Reads a document; none when it is none, or goes beyond a limit.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(bytes).ok()?);
        let (mut open, mut root, mut count) = (Vec::<Element>::new(), None, 0);
        loop {
            let done = match reader.read_event().ok()? {
                Event::Start(start) => {
                    open.push(begun(&start)?);
                    count += 1;
                    None
                }
                Event::Empty(start) => {
                    count += 1;
                    Some(begun(&start)?)
                }
                Event::End(_) => {
                    let mut done = open.pop()?;
                    match done.children.is_empty() {
                        true => done.text = done.text.trim().to_owned(),
                        false => done.text.clear(),
                    }
                    Some(done)
                }
                Event::Text(text) => {
                    put(&mut open, &text.into_inner())?;
                    None
                }
                Event::CData(text) => {
                    put(&mut open, &text.into_inner())?;
                    None
                }
                Event::GeneralRef(reference) => {
                    match reference.resolve_char_ref().ok()? {
                        Some(one) => put(&mut open, one.encode_utf8(&mut [0; 4]))?,
                        None => put(
                            &mut open,
                            resolve_predefined_entity(&reference.into_inner())?,
                        )?,
                    }
                    None
                }
                Event::Decl(_) | Event::Comment(_) => None,
                Event::PI(_) | Event::DocType(_) => return None,
                Event::Eof => return root.filter(|_| open.is_empty()),
            };
            if open.len() > DEEPEST || count > MOST_ELEMENTS || (root.is_some() && done.is_some()) {
                return None;
            }
            if let Some(element) = done {
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
        }
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// What a path of names with slashes between them leads to.
    fn at(&self, path: &str) -> Option<&Element> {
        path.split('/')
            .try_fold(self, |element, name| element.child(name))
    }

    /// The text at a path, if there is any.
    pub fn text(&self, path: &str) -> Option<&str> {
        let text = self.at(path)?.text.as_str();
        (!text.is_empty()).then_some(text)
    }

    /// The number at a path.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The truth value at a path.
    pub fn flag(&self, path: &str) -> Option<bool> {
        self.text(path)?.parse().ok()
    }

    /// The children at a path.
    pub fn list(&self, path: &str) -> &[Element] {
        self.at(path).map_or(&[], |list| &list.children)
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// As XML. Characters that XML cannot carry become question marks.
    pub fn print(&self, to: &mut String) {
        to.push('<');
        to.push_str(&self.name);
        for (name, value) in &self.attributes {
            to.push_str(&format!(" {name}=\"{}\"", escape(plain(value))));
        }
        to.push('>');
        to.push_str(&escape(plain(&self.text)));
        for child in &self.children {
            child.print(to);
        }
        to.push_str(&format!("</{}>", self.name));
    }
}

fn put(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        // Around the document there is only white space.
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

fn begun(start: &BytesStart<'_>) -> Option<Element> {
    let mut element = Element::leaf(start.local_name().as_ref(), "");
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let value = quick_xml::escape::unescape(&attribute.value).ok()?;
        let key = attribute.key.local_name();
        let key: &str = key.as_ref();
        element
            .attributes
            .push((key.to_owned(), value.into_owned()));
        if element.attributes.len() > MOST_ATTRIBUTES {
            return None;
        }
    }
    Some(element)
}

fn plain(text: &str) -> String {
    let is_legal = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let characters = text.chars();
    characters
        .map(|c| if is_legal(c) { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let text = "<?xml version='1.0'?><!DOCTYPE x><a/>";
        assert_eq!(Element::parse(text.as_bytes()), None);
        let text = "<?xml version='1.0' ?>\n<!-- c -->\n<n:a xmlns:n=\"x\" v=\"1 &amp; 2\"><b> 1 &lt; 2 &#38; <![CDATA[<3>]]> </b>\n<c/><d><e>5</e></d></n:a>\n";
        let read = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(read.text("b"), Some("1 < 2 & <3>"));
        assert_eq!(read.attribute("v"), Some("1 & 2"));
        assert_eq!((read.number("d/e"), read.text("c")), (Some(5), None));
        assert_eq!(read.list("d").len(), 1);
        assert_eq!(read.number("b"), None);
        let mut printed = String::new();
        read.print(&mut printed);
        assert_eq!(Element::parse(printed.as_bytes()).unwrap(), read);
        let mut odd = String::new();
        Element::leaf("a", "</a><b>&\u{0}\u{1b}").print(&mut odd);
        assert_eq!(odd, "<a>&lt;/a&gt;&lt;b&gt;&amp;??</a>");
    }

    /// Nothing expands, nothing goes on without end, and half a document is none.
    #[test]
    fn hostile_bodies_are_refused() {
        let deep = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
        let many = format!("<a>{}</a>", "<b/>".repeat(MOST_ELEMENTS + 1));
        let wide: String = (0..100).map(|index| format!(" a{index}='1'")).collect();
        let wide = format!("<a{wide}/>");
        let laughs = "<!DOCTYPE a [<!ENTITY x 'ha'><!ENTITY y '&x;&x;&x;'>]><a>&y;</a>";
        let outside = "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>";
        for body in [
            "",
            " ",
            "text",
            "<a>",
            "<a><b></a>",
            "<a></a></a>",
            "<a/><b/>",
            "<a/>text",
            "text<a/>",
            "<a>&unknown;</a>",
            "<a>&#x110000;</a>",
            "<a b='&y;'/>",
            "<a b=1/>",
            "<a>&</a>",
            laughs,
            outside,
            deep.as_str(),
            many.as_str(),
            wide.as_str(),
            "{\"json\": 1}",
        ] {
            let shown: String = body.chars().take(40).collect();
            assert_eq!(Element::parse(body.as_bytes()), None, "{shown}");
        }
        assert_eq!(Element::parse(b"<a>\xff</a>"), None);
    }
}
