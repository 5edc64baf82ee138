//! The parameters of a Query API request, from the URL and the form in the body.

use percent_encoding::percent_decode;

use super::fault::{Code, Ec2Fault, Result};

/// Most parameters of a request.
pub(super) const PARAMETERS_MAX: usize = 2000;

/// Decoded parameters, sorted by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes a query string and a form; for fuzzing.
    #[doc(hidden)]
    pub fn decode(query: &str, form: &[u8]) -> Option<Self> {
        Parameters::parse(query, form).ok()
    }

    /// Decodes a query string and a form.
    pub(super) fn parse(query: &str, form: &[u8]) -> Result<Self> {
        let mut pairs = Vec::new();
        for source in [query.as_bytes(), form] {
            for pair in source.split(|byte| *byte == b'&') {
                if pair.is_empty() {
                    continue;
                }
                if pairs.len() == PARAMETERS_MAX {
                    return Err(Ec2Fault::coded(
                        Code::InvalidRequest,
                        format!("A request has at most {PARAMETERS_MAX} parameters."),
                    ));
                }
                let cut = pair.iter().position(|byte| *byte == b'=');
                let (name, value) = match cut {
                    Some(at) => (&pair[..at], &pair[at + 1..]),
                    None => (pair, &pair[..0]),
                };
                pairs.push((decode(name)?, decode(value)?));
            }
        }
        pairs.sort();
        Ok(Parameters(pairs))
    }

    /// All pairs, sorted.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The value of a parameter.
    pub(in crate::api) fn get(&self, name: &str) -> Option<&str> {
        self.arguments().get(name)
    }

    /// The parameters as an action reads them.
    pub(super) fn arguments(&self) -> Arguments<'_> {
        Arguments {
            pairs: &self.0,
            skipped: 0,
        }
    }
}

/// Parameters that have the form of their action's schema (`schema.rs`), or those of one member of a list: reading them does not
/// fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'a> {
    /// Sorted, all beginning with the same text.
    pairs: &'a [(String, String)],
    /// The length of that text.
    skipped: usize,
}

impl<'a> Arguments<'a> {
    /// The value of a parameter, also an empty one.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let start = self
            .pairs
            .partition_point(|(key, _)| &key[self.skipped..] < name);
        self.pairs
            .get(start)
            .filter(|(key, _)| &key[self.skipped..] == name)
            .map(|(_, value)| value.as_str())
    }

    /// True when there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// A text; an empty one is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).filter(|text| !text.is_empty())
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// A boolean; false when it is not there.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(boolean).unwrap_or(false)
    }

    /// The values of `name.1`, `name.2`, ... in the order of their numbers.
    pub(super) fn list(&self, name: &str) -> Vec<&'a str> {
        let mut found: Vec<(u32, &str)> = self
            .numbered(name)
            .filter(|(_, rest, _)| rest.is_empty())
            .map(|(number, _, pair)| (number, pair.1.as_str()))
            .collect();
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// The members of `name.1.*`, `name.2.*`: for each number its own parameters.
    pub(super) fn members(&self, name: &str) -> Vec<Arguments<'a>> {
        let mut found: Vec<(u32, Arguments<'a>)> = Vec::new();
        for (number, rest, pair) in self.numbered(name) {
            let is_new = found.last().is_none_or(|(last, _)| *last != number);
            if is_new && !rest.is_empty() {
                let skipped = pair.0.len() - rest.len();
                found.push((number, self.beginning(&pair.0[..skipped])));
            }
        }
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, member)| member).collect()
    }

    /// The parameters `name.*`.
    pub(super) fn group(&self, name: &str) -> Arguments<'a> {
        let start = self.place(&format!("{name}."));
        match self.pairs.get(start) {
            Some((key, _)) if key[self.skipped..].starts_with(&format!("{name}.")) => {
                self.beginning(&key[..self.skipped + name.len() + 1])
            }
            _ => Arguments {
                pairs: &[],
                skipped: 0,
            },
        }
    }

    /// The parameters whose whole names begin with a text; they stand together.
    fn beginning(&self, prefix: &str) -> Arguments<'a> {
        let start = self.pairs.partition_point(|(key, _)| key.as_str() < prefix);
        let rest = &self.pairs[start..];
        let end = rest.partition_point(|(key, _)| key.starts_with(prefix));
        Arguments {
            pairs: &rest[..end],
            skipped: prefix.len(),
        }
    }

    fn place(&self, name: &str) -> usize {
        self.pairs
            .partition_point(|(key, _)| &key[self.skipped..] < name)
    }

    /// What is numbered under a name: the number, what is behind it, and the pair, in the order of the names.
    fn numbered(&self, name: &str) -> impl Iterator<Item = (u32, &'a str, &'a (String, String))> {
        let (skipped, length) = (self.skipped, name.len());
        let rest = &self.pairs[self.place(name)..];
        let name = name.to_owned();
        rest.iter()
            .take_while(move |(key, _)| key[skipped..].starts_with(&name))
            .filter_map(move |pair| {
                let behind = pair.0[skipped + length..].strip_prefix('.')?;
                let (digits, rest) = behind.split_once('.').unwrap_or((behind, ""));
                Some((number(digits)?, rest, pair))
            })
    }
}

/// The place in a numbered list: digits without a leading zero.
pub(super) fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    let leading = digits.len() > 1 && digits.starts_with('0');
    (plain && !leading).then(|| digits.parse().ok()).flatten()
}

/// A boolean as clients of all ages write it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn decode(part: &[u8]) -> Result<String> {
    let spaced: Vec<u8> = part
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let text = percent_decode(&spaced).decode_utf8().map_err(|_| {
        Ec2Fault::coded(
            Code::MalformedQueryString,
            "The request contains text that is not UTF-8.",
        )
    })?;
    if text.contains('\0') {
        // No database takes it.
        return Err(Ec2Fault::coded(
            Code::MalformedQueryString,
            "The request contains a NUL character.",
        ));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_query_form_lists_and_members() {
        let all = Parameters::parse(
            "Action=X&V.2=b&V.10=c&V.1=a+d&W=&Size=8&Flag=TRUE",
            b"F.1.Name=size&F.1.Value.1=8&F.10.Name=x&F.2.Name=t%C3%A4g&Fa=1&O.P=q&F.2.Value.1=9",
        )
        .expect("good parameters");
        let all = all.arguments();
        assert_eq!(all.get("Action"), Some("X"));
        assert_eq!((all.get("W"), all.text("W")), (Some(""), None));
        assert_eq!((all.number("Size"), all.number("V")), (Some(8), None));
        assert!(all.flag("Flag") && !all.flag("Size"));
        assert_eq!(all.list("V"), ["a d", "b", "c"]);
        assert_eq!(all.list("F"), [""; 0]);
        let members = all.members("F");
        assert_eq!(members.len(), 3);
        assert_eq!(members[0].list("Value"), ["8"]);
        assert_eq!(members[1].get("Name"), Some("t\u{e4}g"));
        assert_eq!(members[1].list("Value"), ["9"]);
        assert_eq!(members[2].get("Name"), Some("x"));
        assert_eq!(all.group("O").get("P"), Some("q"));
        assert_eq!(all.group("P").get("P"), None);
    }

    #[test]
    fn refuses_what_is_no_text() {
        let code = |query: &str, form: &[u8]| {
            let refused = Parameters::parse(query, form);
            refused.expect_err("a refusal").code()
        };
        assert_eq!(code("a=%ff", b""), Code::MalformedQueryString);
        assert_eq!(code("a=%00", b""), Code::MalformedQueryString);
        assert_eq!(code("", &b"a&".repeat(2001)), Code::InvalidRequest);
    }

    #[test]
    fn places_in_lists_are_written_in_one_way() {
        for (text, expected) in [("1", Some(1)), ("0", Some(0)), ("1000", Some(1000))] {
            assert_eq!(number(text), expected);
        }
        for text in ["", "01", "+1", "-1", "1.", "x", "99999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
