//! What the `show` commands answer about volumes, snapshots and access control records.

use super::answer::{Answer, Column};
use super::describe::View;
use super::size;
use super::volume::{AccessRecord, Snapshot, THIN_MINIMUM, Volume, percent_of};

const RECORD_COLUMNS: &[Column] = &[
    ("ID", 3),
    ("Initiator", 29),
    ("Ipaddress", 15),
    ("AuthMethod", 10),
    ("UserName", 10),
    ("Apply-To", 8),
];

const SNAPSHOT_COLUMNS: &[Column] = &[
    ("Name", 30),
    ("Permission", 10),
    ("Status", 7),
    ("Connections", 11),
];

const VOLUME_COLUMNS: &[Column] = &[
    ("Name", 15),
    ("Size", 10),
    ("Snapshots", 9),
    ("Status", 7),
    ("Permission", 10),
    ("Connections", 11),
    ("TP", 2),
];

impl View<'_> {
    /// Volumes as `volume show` lists them.
    pub fn volume_table(&self, answer: &mut Answer, volumes: &[&Volume]) {
        let rows: Vec<Vec<String>> = volumes
            .iter()
            .map(|volume| {
                vec![
                    volume.name.clone(),
                    self.size(volume.size),
                    volume.snapshots.len().to_string(),
                    volume.status().to_owned(),
                    permission(volume.writable),
                    (self.connections)(volume.id).to_string(),
                    if volume.thin { "Y" } else { "N" }.to_owned(),
                ]
            })
            .collect();
        answer.table(VOLUME_COLUMNS, &rows);
    }

    /// `volume select NAME show`.
    pub fn one_volume(&self, answer: &mut Answer, volume: &Volume) {
        let reserve = volume.snapshot_reserve_pages();
        let left = reserve.saturating_sub(volume.snapshot_used_pages());
        let left_percent = (left * 100).checked_div(reserve).unwrap_or(0);
        let online = if volume.online { "online" } else { "offline" };
        let mut values = vec![
            ("Name", volume.name.clone()),
            ("Size", self.size(volume.size)),
            ("VolReserve", self.pages(volume.reserved_pages())),
            ("VolReserveInUse", self.pages(volume.used_pages)),
            ("ReplReserveInUse", self.size(0)),
            ("iSCSI Alias", volume.alias.clone()),
            ("iSCSI Name", volume.iqn.clone()),
            ("ActualMembers", "1".to_owned()),
            ("Snap-Warn", format!("{}%", volume.snap_warn)),
            ("Snap-Depletion", volume.depletion.text().to_owned()),
            ("Description", volume.description.clone()),
            ("Snap-Reserve", format!("{}%", volume.snap_reserve)),
            (
                "Snap-Reserve-Avail",
                format!("{left_percent}% ({})", self.pages(left)),
            ),
            ("Permission", permission(volume.writable)),
            ("DesiredStatus", online.to_owned()),
            ("Status", volume.status().to_owned()),
            ("Connections", (self.connections)(volume.id).to_string()),
            ("Snapshots", volume.snapshots.len().to_string()),
            ("Bind", String::new()),
            ("Type", "not-replicated".to_owned()),
            ("ReplicationReserveSpace", self.size(0)),
        ];
        if self.firmware() >= 5 {
            values.extend(self.newer_values(volume));
        }
        self.block(answer, "Volume Information", &values);
        if !volume.records.is_empty() {
            answer.line("");
            answer.title("Access Records");
            answer.line("");
            record_table(answer, &volume.records);
        }
        if !volume.snapshots.is_empty() {
            answer.line("");
            answer.title("Snapshots");
            answer.line("");
            self.snapshot_table(answer, &volume.snapshots);
        }
    }

    fn newer_values(&self, volume: &Volume) -> Vec<(&'static str, String)> {
        let switch = |on: bool| if on { "enabled" } else { "disabled" }.to_owned();
        let least = percent_of(size::pages(volume.size), THIN_MINIMUM);
        let (minimum, growth) = if volume.thin {
            (
                format!("{THIN_MINIMUM}% ({})", self.pages(least)),
                "100%".to_owned(),
            )
        } else {
            (format!("0% ({})", self.size(0)), "0%".to_owned())
        };
        vec![
            ("Replicas", "0".to_owned()),
            ("ReplicationPartner", String::new()),
            ("Pool", volume.pool.clone()),
            ("Transmitted-Data", self.size(0)),
            ("Received-Data", self.size(0)),
            ("Pref-Raid-Policy", "none".to_owned()),
            ("Pref-Raid-Policy-Status", "none".to_owned()),
            ("Thin-Provision", switch(volume.thin)),
            ("Thin-Min-Reserve", minimum),
            ("Thin-Growth-Warn", growth.clone()),
            ("Thin-Growth-Max", growth),
            ("ReplicationTxData", self.size(0)),
            ("MultiHostAccess", switch(volume.multihost)),
            ("iSNS-Discovery", switch(false)),
            ("Replica-Volume-Reserve", self.size(0)),
            ("Thin-Clone", "N".to_owned()),
            ("Template", "N".to_owned()),
        ]
    }

    /// `volume select NAME snapshot show`.
    pub fn snapshot_table(&self, answer: &mut Answer, snapshots: &[Snapshot]) {
        let rows: Vec<Vec<String>> = snapshots
            .iter()
            .map(|snapshot| {
                vec![
                    snapshot.name.clone(),
                    permission(snapshot.writable),
                    online(snapshot.online),
                    (self.connections)(snapshot.id).to_string(),
                ]
            })
            .collect();
        answer.table(SNAPSHOT_COLUMNS, &rows);
    }

    /// `volume select NAME snapshot select S show`.
    pub fn one_snapshot(&self, answer: &mut Answer, snapshot: &Snapshot) {
        let values = [
            ("Name", snapshot.name.clone()),
            ("Size", self.size(snapshot.size)),
            ("iSCSI Alias", snapshot.name.clone()),
            ("iSCSI Name", snapshot.iqn.clone()),
            ("Description", snapshot.description.clone()),
            ("Creation-Time", snapshot.created.clone()),
            ("SnapReserveInUse", self.pages(snapshot.used_pages)),
            ("Permission", permission(snapshot.writable)),
            ("DesiredStatus", online(snapshot.online)),
            ("Status", online(snapshot.online)),
            ("Connections", (self.connections)(snapshot.id).to_string()),
        ];
        self.block(answer, "Snapshot Information", &values);
    }

    /// `volume select NAME access select ID show`.
    pub fn record(&self, answer: &mut Answer, record: &AccessRecord) {
        let values = [
            ("Initiator", record.initiator.clone().unwrap_or_default()),
            ("Ipaddress", record.address.clone()),
            ("AuthMethod", method(record)),
            ("UserName", record.chap_user.clone().unwrap_or_default()),
            ("Apply-To", record.applies_to.text().to_owned()),
        ];
        self.block(answer, "Access Record", &values);
    }
}

/// `access show`.
pub fn record_table(answer: &mut Answer, records: &[AccessRecord]) {
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            vec![
                record.id.to_string(),
                record.initiator.clone().unwrap_or_default(),
                record.address.clone(),
                method(record),
                record.chap_user.clone().unwrap_or_default(),
                record.applies_to.text().to_owned(),
            ]
        })
        .collect();
    answer.table(RECORD_COLUMNS, &rows);
}

fn method(record: &AccessRecord) -> String {
    if record.chap_user.is_some() {
        "chap"
    } else {
        "none"
    }
    .to_owned()
}

fn permission(writable: bool) -> String {
    if writable { "read-write" } else { "read-only" }.to_owned()
}

fn online(online: bool) -> String {
    if online { "online" } else { "offline" }.to_owned()
}
