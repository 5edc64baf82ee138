//! The rules one by one, and a model: whatever is planned and done, no VDI changes and it comes to an end.

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn image(uuid: u128, parent: Option<u128>, hidden: bool) -> Image {
    Image {
        uuid: Uuid::from_u128(uuid),
        parent: parent.map(Uuid::from_u128),
        hidden,
        raw: false,
        virtual_size: 10 * MIB,
        physical_size: uuid as u64,
        consumers: Consumers::None,
        tracked: false,
        leaf: LeafPolicy::Allowed,
    }
}

fn inner(vdi: u128, parent: u128) -> Work {
    Work::Inner {
        vdi: Uuid::from_u128(vdi),
        parent: Uuid::from_u128(parent),
    }
}

fn leaf(vdi: u128, parent: u128) -> Work {
    Work::Leaf {
        vdi: Uuid::from_u128(vdi),
        parent: Uuid::from_u128(parent),
    }
}

fn prune(vdi: u128) -> Work {
    Work::Prune {
        vdi: Uuid::from_u128(vdi),
    }
}

fn planned(images: &[Image]) -> Vec<Work> {
    plan(images, SrPolicy::default(), &BTreeSet::new()).work
}

#[test]
fn the_root_comes_first_the_leaf_last_and_the_tallest_tree_before_others() {
    let mut images = vec![
        image(1, None, true),
        image(2, Some(1), true),
        image(3, Some(2), true),
        image(4, Some(3), false),
        image(11, None, true),
        image(12, Some(11), false),
    ];
    assert_eq!(planned(&images), [inner(2, 1), leaf(12, 11)]);
    images.push(image(20, None, true));
    assert_eq!(planned(&images), [inner(2, 1), leaf(12, 11), prune(20)]);
    let busy = BTreeSet::from([Uuid::from_u128(4)]);
    let plan = plan(&images, SrPolicy::default(), &busy);
    assert_eq!(plan.work, [leaf(12, 11), prune(20)]);
    assert_eq!(plan.backlog.len(), 5, "2, 3, 4, 12 and 20");
    assert_eq!(plan.backlog[&Uuid::from_u128(3)], 3);
}

#[test]
fn an_image_with_a_sibling_stays() {
    let images = [
        image(1, None, true),
        image(2, Some(1), true),
        image(3, Some(2), false),
        image(4, Some(1), false),
    ];
    assert_eq!(planned(&images), [leaf(3, 2)], "2 has the sibling 4");
    let snapshots = [
        image(1, None, true),
        image(2, Some(1), false),
        image(3, Some(1), false),
    ];
    assert_eq!(planned(&snapshots), []);
    let visible_parent = [image(1, None, false), image(2, Some(1), false)];
    assert_eq!(planned(&visible_parent), []);
}

#[test]
fn every_reason_keeps_an_image() {
    let chain = || vec![image(1, None, true), image(2, Some(1), false)];
    let left = |images: &[Image], policy| {
        let plan = plan(images, policy, &BTreeSet::new());
        assert_eq!(plan.work, []);
        plan.left[&Uuid::from_u128(2)]
    };
    for (policy, reason) in [
        (LeafPolicy::OnBootReset, Reason::OnBootReset),
        (LeafPolicy::AllowCaching, Reason::AllowCaching),
        (LeafPolicy::TurnedOff, Reason::LeafTurnedOff),
    ] {
        let mut images = chain();
        images[1].leaf = policy;
        assert_eq!(left(&images, SrPolicy::default()), reason);
    }
    let mut images = chain();
    images[1].consumers = Consumers::Readers;
    assert_eq!(left(&images, SrPolicy::default()), Reason::Readers);
    images[1].consumers = Consumers::Writer;
    assert_eq!(planned(&images), [leaf(2, 1)]);
    images[0].raw = true;
    assert_eq!(left(&images, SrPolicy::default()), Reason::RawParent);
    images[1].consumers = Consumers::None;
    assert_eq!(planned(&images), [leaf(2, 1)]);
    images[1].tracked = true;
    assert_eq!(left(&images, SrPolicy::default()), Reason::Tracked);
    let mut images = chain();
    images[0].virtual_size += MIB;
    assert_eq!(left(&images, SrPolicy::default()), Reason::Sizes);
    let off = |collect, coalesce| SrPolicy { collect, coalesce };
    assert_eq!(left(&chain(), off(true, false)), Reason::CoalesceTurnedOff);
    assert_eq!(left(&chain(), off(false, true)), Reason::CollectTurnedOff);
}

#[test]
fn growing_a_parent_must_not_show_what_its_end_hid() {
    let mut images = vec![
        image(1, None, true),
        image(2, Some(1), true),
        image(3, Some(2), true),
        image(4, Some(3), false),
        image(5, Some(1), false),
    ];
    images[2].virtual_size = 20 * MIB;
    assert_eq!(planned(&images), [inner(3, 2)], "2 grows to 20 MiB");
    images[0].virtual_size = 16 * MIB;
    assert_eq!(
        planned(&images),
        [],
        "4 is smaller than 3, and 2 must not grow"
    );
}

#[test]
fn the_space_is_what_the_union_takes_beyond_the_parent() {
    // A 10 GiB disk, 100 blocks in both together, 60 of them in the parent.
    let parent = 60 * (2 * MIB + 4096) + empty_overhead(10 << 30);
    let needed = space_needed(100, 10 << 30, parent);
    assert_eq!(needed, 40 * (2 * MIB + 4096));
    assert_eq!(space_needed(60, 10 << 30, parent), 0);
    assert_eq!(empty_overhead(2 * MIB), 4096);
}

/// Sectors of a disk in the model; sizes are counted in them.
const SECTORS: usize = 6;

#[derive(Clone, Debug)]
struct Model {
    images: Vec<Image>,
    /// What each image has of its own, longer than the image never.
    sectors: BTreeMap<Uuid, Vec<Option<u8>>>,
}

impl Model {
    fn image(&self, uuid: Uuid) -> &Image {
        self.images.iter().find(|i| i.uuid == uuid).unwrap()
    }

    /// What the chain of an image reads as: behind the end of an image neither it nor what lies below has anything.
    fn content(&self, uuid: Uuid) -> Vec<u8> {
        let size = self.image(uuid).virtual_size as usize;
        (0..size)
            .map(|sector| {
                let mut next = Some(uuid);
                while let Some(at) = next {
                    let image = self.image(at);
                    if sector >= image.virtual_size as usize {
                        return 0;
                    }
                    if let Some(byte) = self.sectors[&at][sector] {
                        return byte;
                    }
                    next = image.parent;
                }
                0
            })
            .collect()
    }

    fn merge(&mut self, vdi: Uuid, parent: Uuid) {
        let size = self.image(vdi).virtual_size;
        let own = self.sectors[&vdi].clone();
        let target = self.images.iter_mut().find(|i| i.uuid == parent).unwrap();
        assert!(target.virtual_size <= size);
        target.virtual_size = size;
        let sectors = self.sectors.get_mut(&parent).unwrap();
        for (to, from) in sectors.iter_mut().zip(own) {
            *to = from.or(*to);
        }
    }

    fn remove(&mut self, uuid: Uuid) {
        self.images.retain(|image| image.uuid != uuid);
        self.sectors.remove(&uuid);
    }

    fn run(&mut self, work: Work) {
        let vdi = work.vdi();
        let children = |model: &Model, of: Uuid| {
            let children = model.images.iter().filter(|i| i.parent == Some(of));
            children.map(|i| i.uuid).collect::<Vec<_>>()
        };
        match work {
            Work::Prune { .. } => {
                assert!(children(self, vdi).is_empty() && self.image(vdi).hidden);
                self.remove(vdi);
            }
            Work::Inner { parent, .. } => {
                assert_eq!(children(self, parent), [vdi], "another child would change");
                self.merge(vdi, parent);
                for image in &mut self.images {
                    if image.parent == Some(vdi) {
                        image.parent = Some(parent);
                    }
                }
                self.remove(vdi);
            }
            Work::Leaf { parent, .. } => {
                assert_eq!(children(self, parent), [vdi], "another child would change");
                assert!(children(self, vdi).is_empty());
                self.merge(vdi, parent);
                self.remove(vdi);
                let sectors = self.sectors.remove(&parent).unwrap();
                self.sectors.insert(vdi, sectors);
                let image = self.images.iter_mut().find(|i| i.uuid == parent).unwrap();
                image.uuid = vdi;
                image.hidden = false;
            }
        }
    }
}

prop_compose! {
    fn model()(
        specs in prop::collection::vec(
            (0usize..12, any::<bool>(), 1usize..=SECTORS, prop::collection::vec(prop::option::of(1u8..255), SECTORS), 0u8..12),
            1..12,
        ),
    ) -> Model {
        let mut model = Model { images: Vec::new(), sectors: BTreeMap::new() };
        for (index, (parent, hidden, size, sectors, kind)) in specs.into_iter().enumerate() {
            let parent = (index > 0 && parent != 0).then(|| (parent - 1) % index).map(|p| p as u128 + 1);
            let mut new = image(index as u128 + 1, parent, hidden);
            new.virtual_size = size as u64;
            match kind {
                0 => new.leaf = LeafPolicy::OnBootReset,
                1 => new.consumers = Consumers::Readers,
                2 => new.consumers = Consumers::Writer,
                3 => new.raw = new.parent.is_none(),
                4 => new.tracked = true,
                _ => {}
            }
            let own = sectors.into_iter().enumerate().map(|(at, byte)| byte.filter(|_| at < size)).collect();
            model.sectors.insert(new.uuid, own);
            model.images.push(new);
        }
        model
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_plan_keeps_every_vdi_and_comes_to_an_end(mut model in model()) {
        let visible: Vec<Uuid> = model.images.iter().filter(|i| !i.hidden).map(|i| i.uuid).collect();
        let before: Vec<Vec<u8>> = visible.iter().map(|uuid| model.content(*uuid)).collect();
        let mut steps = 0;
        loop {
            let plan = plan(&model.images, SrPolicy::default(), &BTreeSet::new());
            let Some(work) = plan.work.first() else {
                prop_assert!(plan.backlog.is_empty(), "a backlog that nothing is done about");
                break;
            };
            prop_assert!(plan.backlog.contains_key(&work.vdi()));
            model.run(*work);
            steps += 1;
            prop_assert!(steps <= visible.len() + 12, "each step removes an image");
            for (uuid, before) in visible.iter().zip(&before) {
                prop_assert_eq!(&model.content(*uuid), before);
            }
        }
    }
}

/// 100 blocks are 207 MiB with everything, whatever the size of the disk.
#[test]
fn space_on_volumes_is_that_of_the_parent_which_is_made_larger() {
    let full = full_size;
    assert_eq!(
        volume_space_needed(100, None, false, 8 * MIB),
        full(200 * MIB) - 8 * MIB
    );
    assert_eq!(full(200 * MIB), 208 * MIB);
    assert_eq!(
        volume_space_needed(100, Some(1 << 30), false, 208 * MIB),
        full(1 << 30) - 208 * MIB
    );
    assert_eq!(volume_space_needed(100, None, false, full(1 << 30)), 0);
    assert_eq!(volume_space_needed(100, None, true, 4 * MIB), 0);
}
