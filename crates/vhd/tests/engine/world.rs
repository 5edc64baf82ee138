//! Virtual disks under every operation of the engine, with crashes between and inside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;
use vhd::image::{self, NewImage, NewParent};
use vhd::merge::LiveMerge;
use vhd::{Access, Chain, Error, MemoryStorage, ParentLink, ParentStorage, Result, Storage};

use super::disk::{Choices, Disk, Power};
use super::truth::Truth;

const BLOCK: u64 = 2 << 20;
const MAX_VDIS: usize = 3;
const MAX_IMAGES: usize = 12;
/// Sizes in blocks to which a disk grows: within the tables, in the gap behind them, and over the first block.
const SIZES: [u64; 7] = [5, 128, 129, 300, 900, 2000, 4100];

pub struct Vdi {
    pub leaf: u128,
    pub truth: Truth,
}

/// Everything that survives a crash, and the chain that does not.
pub struct World<'a> {
    pub choices: &'a mut dyn Choices,
    pub power: Arc<Power>,
    /// Images lie on volumes, as if they had been made in files and copied there.
    pub on_volumes: bool,
    pub images: BTreeMap<u128, Arc<Disk>>,
    pub vdis: Vec<Vdi>,
    /// Image that is being resized, and the journal.
    pub journal: Option<(u128, Arc<Disk>)>,
    /// Image whose children get another parent, and this parent.
    pub relink: Option<(u128, u128)>,
    pub last: u128,
    /// The open virtual disk.
    pub current: usize,
    pub chain: Option<Chain>,
    pub live: Option<(LiveMerge, u128)>,
    /// Crashes survived.
    pub crashes: usize,
}

/// Plays operations until the choices end, or so many were made.
pub fn play(choices: &mut dyn Choices, operations: usize) -> usize {
    let power = Arc::new(Power::default());
    power.set(u64::MAX);
    let on_volumes = choices.below(2) == 1;
    let mut world = World {
        choices,
        power,
        on_volumes,
        images: BTreeMap::new(),
        vdis: Vec::new(),
        journal: None,
        relink: None,
        last: 0,
        current: 0,
        chain: None,
        live: None,
        crashes: 0,
    };
    let leaf = world.add_image(None, 3).expect("no failure yet");
    let truth = Truth::default();
    world.vdis.push(Vdi { leaf, truth });
    for _ in 0..operations {
        let Some(choice) = world.choices.next() else {
            break;
        };
        if world.power.is_off() {
            world.crash();
        }
        if let Err(error) = world.step(choice) {
            assert!(world.power.is_off(), "{error:?}");
            world.crash();
        }
    }
    world.power.set(u64::MAX);
    world.crash();
    world.crashes
}

impl World<'_> {
    pub fn find(&self, link: &ParentLink) -> ParentStorage {
        ParentStorage::Vhd(self.images[&link.uuid.as_u128()].clone())
    }

    pub fn open(&self, leaf: u128, access: Access) -> Result<Chain> {
        let find = |link: &ParentLink| Ok(self.find(link));
        Chain::open(self.images[&leaf].clone(), &find, access)
    }

    pub fn parent_of(&self, image: u128) -> Result<Option<u128>> {
        let link = image::parent_link(&*self.images[&image])?;
        Ok(link.map(|link| link.uuid.as_u128()))
    }

    pub fn children_of(&self, parent: u128) -> Result<Vec<u128>> {
        let mut children = Vec::new();
        for image in self.images.keys() {
            if self.parent_of(*image)? == Some(parent) {
                children.push(*image);
            }
        }
        Ok(children)
    }

    fn add_image(&mut self, parent: Option<u128>, blocks: u64) -> Result<u128> {
        let number = self.last + 1;
        let new = NewImage::new(blocks * BLOCK, Uuid::from_u128(number));
        let create = |storage: &dyn Storage| match parent {
            None => image::create_dynamic(storage, &new),
            Some(parent) => image::create_differencing(storage, &new, &named(parent)),
        };
        let disk = if self.on_volumes {
            let file = MemoryStorage::new();
            create(&file)?;
            self.volume(&file.to_vec())?
        } else {
            let disk = Disk::new(&self.power);
            create(&*disk)?;
            disk
        };
        self.last = number;
        self.images.insert(number, disk);
        Ok(number)
    }

    fn volume(&self, content: &[u8]) -> Result<Arc<Disk>> {
        Disk::volume(&self.power, content).map_err(|source| Error::Io {
            action: "write",
            offset: 0,
            length: content.len() as u64,
            source,
        })
    }

    fn chain(&mut self) -> Result<&Chain> {
        if self.chain.is_none() {
            let leaf = self.vdis[self.current].leaf;
            self.chain = Some(self.open(leaf, Access::ReadWrite)?);
        }
        Ok(self.chain.as_ref().expect("opened above"))
    }

    pub fn take_chain(&mut self) -> Result<Chain> {
        self.chain()?;
        if let (Some((live, _)), Some(chain)) = (self.live.take(), &mut self.chain) {
            live.stop(chain);
        }
        Ok(self.chain.take().expect("opened above"))
    }

    pub fn close(&mut self) -> Result<()> {
        self.take_chain()?.close()?;
        self.vdis[self.current].truth.flushed();
        Ok(())
    }

    fn step(&mut self, choice: u64) -> Result<()> {
        match choice % 24 {
            0..8 => self.write()?,
            8..10 => self.zero()?,
            10 => self.discard()?,
            11..13 => {
                self.chain()?.flush()?;
                self.vdis[self.current].truth.flushed();
            }
            13 => self.close()?,
            14 => {
                self.close()?;
                self.current = self.choices.below(self.vdis.len() as u64) as usize;
            }
            15..17 => self.snapshot()?,
            17 => self.resize()?,
            18 => self.merge_inner()?,
            19 => self.merge_leaf()?,
            20 => self.merge_live()?,
            21 => self.destroy()?,
            22 => {
                let longest = [8, 30, 30, 150][self.choices.below(4) as usize];
                self.power.set(1 + self.choices.below(longest));
            }
            _ => self.crash(),
        }
        self.step_live()?;
        if choice.is_multiple_of(3) {
            let chain = self.chain.take();
            if let Some(chain) = &chain {
                self.vdis[self.current].truth.compare(chain)?;
            }
            self.chain = chain;
        }
        Ok(())
    }

    /// A range near an edge of a block or a sector, as a rule.
    fn range(&mut self) -> Result<(u64, u64)> {
        let size = self.chain()?.size();
        let blocks = (size / BLOCK).min(6);
        let choice = self.choices.below(1 << 32);
        let edge = choice % blocks * BLOCK + choice / 8 % 5 * 4096;
        let at = edge.saturating_add_signed((choice / 64 % 2000) as i64 - 1000);
        let length = match choice >> 24 {
            0..160 => 1 + choice / 128 % 3000,
            160..230 => 512 * (1 + choice / 128 % 200),
            230..250 => BLOCK,
            _ => BLOCK + 5000,
        };
        let at = if choice >> 24 >= 200 { edge } else { at }.min(size);
        Ok((at, length.min(size - at)))
    }

    fn write(&mut self) -> Result<()> {
        let (at, length) = self.range()?;
        let byte = 1 + self.choices.below(255) as u8;
        // What fails may be written in part.
        self.vdis[self.current].truth.write(at, length, byte);
        self.chain()?.write_at(&vec![byte; length as usize], at)
    }

    fn zero(&mut self) -> Result<()> {
        let (at, length) = self.range()?;
        self.vdis[self.current].truth.write(at, length, 0);
        self.chain()?.write_zeroes(at, length)
    }

    fn discard(&mut self) -> Result<()> {
        let (at, length) = self.range()?;
        let chain = self.take_chain()?;
        let discarded = chain.discard(at, length);
        let truth = &mut self.vdis[self.current].truth;
        truth.discarded(&chain, at, length)?;
        self.chain = Some(chain);
        discarded
    }

    /// A new leaf below the consumer, and often another disk on the same image.
    fn snapshot(&mut self) -> Result<()> {
        let room = MAX_IMAGES.saturating_sub(self.images.len());
        if room < 2 {
            return Ok(());
        }
        let chain = self.take_chain()?;
        let blocks = chain.size() / BLOCK;
        let base = self.vdis[self.current].leaf;
        let leaf = self.add_image(Some(base), blocks)?;
        let pushed = chain.push_leaf(self.images[&leaf].clone());
        let chain = pushed.map_err(|(_, error)| error)?;
        image::set_hidden(&*self.images[&base], true)?;
        self.vdis[self.current].truth.flushed();
        self.vdis[self.current].leaf = leaf;
        self.chain = Some(chain);
        if self.vdis.len() < MAX_VDIS && self.choices.below(3) > 0 {
            let leaf = self.add_image(Some(base), blocks)?;
            let truth = self.vdis[self.current].truth.clone();
            self.vdis.push(Vdi { leaf, truth });
        }
        Ok(())
    }

    fn resize(&mut self) -> Result<()> {
        self.close()?;
        let leaf = self.vdis[self.current].leaf;
        let blocks = SIZES[self.choices.below(SIZES.len() as u64) as usize];
        self.grow(leaf, blocks * BLOCK)
    }

    pub fn grow(&mut self, number: u128, size: u64) -> Result<()> {
        let disk = self.images[&number].clone();
        if image::inspect(&*disk)?.virtual_size >= size {
            return Ok(());
        }
        let journal = match self.on_volumes {
            true => self.volume(&[0; 512])?,
            false => Disk::new(&self.power),
        };
        self.journal = Some((number, journal.clone()));
        assert_eq!(image::grow(&*disk, &*journal, size)?, size);
        self.journal = None;
        Ok(())
    }

    /// Removes a disk and the images that only it had.
    fn destroy(&mut self) -> Result<()> {
        if self.vdis.len() < 2 {
            return Ok(());
        }
        self.close()?;
        let victim = self.vdis.remove(self.current);
        self.current = 0;
        let mut next = Some(victim.leaf);
        while let Some(image) = next {
            if !self.children_of(image)?.is_empty() {
                break;
            }
            next = self.parent_of(image)?;
            self.images.remove(&image);
        }
        Ok(())
    }
}

pub fn named(number: u128) -> NewParent {
    NewParent {
        uuid: Uuid::from_u128(number),
        timestamp: number as u32,
        path: format!("{number:032}.vhd"),
    }
}
