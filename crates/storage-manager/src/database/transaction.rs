//! Changes to the objects that happen together.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;
use xenapi::{Failure, Value};

use super::class::{Class, RELATIONS};
use super::object::Object;
use super::objects::Objects;

/// An intent as it is stored: work on a medium that is begun and not yet recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The uuid of the VDI.
    pub uuid: Uuid,
    /// The uuid of its SR.
    pub sr_uuid: String,
    /// What is under way.
    pub work: IntendedWork,
}

/// What an intent is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntendedWork {
    /// An image is being made; without its record it goes.
    Create,
    /// An image is being deleted; its record goes with it.
    Destroy,
}

/// What something was before it changed.
pub(super) struct Before {
    pub class: &'static Class,
    pub reference: Arc<str>,
    pub object: Option<Arc<Object>>,
}

/// Changes under way. They are visible to nobody else until they are all made, and are taken back when the closure that
/// makes them fails.
pub struct Transaction<'a> {
    objects: &'a mut Objects,
    /// Everything that changed, in order.
    pub(super) undo: Vec<Before>,
    /// Intents that are put (`Some`) or dropped.
    pub(super) intents: BTreeMap<Uuid, Option<Intent>>,
}

impl std::ops::Deref for Transaction<'_> {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        self.objects
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(objects: &'a mut Objects) -> Self {
        Transaction {
            objects,
            undo: Vec::new(),
            intents: BTreeMap::new(),
        }
    }

    /// Makes an object with a fresh reference; fields that are not given have their default. Returns the reference.
    ///
    /// # Panics
    /// When a field is not one of the class.
    pub fn insert(
        &mut self,
        class: &'static str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> String {
        let class = Class::get(class);
        let reference: Arc<str> = format!("OpaqueRef:{}", Uuid::new_v4()).into();
        let mut values: Vec<Value> = class
            .fields
            .iter()
            .map(|field| field.default.clone())
            .collect();
        for (name, value) in fields {
            values[class.index(name)] = value;
        }
        if values[class.index("uuid")]
            .as_str()
            .is_none_or(str::is_empty)
        {
            values[class.index("uuid")] = Uuid::new_v4().to_string().into();
        }
        let generation = self.objects.note(class, &reference, None, false);
        let object = Object {
            class,
            reference: reference.clone(),
            created: generation,
            modified: generation,
            values,
        };
        self.put(class, &reference, Some(Arc::new(object)));
        reference.to_string()
    }

    /// Changes one field. Nothing happens when it has that value already.
    ///
    /// # Errors
    /// `HANDLE_INVALID [class, ref]`.
    pub fn set(
        &mut self,
        class: &'static str,
        reference: &str,
        field: &str,
        value: impl Into<Value>,
    ) -> Result<(), Failure> {
        let value = value.into();
        self.update(class, reference, |object| {
            let index = object.class.index(field);
            object.values[index] = value;
        })
    }

    /// Sets or removes one entry of a map field.
    ///
    /// # Errors
    /// `HANDLE_INVALID [class, ref]`.
    pub fn set_entry(
        &mut self,
        class: &'static str,
        reference: &str,
        field: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Failure> {
        self.update(class, reference, |object| {
            let index = object.class.index(field);
            if let Value::Struct(map) = &mut object.values[index] {
                match value {
                    Some(value) => map.insert(key.to_owned(), value.into()),
                    None => map.remove(key),
                };
            }
        })
    }

    /// Changes an object in any way. Nothing happens when it is the same afterwards.
    ///
    /// # Errors
    /// `HANDLE_INVALID [class, ref]`.
    pub fn update(
        &mut self,
        class: &'static str,
        reference: &str,
        change: impl FnOnce(&mut Object),
    ) -> Result<(), Failure> {
        let before = self.objects.get(class, reference)?.clone();
        let mut object = Object::clone(&before);
        change(&mut object);
        if object.values == before.values {
            return Ok(());
        }
        object.modified = self.objects.note(
            before.class,
            &before.reference,
            Some((before.created, before.modified)),
            false,
        );
        self.put(before.class, &before.reference, Some(Arc::new(object)));
        Ok(())
    }

    /// Gives an object a new generation because something derived of it changed. Unknown objects are passed over.
    pub fn touch(&mut self, class: &'static str, reference: &str) {
        let Some(before) = self.objects.find(class, reference).cloned() else {
            return;
        };
        let mut object = Object::clone(&before);
        object.modified = self.objects.note(
            before.class,
            &before.reference,
            Some((before.created, before.modified)),
            false,
        );
        // The stored values are the same, so nothing is written for it and nothing has to be taken back.
        self.objects
            .replace(before.class, &before.reference, Some(Arc::new(object)));
    }

    /// Removes an object. Unknown objects are passed over.
    pub fn remove(&mut self, class: &'static str, reference: &str) {
        let Some(before) = self.objects.find(class, reference).cloned() else {
            return;
        };
        self.objects.note(
            before.class,
            &before.reference,
            Some((before.created, before.modified)),
            true,
        );
        self.put(before.class, &before.reference, None);
    }

    /// Stores an intent.
    pub fn put_intent(&mut self, intent: Intent) {
        self.intents.insert(intent.uuid, Some(intent));
    }

    /// Drops an intent.
    pub fn drop_intent(&mut self, uuid: Uuid) {
        self.intents.insert(uuid, None);
    }

    fn put(&mut self, class: &'static Class, reference: &Arc<str>, new: Option<Arc<Object>>) {
        let old = self.objects.replace(class, reference, new.clone());
        for relation in RELATIONS
            .iter()
            .filter(|relation| relation.class == class.name)
        {
            let target = |object: &Option<Arc<Object>>| {
                object
                    .as_ref()
                    .and_then(|o| o.link(relation.field).map(str::to_owned))
            };
            let (from, to) = (target(&old), target(&new));
            if from != to {
                from.iter()
                    .chain(&to)
                    .for_each(|target| self.touch(relation.target, target));
            }
        }
        self.undo.push(Before {
            class,
            reference: reference.clone(),
            object: old,
        });
    }

    /// Takes every change back. The generations that were used stay used.
    pub(super) fn roll_back(mut self) {
        while let Some(Before {
            class,
            reference,
            object: old,
        }) = self.undo.pop()
        {
            let current = self.objects.find(class.name, &reference).cloned();
            if current.is_none() {
                self.objects.forget_deletion(&reference);
            }
            let before = current
                .as_ref()
                .map(|object| (object.created, object.modified));
            let restored = old.map(|object| {
                let mut object = Object::clone(&object);
                object.modified = self.objects.note(
                    class,
                    &reference,
                    before.or(Some((object.created, object.modified))),
                    false,
                );
                Arc::new(object)
            });
            if restored.is_none() && current.is_some() {
                self.objects.note(class, &reference, before, true);
            }
            self.objects.replace(class, &reference, restored);
        }
    }
}
