//! JSON-RPC 1.0 and 2.0 as XenAPI speaks them; the version is that of the request.

use crate::wire::{self, Error, Limits};
use crate::{Failure, Value, date};
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// The version of JSON-RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Without a `jsonrpc` member; both `result` and `error` are always present in a response.
    V1,
    /// With `"jsonrpc": "2.0"`.
    V2,
}

/// What names a request, given back in its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// A text.
    String(String),
    /// A number.
    Int(i64),
    /// JSON-RPC 1.0 lets it be null or leave it away.
    Null,
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The version that the response must have.
    pub version: Version,
    /// The id that the response must have.
    pub id: Id,
    /// The method, for example `VDI.get_record`.
    pub method: String,
    /// The parameters, the session first where the method has one.
    pub params: Vec<Value>,
}

/// The `code` of every error of JSON-RPC 2.0 that XenAPI answers.
pub const ERROR_CODE: i64 = 1;

/// Reads a call.
///
/// # Errors
/// [`Error`] when a limit is exceeded or the body is no request object of either version. Batches and, in 2.0, requests
/// without an id (notifications) are refused.
pub fn parse_call(body: &[u8], limits: &Limits) -> Result<Call, Error> {
    let members = object(body, limits)?;
    let version = version(&members)?;
    let id = match (members.id, version) {
        (Some(Value::String(text)), _) => Id::String(text),
        (Some(Value::Int(number)), _) => Id::Int(number),
        (Some(Value::Nil) | None, Version::V1) => Id::Null,
        _ => {
            return Err(Error::NotJsonRpc {
                expected: "an id that is a string or an integer",
            });
        }
    };
    let Some(Value::String(method)) = members.method else {
        return Err(Error::NotJsonRpc {
            expected: "a method that is a string",
        });
    };
    let params = match members.params {
        Some(Value::Array(params)) => params,
        None => Vec::new(),
        // As on a pool, parameters by name are one parameter, which then has the wrong type.
        Some(params) => vec![params],
    };
    Ok(Call {
        version,
        id,
        method,
        params,
    })
}

/// Reads a response.
///
/// # Errors
/// [`Error`] when a limit is exceeded or the body is no response object of either version.
pub fn parse_response(body: &[u8], limits: &Limits) -> Result<Result<Value, Failure>, Error> {
    let members = object(body, limits)?;
    let version = version(&members)?;
    let wrong = || Error::NotJsonRpc {
        expected: "an error of XenAPI",
    };
    let mut description = match (members.error, members.result) {
        (None | Some(Value::Nil), Some(result)) => return Ok(Ok(result)),
        (Some(Value::Array(description)), _) if version == Version::V1 => description,
        (Some(Value::Struct(mut error)), _) if version == Version::V2 => {
            let mut description = vec![error.remove("message").ok_or_else(wrong)?];
            if let Some(Value::Array(data)) = error.remove("data") {
                description.extend(data);
            }
            description
        }
        _ => {
            return Err(Error::NotJsonRpc {
                expected: "result or error",
            });
        }
    }
    .into_iter()
    .map(|text| {
        if let Value::String(text) = text {
            Ok(text)
        } else {
            Err(wrong())
        }
    });
    let code = description.next().ok_or_else(wrong)??;
    Ok(Err(Failure {
        code,
        params: description.collect::<Result<_, _>>()?,
    }))
}

/// Writes a call.
///
/// # Errors
/// [`Error::DateOutOfRange`] or [`Error::NotFinite`] when a parameter cannot be carried.
pub fn write_call(call: &Call) -> Result<Vec<u8>, Error> {
    let mut body = Vec::with_capacity(256);
    body.push(b'{');
    if call.version == Version::V2 {
        body.extend_from_slice(b"\"jsonrpc\":\"2.0\",");
    }
    body.extend_from_slice(b"\"method\":");
    string(&mut body, &call.method);
    body.extend_from_slice(b",\"params\":");
    array(&mut body, &call.params)?;
    finish(&mut body, &call.id);
    Ok(body)
}

/// Writes the response to a call of the given version and id.
///
/// # Errors
/// As [`write_call`].
pub fn write_response(
    version: Version,
    id: &Id,
    result: &Result<Value, Failure>,
) -> Result<Vec<u8>, Error> {
    let mut body = Vec::with_capacity(1024);
    match (version, result) {
        (Version::V1, Ok(result)) => {
            body.extend_from_slice(b"{\"result\":");
            value(&mut body, result)?;
            body.extend_from_slice(b",\"error\":null");
        }
        (Version::V1, Err(failure)) => {
            body.extend_from_slice(b"{\"result\":null,\"error\":");
            strings(
                &mut body,
                std::iter::once(&failure.code).chain(&failure.params),
            );
        }
        (Version::V2, Ok(result)) => {
            body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"result\":");
            value(&mut body, result)?;
        }
        (Version::V2, Err(failure)) => {
            body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":");
            string(&mut body, &failure.code);
            body.extend_from_slice(b",\"data\":");
            strings(&mut body, &failure.params);
            body.push(b'}');
        }
    }
    finish(&mut body, id);
    Ok(body)
}

fn finish(body: &mut Vec<u8>, id: &Id) {
    body.extend_from_slice(b",\"id\":");
    match id {
        Id::String(text) => string(body, text),
        Id::Int(number) => body.extend_from_slice(number.to_string().as_bytes()),
        Id::Null => body.extend_from_slice(b"null"),
    }
    body.push(b'}');
}

fn string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text)
        .expect("a string is always JSON and a vector takes every byte");
}

fn strings<'a>(body: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a String>) {
    body.push(b'[');
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        string(body, text);
    }
    body.push(b']');
}

fn array(body: &mut Vec<u8>, elements: &[Value]) -> Result<(), Error> {
    body.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        value(body, element)?;
    }
    body.push(b']');
    Ok(())
}

fn value(body: &mut Vec<u8>, content: &Value) -> Result<(), Error> {
    match content {
        Value::Nil => body.extend_from_slice(b"\"\""),
        Value::String(text) => string(body, text),
        Value::Int(number) => body.extend_from_slice(number.to_string().as_bytes()),
        Value::Int32(number) => body.extend_from_slice(number.to_string().as_bytes()),
        Value::Float(number) if number.is_finite() => {
            body.extend_from_slice(Json::from(*number).to_string().as_bytes())
        }
        Value::Float(_) => return Err(Error::NotFinite),
        Value::Bool(truth) => body.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::DateTime(seconds) => {
            string(
                body,
                &date::format(*seconds).ok_or(Error::DateOutOfRange { seconds: *seconds })?,
            );
        }
        Value::Array(elements) => array(body, elements)?,
        Value::Struct(members) => {
            body.push(b'{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    body.push(b',');
                }
                string(body, name);
                body.push(b':');
                value(body, member)?;
            }
            body.push(b'}');
        }
    }
    Ok(())
}

/// The members of a request or response object; others are skipped.
#[derive(Default)]
struct Members {
    jsonrpc: Option<Value>,
    method: Option<Value>,
    params: Option<Value>,
    id: Option<Value>,
    result: Option<Value>,
    error: Option<Value>,
}

fn version(members: &Members) -> Result<Version, Error> {
    match &members.jsonrpc {
        None => Ok(Version::V1),
        Some(Value::String(text)) if text == "2.0" => Ok(Version::V2),
        Some(_) => Err(Error::NotJsonRpc {
            expected: "no jsonrpc member, or \"2.0\"",
        }),
    }
}

fn object(body: &[u8], limits: &Limits) -> Result<Members, Error> {
    let count = Count {
        values: Cell::new(0),
        limits,
        exceeded: Cell::new(None),
    };
    let mut deserializer = serde_json::Deserializer::from_str(wire::text(body, limits)?);
    deserializer
        .deserialize_map(Object(&count))
        .and_then(|members| deserializer.end().map(|()| members))
        .map_err(|error| match count.exceeded.get() {
            Some(Exceeded::Depth) => Error::TooDeep {
                limit: limits.depth,
            },
            Some(Exceeded::Values) => Error::TooManyValues {
                limit: limits.values,
            },
            None => Error::Json(error),
        })
}

#[derive(Clone, Copy)]
enum Exceeded {
    Depth,
    Values,
}

/// Counts values while they are read, and remembers which limit stopped the reading.
struct Count<'a> {
    values: Cell<usize>,
    limits: &'a Limits,
    exceeded: Cell<Option<Exceeded>>,
}

struct Object<'a>(&'a Count<'a>);

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            let member = match name.as_str() {
                "jsonrpc" => &mut members.jsonrpc,
                "method" => &mut members.method,
                "params" => &mut members.params,
                "id" => &mut members.id,
                "result" => &mut members.result,
                "error" => &mut members.error,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if member.is_some() {
                return Err(serde::de::Error::custom(format_args!(
                    "two members named {name:?}"
                )));
            }
            // The outermost array of params is not a level of its own: XML-RPC has none there.
            let depth = usize::from(name != "params");
            *member = Some(map.next_value_seed(Seed {
                count: self.0,
                depth,
            })?);
        }
        Ok(members)
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    count: &'a Count<'a>,
    depth: usize,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth > self.count.limits.depth {
            self.count.exceeded.set(Some(Exceeded::Depth));
            return Err(E::custom("too deep"));
        }
        Ok(Seed {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count.values.set(self.count.values.get() + 1);
        if self.count.values.get() > self.count.limits.values {
            self.count.exceeded.set(Some(Exceeded::Values));
            return Err(serde::de::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number)
            .map(Value::Int)
            .map_err(|_| E::custom("integer over 64 bits"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let member = map.next_value_seed(inner)?;
            match members.entry(name) {
                Entry::Vacant(entry) => entry.insert(member),
                Entry::Occupied(entry) => {
                    return Err(serde::de::Error::custom(format_args!(
                        "two members named {:?}",
                        entry.key()
                    )));
                }
            };
        }
        Ok(Value::Struct(members))
    }
}
