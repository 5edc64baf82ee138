//! From text to model.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Creation, LogicalVolume, PhysicalVolume, Segment, SegmentKind, Stripe, VolumeGroup};
use crate::Id;
use crate::error::{Error, Result};
use crate::text::{Entry, Item, Value, parse};

/// Largest numbers that LVM2 keeps in 32 bits.
const MAX_U32: u64 = u32::MAX as u64;
/// Largest sizes in sectors: 8 EiB.
const MAX_SECTORS: u64 = u64::MAX / 1024;
/// The two kinds of segment whose rules are known.
const STRIPED: [&str; 2] = ["striped", "linear"];

impl VolumeGroup {
    /// Reads a text. `origin` says in errors where it came from.
    ///
    /// # Errors
    /// [`Error::Syntax`] and [`Error::Metadata`]; what was read also satisfies [`VolumeGroup::check`].
    pub fn parse(text: &[u8], origin: &str) -> Result<Self> {
        let document = parse(text).map_err(|source| Error::Syntax {
            device: origin.to_owned(),
            source,
        })?;
        let mut top = Section::new(origin, document.entries);
        let contents = top.text("contents")?;
        if contents != "Text Format Volume Group" {
            return Err(top.wrong("contents are those of a volume group", contents));
        }
        let version = top.number("version", MAX_U32)?;
        if version != 1 {
            return Err(top.wrong("version is 1", version));
        }
        let mut sections = top
            .entries
            .into_iter()
            .filter_map(|entry| match entry.item {
                Item::Section(inside) => Some((entry.key, inside)),
                Item::Value(_) => None,
            });
        let (name, inside) = sections
            .next()
            .ok_or_else(|| wrong(origin, "there is a section of a volume group", ""))?;
        if let Some((second, _)) = sections.next() {
            return Err(wrong(origin, "there is one volume group", second));
        }
        let group = group(name, inside, document.lossy)?;
        group.check()?;
        Ok(group)
    }
}

fn group(name: String, inside: Vec<Entry>, lossy: bool) -> Result<VolumeGroup> {
    let mut section = Section::new(&name, inside);
    let physical_volumes = section.section("physical_volumes")?;
    let physical_volumes: Vec<PhysicalVolume> = each(physical_volumes, physical_volume)?;
    let indexes: HashMap<&str, usize> = physical_volumes
        .iter()
        .enumerate()
        .map(|(index, one)| (one.name.as_str(), index))
        .collect();
    let logical_volumes = section.section("logical_volumes")?;
    let logical_volumes = each(logical_volumes, |name, inside| {
        logical_volume(name, inside, &indexes).map(Arc::new)
    })?;
    Ok(VolumeGroup {
        id: section.id()?,
        sequence: section.number("seqno", MAX_U32)? as u32,
        extent_size: section.number("extent_size", MAX_U32)?,
        status: section.texts("status")?,
        flags: section.texts("flags")?,
        tags: section.texts("tags")?,
        physical_volumes,
        logical_volumes,
        others: section.entries,
        name,
        lossy,
    })
}

fn each<T>(entries: Vec<Entry>, read: impl Fn(String, Vec<Entry>) -> Result<T>) -> Result<Vec<T>> {
    let read = entries.into_iter().map(|entry| match entry.item {
        Item::Section(inside) => read(entry.key, inside),
        Item::Value(_) => Err(wrong(&entry.key, "it is a section", "a value")),
    });
    read.collect()
}

fn physical_volume(name: String, inside: Vec<Entry>) -> Result<PhysicalVolume> {
    let mut section = Section::new(&name, inside);
    Ok(PhysicalVolume {
        id: section.id()?,
        device: section.find_text("device")?.unwrap_or_default(),
        status: section.texts("status")?,
        flags: section.texts("flags")?,
        device_size: section.find_number("dev_size", MAX_SECTORS)?.unwrap_or(0),
        data_start: section.number("pe_start", MAX_SECTORS)?,
        extents: section.number("pe_count", MAX_U32)?,
        others: section.entries,
        name,
    })
}

fn logical_volume(
    name: String,
    inside: Vec<Entry>,
    indexes: &HashMap<&str, usize>,
) -> Result<LogicalVolume> {
    let mut section = Section::new(&name, inside);
    let count = section.number("segment_count", MAX_U32)?;
    let mut segments = Vec::new();
    let mut others = Vec::new();
    for entry in std::mem::take(&mut section.entries) {
        match entry.item {
            Item::Section(inside) => segments.push(segment(&name, &entry.key, inside, indexes)?),
            Item::Value(_) => others.push(entry),
        }
    }
    section.entries = others;
    if segments.len() as u64 != count {
        return Err(section.wrong("segment_count is the number of segments", count));
    }
    segments.sort_by_key(|segment| segment.start);
    let time = section.find_number("creation_time", u64::MAX >> 1)?;
    let host = section.find_text("creation_host")?;
    Ok(LogicalVolume {
        id: section.id()?,
        status: section.texts("status")?,
        flags: section.texts("flags")?,
        tags: section.texts("tags")?,
        creation: time.map(|time| Creation {
            time,
            host: host.unwrap_or_default(),
        }),
        segments,
        others: section.entries,
        name,
    })
}

fn segment(
    volume: &str,
    name: &str,
    inside: Vec<Entry>,
    indexes: &HashMap<&str, usize>,
) -> Result<Segment> {
    let mut section = Section::new(volume, inside);
    if !name.starts_with("segment") {
        return Err(section.wrong("its sections are segments", name));
    }
    let start = section.number("start_extent", MAX_U32)?;
    let extents = section.number("extent_count", MAX_U32)?;
    let kind = section.text("type")?;
    let is_known = STRIPED.contains(&kind.as_str()) && !lies_on_volumes(&section, indexes);
    let kind = match is_known {
        true => striped(&mut section, indexes)?,
        false => SegmentKind::Other { name: kind },
    };
    Ok(Segment {
        start,
        extents,
        kind,
        others: section.entries,
    })
}

/// Whether a stripe names what is no physical volume: stacked logical volumes, as parts of mirrors are.
fn lies_on_volumes(section: &Section<'_>, indexes: &HashMap<&str, usize>) -> bool {
    let stripes = section.entries.iter().find(|entry| entry.key == "stripes");
    let Some(Item::Value(Value::List(list))) = stripes.map(|entry| &entry.item) else {
        return false;
    };
    let mut list = list.iter();
    list.any(|value| matches!(value, Value::Text(name) if !indexes.contains_key(name.as_str())))
}

fn striped(section: &mut Section<'_>, indexes: &HashMap<&str, usize>) -> Result<SegmentKind> {
    let count = section.number("stripe_count", MAX_U32)?;
    let stripe_size = section.find_number("stripe_size", MAX_U32)?.unwrap_or(0);
    let list = match section.take("stripes") {
        Some(Item::Value(Value::List(list))) => list,
        _ => return Err(section.wrong("stripes is a list", "")),
    };
    if list.len() as u64 != count.saturating_mul(2) || count == 0 {
        return Err(section.wrong("stripe_count is the number of stripes", count));
    }
    let mut stripes = Vec::with_capacity(list.len() / 2);
    for pair in list.chunks_exact(2) {
        let (Value::Text(name), Value::Integer(extent)) = (&pair[0], &pair[1]) else {
            return Err(section.wrong("stripes are names with extents", ""));
        };
        let Some(index) = indexes.get(name.as_str()) else {
            return Err(section.wrong("stripes lie on physical volumes", name));
        };
        let extent = u64::try_from(*extent)
            .ok()
            .filter(|extent| *extent <= MAX_U32);
        stripes.push(Stripe {
            physical_volume: *index,
            extent: extent.ok_or_else(|| section.wrong("stripes begin at extents", ""))?,
        });
    }
    Ok(SegmentKind::Striped {
        // What a single stripe has there means nothing.
        stripe_size: if stripes.len() > 1 { stripe_size } else { 0 },
        stripes,
    })
}

/// The entries of a section from which known ones are taken.
struct Section<'a> {
    object: &'a str,
    entries: Vec<Entry>,
}

impl<'a> Section<'a> {
    fn new(object: &'a str, entries: Vec<Entry>) -> Self {
        Section { object, entries }
    }

    fn wrong(&self, rule: &'static str, found: impl ToString) -> Error {
        wrong(self.object, rule, found)
    }

    fn take(&mut self, key: &str) -> Option<Item> {
        let position = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(position).item)
    }

    fn find_text(&mut self, key: &'static str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Item::Value(Value::Text(text))) => Ok(Some(text)),
            Some(_) => Err(self.wrong("it is a string", key)),
        }
    }

    fn text(&mut self, key: &'static str) -> Result<String> {
        let text = self.find_text(key)?;
        text.ok_or_else(|| self.wrong("it has to be there", key))
    }

    fn find_number(&mut self, key: &'static str, most: u64) -> Result<Option<u64>> {
        let number = match self.take(key) {
            None => return Ok(None),
            Some(Item::Value(Value::Integer(number))) => number,
            Some(_) => return Err(self.wrong("it is a number", key)),
        };
        let allowed = u64::try_from(number).ok().filter(|number| *number <= most);
        let allowed =
            allowed.ok_or_else(|| self.wrong("numbers are in range", format!("{key} = {number}")));
        allowed.map(Some)
    }

    fn number(&mut self, key: &'static str, most: u64) -> Result<u64> {
        let number = self.find_number(key, most)?;
        number.ok_or_else(|| self.wrong("it has to be there", key))
    }

    fn texts(&mut self, key: &'static str) -> Result<Vec<String>> {
        let values = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Item::Value(Value::List(values))) => values,
            // A list of one may be written without its brackets.
            Some(Item::Value(value @ Value::Text(_))) => vec![value],
            Some(_) => return Err(self.wrong("it is a list", key)),
        };
        let texts = values.into_iter().map(|value| match value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong("it is a list of strings", key)),
        });
        texts.collect()
    }

    fn id(&mut self) -> Result<Id> {
        let text = self.text("id")?;
        Id::parse(&text).ok_or_else(|| self.wrong("the id is one of LVM2", text))
    }

    fn section(&mut self, key: &'static str) -> Result<Vec<Entry>> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Item::Section(inside)) => Ok(inside),
            Some(Item::Value(_)) => Err(self.wrong("it is a section", key)),
        }
    }
}

fn wrong(object: &str, rule: &'static str, found: impl ToString) -> Error {
    /// Characters of a found value that a message repeats.
    const SHOWN: usize = 80;
    Error::Metadata {
        object: object.to_owned(),
        rule,
        found: found.to_string().chars().take(SHOWN).collect(),
    }
}
