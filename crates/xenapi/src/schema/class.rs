//! Classes and their fields.

use super::{Definition, Literal, Ty, tables};
use crate::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// A class of objects, or (with [`Messages::Explicit`] and no messages) the shape of a record inside a result.
#[derive(Debug)]
pub struct Class {
    /// The name, for example `VDI`.
    pub name: &'static str,
    /// The fields, in the order in which a pool writes its records.
    pub fields: &'static [Field],
    /// Which messages are generated.
    pub messages: Messages,
    /// The messages that are not generated.
    pub explicit: &'static [Definition],
    /// `Ref(name)`.
    pub reference: Ty,
    /// `Set(Ref(name))`, what `get_all` answers.
    pub reference_set: Ty,
    /// `Record(name)`.
    pub record: Ty,
    /// `Map(Ref(name), Record(name))`, what `get_all_records` answers.
    pub record_map: Ty,
}

/// Which messages a class has without their being listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// Those of a class stored in the database: `get_all`, `get_record`, getters and setters and the rest.
    Stored,
    /// Those of [`Messages::Stored`], and `create` and `destroy`.
    StoredWithConstructor,
    /// Those of [`Messages::Stored`] except the ones that list all objects: sessions are not listed.
    Unlisted,
    /// As [`Messages::Stored`], but each answers `MESSAGE_REMOVED`.
    Removed,
    /// None.
    Explicit,
}

/// A field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// The name in records, for example `name_label`.
    pub name: &'static str,
    /// The type.
    pub ty: Ty,
    /// Who may set it.
    pub mode: Mode,
    /// The value when nobody set it.
    pub initial: Literal,
    /// Whether a constructor refuses a record without it.
    pub required: bool,
}

/// Who may set a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The server only; ignored in the record given to a constructor.
    ReadOnly,
    /// The constructor; explicit messages may change it later.
    Constructor,
    /// The constructor and the generated setters.
    ReadWrite,
}

impl Field {
    /// The value of the field in an object where nobody set it.
    pub fn initial_value(&self) -> Value {
        self.initial.value(&self.ty)
    }

    /// Returns the name under which the filter language knows the field: a namespace is joined by two underscores
    /// there, so `name_label` is `name__label`.
    ///
    /// Only the `name` namespace is told apart; other fields are known by their name in records.
    pub fn filter_name(&self) -> &'static str {
        match self.name {
            "name_label" => "name__label",
            "name_description" => "name__description",
            name => name,
        }
    }

    pub(super) const fn initially(mut self, initial: Literal) -> Self {
        self.initial = initial;
        self
    }
}

pub(super) const fn read_only(name: &'static str, ty: Ty) -> Field {
    Field {
        name,
        ty,
        mode: Mode::ReadOnly,
        initial: Literal::Empty,
        required: false,
    }
}

pub(super) const fn constructor(name: &'static str, ty: Ty) -> Field {
    Field {
        name,
        ty,
        mode: Mode::Constructor,
        initial: Literal::Empty,
        required: false,
    }
}

pub(super) const fn read_write(name: &'static str, ty: Ty) -> Field {
    Field {
        name,
        ty,
        mode: Mode::ReadWrite,
        initial: Literal::Empty,
        required: false,
    }
}

pub(super) const fn required(mut field: Field) -> Field {
    field.required = true;
    field
}

/// Defines a class; the types that name it need its name as a literal.
macro_rules! define_class {
    ($name:literal, $messages:expr, $fields:expr, $explicit:expr) => {
        $crate::schema::Class {
            name: $name,
            fields: $fields,
            messages: $messages,
            explicit: $explicit,
            reference: $crate::schema::Ty::Ref($name),
            reference_set: $crate::schema::Ty::Set(&$crate::schema::Ty::Ref($name)),
            record: $crate::schema::Ty::Record($name),
            record_map: $crate::schema::Ty::Map(
                &$crate::schema::Ty::Ref($name),
                &$crate::schema::Ty::Record($name),
            ),
        }
    };
}
pub(super) use define_class;

impl Class {
    /// Finds a field by its name in records.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Finds a field by its name in the filter language.
    ///
    /// As on a pool, `name_label` is not found here, and `name__label` is. In other namespaces both spellings are.
    pub fn filter_field(&self, name: &str) -> Option<&'static Field> {
        self.fields
            .iter()
            .find(|field| field.filter_name() == name)
            .or_else(|| {
                let plain = name.replace("__", "_");
                if plain == name {
                    None
                } else {
                    self.field(&plain)
                }
            })
    }

    /// Makes a record in which nobody has set anything.
    pub fn initial_record(&self) -> BTreeMap<String, Value> {
        self.fields
            .iter()
            .map(|field| (field.name.to_owned(), field.initial_value()))
            .collect()
    }

    /// Tells whether the objects of the class are stored in the database, have references and appear in events.
    pub fn is_stored(&self) -> bool {
        self.messages != Messages::Explicit
    }
}

/// All classes, and the shapes of records inside results.
pub fn classes() -> &'static [&'static Class] {
    tables::ALL
}

/// Finds a class by its name.
pub fn class(name: &str) -> Option<&'static Class> {
    static CLASSES: LazyLock<HashMap<&'static str, &'static Class>> = LazyLock::new(|| {
        tables::ALL
            .iter()
            .map(|class| (class.name, *class))
            .collect()
    });
    CLASSES.get(name).copied()
}

/// Finds a class by its name in any case, as `event.from` takes it.
pub fn class_ignoring_case(name: &str) -> Option<&'static Class> {
    tables::ALL
        .iter()
        .find(|class| class.name.eq_ignore_ascii_case(name))
        .copied()
}
