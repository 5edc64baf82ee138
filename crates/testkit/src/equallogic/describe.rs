//! What the `show` commands answer.

use super::answer::{Answer, Column};
use super::group::{Account, Group, Role, Settings};
use super::refusal::Refusal;
use super::size::{self, PAGE};
use super::volume::Volume;

/// How many initiators are connected to data.
pub type Connections<'a> = &'a dyn Fn(u64) -> usize;

/// Looks at a group with the eyes of an account.
pub struct View<'a> {
    /// What is looked at.
    pub group: &'a Group,
    /// Who looks.
    pub account: &'a Account,
    /// Counts initiators.
    pub connections: Connections<'a>,
}

const POOL_COLUMNS: &[Column] = &[
    ("Name", 20),
    ("Default", 7),
    ("Members", 7),
    ("Volumes", 7),
    ("Capacity", 10),
    ("FreeSpace", 10),
];

const MEMBER_COLUMNS: &[Column] = &[
    ("Name", 10),
    ("Status", 7),
    ("Version", 10),
    ("Disks", 5),
    ("Capacity", 10),
    ("FreeSpace", 10),
    ("Connections", 11),
];

impl View<'_> {
    /// Whether the account sees this pool.
    pub fn sees(&self, pool: &str) -> bool {
        match &self.account.role {
            Role::PoolAdministrator(pools) => pools.iter().any(|one| one == pool),
            _ => true,
        }
    }

    /// The volume of this name, if the account sees it.
    pub fn volume(&self, name: &str) -> Result<&Volume, Refusal> {
        let volume = self.group.volume(name)?;
        if !self.sees(&volume.pool) {
            return Err(Refusal::Missing {
                what: "Volume",
                name: name.to_owned(),
            });
        }
        Ok(volume)
    }

    /// `show`.
    pub fn group(&self, answer: &mut Answer) {
        let values = [
            ("Name", self.group.name.clone()),
            ("Group-Ipaddress", self.group.address.to_string()),
            ("Members", self.group.members.len().to_string()),
            ("Volumes", self.group.volumes.len().to_string()),
        ];
        self.block(answer, "Group Information", &values);
    }

    /// `grpparams show`.
    pub fn parameters(&self, answer: &mut Answer) {
        let switch = |on: bool| if on { "enabled" } else { "disabled" }.to_owned();
        let values = [
            ("Name", self.group.name.clone()),
            ("Group-Ipaddress", self.group.address.to_string()),
            ("Def-Snap-Reserve", format!("{}%", self.group.snap_reserve)),
            ("Def-Snap-Warn", "10%".to_owned()),
            ("Def-Snap-Depletion", self.group.depletion.text().to_owned()),
            ("Description", String::new()),
            ("Def-Iscsi-Prefix", "iqn.2001-05.com.equallogic".to_owned()),
            ("Info-messages", switch(self.group.info_messages)),
            ("Cliaccess-SSH", switch(true)),
            ("Cliaccess-Telnet", switch(false)),
            ("Webaccess", switch(true)),
            ("Location", "default".to_owned()),
        ];
        self.block(answer, "Group Parameters Information", &values);
    }

    /// `pool show`.
    pub fn pools(&self, answer: &mut Answer) {
        let seen = self.group.pools.iter().filter(|pool| self.sees(&pool.name));
        let rows: Vec<Vec<String>> = seen
            .map(|pool| {
                let members = self
                    .group
                    .members
                    .iter()
                    .filter(|one| one.pool == pool.name);
                vec![
                    pool.name.clone(),
                    pool.default.to_string(),
                    members.count().to_string(),
                    self.group.volumes_of(&pool.name).count().to_string(),
                    self.pages(self.group.pool_pages(&pool.name)),
                    self.pages(self.group.free_pages(&pool.name)),
                ]
            })
            .collect();
        answer.table(POOL_COLUMNS, &rows);
    }

    /// `pool select NAME show`: the totals first, since some clients stop to read there.
    pub fn pool(&self, answer: &mut Answer, name: &str) -> Result<(), Refusal> {
        let pool = self.group.pool(name)?;
        if !self.sees(name) {
            return Err(Refusal::Missing {
                what: "Pool",
                name: name.to_owned(),
            });
        }
        let volumes: Vec<&Volume> = self.group.volumes_of(name).collect();
        let reserved: u64 = volumes.iter().map(|one| one.reserved_pages()).sum();
        let snapshots: u64 = volumes.iter().map(|one| one.snapshot_reserve_pages()).sum();
        let reported: u64 = volumes.iter().map(|one| size::rounded(one.size)).sum();
        let online = volumes.iter().filter(|one| one.is_online()).count();
        let values = [
            ("Name", name.to_owned()),
            ("Default", pool.default.to_string()),
            ("TotalCapacity", self.pages(self.group.pool_pages(name))),
            ("FreeSpace", self.pages(self.group.free_pages(name))),
            ("VolumeReserve", self.pages(reserved)),
            ("SnapshotReserve", self.pages(snapshots)),
            ("VolumeReportedSpace", self.size(reported)),
            ("TotalVolumes", volumes.len().to_string()),
            ("OnlineVolumes", online.to_string()),
        ];
        self.block(answer, "Pool Information", &values);
        answer.line("");
        answer.title("Volumes");
        answer.line("");
        self.volume_table(answer, &volumes);
        Ok(())
    }

    /// `member show`.
    pub fn members(&self, answer: &mut Answer) {
        let members = self.group.members.iter().filter(|one| self.sees(&one.pool));
        let rows: Vec<Vec<String>> = members
            .map(|member| {
                vec![
                    member.name.clone(),
                    "online".to_owned(),
                    member.firmware.clone(),
                    "16".to_owned(),
                    self.pages(member.pages),
                    self.pages(self.group.free_pages(&member.pool).min(member.pages)),
                    "0".to_owned(),
                ]
            })
            .collect();
        answer.table(MEMBER_COLUMNS, &rows);
    }

    /// `member select NAME show [controllers]`.
    pub fn member(
        &self,
        answer: &mut Answer,
        name: &str,
        controllers: bool,
    ) -> Result<(), Refusal> {
        let found = self.group.members.iter().find(|one| one.name == name);
        let member = found.ok_or_else(|| Refusal::Missing {
            what: "Member",
            name: name.to_owned(),
        })?;
        if controllers {
            let values = [
                ("SlotID", "0".to_owned()),
                ("Status", "active".to_owned()),
                ("Model", "70-0476(TYPE 11)".to_owned()),
                (
                    "FW Rev.",
                    format!("Storage Array Firmware {}", member.firmware),
                ),
            ];
            self.block(answer, "Controller Information", &values);
            return Ok(());
        }
        let values = [
            ("Name", member.name.clone()),
            ("Status", "online".to_owned()),
            ("TotalSpace", self.pages(member.pages)),
            (
                "FreeSpace",
                self.pages(self.group.free_pages(&member.pool).min(member.pages)),
            ),
            ("Pool", member.pool.clone()),
            ("Disks", "16".to_owned()),
            ("Version", member.firmware.clone()),
        ];
        self.block(answer, "Member Information", &values);
        Ok(())
    }

    /// `volume show`.
    pub fn volumes(&self, answer: &mut Answer) {
        let all = self.group.volumes.values();
        let seen: Vec<&Volume> = all.filter(|volume| self.sees(&volume.pool)).collect();
        self.volume_table(answer, &seen);
    }

    /// `cli-settings show`.
    pub fn settings(&self, answer: &mut Answer, settings: &Settings) {
        let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
        let values = [
            ("Confirmation", switch(settings.confirmation)),
            ("Paging", switch(settings.paging)),
            ("Events", switch(settings.events)),
            ("FormatOutput", switch(settings.formatoutput)),
            ("DisplayInMB", switch(settings.display_in_mb)),
            ("IdleLogout", switch(settings.idlelogout)),
            ("ReprintBadInput", switch(settings.reprint_bad_input)),
        ];
        self.block(answer, "CLI Settings", &values);
    }

    /// The first number of the oldest member's version.
    pub fn firmware(&self) -> u32 {
        let versions = self.group.members.iter().map(|member| {
            let digits = member.firmware.trim_start_matches(['V', 'v']);
            digits
                .split('.')
                .next()
                .and_then(|first| first.parse().ok())
                .unwrap_or(0)
        });
        versions.min().unwrap_or(0)
    }

    /// Adds values under a title as the account wants them.
    pub fn block(&self, answer: &mut Answer, title: &str, values: &[(&str, String)]) {
        answer.block(title, values, self.account.settings.formatoutput);
    }

    /// So many pages as the account wants sizes.
    pub fn pages(&self, pages: u64) -> String {
        self.size(pages * PAGE)
    }

    /// A size as the account wants it.
    pub fn size(&self, bytes: u64) -> String {
        size::show(bytes, self.account.settings.display_in_mb)
    }
}
