//! What a body must look like, as constants; refusals are worded as Cinder's schema validation words them.

use serde_json::{Map, Value};

use super::fault::{Fault, Result};
use super::microversion::Microversion;
use super::python_words::{clipped, quoted, shown};

/// Cinder's largest integer in a body.
pub(super) const INTEGER_MAX: i64 = 0x7fff_ffff;
/// Longest name, description, key or value, in characters.
pub(super) const TEXT_MAX_CHARS: usize = 255;
/// Unknown fields that one refusal names.
const UNKNOWN_NAMED_MAX: usize = 8;

/// What Cinder takes for true in a body.
pub(super) const TRUE_WORDS: [&str; 12] = [
    "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t",
];
/// What Cinder takes for false in a body.
pub(super) const FALSE_WORDS: [&str; 12] = [
    "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f",
];

/// The form of a JSON value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Schema {
    /// Any value.
    Any,
    /// A boolean, or one of the words that Cinder takes for one.
    Boolean,
    /// A JSON boolean and nothing else, as in answers.
    TrueOrFalse,
    /// A text.
    Text {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// What it must match beside.
        pattern: Option<Pattern>,
    },
    /// A whole number.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
        /// True when digits in a text are taken too.
        as_text: bool,
    },
    /// A uuid as a text.
    Uuid,
    /// One of these texts.
    Words(&'static [&'static str]),
    /// An object with named fields.
    Object {
        /// The fields.
        fields: &'static [Field],
        /// Other fields are refused from this microversion on; `None` when they never are.
        closed_since: Option<u16>,
        /// At least one of the fields must be there from this microversion on.
        some_since: Option<u16>,
        /// An object without any field is refused.
        not_empty: bool,
    },
    /// An object of free keys.
    Map {
        /// What keys look like.
        key: Pattern,
        /// What all values look like.
        value: &'static Schema,
        /// Fewest keys.
        min: usize,
        /// Most keys.
        max: usize,
    },
    /// A list.
    List {
        /// What each item looks like.
        item: &'static Schema,
        /// Fewest items.
        min: usize,
    },
    /// JSON null, or this.
    OrNull(&'static Schema),
    /// One of these.
    OneOf(&'static [Schema]),
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) schema: Schema,
    pub(super) required: bool,
    /// The microversion 3.x that brought it; before, it is an unknown field.
    pub(super) since: u16,
}

impl Field {
    pub(super) const fn since(mut self, minor: u16) -> Self {
        self.since = minor;
        self
    }
}

/// What a text must match: the expression for clients, and the function that decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    pub(super) expression: &'static str,
    pub(super) matches: fn(&str) -> bool,
}

/// A field that may be missing.
pub(super) const fn field(name: &'static str, schema: Schema) -> Field {
    Field {
        name,
        schema,
        required: false,
        since: 0,
    }
}

/// A field that must be there.
pub(super) const fn required(name: &'static str, schema: Schema) -> Field {
    Field {
        name,
        schema,
        required: true,
        since: 0,
    }
}

/// An object without other fields.
pub(super) const fn closed(fields: &'static [Field]) -> Schema {
    object(fields, Some(0))
}

/// An object whose other fields are passed over.
pub(super) const fn open(fields: &'static [Field]) -> Schema {
    object(fields, None)
}

/// An object whose other fields are refused from a microversion on.
pub(super) const fn closed_since(minor: u16, fields: &'static [Field]) -> Schema {
    object(fields, Some(minor))
}

const fn object(fields: &'static [Field], closed_since: Option<u16>) -> Schema {
    Schema::Object {
        fields,
        closed_since,
        some_since: None,
        not_empty: false,
    }
}

impl Schema {
    /// At least one of the fields must be there from a microversion on.
    pub(super) const fn some_of_since(self, minor: u16) -> Self {
        match self {
            Schema::Object {
                fields,
                closed_since,
                not_empty,
                ..
            } => Schema::Object {
                fields,
                closed_since,
                some_since: Some(minor),
                not_empty,
            },
            other => other,
        }
    }

    /// An object without any field is refused.
    pub(super) const fn not_empty(self) -> Self {
        match self {
            Schema::Object {
                fields,
                closed_since,
                some_since,
                ..
            } => Schema::Object {
                fields,
                closed_since,
                some_since,
                not_empty: true,
            },
            other => other,
        }
    }
}

/// An object of whatever fields.
pub(super) const ANY_OBJECT: Schema = open(&[]);

/// A list of any length.
pub(super) const fn list_of(item: &'static Schema) -> Schema {
    Schema::List { item, min: 0 }
}

/// One of some texts.
pub(super) const fn words(words: &'static [&'static str]) -> Schema {
    Schema::Words(words)
}

/// A text of so many characters.
pub(super) const fn text(min: usize, max: usize) -> Schema {
    Schema::Text {
        min,
        max,
        pattern: None,
    }
}

/// A whole number.
pub(super) const fn integer(min: i64, max: i64) -> Schema {
    Schema::Integer {
        min,
        max,
        as_text: false,
    }
}

/// A whole number, or its digits in a text.
pub(super) const fn digits(min: i64, max: i64) -> Schema {
    Schema::Integer {
        min,
        max,
        as_text: true,
    }
}

/// A text of at most 255 characters.
pub(super) const TEXT: Schema = text(0, TEXT_MAX_CHARS);
/// A text of 1 to 255 characters.
pub(super) const FILLED_TEXT: Schema = text(1, TEXT_MAX_CHARS);
/// A name or description: a text of at most 255 characters, or null.
pub(super) const NAME: Schema = Schema::OrNull(&TEXT);
/// A boolean or a word for one.
pub(super) const BOOLEAN: Schema = Schema::Boolean;
/// A uuid.
pub(super) const UUID: Schema = Schema::Uuid;
/// A uuid or null.
pub(super) const UUID_OR_NULL: Schema = Schema::OrNull(&UUID);
/// GiB.
pub(super) const SIZE: Schema = digits(1, INTEGER_MAX);
/// What Cinder allows in metadata keys.
pub(super) const KEY: Pattern = Pattern {
    expression: "^[a-zA-Z0-9-_:. /]{1,255}$",
    matches: is_key,
};
/// The query of lists: paging and sorting.
pub(super) const PAGING: [Field; 6] = [
    field("limit", digits(0, i64::MAX)),
    field("marker", TEXT),
    field("offset", digits(0, INTEGER_MAX)),
    field("sort", TEXT),
    field("sort_key", TEXT),
    field("sort_dir", words(&["asc", "desc"])),
];
/// Metadata.
pub(super) const METADATA: Schema = Schema::Map {
    key: KEY,
    value: &TEXT,
    min: 0,
    max: usize::MAX,
};
/// Metadata of one key.
pub(super) const ONE_PAIR: Schema = Schema::Map {
    key: KEY,
    value: &TEXT,
    min: 1,
    max: 1,
};

fn is_key(text: &str) -> bool {
    (1..=TEXT_MAX_CHARS).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_:. /".contains(&b))
}

/// Checks a whole body.
pub(super) fn check(
    schema: &Schema,
    body: &Map<String, Value>,
    version: Microversion,
) -> Result<()> {
    match *schema {
        Schema::Object {
            fields,
            closed_since,
            some_since,
            not_empty,
        } => {
            let rules = (closed_since, some_since, not_empty);
            check_object(fields, rules, None, body, version)
        }
        _ => check_value(schema, None, &Value::Object(body.clone()), version),
    }
}

/// Checks a value; `name` is its key, for the refusal.
pub(super) fn check_value(
    schema: &Schema,
    name: Option<&str>,
    value: &Value,
    version: Microversion,
) -> Result<()> {
    let refuse = |reason: String| Err(refusal(name, value, reason));
    let wrong_type = || refuse(format!("{} is not of type {}", shown(value), types(schema)));
    match (schema, value) {
        (Schema::Any, _) => Ok(()),
        (Schema::OrNull(_), Value::Null) => Ok(()),
        (Schema::OrNull(inner), _) => {
            if accepts_type(inner, value) {
                check_value(inner, name, value, version)
            } else {
                wrong_type()
            }
        }
        _ if !accepts_type(schema, value) => wrong_type(),
        (Schema::Boolean, Value::String(word)) => {
            let known = |words: &[&str]| words.contains(&word.as_str());
            if known(&TRUE_WORDS) || known(&FALSE_WORDS) {
                return Ok(());
            }
            refuse(format!(
                "{} is not one of [True, {}, False, {}]",
                shown(value),
                listed(&TRUE_WORDS),
                listed(&FALSE_WORDS)
            ))
        }
        (Schema::Text { min, max, pattern }, Value::String(text)) => {
            let length = text.chars().count();
            if length < *min {
                let what = if *min == 1 {
                    "should be non-empty"
                } else {
                    "is too short"
                };
                return refuse(format!("{} {what}", shown(value)));
            }
            if length > *max {
                return refuse(format!("{} is too long", shown(value)));
            }
            match pattern {
                Some(pattern) if !(pattern.matches)(text) => refuse(format!(
                    "{} does not match '{}'",
                    shown(value),
                    pattern.expression
                )),
                _ => Ok(()),
            }
        }
        (Schema::Uuid, Value::String(text)) => match uuid::Uuid::parse_str(text) {
            Ok(_) => Ok(()),
            Err(_) => refuse(format!("{} is not a 'uuid'", shown(value))),
        },
        (Schema::Words(words), Value::String(text)) => {
            if words.contains(&text.as_str()) {
                return Ok(());
            }
            refuse(format!(
                "{} is not one of [{}]",
                shown(value),
                listed(words)
            ))
        }
        (Schema::Integer { min, max, .. }, _) => check_integer(*min, *max, name, value),
        (
            Schema::Object {
                fields,
                closed_since,
                some_since,
                not_empty,
            },
            Value::Object(map),
        ) => {
            let rules = (*closed_since, *some_since, *not_empty);
            check_object(fields, rules, name, map, version)
        }
        (
            Schema::Map {
                key,
                value: form,
                min,
                max,
            },
            Value::Object(map),
        ) => {
            if map.len() < *min {
                return refuse(format!("{} should be non-empty", shown(value)));
            }
            if map.len() > *max {
                return refuse(format!("{} has too many properties", shown(value)));
            }
            for (entry, item) in map {
                if !(key.matches)(entry) {
                    let reason = format!(
                        "{} does not match any of the regexes: '{}'",
                        quoted(entry),
                        key.expression
                    );
                    return Err(refusal(name, &Value::from(entry.as_str()), reason));
                }
                check_value(form, Some(entry), item, version)?;
            }
            Ok(())
        }
        (Schema::List { item, min }, Value::Array(items)) => {
            if items.len() < *min {
                return refuse(format!("{} should be non-empty", shown(value)));
            }
            for (place, one) in items.iter().enumerate() {
                check_value(item, Some(&place.to_string()), one, version)?;
            }
            Ok(())
        }
        (Schema::OneOf(forms), _) => {
            let fits = |form: &Schema| check_value(form, name, value, version).is_ok();
            if forms.iter().any(fits) {
                return Ok(());
            }
            refuse(format!(
                "{} is not valid under any of the given schemas",
                shown(value)
            ))
        }
        // The type was right, and nothing more is asked of it.
        _ => Ok(()),
    }
}

fn check_integer(min: i64, max: i64, name: Option<&str>, value: &Value) -> Result<()> {
    let number = match value {
        Value::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().unwrap_or(i128::MAX)
        }
        Value::String(text) if min < 0 && text == "-1" => -1,
        Value::String(_) => {
            let reason = format!("{} does not match '^[0-9]+$'", shown(value));
            return Err(refusal(name, value, reason));
        }
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or(number.as_u64().map(i128::from))
            .unwrap_or(i128::MAX),
        _ => i128::MAX,
    };
    let reason = if number < i128::from(min) {
        format!("{} is less than the minimum of {min}", shown(value))
    } else if number > i128::from(max) {
        format!("{} is greater than the maximum of {max}", shown(value))
    } else {
        return Ok(());
    };
    Err(refusal(name, value, reason))
}

/// What an object refuses: fields it does not know, none of those it knows, none at all.
type ObjectRules = (Option<u16>, Option<u16>, bool);

fn check_object(
    fields: &[Field],
    (closed_since, some_since, not_empty): ObjectRules,
    name: Option<&str>,
    map: &Map<String, Value>,
    version: Microversion,
) -> Result<()> {
    let refuse = |reason: String| Err(object_refusal(name, map, reason));
    let known = || fields.iter().filter(|field| version.at_least(field.since));
    if not_empty && map.is_empty() {
        return refuse("{} should be non-empty".to_owned());
    }
    if let Some(missing) = known().find(|field| field.required && !map.contains_key(field.name)) {
        return refuse(format!("{} is a required property", quoted(missing.name)));
    }
    if closed_since.is_some_and(|minor| version.at_least(minor)) {
        let is_known = |key: &str| known().any(|field| field.name == key);
        let odd: Vec<&str> = map
            .keys()
            .map(String::as_str)
            .filter(|key| !is_known(key))
            .take(UNKNOWN_NAMED_MAX)
            .collect();
        if let Some(reason) = unexpected(&odd) {
            return refuse(reason);
        }
    }
    if some_since.is_some_and(|minor| version.at_least(minor))
        && !known().any(|field| map.contains_key(field.name))
    {
        let whole = shown(&Value::Object(map.clone()));
        return refuse(format!(
            "{whole} is not valid under any of the given schemas"
        ));
    }
    for field in known() {
        if let Some(value) = map.get(field.name) {
            check_value(&field.schema, Some(field.name), value, version)?;
        }
    }
    Ok(())
}

/// The words about fields that do not belong there; `None` when there are none.
pub(super) fn unexpected(odd: &[&str]) -> Option<String> {
    let verb = match odd.len() {
        0 => return None,
        1 => "was",
        _ => "were",
    };
    Some(format!(
        "Additional properties are not allowed ({} {verb} unexpected)",
        listed(odd)
    ))
}

/// The refusal of an object for what it has or lacks.
pub(super) fn object_refusal(
    name: Option<&str>,
    map: &Map<String, Value>,
    reason: String,
) -> Fault {
    match name {
        None => Fault::BadRequest(reason),
        Some(_) => refusal(name, &Value::Object(map.clone()), reason),
    }
}

/// The refusal of a value under a key.
pub(super) fn refusal(name: Option<&str>, value: &Value, reason: String) -> Fault {
    let Some(name) = name else {
        return Fault::BadRequest(reason);
    };
    Fault::BadRequest(format!(
        "Invalid input for field/attribute {}. Value: {}. {reason}",
        clipped(name.to_owned()),
        match value {
            Value::String(text) => clipped(text.clone()),
            other => shown(other),
        }
    ))
}

fn accepts_type(schema: &Schema, value: &Value) -> bool {
    match schema {
        Schema::Any | Schema::OneOf(_) => true,
        Schema::Boolean => value.is_boolean() || value.is_string(),
        Schema::TrueOrFalse => value.is_boolean(),
        Schema::Text { .. } | Schema::Uuid | Schema::Words(_) => value.is_string(),
        Schema::Integer { as_text, .. } => match value {
            Value::Number(number) => !number.is_f64(),
            Value::String(_) => *as_text,
            _ => false,
        },
        Schema::Object { .. } | Schema::Map { .. } => value.is_object(),
        Schema::List { .. } => value.is_array(),
        Schema::OrNull(inner) => value.is_null() || accepts_type(inner, value),
    }
}

/// The JSON types that a schema takes, as refusals name them.
fn types(schema: &Schema) -> String {
    let names = match schema {
        Schema::Any | Schema::OneOf(_) => "",
        Schema::Boolean => "'boolean', 'string'",
        Schema::TrueOrFalse => "'boolean'",
        Schema::Text { .. } | Schema::Uuid | Schema::Words(_) => "'string'",
        Schema::Integer { as_text: true, .. } => "'integer', 'string'",
        Schema::Integer { as_text: false, .. } => "'integer'",
        Schema::Object { .. } | Schema::Map { .. } => "'object'",
        Schema::List { .. } => "'array'",
        Schema::OrNull(inner) => return format!("{}, 'null'", types(inner)),
    };
    names.to_owned()
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(", ")
}
