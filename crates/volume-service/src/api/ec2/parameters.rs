//! The parameters of a Query API request, from the URL and the form in the body.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

use super::fault::{Code, Ec2Fault, Result};

/// Most parameters of a request.
const PARAMETERS_MAX: usize = 2000;
/// Most entries of one numbered list.
pub(super) const LIST_MAX: usize = 1000;

/// Parameters that belong to the protocol and not to an action.
const PROTOCOL: [&str; 9] = [
    "Action",
    "Version",
    "AWSAccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
    "Expires",
    "DryRun",
];

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
        let start = self.0.partition_point(|(key, _)| key.as_str() < name);
        self.0
            .get(start)
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| {
            Ec2Fault::coded(
                Code::MissingParameter,
                format!("The request must contain the parameter {name}"),
            )
        })
    }

    /// A boolean.
    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") || text == "1" => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") || text == "0" => Ok(Some(false)),
            Some(text) => Err(wrong(name, text, "It must be true or false.")),
        }
    }

    /// A whole number, not negative.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>> {
        match self.get(name) {
            None => Ok(None),
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text
                .parse()
                .map(Some)
                .map_err(|_| wrong(name, text, "It is too large.")),
            Some(text) => Err(wrong(name, text, "It must be a whole number.")),
        }
    }

    /// The values of `name.1`, `name.2`, ... in the order of their numbers.
    pub(super) fn list<'a>(&'a self, name: &'a str) -> Result<Vec<&'a str>> {
        let mut found = BTreeMap::new();
        for (index, rest, value) in self.numbered(name) {
            if rest.is_empty() {
                found.insert(index, value);
            }
        }
        bounded(name, found.len())?;
        Ok(found.into_values().collect())
    }

    /// The members of `name.1.*`, `name.2.*`: for each number its own parameters.
    pub(super) fn members(&self, name: &str) -> Result<Vec<Parameters>> {
        let mut found: BTreeMap<u32, Parameters> = BTreeMap::new();
        for (index, rest, value) in self.numbered(name) {
            if !rest.is_empty() {
                let member = found.entry(index).or_default();
                member.0.push((rest.to_owned(), value.to_owned()));
            }
        }
        bounded(name, found.len())?;
        for member in found.values_mut() {
            member.0.sort();
        }
        Ok(found.into_values().collect())
    }

    fn numbered<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (u32, &'a str, &'a str)> {
        self.0.iter().filter_map(move |(key, value)| {
            let rest = key.strip_prefix(name)?.strip_prefix('.')?;
            let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
            Some((index.parse().ok()?, rest, value.as_str()))
        })
    }

    /// Refuses parameters that EC2 has and this service has not, unless they ask for nothing.
    pub(super) fn refuse_unbuilt(&self, unbuilt: &[&str]) -> Result<()> {
        let asked = unbuilt.iter().find(|name| {
            self.get(name)
                .is_some_and(|value| !value.is_empty() && !value.eq_ignore_ascii_case("false"))
        });
        match asked {
            None => Ok(()),
            Some(name) => Err(Ec2Fault::coded(
                Code::UnsupportedOperation,
                format!("The parameter {name} is not supported by this service."),
            )),
        }
    }

    /// Refuses parameters that neither the protocol nor the action knows; `Name` covers `Name.1.Part` too.
    pub(super) fn only(&self, allowed: &[&str]) -> Result<()> {
        let odd = self.0.iter().find(|(key, _)| {
            let stem = key.split('.').next().unwrap_or(key);
            !(PROTOCOL.contains(&stem) || stem.starts_with("X-Amz-") || allowed.contains(&stem))
        });
        match odd {
            None => Ok(()),
            Some((key, _)) => {
                let key: String = key.chars().take(64).collect();
                Err(Ec2Fault::coded(
                    Code::UnknownParameter,
                    format!("The parameter {key} is not recognized"),
                ))
            }
        }
    }
}

fn bounded(name: &str, count: usize) -> Result<()> {
    if count <= LIST_MAX {
        return Ok(());
    }
    Err(Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!("The parameter {name} has more than {LIST_MAX} entries."),
    ))
}

/// The refusal of a value.
pub(super) fn wrong(name: &str, value: &str, why: &str) -> Ec2Fault {
    let value: String = value.chars().take(200).collect();
    Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!("Value ({value}) for parameter {name} is invalid. {why}"),
    )
}

fn decode(part: &[u8]) -> Result<String> {
    let spaced: Vec<u8> = part
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| {
            Ec2Fault::coded(
                Code::MalformedQueryString,
                "The request contains text that is not UTF-8.",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Parameters {
        Parameters::parse(query, b"").expect("good parameters")
    }

    #[test]
    fn reads_query_form_lists_and_members() {
        let all = Parameters::parse(
            "Action=X&V.2=b&V.10=c&V.1=a+d",
            b"F.1.Name=size&F.1.Value.1=8&F.2.Name=t%C3%A4g",
        )
        .expect("good parameters");
        assert_eq!(all.get("Action"), Some("X"));
        assert_eq!(all.list("V").expect("a list"), ["a d", "b", "c"]);
        let members = all.members("F").expect("members");
        assert_eq!(members.len(), 2);
        assert_eq!(members[0].list("Value").expect("values"), ["8"]);
        assert_eq!(members[1].get("Name"), Some("t\u{e4}g"));
    }

    #[test]
    fn refuses_what_is_wrong() {
        let code = |result: Result<()>| result.expect_err("a refusal").code();
        assert_eq!(
            Parameters::parse("a=%ff", b"")
                .expect_err("not UTF-8")
                .code(),
            Code::MalformedQueryString
        );
        assert_eq!(
            Parameters::parse("", &b"a&".repeat(2001))
                .expect_err("too many")
                .code(),
            Code::InvalidRequest
        );
        assert_eq!(
            code(parse("Foo.1=x").only(&["Bar"])),
            Code::UnknownParameter
        );
        assert_eq!(
            code(parse("N=-1").number("N").map(drop)),
            Code::InvalidParameterValue
        );
        assert_eq!(
            code(parse("N=99999999999999999999").number("N").map(drop)),
            Code::InvalidParameterValue
        );
        assert_eq!(
            code(parse("B=maybe").boolean("B").map(drop)),
            Code::InvalidParameterValue
        );
        assert!(
            parse("Action=1&X-Amz-Date=2&Bar.1.Name=x")
                .only(&["Bar"])
                .is_ok()
        );
    }
}
