//! Values written in the tables: defaults of fields and of parameters.

use super::Ty;
use crate::{NULL_REF, Value};
use std::collections::BTreeMap;

/// A default value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal {
    /// The empty value of the type: `""`, 0, false, 1970, the null reference, an empty set or map.
    Empty,
    /// A text, or a value of an enum.
    Text(&'static str),
    /// A number.
    Int(i64),
    /// A truth.
    Bool(bool),
}

impl Literal {
    /// Makes the value, for a field or parameter of the type.
    pub fn value(&self, ty: &Ty) -> Value {
        match self {
            Literal::Text(text) => Value::from(*text),
            Literal::Int(number) => Value::Int(*number),
            Literal::Bool(truth) => Value::Bool(*truth),
            Literal::Empty => match ty {
                Ty::String => Value::from(""),
                Ty::Int => Value::Int(0),
                Ty::Float => Value::Float(0.0),
                Ty::Bool => Value::Bool(false),
                Ty::DateTime => Value::DateTime(0),
                Ty::Ref(_) => Value::from(NULL_REF),
                Ty::Enum(_, values) => Value::from(values.first().copied().unwrap_or_default()),
                Ty::Set(_) | Ty::Option(_) => Value::Array(Vec::new()),
                Ty::Map(_, _) | Ty::Record(_) => Value::Struct(BTreeMap::new()),
                Ty::Void | Ty::Any => Value::Nil,
            },
        }
    }
}
