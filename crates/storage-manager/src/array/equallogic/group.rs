//! The commands of a group, with what they answer.

use std::sync::Arc;

use super::access::{self, AccessRecord};
use super::description::Allocation;
use super::error::{CliError, absent};
use super::fields::Fields;
use super::names;
use super::screen::Answer;
use super::sessions::{Command, Sessions};
use super::size::{self, Shown};
use super::table::Table;

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    sessions: Arc<Sessions>,
}

/// A storage pool as `pool show` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// True for the pool that is used where none is named.
    pub is_default: bool,
    /// How many arrays it has.
    pub members: u32,
    /// How many volumes.
    pub volumes: u32,
    /// Bytes.
    pub capacity: u64,
    /// Bytes.
    pub free: u64,
}

/// A volume, or a snapshot of one, as `show` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// Its size.
    pub size: Shown,
    /// Bytes of the pool that it has.
    pub reserved: u64,
    /// The name of its iSCSI target.
    pub target: String,
    /// Its Description.
    pub description: String,
    /// True while initiators may log in.
    pub is_online: bool,
    /// How many snapshots it has.
    pub snapshots: u32,
    /// How many initiators are logged in.
    pub connections: u32,
    /// Bytes of snapshots in percent of its own, where it is told.
    pub snap_reserve: Option<u32>,
    /// What happens when those are full, where it is told.
    pub snap_depletion: Option<String>,
    /// Its pool, where it is told.
    pub pool: Option<String>,
}

/// A volume as `volume show` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVolume {
    /// Its name.
    pub name: String,
    /// How many snapshots it has, where that can be read.
    pub snapshots: Option<u32>,
}

/// What a volume is made with.
#[derive(Clone, Debug)]
pub struct NewVolume<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size in pages of 15 MB.
    pub pages: u64,
    /// How its space is taken.
    pub allocation: Allocation,
    /// Bytes of snapshots in percent of its own.
    pub snap_reserve: u32,
    /// What happens when those are full; the group's way where it is none.
    pub snap_depletion: Option<&'a str>,
    /// Its Description.
    pub description: &'a str,
    /// Its pool.
    pub pool: &'a str,
}

/// A volume or a snapshot by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// A volume.
    Volume(&'a str),
    /// A snapshot of a volume.
    Snapshot(&'a str, &'a str),
}

impl Object<'_> {
    /// What commands about it begin with.
    fn select(self) -> String {
        match self {
            Object::Volume(name) => format!("volume select {name}"),
            Object::Snapshot(volume, name) => {
                format!("volume select {volume} snapshot select {name}")
            }
        }
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        match self {
            Object::Volume(name) | Object::Snapshot(_, name) => name,
        }
    }
}

impl Group {
    /// Talks over given sessions.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Group { sessions }
    }

    /// Where it is, for messages.
    pub fn address(&self) -> String {
        self.sessions.address()
    }

    /// Why it does not answer, as far as the last command tells; no I/O.
    pub fn health(&self) -> Option<String> {
        self.sessions.health()
    }

    /// Ends the sessions that nobody uses.
    pub fn release(&self) {
        self.sessions.release();
    }

    /// The address that stands for the whole group.
    pub fn group_address(&self) -> Result<String, CliError> {
        let fields = self.fields("grpparams show")?;
        let address = fields.get("Group-Ipaddress")?.or(fields.get("Ipaddress")?);
        let address =
            address.ok_or_else(|| fields.unreadable("Group-Ipaddress is missing".to_owned()))?;
        Ok(address.to_owned())
    }

    /// The firmware of the members, as far as they tell: `V5.0.2`.
    pub fn firmware(&self) -> Result<Vec<String>, CliError> {
        let answer = self.ask("member show")?;
        let table = Table::of(&answer, 0);
        let version = |row: super::table::Row<'_>| row.get("Version").map(str::to_owned);
        Ok(table.rows().filter_map(version).collect())
    }

    /// The pools.
    ///
    /// # Errors
    /// When a pool's figures cannot be read.
    pub fn pools(&self) -> Result<Vec<Pool>, CliError> {
        let command = "pool show";
        let answer = self.ask(command)?;
        let table = Table::of(&answer, 0);
        let pool = |row: super::table::Row<'_>| -> Option<Pool> {
            let number = |name| row.get(name).and_then(|text| text.parse().ok());
            let bytes = |name| {
                row.get(name)
                    .and_then(Shown::parse)
                    .map(|shown| shown.bytes)
            };
            Some(Pool {
                name: row.first().to_owned(),
                is_default: row
                    .get("Default")
                    .is_some_and(|text| matches!(text, "true" | "yes" | "Y")),
                members: number("Members")?,
                volumes: number("Volumes")?,
                capacity: bytes("Capacity")?,
                free: bytes("FreeSpace").or_else(|| bytes("Free"))?,
            })
        };
        table
            .rows()
            .map(|row| {
                pool(row).ok_or_else(|| CliError::Unreadable {
                    command: command.to_owned(),
                    reason: format!("the figures of pool {:?} are not there", row.first()),
                })
            })
            .collect()
    }

    /// Size and free bytes of a pool; none when there is no such.
    pub fn pool_space(&self, name: &str) -> Result<Option<(u64, u64)>, CliError> {
        let command = format!("pool select {} show", quoted(name)?);
        let Some(fields) = absent(self.fields(&command))? else {
            return Ok(None);
        };
        let bytes = |key: &str| {
            let text = fields.need(key)?;
            let shown = Shown::parse(text);
            shown
                .map(|shown| shown.bytes)
                .ok_or_else(|| fields.unreadable(format!("{key} is {text:?}")))
        };
        Ok(Some((bytes("TotalCapacity")?, bytes("FreeSpace")?)))
    }

    /// All volumes.
    pub fn volumes(&self) -> Result<Vec<ListedVolume>, CliError> {
        let answer = self.ask("volume show")?;
        let table = Table::of(&answer, 0);
        let listed = table.rows().map(|row| ListedVolume {
            name: row.first().to_owned(),
            snapshots: row.get("Snapshots").and_then(|text| text.parse().ok()),
        });
        Ok(listed.filter(|listed| !listed.name.is_empty()).collect())
    }

    /// The names of all snapshots of a volume.
    pub fn snapshot_names(&self, volume: &str) -> Result<Vec<String>, CliError> {
        self.names(&format!("volume select {volume} snapshot show"))
    }

    /// What is there of a name.
    pub fn show(&self, object: Object<'_>) -> Result<Option<Shelf>, CliError> {
        let fields = absent(self.fields(&format!("{} show", object.select())))?;
        fields.map(|fields| shelf(&fields, object)).transpose()
    }

    /// Makes a volume that is offline.
    pub fn create(&self, new: &NewVolume<'_>) -> Result<(), CliError> {
        let mut text = format!("volume create {} {}", new.name, size::argument(new.pages));
        text.push_str(&format!(" pool {}", quoted(new.pool)?));
        if new.allocation == Allocation::Thin {
            text.push_str(" thin-provision");
        }
        text.push_str(&format!(" snap-reserve {}%", new.snap_reserve));
        if let Some(depletion) = new.snap_depletion {
            text.push_str(&format!(" snap-depletion {depletion}"));
        }
        text.push_str(&format!(" description \"{}\" offline", new.description));
        self.tell(Command::new(text)).map(drop)
    }

    /// Makes a volume that is a copy.
    pub fn clone_of(
        &self,
        source: Object<'_>,
        new: &str,
        description: &str,
    ) -> Result<(), CliError> {
        let text = format!(
            "{} clone {new} description \"{description}\"",
            source.select()
        );
        self.tell(Command::copying(text)).map(drop)
    }

    /// Makes a snapshot; answers the name that the group gave it.
    pub fn snapshot(&self, volume: &str, description: &str) -> Result<Option<String>, CliError> {
        let text =
            format!("volume select {volume} snapshot create-now description \"{description}\"");
        let answer = self.tell(Command::copying(text))?;
        Ok(answer.after("Snapshot name is"))
    }

    /// Gives a snapshot another name.
    pub fn rename_snapshot(&self, volume: &str, old: &str, new: &str) -> Result<(), CliError> {
        let old = word(old)?;
        let text = format!("volume select {volume} snapshot rename {old} {new}");
        self.tell(Command::new(text)).map(drop)
    }

    /// Changes the Description of a volume.
    pub fn describe(&self, volume: &str, description: &str) -> Result<(), CliError> {
        let text = format!("volume select {volume} description \"{description}\"");
        self.repeat(Command::new(text)).map(drop)
    }

    /// Changes the size of a volume, without the snapshot that the group would make first.
    pub fn resize(&self, volume: &str, pages: u64) -> Result<(), CliError> {
        let text = format!(
            "volume select {volume} size {} no-snap",
            size::argument(pages)
        );
        self.repeat(Command::confirmed(text)).map(drop)
    }

    /// Lets initiators in, or ends their sessions and lets none in.
    pub fn set_online(&self, object: Object<'_>, is_online: bool) -> Result<(), CliError> {
        let state = if is_online { "online" } else { "offline" };
        let text = format!("{} {state}", object.select());
        self.repeat(Command::confirmed(text)).map(drop)
    }

    /// Removes what is offline.
    pub fn delete(&self, object: Object<'_>) -> Result<(), CliError> {
        let text = match object {
            Object::Volume(name) => format!("volume delete {name}"),
            Object::Snapshot(volume, name) => {
                format!("volume select {volume} snapshot delete {name}")
            }
        };
        self.repeat(Command::confirmed(text)).map(drop)
    }

    /// Gives a volume the content of one of its snapshots; it must be offline.
    pub fn restore(&self, volume: &str, snapshot: &str) -> Result<(), CliError> {
        let text = format!("volume select {volume} snapshot select {snapshot} restore");
        self.tell(Command {
            is_confirmed: true,
            ..Command::copying(text)
        })
        .map(drop)
    }

    /// Who may log in to a volume and its snapshots.
    pub fn access(&self, volume: &str) -> Result<Vec<AccessRecord>, CliError> {
        let answer = self.ask(&format!("volume select {volume} access show"))?;
        Ok(access::records(&answer))
    }

    /// Lets an initiator log in.
    pub fn allow(
        &self,
        volume: &str,
        initiator: &str,
        chap_user: Option<&str>,
    ) -> Result<(), CliError> {
        let initiator = word(initiator)?;
        let mut text = format!("volume select {volume} access create initiator {initiator}");
        if let Some(user) = chap_user {
            text.push_str(&format!(" authmethod chap username {}", word(user)?));
        }
        self.tell(Command::new(text)).map(drop)
    }

    /// Takes an access record back.
    pub fn disallow(&self, volume: &str, record: u32) -> Result<(), CliError> {
        let text = format!("volume select {volume} access delete {record}");
        self.repeat(Command::confirmed(text)).map(drop)
    }

    fn names(&self, command: &str) -> Result<Vec<String>, CliError> {
        let answer = self.ask(command)?;
        let table = Table::of(&answer, 0);
        let names = table.rows().map(|row| row.first().to_owned());
        Ok(names.filter(|name| !name.is_empty()).collect())
    }

    fn fields(&self, command: &str) -> Result<Fields, CliError> {
        Ok(Fields::of(&self.ask(command)?, command))
    }

    fn ask(&self, command: &str) -> Result<Answer, CliError> {
        self.sessions.ask(&Command::new(command))
    }

    /// Runs a command that changes the same whether it is run once or twice.
    fn repeat(&self, command: Command) -> Result<Answer, CliError> {
        self.sessions.ask(&command)
    }

    fn tell(&self, command: Command) -> Result<Answer, CliError> {
        self.sessions.tell(&command)
    }
}

fn shelf(fields: &Fields, object: Object<'_>) -> Result<Shelf, CliError> {
    let name = fields.need("Name")?;
    if name != object.name() {
        return Err(fields.unreadable(format!("it is about {name:?}")));
    }
    let sized = |key: &str| -> Result<Option<Shown>, CliError> {
        let Some(text) = fields.get(key)? else {
            return Ok(None);
        };
        let shown = Shown::parse(text);
        shown
            .map(Some)
            .ok_or_else(|| fields.unreadable(format!("{key} is {text:?}")))
    };
    let size = match (sized("Size")?, object) {
        (Some(size), _) => size,
        (None, Object::Snapshot(..)) => Shown {
            bytes: 0,
            tolerance: u64::MAX,
        },
        (None, Object::Volume(_)) => return Err(fields.unreadable("Size is missing".to_owned())),
    };
    let status = fields.need("Status")?;
    // A volume that does not say how many it has may have some.
    let number = |key: &str| -> Result<u32, CliError> {
        let text = match object {
            Object::Volume(_) => fields.need(key)?,
            Object::Snapshot(..) => fields.get(key)?.unwrap_or("0"),
        };
        text.parse()
            .map_err(|_| fields.unreadable(format!("{key} is {text:?}")))
    };
    let owned =
        |key: &str| -> Result<Option<String>, CliError> { Ok(fields.get(key)?.map(str::to_owned)) };
    Ok(Shelf {
        size,
        reserved: sized("VolReserve")?.map_or(0, |shown| shown.bytes),
        target: fields.need("iSCSI Name")?.to_owned(),
        description: fields.get("Description")?.unwrap_or_default().to_owned(),
        is_online: status.starts_with("online"),
        snapshots: number("Snapshots")?,
        connections: number("Connections")?,
        snap_reserve: fields.get("Snap-Reserve")?.and_then(size::percent),
        snap_depletion: owned("Snap-Depletion")?,
        pool: owned("Pool")?,
    })
}

/// A name that somebody else chose, where one word is meant.
fn word(name: &str) -> Result<&str, CliError> {
    match names::is_word(name) {
        true => Ok(name),
        false => Err(CliError::Untypable {
            command: name.to_owned(),
        }),
    }
}

/// A name that somebody else chose.
fn quoted(name: &str) -> Result<String, CliError> {
    if !names::is_quotable(name) {
        return Err(CliError::Untypable {
            command: name.to_owned(),
        });
    }
    Ok(match name.contains(' ') {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    })
}
