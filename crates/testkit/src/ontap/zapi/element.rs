//! XML as ZAPI uses it: elements with text or children.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Elements below one another.
const DEEPEST: usize = 50;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name, without a prefix.
    pub name: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// Its text.
    pub text: String,
    /// Its children.
    pub children: Vec<Element>,
}

impl Element {
    /// An element with children.
    pub fn new(name: &str, children: Vec<Element>) -> Self {
        Element {
            name: name.to_owned(),
            children,
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

    /// Reads a document; none when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(bytes).ok()?);
        let mut open: Vec<Element> = Vec::new();
        loop {
            let done = match reader.read_event().ok()? {
                Event::Start(start) => {
                    open.push(Self::begun(&start));
                    None
                }
                Event::Empty(start) => Some(Self::begun(&start)),
                Event::Text(text) => {
                    // Around the document there are line ends.
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.into_inner());
                    }
                    None
                }
                Event::GeneralRef(reference) => {
                    let text = match reference.resolve_char_ref().ok()? {
                        Some(one) => one.to_string(),
                        None => {
                            quick_xml::escape::resolve_predefined_entity(&reference.into_inner())?
                                .to_owned()
                        }
                    };
                    open.last_mut()?.text.push_str(&text);
                    None
                }
                Event::End(_) => {
                    let mut done = open.pop()?;
                    // Between children there is only white space.
                    let text = if done.children.is_empty() {
                        done.text.trim()
                    } else {
                        ""
                    };
                    done.text = text.to_owned();
                    Some(done)
                }
                Event::Eof => return None,
                _ => None,
            };
            if open.len() > DEEPEST {
                return None;
            }
            if let Some(element) = done {
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => return Some(element),
                }
            }
        }
    }

    fn begun(start: &quick_xml::events::BytesStart<'_>) -> Self {
        let name = start.local_name().as_ref().to_owned();
        let mut element = Element::new(&name, Vec::new());
        for attribute in start.attributes().flatten() {
            let key = attribute.key.as_ref().to_owned();
            let value = attribute.value.into_owned();
            element.attributes.push((key, value));
        }
        element
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of a name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// As XML.
    pub fn print(&self, to: &mut String) {
        let escape = |text: &str| quick_xml::escape::escape(text).into_owned();
        to.push_str(&format!("<{}", self.name));
        for (name, value) in &self.attributes {
            to.push_str(&format!(" {name}=\"{}\"", escape(value)));
        }
        to.push('>');
        to.push_str(&escape(&self.text));
        for child in &self.children {
            child.print(to);
        }
        to.push_str(&format!("</{}>", self.name));
    }

    /// Whether it fits a query: what the query has, it has too, with `*` for anything and `a|b` for either.
    pub fn fits(&self, query: &Element) -> bool {
        if query.children.is_empty() {
            return query.text.is_empty()
                || query.text.split('|').any(|one| fits_text(&self.text, one));
        }
        query.children.iter().all(|wanted| {
            let mut same = self
                .children
                .iter()
                .filter(|child| child.name == wanted.name);
            same.any(|child| child.fits(wanted))
        })
    }
}

fn fits_text(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((first, last)) => {
            text.len() >= first.len() + last.len()
                && text.starts_with(first)
                && text.ends_with(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let text = "<a xmlns=\"x\" v=\"1\"><b>1 &lt; 2 &amp; 3</b><c/></a>";
        let read = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(read.value("b"), Some("1 < 2 & 3"));
        assert_eq!(read.attribute("v"), Some("1"));
        let mut printed = String::new();
        read.print(&mut printed);
        assert_eq!(Element::parse(printed.as_bytes()).unwrap(), read);
        assert_eq!(Element::parse(b"<a><b>"), None);
    }

    #[test]
    fn a_query_fits_what_has_all_of_it() {
        let record = Element::new(
            "lun-info",
            vec![Element::leaf("path", "/vol/v/l"), Element::leaf("size", 5)],
        );
        let query = |text: &str| Element::parse(text.as_bytes()).unwrap();
        assert!(record.fits(&query("<lun-info><path>/vol/v/*</path></lun-info>")));
        assert!(!record.fits(&query(
            "<lun-info><path>/vol/v/*</path><size>6</size></lun-info>"
        )));
    }
}
