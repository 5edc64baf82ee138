//! All XenAPI objects in memory, with their indexes and the order of their changes.
//!
//! Every change takes the next *generation*. `changes` holds the last change of each object by generation, so that
//! `event.from` is a range of it. Deletions stay in it up to [`DELETIONS_KEPT`]; a token older than the oldest that was
//! dropped cannot be answered any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use xenapi::{Failure, Value};

use super::class::{Class, RELATIONS};
use super::object::Object;

/// Deletions that are remembered for `event.from`.
pub const DELETIONS_KEPT: usize = 65_536;

/// Computes `allowed_operations` of an object.
pub type AllowedOperations = fn(&Objects, &Object) -> Vec<&'static str>;

/// What happened last to an object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its class.
    pub class: &'static Class,
    /// Its reference.
    pub reference: Arc<str>,
    /// The generation at which it was made.
    pub created: u64,
    /// True when it is gone.
    pub deleted: bool,
}

#[derive(Default)]
struct Table {
    objects: HashMap<Arc<str>, Arc<Object>>,
    by_uuid: HashMap<String, Arc<str>>,
    by_label: HashMap<String, BTreeSet<Arc<str>>>,
}

/// All objects.
pub struct Objects {
    tables: Vec<Table>,
    /// For each relation of [`RELATIONS`], who points at a target.
    inverse: Vec<HashMap<Arc<str>, BTreeSet<Arc<str>>>>,
    changes: BTreeMap<u64, Change>,
    deletions: BTreeSet<u64>,
    generation: u64,
    /// The oldest generation after which nothing was forgotten.
    complete_since: u64,
    allowed_operations: AllowedOperations,
}

impl Objects {
    pub(super) fn new(generation: u64, allowed_operations: AllowedOperations) -> Self {
        Objects {
            tables: Class::all().iter().map(|_| Table::default()).collect(),
            inverse: RELATIONS.iter().map(|_| HashMap::new()).collect(),
            changes: BTreeMap::new(),
            deletions: BTreeSet::new(),
            generation,
            complete_since: generation,
            allowed_operations,
        }
    }

    /// The generation of the last change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The oldest generation from which `event.from` can still be answered completely.
    pub fn complete_since(&self) -> u64 {
        self.complete_since
    }

    /// The last change of every object that changed after `generation`, oldest first.
    pub fn changes_after(&self, generation: u64) -> impl Iterator<Item = (u64, &Change)> {
        self.changes
            .range(generation.saturating_add(1)..)
            .map(|(generation, change)| (*generation, change))
    }

    /// Looks an object up.
    pub fn find(&self, class: &str, reference: &str) -> Option<&Arc<Object>> {
        self.tables[Class::get(class).position]
            .objects
            .get(reference)
    }

    /// Looks an object up that a caller named.
    ///
    /// # Errors
    /// `HANDLE_INVALID [class, ref]`.
    pub fn get(&self, class: &'static str, reference: &str) -> Result<&Arc<Object>, Failure> {
        self.find(class, reference)
            .ok_or_else(|| Failure::new("HANDLE_INVALID", [class, reference]))
    }

    /// Looks an object up by uuid.
    pub fn find_by_uuid(&self, class: &str, uuid: &str) -> Option<&Arc<Object>> {
        let table = &self.tables[Class::get(class).position];
        table.objects.get(table.by_uuid.get(uuid)?)
    }

    /// References of the objects with this `name_label`.
    pub fn by_name_label(&self, class: &str, label: &str) -> Vec<Arc<str>> {
        let table = &self.tables[Class::get(class).position];
        table
            .by_label
            .get(label)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Every object of a class, in no order.
    pub fn all(&self, class: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.tables[Class::get(class).position].objects.values()
    }

    /// Number of objects of a class.
    pub fn count(&self, class: &str) -> usize {
        self.tables[Class::get(class).position].objects.len()
    }

    /// The objects of `class` whose `field` points at `target`.
    pub fn pointing_at<'a>(
        &'a self,
        class: &'static str,
        field: &str,
        target: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let relation = RELATIONS
            .iter()
            .position(|relation| relation.class == class && relation.field == field)
            .expect("the relation is listed in RELATIONS");
        let sources = self.inverse[relation].get(target);
        sources
            .into_iter()
            .flatten()
            .filter_map(move |reference| self.find(class, reference))
    }

    /// A field as clients see it, derived ones filled in.
    pub fn value(&self, object: &Object, field: usize) -> Value {
        let definition = &object.class.fields[field];
        if let Some(relation) = definition.inverse_of {
            let sources = self.inverse[relation].get(&object.reference);
            return Value::Array(
                sources
                    .into_iter()
                    .flatten()
                    .map(|r| Value::String(r.to_string()))
                    .collect(),
            );
        }
        if definition.name == "allowed_operations" {
            return super::object::text_set((self.allowed_operations)(self, object));
        }
        object.values[field].clone()
    }

    /// A whole record as clients see it.
    pub fn record(&self, object: &Object) -> Value {
        let fields = object.class.fields.iter().enumerate();
        Value::Struct(
            fields
                .map(|(index, field)| (field.name.to_owned(), self.value(object, index)))
                .collect(),
        )
    }

    /// Takes the next generation for a change of `reference` and notes it as its last one.
    pub(super) fn note(
        &mut self,
        class: &'static Class,
        reference: &Arc<str>,
        before: Option<(u64, u64)>,
        deleted: bool,
    ) -> u64 {
        self.generation += 1;
        let created = before.map_or(self.generation, |(created, _)| created);
        if let Some((_, modified)) = before {
            self.changes.remove(&modified);
        }
        if class.has_events {
            self.changes.insert(
                self.generation,
                Change {
                    class,
                    reference: reference.clone(),
                    created,
                    deleted,
                },
            );
            if deleted {
                self.deletions.insert(self.generation);
                if self.deletions.len() > DELETIONS_KEPT
                    && let Some(oldest) = self.deletions.pop_first()
                {
                    self.changes.remove(&oldest);
                    self.complete_since = oldest;
                }
            }
        }
        self.generation
    }

    /// Takes back that an object of the present transaction was deleted; its deletion is among the last changes.
    pub(super) fn forget_deletion(&mut self, reference: &str) {
        let is_it = |change: &Change| change.deleted && *change.reference == *reference;
        let found = self
            .changes
            .iter()
            .rev()
            .find(|(_, change)| is_it(change))
            .map(|(generation, _)| *generation);
        if let Some(generation) = found {
            self.changes.remove(&generation);
            self.deletions.remove(&generation);
        }
    }

    /// Puts an object in place of what was there and keeps every index.
    pub(super) fn replace(
        &mut self,
        class: &'static Class,
        reference: &Arc<str>,
        new: Option<Arc<Object>>,
    ) -> Option<Arc<Object>> {
        let table = &mut self.tables[class.position];
        let old = match &new {
            Some(object) => table.objects.insert(reference.clone(), object.clone()),
            None => table.objects.remove(reference),
        };
        let label = |object: &Object| {
            class
                .has_name_label
                .then(|| object.text("name_label").to_owned())
        };
        if let Some(object) = &old
            && new.as_ref().is_none_or(|new| new.uuid() != object.uuid())
        {
            table.by_uuid.remove(object.uuid());
        }
        let (old_label, new_label) = (
            old.as_deref().and_then(label),
            new.as_deref().and_then(label),
        );
        if old_label != new_label
            && let Some(label) = &old_label
            && let Some(references) = table.by_label.get_mut(label)
        {
            references.remove(reference);
            if references.is_empty() {
                table.by_label.remove(label);
            }
        }
        if let Some(object) = &new {
            if old.as_ref().is_none_or(|old| old.uuid() != object.uuid()) {
                table
                    .by_uuid
                    .insert(object.uuid().to_owned(), reference.clone());
            }
            if old_label != new_label
                && let Some(label) = new_label
            {
                table
                    .by_label
                    .entry(label)
                    .or_default()
                    .insert(reference.clone());
            }
        }
        for (index, relation) in RELATIONS
            .iter()
            .enumerate()
            .filter(|(_, relation)| relation.class == class.name)
        {
            let target = |object: &Option<Arc<Object>>| {
                object
                    .as_ref()
                    .and_then(|o| o.link(relation.field).map(Arc::<str>::from))
            };
            let (from, to) = (target(&old), target(&new));
            if from == to {
                continue;
            }
            if let Some(from) = from
                && let Some(sources) = self.inverse[index].get_mut(&from)
            {
                sources.remove(reference);
                if sources.is_empty() {
                    self.inverse[index].remove(&from);
                }
            }
            if let Some(to) = to {
                self.inverse[index]
                    .entry(to)
                    .or_default()
                    .insert(reference.clone());
            }
        }
        old
    }
}
