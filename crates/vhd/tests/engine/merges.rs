//! Merges of a world's images: into a parent further down, at rest, and while the consumer writes.

use vhd::merge::{Control, LiveMerge, Target, merge};
use vhd::{ParentLink, ParentStack, Result, image};

use super::world::{World, named};

impl World<'_> {
    /// The leaf's parent into its own parent, when it is the only child of that; the consumer's chain stays open.
    pub fn merge_inner(&mut self) -> Result<()> {
        let leaf = self.vdis[self.current].leaf;
        let Some(middle) = self.parent_of(leaf)? else {
            return Ok(());
        };
        let Some(parent) = self.parent_of(middle)? else {
            return Ok(());
        };
        if self.children_of(parent)? != [middle] {
            return Ok(());
        }
        let size = image::inspect(&*self.images[&middle])?.virtual_size;
        if image::inspect(&*self.images[&parent])?.virtual_size < size {
            // Blocks may move, so nobody has it open.
            self.close()?;
            self.grow(parent, size)?;
        }
        self.merge(middle, parent)?;
        let chain = self.take_chain()?;
        self.relink = Some((middle, parent));
        self.finish_relink()?;
        let info = image::inspect(&*self.images[&leaf])?;
        let find = |link: &ParentLink| Ok(self.find(link));
        let stack = ParentStack::open(&info, &find)?;
        let replaced = chain.replace_parents(stack);
        self.chain = Some(replaced.map_err(|(_, error)| error)?);
        self.vdis[self.current].truth.flushed();
        Ok(())
    }

    /// Gives every child of an image that was merged into its parent this parent, and forgets the image.
    pub fn finish_relink(&mut self) -> Result<()> {
        let Some((middle, parent)) = self.relink else {
            return Ok(());
        };
        let (old, new) = (named(middle), named(parent));
        for (number, disk) in &self.images {
            let Some(link) = image::parent_link(&**disk)? else {
                continue;
            };
            // A crash may have left the old uuid with the new name.
            let is_child = link.uuid == old.uuid || link.names().any(|name| name == old.path);
            if is_child && ![middle, parent].contains(number) {
                image::reparent(&**disk, &new)?;
            }
        }
        self.relink = None;
        self.images.remove(&middle);
        Ok(())
    }

    fn merge(&mut self, child: u128, parent: u128) -> Result<()> {
        let target = Target::vhd(self.images[&parent].clone())?;
        let control = Control::default();
        merge(self.images[&child].clone(), &target, &control)?;
        Ok(())
    }

    /// The parent that only this disk's leaf has, if it is large enough.
    fn own_parent(&mut self) -> Result<Option<u128>> {
        let leaf = self.vdis[self.current].leaf;
        let Some(parent) = self.parent_of(leaf)? else {
            return Ok(None);
        };
        let inspect = |number| image::inspect(&*self.images[&number]);
        let fits = inspect(parent)?.virtual_size == inspect(leaf)?.virtual_size;
        Ok((fits && self.children_of(parent)? == [leaf]).then_some(parent))
    }

    pub fn merge_leaf(&mut self) -> Result<()> {
        let Some(parent) = self.own_parent()? else {
            return Ok(());
        };
        self.close()?;
        let leaf = self.vdis[self.current].leaf;
        self.merge(leaf, parent)?;
        self.vdis[self.current].leaf = parent;
        self.images.remove(&leaf);
        Ok(())
    }

    pub fn merge_live(&mut self) -> Result<()> {
        let Some(parent) = self.own_parent()? else {
            return Ok(());
        };
        let mut chain = self.take_chain()?;
        let target = Target::vhd(self.images[&parent].clone())?;
        self.live = Some((LiveMerge::start(&mut chain, target)?, parent));
        self.chain = Some(chain);
        Ok(())
    }

    /// Goes on with a live merge: some chunks at a time, so that other operations come between.
    pub fn step_live(&mut self) -> Result<()> {
        let (Some((live, parent)), Some(chain)) = (&mut self.live, &self.chain) else {
            return Ok(());
        };
        let parent = *parent;
        for _ in 0..4 {
            if !live.step(chain)?.finished {
                continue;
            }
            live.equal(chain)?;
            live.begin_commit(chain)?;
            chain.flush()?;
            let (live, _) = self.live.take().expect("looked at above");
            let chain = self.chain.take().expect("looked at above");
            let (merged, _) = live.into_chain(chain).map_err(|failed| failed.1)?;
            let find = |link: &ParentLink| Ok(self.find(link));
            let stack = ParentStack::open(merged.info(), &find)?;
            let replaced = merged.replace_parents(stack);
            self.chain = Some(replaced.map_err(|(_, error)| error)?);
            let vdi = &mut self.vdis[self.current];
            vdi.truth.flushed();
            self.images.remove(&vdi.leaf);
            vdi.leaf = parent;
            break;
        }
        Ok(())
    }
}
