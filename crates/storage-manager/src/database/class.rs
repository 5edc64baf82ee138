//! The classes of the database: the schema's, with what storing them needs to know.

use std::collections::HashMap;
use std::sync::LazyLock;

use xenapi::{Value, schema};

/// A class whose objects are stored.
#[derive(Debug)]
pub struct Class {
    /// The name, for example `VDI`.
    pub name: &'static str,
    /// The name in events: lower case.
    pub event_name: String,
    /// Its place among [`Class::all`].
    pub position: usize,
    /// The fields, in the order of the schema.
    pub fields: Vec<Field>,
    /// Whether its objects outlive the process.
    pub is_durable: bool,
    /// Whether its changes are told by `event.from`.
    pub has_events: bool,
    /// Whether it has a field `name_label`.
    pub has_name_label: bool,
    index: HashMap<&'static str, usize>,
}

/// A field of a stored class.
#[derive(Debug)]
pub struct Field {
    /// The name in records.
    pub name: &'static str,
    /// The value of a new object, and of rows that do not have the field.
    pub default: Value,
    /// Whether rows hold it; the others are derived or are about work in flight.
    pub is_stored: bool,
    /// Whether rows hold it encrypted.
    pub is_sealed: bool,
    /// The relation of [`RELATIONS`] that it is the inverse of.
    pub inverse_of: Option<usize>,
}

/// A reference field whose inverse is a field of the target.
#[derive(Debug)]
pub struct Relation {
    /// The class with the reference.
    pub class: &'static str,
    /// The reference field.
    pub field: &'static str,
    /// The class that it points at.
    pub target: &'static str,
    /// The field of the target that lists who points at it.
    pub inverse: &'static str,
}

const fn relation(
    class: &'static str,
    field: &'static str,
    target: &'static str,
    inverse: &'static str,
) -> Relation {
    Relation {
        class,
        field,
        target,
        inverse,
    }
}

/// Every inverse relation that is maintained.
pub static RELATIONS: [Relation; 9] = [
    relation("VDI", "SR", "SR", "VDIs"),
    relation("PBD", "SR", "SR", "PBDs"),
    relation("PBD", "host", "host", "PBDs"),
    relation("VBD", "VDI", "VDI", "VBDs"),
    relation("VBD", "VM", "VM", "VBDs"),
    relation("VDI", "snapshot_of", "VDI", "snapshots"),
    relation("VM", "snapshot_of", "VM", "snapshots"),
    relation("VM", "resident_on", "host", "resident_VMs"),
    relation("task", "subtask_of", "task", "subtasks"),
];

/// Classes that live as long as the process.
const VOLATILE: [&str; 2] = ["session", "task"];

/// Classes that events never tell of: their references are credentials, or their values are.
const SILENT: [&str; 3] = ["session", "secret", "user"];

/// Fields that rows do not hold, apart from inverse relations.
const DERIVED: [&str; 2] = ["allowed_operations", "current_operations"];

/// Fields that rows hold encrypted.
const SEALED: [(&str, &str); 1] = [("secret", "value")];

struct Classes {
    all: Vec<Class>,
    by_name: HashMap<&'static str, usize>,
}

static CLASSES: LazyLock<Classes> = LazyLock::new(|| {
    // Messages have no generated messages and are stored all the same.
    let stored = schema::classes()
        .iter()
        .filter(|class| class.is_stored() || class.name == "message");
    let all: Vec<Class> = stored
        .enumerate()
        .map(|(position, class)| build(position, class))
        .collect();
    let by_name = all
        .iter()
        .map(|class| (class.name, class.position))
        .collect();
    Classes { all, by_name }
});

impl Class {
    /// Every stored class.
    pub fn all() -> &'static [Class] {
        &CLASSES.all
    }

    /// Finds a class by name.
    pub fn find(name: &str) -> Option<&'static Class> {
        CLASSES
            .by_name
            .get(name)
            .map(|position| &CLASSES.all[*position])
    }

    /// Looks a class up whose name is written in the code.
    ///
    /// # Panics
    /// When the schema has no such class.
    pub fn get(name: &str) -> &'static Class {
        Class::find(name).unwrap_or_else(|| panic!("the schema stores no class {name}"))
    }

    /// The place of a field.
    pub fn find_index(&self, field: &str) -> Option<usize> {
        self.index.get(field).copied()
    }

    /// The place of a field whose name is written in the code.
    ///
    /// # Panics
    /// When the class has no such field.
    pub fn index(&self, field: &str) -> usize {
        self.find_index(field)
            .unwrap_or_else(|| panic!("class {} has no field {field}", self.name))
    }
}

fn build(position: usize, class: &'static schema::Class) -> Class {
    let fields: Vec<Field> = class
        .fields
        .iter()
        .map(|field| {
            let is_inverse = |relation: &Relation| {
                relation.target == class.name && relation.inverse == field.name
            };
            let inverse_of = RELATIONS.iter().position(is_inverse);
            Field {
                name: field.name,
                default: field.initial_value(),
                is_stored: inverse_of.is_none() && !DERIVED.contains(&field.name),
                is_sealed: SEALED.contains(&(class.name, field.name)),
                inverse_of,
            }
        })
        .collect();
    Class {
        name: class.name,
        event_name: class.name.to_ascii_lowercase(),
        position,
        index: fields
            .iter()
            .enumerate()
            .map(|(index, field)| (field.name, index))
            .collect(),
        is_durable: !VOLATILE.contains(&class.name),
        has_events: !SILENT.contains(&class.name),
        has_name_label: fields.iter().any(|field| field.name == "name_label"),
        fields,
    }
}
