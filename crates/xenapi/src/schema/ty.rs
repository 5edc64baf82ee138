//! The types of XenAPI.

/// A type of the data model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ty {
    /// Text, and uuids.
    String,
    /// A 64-bit integer.
    Int,
    /// A double.
    Float,
    /// A boolean.
    Bool,
    /// A date.
    DateTime,
    /// A reference to an object of the class.
    Ref(&'static str),
    /// One of some words: the name of the type and its values.
    Enum(&'static str, &'static [&'static str]),
    /// A set.
    Set(&'static Ty),
    /// A map from the first type to the second. Keys are text on both wires, whatever their type.
    Map(&'static Ty, &'static Ty),
    /// A record with the fields of the class.
    Record(&'static str),
    /// A value that may be absent: an empty or one-element array on the wire.
    Option(&'static Ty),
    /// No result.
    Void,
    /// Anything; the `snapshot` of an event, whose class is only known from the event.
    Any,
}

impl Ty {
    /// A map from text to text, the type of `other_config` and its kin.
    pub const STRING_MAP: Ty = Ty::Map(&Ty::String, &Ty::String);

    /// A set of texts.
    pub const STRING_SET: Ty = Ty::Set(&Ty::String);

    /// Tells what a value of the type is called in an error.
    pub fn noun(&self) -> &'static str {
        match self {
            Ty::String => "string",
            Ty::Int => "int64",
            Ty::Float => "float",
            Ty::Bool => "bool",
            Ty::DateTime => "datetime",
            Ty::Ref(_) => "reference",
            Ty::Enum(name, _) => name,
            Ty::Set(_) => "set",
            Ty::Map(_, _) => "map",
            Ty::Record(_) => "record",
            Ty::Option(_) => "option",
            Ty::Void => "void",
            Ty::Any => "value",
        }
    }
}
