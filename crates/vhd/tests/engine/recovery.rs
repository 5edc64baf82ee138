//! What happens when the power fails, and what must hold when it is back.

use std::collections::BTreeSet;

use vhd::check::{CheckOptions, Depth, PrimaryFooter, check};
use vhd::{Access, Part, Result, image};

use super::world::World;

impl World<'_> {
    /// Removes images that an interrupted operation made for nobody.
    fn forget_orphans(&mut self) -> Result<()> {
        let mut needed = BTreeSet::new();
        for vdi in &self.vdis {
            let mut next = Some(vdi.leaf);
            while let Some(image) = next.filter(|image| needed.insert(*image)) {
                next = self.parent_of(image)?;
            }
        }
        self.images.retain(|image, _| needed.contains(image));
        Ok(())
    }

    /// The power fails and comes back: every disk recovers and holds what was flushed.
    pub fn crash(&mut self) {
        self.crashes += 1;
        (self.chain, self.live) = (None, None);
        for disk in self
            .images
            .values()
            .chain(self.journal.iter().map(|(_, disk)| disk))
        {
            disk.crash(self.choices);
        }
        self.power.set(u64::MAX);
        if let Some((number, journal)) = self.journal.take() {
            image::revert(&*self.images[&number], &*journal).expect("a journal can be used");
        }
        self.finish_relink().expect("a relink can be finished");
        self.forget_orphans().expect("every image names its parent");
        let lenient = CheckOptions {
            primary_footer: PrimaryFooter::MayBeMissing,
            ..CheckOptions::default()
        };
        for (number, disk) in &self.images {
            let mut defects = check(&**disk, &lenient).expect("an image is found");
            defects
                .retain(|defect| defect.part != Part::Batmap && defect.part != Part::BackupFooter);
            assert_eq!(defects, [], "image {number}");
        }
        for index in 0..self.vdis.len() {
            let leaf = self.vdis[index].leaf;
            let chain = self.open(leaf, Access::ReadWrite).expect("a disk opens");
            let recovered = self.vdis[index].truth.recover(&chain);
            recovered.expect("a disk can be read");
            let strict = CheckOptions {
                depth: Depth::Bitmaps,
                ..CheckOptions::default()
            };
            assert_eq!(check(&*self.images[&leaf], &strict).expect("found"), []);
        }
    }
}
