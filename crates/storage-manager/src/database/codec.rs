//! The bytes of a row: a record as a list of named values.
//!
//! ```text
//! row    = format:u8 (1)  count:u16  count * (name:text value)
//! text   = length:u32 bytes (UTF-8)
//! value  = 0                          nil
//!        | 1 text                     string
//!        | 2 i64                      int
//!        | 3 u64                      double, its bits
//!        | 4 u8                       boolean
//!        | 5 i64                      date, seconds since 1970
//!        | 6 count:u32 values         set
//!        | 7 count:u32 (text value)*  map
//!        | 8 length:u32 bytes         sealed string
//!        | 9 i32                      int of 32 bits
//! ```
//!
//! Integers are little-endian. Fields are named and not numbered, so that a field that a newer program adds or drops does
//! not move the others: an absent field reads as its default and an unknown one is left out.

use std::collections::BTreeMap;

use xenapi::Value;

/// The format of rows that this program writes.
const ROW_FORMAT: u8 = 1;

/// Deepest nesting of sets and maps in a value.
const MAX_DEPTH: usize = 8;

/// What a row holds of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// A value in the clear.
    Clear(Value),
    /// Sealed bytes.
    Sealed(Vec<u8>),
}

/// Writes a row.
pub fn encode<'a>(fields: impl Iterator<Item = (&'a str, Stored)>) -> Vec<u8> {
    let mut row = vec![ROW_FORMAT, 0, 0];
    let mut count: u16 = 0;
    for (name, stored) in fields {
        count = count
            .checked_add(1)
            .expect("a class has fewer than 65536 fields");
        put_text(&mut row, name);
        match stored {
            Stored::Clear(value) => put_value(&mut row, &value),
            Stored::Sealed(bytes) => {
                row.push(8);
                put_bytes(&mut row, &bytes);
            }
        }
    }
    row[1..3].copy_from_slice(&count.to_le_bytes());
    row
}

/// Reads a row; the error says what is wrong with it.
pub fn decode(row: &[u8]) -> Result<Vec<(String, Stored)>, &'static str> {
    let mut reader = Reader { rest: row };
    if reader.byte()? != ROW_FORMAT {
        return Err("its format is unknown");
    }
    let count = u16::from_le_bytes(reader.array()?);
    let mut fields = Vec::with_capacity(usize::from(count).min(256));
    for _ in 0..count {
        let name = reader.text()?;
        let stored = match reader.rest.first() {
            Some(8) => {
                reader.byte()?;
                Stored::Sealed(reader.bytes()?.to_vec())
            }
            _ => Stored::Clear(reader.value(0)?),
        };
        fields.push((name, stored));
    }
    if !reader.rest.is_empty() {
        return Err("bytes follow its last field");
    }
    Ok(fields)
}

fn put_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a request body is shorter than 4 GiB");
    row.extend_from_slice(&length.to_le_bytes());
    row.extend_from_slice(bytes);
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    put_bytes(row, text.as_bytes());
}

fn put_value(row: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => row.push(0),
        Value::String(text) => {
            row.push(1);
            put_text(row, text);
        }
        Value::Int(number) => {
            row.push(2);
            row.extend_from_slice(&number.to_le_bytes());
        }
        Value::Int32(number) => {
            row.push(9);
            row.extend_from_slice(&number.to_le_bytes());
        }
        Value::Float(number) => {
            row.push(3);
            row.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::Bool(truth) => row.extend_from_slice(&[4, u8::from(*truth)]),
        Value::DateTime(seconds) => {
            row.push(5);
            row.extend_from_slice(&seconds.to_le_bytes());
        }
        Value::Array(elements) => {
            row.push(6);
            put_count(row, elements.len());
            elements.iter().for_each(|element| put_value(row, element));
        }
        Value::Struct(fields) => {
            row.push(7);
            put_count(row, fields.len());
            for (name, value) in fields {
                put_text(row, name);
                put_value(row, value);
            }
        }
    }
}

fn put_count(row: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a request body holds fewer than 2^32 values");
    row.extend_from_slice(&count.to_le_bytes());
}

/// What is left of a row.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or("it ends early")?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "it ends early")
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.array::<1>()?[0])
    }

    fn count(&mut self) -> Result<usize, &'static str> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        // Every element takes a byte at least, so a larger count cannot be true and must not be reserved for.
        if count > self.rest.len() {
            Err("a count in it is too large")
        } else {
            Ok(count)
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let length = self.count()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, &'static str> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| "a text in it is not UTF-8")
    }

    fn value(&mut self, depth: usize) -> Result<Value, &'static str> {
        if depth > MAX_DEPTH {
            return Err("its values are nested too deeply");
        }
        Ok(match self.byte()? {
            0 => Value::Nil,
            1 => Value::String(self.text()?),
            2 => Value::Int(i64::from_le_bytes(self.array()?)),
            3 => Value::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            4 => Value::Bool(self.byte()? != 0),
            5 => Value::DateTime(i64::from_le_bytes(self.array()?)),
            6 => {
                let count = self.count()?;
                Value::Array(
                    (0..count)
                        .map(|_| self.value(depth + 1))
                        .collect::<Result<_, _>>()?,
                )
            }
            7 => {
                let count = self.count()?;
                let mut fields = BTreeMap::new();
                for _ in 0..count {
                    let name = self.text()?;
                    fields.insert(name, self.value(depth + 1)?);
                }
                Value::Struct(fields)
            }
            9 => Value::Int32(i32::from_le_bytes(self.array()?)),
            _ => return Err("a value in it has an unknown tag"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            ".{0,12}".prop_map(Value::String),
            any::<i64>().prop_map(Value::Int),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::DateTime),
            (-1e9f64..1e9).prop_map(Value::Float),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(Value::Struct),
            ]
        })
    }

    proptest! {
        #[test]
        fn decodes_what_it_encoded(values in prop::collection::vec(("[a-z_]{1,9}", values()), 0..6)) {
            let fields: Vec<(String, Stored)> = values.into_iter().map(|(n, v)| (n, Stored::Clear(v))).collect();
            let row = encode(fields.iter().map(|(name, stored)| (name.as_str(), stored.clone())));
            prop_assert_eq!(decode(&row), Ok(fields));
        }

        #[test]
        fn damaged_rows_are_refused_without_a_panic(mut row in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&row);
            if let Some(first) = row.first_mut() {
                *first = ROW_FORMAT;
            }
            let _ = decode(&row);
        }
    }

    #[test]
    fn a_sealed_field_stays_sealed() {
        let row = encode([("value", Stored::Sealed(vec![1, 2, 3]))].into_iter());
        assert_eq!(
            decode(&row),
            Ok(vec![("value".to_owned(), Stored::Sealed(vec![1, 2, 3]))])
        );
        assert!(decode(&row[..row.len() - 1]).is_err());
    }
}
