//! The XML documents by which drivers say what is on a medium: answers of `SR.probe`, and the third parameter of the failures
//! 90, 96, 101, 107 ... whose caller is to choose.
//!
//! Every one is a root with an element for each thing that was found, which has a text for each fact. Facts of things inside
//! of things (the `fc_host` of an `Adapter`) are told with the thing.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Longest document that is read, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// Deepest nesting.
const MAX_DEPTH: usize = 8;

/// Most facts of a document.
const MAX_FACTS: usize = 100_000;

/// What a document tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The root's name: `SRlist`, `iscsi-target-iqns`, `nfs-exports` ...
    pub root: String,
    /// What was found.
    pub found: Vec<Found>,
}

/// One thing that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What it is: `SR`, `TGT`, `LUN`, `Export`, `BlockDevice` ...
    pub kind: String,
    /// Its facts in their order, by name.
    pub facts: Vec<(String, String)>,
}

impl Found {
    /// The first fact of a name.
    pub fn fact(&self, name: &str) -> Option<&str> {
        let fact = self.facts.iter().find(|(known, _)| known == name);
        fact.map(|(_, text)| text.as_str())
    }
}

impl Document {
    /// The uuids of the SRs that were found, as the document has them.
    pub fn sr_uuids(&self) -> impl Iterator<Item = &str> {
        let srs = self.found.iter().filter(|found| found.kind == "SR");
        srs.filter_map(|sr| sr.fact("UUID"))
    }
}

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is longer than the limit.
    #[error("document of {found} bytes is over the limit of {MAX_BYTES} bytes")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Its elements are nested deeper than the limit.
    #[error("elements are nested deeper than the limit of {MAX_DEPTH}")]
    TooDeep,
    /// It tells more than the limit.
    #[error("document holds more than the limit of {MAX_FACTS} facts")]
    TooMuch,
    /// It is not well-formed XML.
    #[error("XML at byte {offset}")]
    Xml {
        /// Where the reader stopped.
        offset: u64,
        /// What it found.
        source: quick_xml::Error,
    },
    /// An entity other than the five of XML, or a declaration of such.
    #[error("entity or document type at byte {offset}")]
    Entity {
        /// Where it ends.
        offset: u64,
    },
    /// There is no root element, or it does not end.
    #[error("document ends before its root element does")]
    Unfinished,
}

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, or over one of the limits.
pub fn parse(text: &str) -> Result<Document, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong { found: text.len() });
    }
    let mut reader = Reader::from_str(text);
    let mut building = Building::default();
    loop {
        let event = reader.read_event().map_err(|source| Error::Xml {
            offset: reader.error_position(),
            source,
        })?;
        let entity = |reader: &Reader<&[u8]>| Error::Entity {
            offset: reader.buffer_position(),
        };
        match event {
            Event::Start(start) => building.open(start.name().as_ref())?,
            Event::Empty(start) => {
                building.open(start.name().as_ref())?;
                building.close()?;
            }
            Event::End(_) => building.close()?,
            Event::Text(text) => building.text(&text.into_inner()),
            Event::CData(text) => building.text(&text.into_inner()),
            Event::GeneralRef(reference) => {
                let text = resolve(&reference).ok_or_else(|| entity(&reader))?;
                building.text(&text);
            }
            Event::DocType(_) => return Err(entity(&reader)),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof if building.is_finished => return Ok(building.document),
            Event::Eof => return Err(Error::Unfinished),
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Option<Cow<'static, str>> {
    if reference.is_char_ref() {
        let character = reference.resolve_char_ref().ok().flatten()?;
        return Some(Cow::Owned(character.to_string()));
    }
    quick_xml::escape::resolve_xml_entity(reference).map(Cow::Borrowed)
}

/// A document that is being read.
#[derive(Default)]
struct Building {
    document: Document,
    /// The names of the open elements; the first is the root.
    open: Vec<String>,
    /// The text of the innermost open element, while it has no elements of its own.
    text: Option<String>,
    facts: usize,
    is_finished: bool,
}

impl Building {
    fn open(&mut self, name: &str) -> Result<(), Error> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        match self.open.len() {
            0 => name.clone_into(&mut self.document.root),
            1 => {
                self.count()?;
                self.document.found.push(Found {
                    kind: name.to_owned(),
                    facts: Vec::new(),
                });
            }
            _ => {}
        }
        self.open.push(name.to_owned());
        self.text = Some(String::new());
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(so_far) = &mut self.text {
            so_far.push_str(text);
        }
    }

    fn close(&mut self) -> Result<(), Error> {
        let name = self.open.pop().ok_or(Error::Unfinished)?;
        self.is_finished = self.open.is_empty();
        // Text beside elements is white space.
        let Some(text) = self.text.take() else {
            return Ok(());
        };
        if self.open.is_empty() || self.open.len() == 1 && text.trim().is_empty() {
            return Ok(());
        }
        self.count()?;
        if let Some(found) = self.document.found.last_mut() {
            found.facts.push((name, text.trim().to_owned()));
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Error> {
        self.facts += 1;
        if self.facts > MAX_FACTS {
            return Err(Error::TooMuch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_srs_are_read_as_pretty_printed() {
        let text = "<?xml version=\"1.0\" ?>\n<SRlist>\n\t<SR>\n\t\t<UUID>\n\t\t\tb31b0f2e\n\t\t</UUID>\n\t\t<Devlist>/dev/sdb</Devlist>\n\t</SR>\n\t<SR><UUID>two</UUID></SR>\n\t<SupportedVersions><Version>3</Version><Version>4</Version></SupportedVersions>\n</SRlist>\n";
        let document = parse(text).unwrap();
        assert_eq!(document.root, "SRlist");
        assert_eq!(document.sr_uuids().collect::<Vec<_>>(), ["b31b0f2e", "two"]);
        assert_eq!(document.found[0].fact("Devlist"), Some("/dev/sdb"));
        assert_eq!(document.found[2].facts.len(), 2);
        assert_eq!(parse("<SRlist/>").unwrap().found, []);
    }

    #[test]
    fn what_is_inside_of_a_thing_is_told_with_it() {
        let text = "<Devlist><Adapter><host>host0</host><fc_host><port_name>0x1</port_name></fc_host></Adapter></Devlist>";
        let document = parse(text).unwrap();
        let adapter = &document.found[0];
        assert_eq!(adapter.fact("port_name"), Some("0x1"));
        assert_eq!(adapter.facts.len(), 2);
        let text = "<a><b><vendor>A &amp; B</vendor><serial/></b></a>";
        let facts = &parse(text).unwrap().found[0].facts;
        assert_eq!(facts[0].1, "A & B");
        assert_eq!(facts[1], ("serial".to_owned(), String::new()));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in [
            "",
            "no XML",
            "<a><b></a>",
            "<a>",
            "<!DOCTYPE a><a/>",
            "<a>&x;</a>",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        assert!(matches!(parse(&deep), Err(Error::TooDeep)));
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_FACTS + 1));
        assert!(matches!(parse(&many), Err(Error::TooMuch)));
    }
}
