//! Which images are open here, and which are parents of an image that is.
//!
//! This, and not the flock on the files, is what decides within the process: while a consumer has an image open, its file
//! may get another name, and parents that consumers read are written to by whoever coalesces them.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use uuid::Uuid;
use vhd::merge::Activity;

use super::names::ImageName;
use super::open_image::OpenImage;
use super::pauses::Pauses;

/// What somebody does with an image while he holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Has it open for writing: nobody else may have it at all.
    Write,
    /// Has it open for reading: others may read it too.
    Read,
    /// Has an image open that is based on it: it may be read, and merged into by its child.
    Parent,
    /// Copies a child's blocks into it: those who have it as a parent stay and see no difference; nobody opens it itself.
    Merge,
    /// Removes it, or gives it another name while nobody has it: nobody else may have it at all.
    Exclusive,
}

/// The open images of an SR and what is held of each image.
#[derive(Debug, Default)]
pub struct OpenImages {
    state: Mutex<State>,
    pauses: Pauses,
    activity: Arc<Activity>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Weak<OpenImage>>,
    held: BTreeMap<ImageName, Held>,
}

/// How often an image is held for what.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    sole: bool,
    merged: bool,
    readers: u32,
    parents: u32,
}

impl Held {
    fn allows(self, wanted: Use) -> bool {
        match wanted {
            Use::Write | Use::Exclusive => {
                !self.sole && !self.merged && self.readers == 0 && self.parents == 0
            }
            Use::Read => !self.sole && !self.merged,
            Use::Parent => !self.sole,
            Use::Merge => !self.sole && !self.merged && self.readers == 0,
        }
    }

    fn is_free(self) -> bool {
        self.allows(Use::Exclusive)
    }

    fn count(&mut self, held: Use, taken: bool) {
        let counter = match held {
            Use::Write | Use::Exclusive => return self.sole = taken,
            Use::Merge => return self.merged = taken,
            Use::Read => &mut self.readers,
            Use::Parent => &mut self.parents,
        };
        *counter = if taken {
            counter.saturating_add(1)
        } else {
            counter.saturating_sub(1)
        };
    }
}

/// An image that is held for a use, until this is dropped.
#[derive(Debug)]
pub struct Hold {
    images: Arc<OpenImages>,
    name: ImageName,
    held: Use,
}

impl Hold {
    /// The image.
    pub fn name(&self) -> ImageName {
        self.name
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.images.lock();
        if let Some(held) = state.held.get_mut(&self.name) {
            held.count(self.held, false);
            if held.is_free() {
                state.held.remove(&self.name);
            }
        }
        self.images.released.notify_all();
    }
}

impl OpenImages {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds an image for a use; none when somebody holds it for a use that excludes this one.
    pub fn hold(self: &Arc<Self>, name: ImageName, wanted: Use) -> Option<Hold> {
        self.hold_in(&mut self.lock(), name, wanted)
    }

    /// Holds an image for a use, waiting for somebody who is just letting go of it.
    pub fn hold_within(
        self: &Arc<Self>,
        name: ImageName,
        wanted: Use,
        limit: Duration,
    ) -> Option<Hold> {
        let is_excluded = |state: &mut State| {
            let held = state.held.get(&name).copied().unwrap_or_default();
            !held.allows(wanted)
        };
        let waited = self
            .released
            .wait_timeout_while(self.lock(), limit, is_excluded);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.hold_in(&mut state, name, wanted)
    }

    fn hold_in(self: &Arc<Self>, state: &mut State, name: ImageName, wanted: Use) -> Option<Hold> {
        let held = state.held.entry(name).or_default();
        if !held.allows(wanted) {
            return None;
        }
        held.count(wanted, true);
        Some(Hold {
            images: self.clone(),
            name,
            held: wanted,
        })
    }

    /// True when an open image is this one or is based on it, or somebody works on it.
    pub fn is_held(&self, name: ImageName) -> bool {
        self.lock().held.contains_key(&name)
    }

    /// How long the consumers of these images were held off.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// What consumers do with these images.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Lists an image until it is closed or dropped.
    pub fn add(&self, image: &Arc<OpenImage>) {
        let mut state = self.lock();
        state.open.retain(|image| image.strong_count() > 0);
        state.open.push(Arc::downgrade(image));
    }

    /// The images that are open.
    pub fn all(&self) -> Vec<Arc<OpenImage>> {
        let mut images = self.listed();
        images.retain(|image| image.is_open());
        images
    }

    /// What is listed, open or not.
    fn listed(&self) -> Vec<Arc<OpenImage>> {
        // Taken out of the lock: dropping the last reference of an image closes it, and its holds come here.
        let listed: Vec<Weak<OpenImage>> = self.lock().open.clone();
        listed.iter().filter_map(Weak::upgrade).collect()
    }

    /// The consumers of a VDI: one that writes, or any number that read.
    pub fn of(&self, uuid: Uuid) -> Vec<Arc<OpenImage>> {
        let mut images = self.listed();
        // Waits for one that is being closed.
        images.retain(|image| image.uuid() == uuid && image.is_open());
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_uses_exclude_which() {
        use Use::{Exclusive, Merge, Parent, Read, Write};
        let name = ImageName::vhd(Uuid::from_u128(1));
        let all = [Write, Read, Parent, Merge, Exclusive];
        for (held, allowed) in [
            (Write, &[][..]),
            (Read, &[Read, Parent][..]),
            (Parent, &[Read, Parent, Merge][..]),
            (Merge, &[Parent][..]),
            (Exclusive, &[][..]),
        ] {
            let images = Arc::new(OpenImages::default());
            let first = images.hold(name, held).unwrap();
            for wanted in all {
                let second = images.hold(name, wanted);
                assert_eq!(
                    second.is_some(),
                    allowed.contains(&wanted),
                    "{held:?} then {wanted:?}"
                );
            }
            assert!(images.is_held(name));
            drop(first);
            assert!(!images.is_held(name));
        }
    }

    #[test]
    fn whoever_waits_gets_the_image_when_it_is_let_go() {
        let name = ImageName::vhd(Uuid::from_u128(1));
        let images = Arc::new(OpenImages::default());
        let writer = images.hold(name, Use::Write).unwrap();
        let wait = |limit| images.hold_within(name, Use::Exclusive, limit);
        assert!(wait(Duration::ZERO).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(Duration::from_secs(60)));
            drop(writer);
            assert!(waiting.join().unwrap().is_some());
        });
    }

    #[test]
    fn an_image_is_free_when_the_last_hold_is_dropped() {
        let name = ImageName::vhd(Uuid::from_u128(1));
        let images = Arc::new(OpenImages::default());
        let holds = [(); 3].map(|()| images.hold(name, Use::Parent).unwrap());
        for hold in holds {
            assert!(images.hold(name, Use::Exclusive).is_none());
            assert_eq!(hold.name(), name);
        }
        assert!(images.hold(name, Use::Exclusive).is_some());
    }
}
