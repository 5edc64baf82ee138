//! The XML documents of probes: elements in elements, one a line, as XenServer writes them.

/// A document under construction.
#[derive(Debug)]
pub struct ProbeDocument {
    text: String,
    /// The elements that are open.
    names: Vec<&'static str>,
    root: &'static str,
}

impl ProbeDocument {
    /// Begins a document with a root.
    pub fn new(root: &'static str) -> Self {
        ProbeDocument {
            text: String::new(),
            names: vec![root],
            root,
        }
    }

    fn indent(&mut self) {
        self.text
            .extend(std::iter::repeat_n('\t', self.names.len()));
    }

    /// Begins an element that holds others.
    pub fn open(&mut self, name: &'static str) {
        self.indent();
        self.text.push_str(&format!("<{name}>\n"));
        self.names.push(name);
    }

    /// Ends the last element that was begun.
    pub fn close(&mut self) {
        if let Some(name) = self.names.pop() {
            self.indent();
            self.text.push_str(&format!("</{name}>\n"));
        }
    }

    /// Adds an element that holds a text.
    pub fn element(&mut self, name: &str, text: &str) {
        self.indent();
        if text.is_empty() {
            self.text.push_str(&format!("<{name}/>\n"));
        } else {
            let text = escaped(text);
            self.text.push_str(&format!("<{name}>{text}</{name}>\n"));
        }
    }

    /// Ends the document.
    pub fn finish(self) -> String {
        let (root, text) = (self.root, self.text);
        match text.is_empty() {
            true => format!("<?xml version=\"1.0\" ?>\n<{root}/>\n"),
            false => format!("<?xml version=\"1.0\" ?>\n<{root}>\n{text}</{root}>\n"),
        }
    }
}

/// What a device or a target says of itself may hold anything; what XML cannot carry becomes `?`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            character if character.is_control() => escaped.push('?'),
            character => escaped.push(character),
        }
    }
    escaped
}
