//! The fragments of XML in the volume: flat elements of text.

/// Appends `<tag>text</tag>`.
pub fn push_element(out: &mut String, tag: &str, text: &str) {
    push_escaped_element(out, tag, &escape(text));
}

/// Appends an element whose text is escaped already.
pub fn push_escaped_element(out: &mut String, tag: &str, text: &str) {
    for part in ["<", tag, ">", text, "</", tag, ">"] {
        out.push_str(part);
    }
}

/// The text of the first element with this tag, stripped as XenServer strips it; none where there is no such element.
pub fn element(xml: &str, tag: &str) -> Option<String> {
    element_at(xml, tag).map(|(inner, _)| unescape(inner.trim()))
}

/// What is inside the first element with this tag, as it stands, and what follows the element.
pub fn element_at<'a>(xml: &'a str, tag: &str) -> Option<(&'a str, &'a str)> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let Some(start) = xml.find(&open) else {
        let empty = format!("<{tag}/>");
        let start = xml.find(&empty)?;
        return Some(("", &xml[start + empty.len()..]));
    };
    let rest = &xml[start + open.len()..];
    let end = rest.find(&close)?;
    Some((&rest[..end], &rest[end + close.len()..]))
}

/// Escapes text as XenServer does; a character that no XML document can have becomes a space, since one of them would make
/// the whole volume unreadable there.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\t' | '\n' | '\r' => escaped.push(character),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Escapes at most as many characters of the text as have room.
pub fn escape_within(text: &str, limit: usize) -> String {
    let escaped = escape(text);
    if escaped.len() <= limit {
        return escaped;
    }
    let mut kept = String::new();
    for character in text.chars() {
        let mut buffer = [0; 4];
        let next = escape(character.encode_utf8(&mut buffer));
        if kept.len() + next.len() > limit {
            break;
        }
        kept.push_str(&next);
    }
    kept
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [
            ("&amp;", '&'),
            ("&lt;", '<'),
            ("&gt;", '>'),
            ("&quot;", '"'),
            ("&apos;", '\''),
        ];
        match known.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, character)) => {
                plain.push(*character);
                rest = &rest[name.len()..];
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}
