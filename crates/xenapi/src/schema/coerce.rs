//! From what a wire could carry to the declared types.

use super::class::{Class, Mode};
use super::{Ty, class};
use crate::{Failure, NULL_REF, Value, date, xmlrpc};
use std::collections::BTreeMap;

/// Brings an argument to its declared type: digits to an integer, text to a date, an integer to a float, and the value
/// of an enum to its proper case.
///
/// # Errors
/// `INTERNAL_ERROR [text]`, which is what a pool answers to a wrong type, with a text that says what was expected and
/// found; also when text holds a character that XML cannot carry, since no record could hold it, and when an enum's
/// value is unknown.
pub fn coerce(value: Value, ty: &Ty) -> Result<Value, Failure> {
    Coercion { strict: true }
        .value(value, ty)
        .map_err(|reason| reason.failure(None))
}

/// Brings a result to its declared type, so that both wires give the same value.
///
/// An unknown value of an enum is kept, so are fields that the schema does not know, and a field that is missing stays
/// so: a pool may be older or newer than the schema.
///
/// # Errors
/// As [`coerce`].
pub fn coerce_result(value: Value, ty: &Ty) -> Result<Value, Failure> {
    Coercion { strict: false }
        .value(value, ty)
        .map_err(|reason| reason.failure(None))
}

/// Brings the record given to a constructor to the fields that a constructor takes, those left out with their initial
/// value. Keys that are no such field are ignored: clients pass whole records.
///
/// # Errors
/// `INTERNAL_ERROR [text]` when a required field is missing or one has the wrong type.
pub fn coerce_constructor(
    record: Value,
    class: &'static Class,
) -> Result<BTreeMap<String, Value>, Failure> {
    let Value::Struct(mut given) = record else {
        return Err(Reason {
            expected: "record",
            found: kind(&record),
        }
        .failure(None));
    };
    let mut taken = BTreeMap::new();
    for field in class
        .fields
        .iter()
        .filter(|field| field.mode != Mode::ReadOnly)
    {
        let value = match given.remove(field.name) {
            Some(value) => {
                let coercion = Coercion { strict: true };
                coercion
                    .value(value, &field.ty)
                    .map_err(|reason| reason.failure(Some(field.name)))?
            }
            None if field.required => {
                return Err(Failure::internal_error(&format!(
                    "field {} of the record is missing",
                    field.name
                )));
            }
            None => field.initial_value(),
        };
        taken.insert(field.name.to_owned(), value);
    }
    Ok(taken)
}

/// Why a value is not of its type.
struct Reason {
    expected: &'static str,
    found: &'static str,
}

impl Reason {
    fn failure(&self, field: Option<&str>) -> Failure {
        let place = field.map(|name| format!(" for {name}")).unwrap_or_default();
        Failure::internal_error(&format!(
            "expected {}{place}, got {}",
            self.expected, self.found
        ))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        Value::String(_) => "a string",
        Value::Int(_) | Value::Int32(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Bool(_) => "a bool",
        Value::DateTime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Struct(_) => "a struct",
    }
}

#[derive(Clone, Copy)]
struct Coercion {
    strict: bool,
}

impl Coercion {
    fn value(self, value: Value, ty: &Ty) -> Result<Value, Reason> {
        let wrong = |value: &Value| Reason {
            expected: ty.noun(),
            found: kind(value),
        };
        Ok(match (ty, value) {
            (Ty::String, Value::String(text)) => Value::String(self.text(text)?),
            (Ty::Ref(_), Value::String(text)) => Value::String(self.text(text)?),
            (Ty::Ref(_), Value::Nil) if !self.strict => Value::from(NULL_REF),
            (Ty::String, Value::Nil) if !self.strict => Value::from(""),
            (Ty::Enum(name, values), Value::String(text)) => {
                match values
                    .iter()
                    .find(|value| value.eq_ignore_ascii_case(&text))
                {
                    Some(value) if **value == text => Value::String(text),
                    Some(value) => Value::from(*value),
                    None if self.strict => {
                        return Err(Reason {
                            expected: name,
                            found: "a value that it does not have",
                        });
                    }
                    None => Value::String(text),
                }
            }
            (Ty::Int, Value::Int(number)) => Value::Int(number),
            (Ty::Int, Value::Int32(number)) => Value::Int(i64::from(number)),
            (Ty::Int, Value::String(text)) => match integer(&text) {
                Some(number) => Value::Int(number),
                None => {
                    return Err(Reason {
                        expected: ty.noun(),
                        found: "text that is no 64-bit integer",
                    });
                }
            },
            (Ty::Float, Value::Float(number)) => Value::Float(number),
            (Ty::Float, Value::Int(number)) => Value::Float(number as f64),
            (Ty::Float, Value::String(text)) => match text.parse() {
                Ok(number) => Value::Float(number),
                Err(_) => {
                    return Err(Reason {
                        expected: ty.noun(),
                        found: "text that is no number",
                    });
                }
            },
            (Ty::Bool, Value::Bool(truth)) => Value::Bool(truth),
            (Ty::DateTime, Value::DateTime(seconds)) => Value::DateTime(seconds),
            (Ty::DateTime, Value::String(text)) => match date::parse(&text) {
                Some(seconds) => Value::DateTime(seconds),
                None => {
                    return Err(Reason {
                        expected: ty.noun(),
                        found: "text that is no date",
                    });
                }
            },
            (Ty::Set(element), Value::Array(elements)) => {
                Value::Array(self.elements(elements, element)?)
            }
            (Ty::Option(element), Value::Array(elements)) if elements.len() <= 1 => {
                Value::Array(self.elements(elements, element)?)
            }
            (Ty::Option(_), Value::Nil) => Value::Array(Vec::new()),
            (Ty::Map(_, element), Value::Struct(mut members)) => {
                for (name, member) in &mut members {
                    self.check(name)?;
                    self.replace(member, element)?;
                }
                Value::Struct(members)
            }
            (Ty::Record(name), Value::Struct(members)) => {
                Value::Struct(self.record(members, name)?)
            }
            (Ty::Void, Value::Nil) => Value::Nil,
            (Ty::Void, Value::String(text)) if text.is_empty() => Value::Nil,
            (Ty::Any, value) => value,
            (_, value) => return Err(wrong(&value)),
        })
    }

    fn replace(self, place: &mut Value, ty: &Ty) -> Result<(), Reason> {
        *place = self.value(std::mem::replace(place, Value::Nil), ty)?;
        Ok(())
    }

    fn elements(self, mut elements: Vec<Value>, ty: &Ty) -> Result<Vec<Value>, Reason> {
        for element in &mut elements {
            self.replace(element, ty)?;
        }
        Ok(elements)
    }

    fn record(
        self,
        mut members: BTreeMap<String, Value>,
        name: &str,
    ) -> Result<BTreeMap<String, Value>, Reason> {
        let Some(class) = class::class(name) else {
            return Ok(members);
        };
        for (name, member) in &mut members {
            if let Some(field) = class.field(name) {
                self.replace(member, &field.ty)?;
            }
        }
        Ok(members)
    }

    fn text(self, text: String) -> Result<String, Reason> {
        self.check(&text)?;
        Ok(text)
    }

    fn check(self, text: &str) -> Result<(), Reason> {
        if self.strict && xmlrpc::illegal_character(text).is_some() {
            return Err(Reason {
                expected: "text",
                found: "a character that XML cannot carry",
            });
        }
        Ok(())
    }
}

/// Reads an integer as a pool does: decimal digits, or others after `0x`, `0o` or `0b`, with a minus before and
/// underscores between them, and nothing around.
fn integer(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse()
        && !text.starts_with('+')
    {
        return Some(number);
    }
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text), |digits| ("-", digits));
    let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix).ok()
}
