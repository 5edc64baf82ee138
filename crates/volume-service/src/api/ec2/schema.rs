//! What the parameters of an action look like, and the checks that follow from it.
//!
//! A request is checked against it before anything else is done with it, so that nothing is ignored: a name that is not written as
//! the schema has it is `UnknownParameter`, a parameter that EC2 has and this service has not is `UnsupportedOperation`.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{self, Dialect, Noun};
use super::parameters::{Arguments, Parameters, boolean, number};
use super::words;

/// Parameters that belong to the protocol and not to an action.
const PROTOCOL: [&str; 8] = [
    "AWSAccessKeyId",
    "Action",
    "Expires",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
    "Version",
];
/// What every action takes.
const DRY_RUN: Parameter = Parameter::new("DryRun", Kind::Boolean);
/// Most entries of a list that has no smaller limit.
pub(super) const LIST_MAX: usize = 1000;

/// One parameter of an action, or of a member of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    /// As it is sent.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The refusal's words when it is not there; none where it may be left out.
    pub(super) required: Option<&'static str>,
    pub(super) state: Support,
}

impl Parameter {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Parameter {
            name,
            kind,
            required: None,
            state: Support::Built,
        }
    }

    /// It must be there.
    pub(super) const fn required(mut self, words: &'static str) -> Self {
        self.required = Some(words);
        self
    }

    /// EC2 has it and this service has not: it may be there only when it asks for nothing.
    pub(super) const fn unbuilt(mut self) -> Self {
        self.state = Support::Unbuilt;
        self
    }
}

/// Whether a parameter does what EC2's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// It does.
    Built,
    /// It is known and refused.
    Unbuilt,
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Any text of so many characters at most; an empty one is as good as none.
    Text {
        max: usize,
    },
    /// A whole number within both bounds.
    Number {
        min: i64,
        max: i64,
    },
    Boolean,
    /// One of these words.
    Words(&'static [&'static str]),
    Id(Noun, Dialect),
    /// `Name.1`, `Name.2`, ..., so many at most.
    List(&'static Kind, usize),
    /// `Name.Part`
    Struct(&'static [Parameter]),
    /// `Name.1.Part`, `Name.2.Part`, ..., so many at most.
    Structs(&'static [Parameter], usize),
}

/// Refuses names that are not of the schema, and those that are there twice.
pub(super) fn check_names(schema: &[Parameter], given: &Parameters) -> Result<()> {
    for (name, _) in given.pairs() {
        let is_known = PROTOCOL.contains(&name.as_str())
            || name.starts_with("X-Amz-")
            || name == DRY_RUN.name
            || is_known(schema, name);
        if !is_known {
            return Err(words::unknown_parameter(name));
        }
    }
    let twice = given.pairs().windows(2).find(|two| two[0].0 == two[1].0);
    match twice {
        Some(two) => Err(words::given_twice(&two[0].0)),
        None => Ok(()),
    }
}

fn is_known(schema: &[Parameter], name: &str) -> bool {
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    let Some(parameter) = schema.iter().find(|parameter| parameter.name == first) else {
        return false;
    };
    match (parameter.kind, rest) {
        (Kind::List(..), Some(place)) => number(place).is_some(),
        (Kind::Struct(parts), Some(part)) => is_known(parts, part),
        (Kind::Structs(parts, _), Some(rest)) => rest
            .split_once('.')
            .is_some_and(|(place, part)| number(place).is_some() && is_known(parts, part)),
        (Kind::List(..) | Kind::Struct(_) | Kind::Structs(..), None) => false,
        (_, rest) => rest.is_none(),
    }
}

/// Says whether the request is a dry run; refuses another word than a boolean.
pub(super) fn is_dry_run(given: &Parameters) -> Result<bool> {
    check_one(&DRY_RUN, given.arguments())?;
    Ok(given.arguments().flag(DRY_RUN.name))
}

/// Refuses values that do not have the form of the schema, in its order. The names are checked.
pub(super) fn check_values(schema: &[Parameter], given: &Parameters) -> Result<()> {
    let unbuilt = schema
        .iter()
        .filter(|parameter| parameter.state == Support::Unbuilt);
    for parameter in unbuilt {
        if asks_for_something(parameter.name, given) {
            return Err(words::unsupported_parameter(parameter.name));
        }
    }
    check_all(schema, given.arguments())
}

/// True unless the parameter is absent, empty or false, with all of its parts.
fn asks_for_something(name: &str, given: &Parameters) -> bool {
    given.pairs().iter().any(|(key, value)| {
        let behind = key.strip_prefix(name);
        let is_of_it = behind.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        is_of_it && !value.is_empty() && boolean(value) != Some(false)
    })
}

fn check_all(schema: &[Parameter], given: Arguments<'_>) -> Result<()> {
    let built = schema
        .iter()
        .filter(|parameter| parameter.state == Support::Built);
    for parameter in built {
        check_one(parameter, given)?;
    }
    Ok(())
}

fn check_one(parameter: &Parameter, given: Arguments<'_>) -> Result<()> {
    let name = parameter.name;
    let is_there = match parameter.kind {
        Kind::List(kind, most) => {
            let values = given.list(name);
            check_count(name, values.len(), most)?;
            for value in &values {
                check_scalar(name, kind, value)?;
            }
            !values.is_empty()
        }
        Kind::Struct(parts) => {
            let group = given.group(name);
            if !group.is_empty() {
                check_all(parts, group)?;
            }
            !group.is_empty()
        }
        Kind::Structs(parts, most) => {
            let members = given.members(name);
            check_count(name, members.len(), most)?;
            for member in &members {
                check_all(parts, *member)?;
            }
            !members.is_empty()
        }
        scalar => match given.get(name) {
            None => false,
            Some("") if matches!(scalar, Kind::Text { .. } | Kind::Words(_)) => false,
            Some(value) => {
                check_scalar(name, &scalar, value)?;
                true
            }
        },
    };
    match parameter.required {
        Some(words) if !is_there => Err(words::missing(words)),
        _ => Ok(()),
    }
}

fn check_count(name: &str, count: usize, most: usize) -> Result<()> {
    if count <= most {
        return Ok(());
    }
    Err(Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!("The parameter {name} has more than {most} entries."),
    ))
}

fn check_scalar(name: &str, kind: &Kind, value: &str) -> Result<()> {
    let wrong = |why: &str| Err(words::wrong(&words::lowered(name), value, why));
    match *kind {
        Kind::Text { max } if value.chars().count() > max => {
            wrong(&format!("It has at most {max} characters."))
        }
        Kind::Number { min, max } => {
            let digits = value.strip_prefix('-').unwrap_or(value);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return wrong("It must be a whole number.");
            }
            match value.parse::<i64>() {
                Ok(number) if number < min && min == 1 => {
                    wrong("Value must be a positive integer.")
                }
                Ok(number) if number < min => wrong(&format!("It must be at least {min}.")),
                Ok(number) if number <= max => Ok(()),
                _ if value.starts_with('-') => wrong(&format!("It must be at least {min}.")),
                _ => wrong(&format!("It must be at most {max}.")),
            }
        }
        Kind::Boolean if boolean(value).is_none() => wrong("It must be true or false."),
        Kind::Words(allowed) if !allowed.contains(&value) => {
            wrong(&format!("It is one of: {}.", allowed.join(", ")))
        }
        Kind::Id(noun, dialect) => ids::check(noun, dialect, name, value),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: &[Parameter] = &[
        Parameter::new("Key", Kind::Text { max: 3 }).required("no key"),
        Parameter::new("Value", Kind::List(&Kind::Text { max: 3 }, 2)),
    ];
    const SCHEMA: &[Parameter] = &[
        Parameter::new("Name", Kind::Text { max: 3 }).required("no name"),
        Parameter::new("Size", Kind::Number { min: 1, max: 9 }),
        Parameter::new("Flag", Kind::Boolean),
        Parameter::new("Mode", Kind::Words(&["soft", "hard"])),
        Parameter::new("Id", Kind::Id(Noun::Volume, Dialect::Blunt)),
        Parameter::new("List", Kind::List(&Kind::Number { min: -1, max: 9 }, 2)),
        Parameter::new("One", Kind::Struct(PARTS)),
        Parameter::new("Many", Kind::Structs(PARTS, 2)),
        Parameter::new("Later", Kind::Boolean).unbuilt(),
    ];

    fn check(query: &str) -> Result<()> {
        let given = Parameters::parse(query, b"").expect("text");
        check_names(SCHEMA, &given)?;
        is_dry_run(&given)?;
        check_values(SCHEMA, &given)
    }

    #[test]
    fn takes_what_has_the_form_of_the_schema() {
        for good in [
            "Name=abc",
            "Action=X&X-Amz-Date=2&Name=\u{e4}\u{e4}\u{e4}&DryRun=True",
            "Name=a&Size=9&Flag=0&Mode=&Id=vol-01234567&List.1=-1&List.7=9",
            "Name=a&One.Key=k&One.Value.1=v&Many.1.Key=k&Many.2.Key=l&Many.2.Value.3=",
            "Name=a&Later=false",
            "Name=a&Later=",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for (code, queries) in [
            (
                Code::UnknownParameter,
                &[
                    "Name=a&Colour=red",
                    "Name.1=a",
                    "Name=a&List=1",
                    "Name=a&List.01=1",
                    "Name=a&List.1.2=1",
                    "Name=a&List.x=1",
                    "Name=a&One=1",
                    "Name=a&One.1.Key=1",
                    "Name=a&One.Colour=1",
                    "Name=a&Many.Key=1",
                    "Name=a&Many.1=1",
                    "Name=a&Many.1.Colour=1",
                    "Name=a&Many.1.Key.1=1",
                    "Name=a&DryRun.1=true",
                ][..],
            ),
            (
                Code::MissingParameter,
                &["", "Name=", "Name=a&One.Value.1=v"],
            ),
            (
                Code::InvalidParameterValue,
                &[
                    "Name=a&Name=b",
                    "Name=a&Name=a",
                    "Name=abcd",
                    "Name=a&Size=0",
                    "Name=a&Size=10",
                    "Name=a&Size=-99999999999999999999",
                    "Name=a&Size=99999999999999999999",
                    "Name=a&Size=1.5",
                    "Name=a&Size=+1",
                    "Name=a&Size=",
                    "Name=a&Flag=maybe",
                    "Name=a&Flag=",
                    "Name=a&Mode=medium",
                    "Name=a&Id=disk",
                    "Name=a&List.1=1&List.2=2&List.3=3",
                    "Name=a&List.1=-2",
                    "Name=a&Many.1.Key=abcd",
                    "Name=a&DryRun=maybe",
                ],
            ),
            (Code::UnsupportedOperation, &["Name=a&Later=true"]),
        ] {
            for query in queries {
                let fault = check(query).expect_err(query);
                assert_eq!(fault.code(), code, "{query}");
            }
        }
    }
}
