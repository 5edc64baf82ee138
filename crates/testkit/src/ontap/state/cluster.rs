//! All that the array knows: plain data, which a test may read and change.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::error::ApiError;
use super::igroups::{Igroup, LunMap};
use super::iscsi::{Credentials, IscsiService, Session};
use super::jobs::Job;
use super::luns::Lun;
use super::snapshots::Snapshot;
use super::volumes::Volume;

/// The state of the cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uuid: Uuid,
    /// Generation, major, minor: 9.14.1.
    pub version: [u32; 3],
    /// Its node.
    pub node: String,
    /// The node's id.
    pub node_uuid: Uuid,
    /// Where FlexVols lie.
    pub aggregates: Vec<Aggregate>,
    /// The storage virtual machines.
    pub svms: Vec<Svm>,
    /// The data interfaces.
    pub interfaces: Vec<Interface>,
    /// The FlexVols.
    pub volumes: Vec<Volume>,
    /// The FlexVols' snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The LUNs.
    pub luns: Vec<Lun>,
    /// The initiator groups.
    pub igroups: Vec<Igroup>,
    /// Which LUN is shown to which group.
    pub maps: Vec<LunMap>,
    /// How initiators prove who they are.
    pub credentials: Vec<Credentials>,
    /// Who is logged in.
    pub sessions: Vec<Session>,
    /// Work in the background.
    pub jobs: Vec<Job>,
    /// The policies of quality of service: names only.
    pub policies: Vec<Policy>,
    /// What is licensed.
    pub licences: Licences,
    /// What there may be at most.
    pub limits: Limits,
    /// How it behaves where versions and machines differ.
    pub behaviour: Behaviour,
    /// Bytes on the medium of each piece of data, as last seen.
    pub usage: BTreeMap<DataId, u64>,
    /// What is still to be done to the data, in this order.
    pub effects: Vec<Effect>,
    pub(super) next_serial: u32,
    pub(super) next_data: u64,
}

/// A piece of data: the contents of a LUN, or of a LUN as a snapshot has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataId(pub u64);

/// What must be done to data so that they are as the state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// New data of so many zeros.
    Create(DataId, u64),
    /// New data that equal others as they are now.
    Copy {
        /// What is copied.
        from: DataId,
        /// The new data.
        to: DataId,
    },
    /// Data that become equal to others while they stay in use.
    Overwrite {
        /// What is copied.
        from: DataId,
        /// What is overwritten.
        to: DataId,
    },
    /// Data that change their size.
    Resize(DataId, u64),
    /// Data that are no more.
    Remove(DataId),
}

/// An aggregate.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uuid: Uuid,
    /// Its bytes.
    pub size: u64,
    /// Bytes that others took: a test fills it so.
    pub foreign: u64,
    /// Its disks.
    pub disks: u32,
    /// `raid_dp` and the like.
    pub raid_type: String,
}

/// A storage virtual machine.
#[derive(Debug, Clone)]
pub struct Svm {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uuid: Uuid,
    /// `running` or `stopped`.
    pub state: String,
    /// The aggregates that it may use.
    pub aggregates: Vec<String>,
    /// Its iSCSI service, once there is one.
    pub iscsi: Option<IscsiService>,
}

/// A logical interface that serves iSCSI.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uuid: Uuid,
    /// Whose it is.
    pub svm: String,
    /// Where it listens.
    pub address: String,
    /// Whether it is switched on.
    pub enabled: bool,
}

/// A policy of quality of service.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uuid: Uuid,
    /// Whose it is.
    pub svm: String,
}

/// What is licensed.
#[derive(Debug, Clone, Copy)]
pub struct Licences {
    /// The iSCSI service.
    pub iscsi: bool,
    /// Clones of LUNs.
    pub flexclone: bool,
    /// Deduplication: a licence of its own in 7-Mode, and a thing that some aggregates cannot.
    pub asis: bool,
}

/// What there may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Snapshots of a FlexVol.
    pub snapshots_per_volume: usize,
    /// LUNs of a FlexVol.
    pub luns_per_volume: usize,
    /// FlexVols of the cluster.
    pub volumes: usize,
    /// Bytes of a LUN.
    pub lun_size: u64,
    /// Bytes to which a LUN can grow, as before 9.5.
    pub lun_geometry: u64,
}

/// How it behaves where versions and machines differ.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// Whether a new LUN is answered with a job, as from 9.16.
    pub lun_create_is_async: bool,
    /// How many calls come in before a job does its work, if the request does not wait for it.
    pub job_calls: u32,
}

impl Cluster {
    /// A cluster with one node and nothing on it.
    pub fn new(name: &str) -> Self {
        Cluster {
            name: name.to_owned(),
            uuid: Uuid::new_v4(),
            version: [9, 14, 1],
            node: format!("{name}-01"),
            node_uuid: Uuid::new_v4(),
            aggregates: Vec::new(),
            svms: Vec::new(),
            interfaces: Vec::new(),
            volumes: Vec::new(),
            snapshots: Vec::new(),
            luns: Vec::new(),
            igroups: Vec::new(),
            maps: Vec::new(),
            credentials: Vec::new(),
            sessions: Vec::new(),
            jobs: Vec::new(),
            policies: Vec::new(),
            licences: Licences {
                iscsi: true,
                flexclone: true,
                asis: true,
            },
            limits: Limits {
                snapshots_per_volume: 1023,
                luns_per_volume: 1024,
                volumes: 1000,
                lun_size: 16 << 40,
                lun_geometry: u64::MAX,
            },
            behaviour: Behaviour {
                lun_create_is_async: false,
                job_calls: 1,
            },
            usage: BTreeMap::new(),
            effects: Vec::new(),
            next_serial: 1,
            next_data: 1,
        }
    }

    /// Adds an aggregate.
    pub fn add_aggregate(&mut self, name: &str, size: u64) {
        self.aggregates.push(Aggregate {
            name: name.to_owned(),
            uuid: Uuid::new_v4(),
            size,
            foreign: 0,
            disks: 12,
            raid_type: "raid_dp".to_owned(),
        });
    }

    /// Adds an SVM that may use all aggregates, with its root volume and without iSCSI.
    pub fn add_svm(&mut self, name: &str) {
        let aggregates = self.aggregates.iter().map(|one| one.name.clone());
        self.svms.push(Svm {
            name: name.to_owned(),
            uuid: Uuid::new_v4(),
            state: "running".to_owned(),
            aggregates: aggregates.collect(),
            iscsi: None,
        });
        if let Some(aggregate) = self.aggregates.first().map(|one| one.name.clone()) {
            let mut root = Volume::new(&format!("{name}_root"), name, &aggregate, 20 << 20);
            root.is_root = true;
            self.volumes.push(root);
        }
    }

    /// An SVM by its name.
    ///
    /// # Errors
    /// 2621462 when there is none.
    pub fn svm(&self, name: &str) -> Result<&Svm, ApiError> {
        let found = self.svms.iter().find(|svm| svm.name == name);
        found.ok_or_else(|| {
            ApiError::missing(2_621_462, format!("SVM \"{name}\" does not exist.")).at("svm.name")
        })
    }

    /// An aggregate by its name.
    pub fn aggregate(&self, name: &str) -> Option<&Aggregate> {
        self.aggregates.iter().find(|one| one.name == name)
    }

    /// An aggregate to be changed by a test.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn aggregate_mut(&mut self, name: &str) -> &mut Aggregate {
        let found = self.aggregates.iter_mut().find(|one| one.name == name);
        found.expect("an aggregate of that name")
    }

    /// The bytes on the medium of a piece of data.
    pub fn allocated(&self, data: DataId) -> u64 {
        self.usage.get(&data).copied().unwrap_or(0)
    }

    pub(super) fn new_data(&mut self) -> DataId {
        self.next_data += 1;
        DataId(self.next_data)
    }

    /// Serial numbers have 12 characters, of which some must be quoted in a URL.
    pub(super) fn new_serial(&mut self) -> String {
        self.next_serial += 1;
        let id = self.uuid.simple().to_string();
        let (own, _) = id.split_at(4);
        format!("8{own}+{:06}", self.next_serial)
    }
}
