//! Work in the background: jobs, and the changes that they make.
//!
//! A job does its work a stated number of calls after it began, whoever makes them. So nothing depends on the clock, and the work of a
//! client that went away is done all the same.

use uuid::Uuid;

use super::cluster::Cluster;
use super::error::ApiError;
use super::luns::LunRequest;
use super::volumes::VolumeRequest;

/// Finished jobs that are remembered. A real array forgets them after some minutes.
const REMEMBERED: usize = 200;

/// A change that may be made at once or by a job.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new FlexVol.
    CreateVolume(VolumeRequest),
    /// A FlexVol that changes.
    ChangeVolume(Uuid, VolumeRequest),
    /// A FlexVol that goes.
    DeleteVolume(Uuid),
    /// A new snapshot of a FlexVol.
    CreateSnapshot {
        /// The FlexVol.
        volume: Uuid,
        /// The snapshot's name.
        name: String,
        /// The snapshot's comment.
        comment: String,
    },
    /// A snapshot that changes.
    ChangeSnapshot {
        /// Which one.
        snapshot: Uuid,
        /// Its new name.
        name: Option<String>,
        /// Its new comment.
        comment: Option<String>,
    },
    /// A snapshot that goes.
    DeleteSnapshot(Uuid),
    /// A new LUN.
    CreateLun(LunRequest),
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub uuid: Uuid,
    /// What it does.
    pub description: String,
    /// What is still to be done; nothing once it has ended.
    pub change: Option<Change>,
    /// How many calls come in before it does its work.
    pub calls_left: u32,
    /// How it failed, if it did.
    pub error: Option<ApiError>,
    /// When it began.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Whether the array denies all knowledge of it.
    pub is_lost: bool,
}

impl Job {
    /// `running`, `success` or `failure`.
    pub fn state(&self) -> &'static str {
        match (&self.change, &self.error) {
            (Some(_), _) => "running",
            (None, Some(_)) => "failure",
            (None, None) => "success",
        }
    }
}

impl Cluster {
    /// Makes a change now.
    ///
    /// # Errors
    /// Those of the change.
    pub fn make(&mut self, change: Change) -> Result<Uuid, ApiError> {
        match change {
            Change::CreateVolume(asked) => self.create_volume(asked),
            Change::ChangeVolume(uuid, asked) => self.change_volume(uuid, asked).map(|()| uuid),
            Change::DeleteVolume(uuid) => self.delete_volume(uuid).map(|()| uuid),
            Change::CreateSnapshot {
                volume,
                name,
                comment,
            } => self.create_snapshot(volume, &name, &comment),
            Change::ChangeSnapshot {
                snapshot,
                name,
                comment,
            } => self
                .change_snapshot(snapshot, name, comment)
                .map(|()| snapshot),
            Change::DeleteSnapshot(uuid) => self.delete_snapshot(uuid).map(|()| uuid),
            Change::CreateLun(asked) => self.create_lun(asked),
        }
    }

    /// Has a job make a change.
    pub fn begin(
        &mut self,
        description: String,
        change: Change,
        calls: u32,
        is_lost: bool,
    ) -> Uuid {
        let uuid = Uuid::new_v4();
        self.jobs.push(Job {
            uuid,
            description,
            change: Some(change),
            calls_left: calls,
            error: None,
            started: super::clock::now(),
            ended: None,
            is_lost,
        });
        if self.jobs.len() > REMEMBERED {
            self.jobs.remove(0);
        }
        if calls == 0 {
            self.work();
        }
        uuid
    }

    /// A call comes in: jobs whose time has come do their work.
    pub fn tick(&mut self) {
        for job in &mut self.jobs {
            job.calls_left = job.calls_left.saturating_sub(1);
        }
        self.work();
    }

    fn work(&mut self) {
        for index in 0..self.jobs.len() {
            if self.jobs[index].calls_left > 0 {
                continue;
            }
            if let Some(change) = self.jobs[index].change.take() {
                let made = self.make(change);
                let job = &mut self.jobs[index];
                job.error = made.err();
                job.ended = Some(super::clock::now());
            }
        }
    }
}
