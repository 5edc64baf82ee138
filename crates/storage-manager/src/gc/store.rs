//! What a layout does for the collector.

use std::fmt;
use std::io;
use std::sync::Arc;

use uuid::Uuid;
use vhd::merge::{Activity, Control};

use super::plan::{Image, Work};
use super::wakeup::Wakeup;

/// The images of an attached SR.
pub trait ImageStore: Send + Sync {
    /// Every image that is a parent or has one, or is hidden; `leaf` of each is for the collector to fill in.
    ///
    /// # Errors
    /// When the medium cannot be read.
    fn images(&self) -> Result<Vec<Image>, StepError>;

    /// Runs a step to its end, or to where `control` cancels it.
    ///
    /// # Errors
    /// What was done up to there has changed no content, and the step can be tried again.
    ///
    /// # Durability
    /// On [`Outcome::Done`] the step is on stable storage.
    fn run(&self, work: &Work, control: &Arc<Control>) -> Result<Outcome, StepError>;

    /// Says when images are made, removed, opened or closed.
    fn wakeup(&self) -> &Wakeup;

    /// What consumers do with the images meanwhile.
    fn activity(&self) -> Arc<Activity>;

    /// Cancels the step that works on an image, and all when there is none named; true when one was under way.
    fn cancel(&self, vdi: Option<Uuid>) -> bool;

    /// Checks an image and its parents.
    ///
    /// # Errors
    /// When the image itself cannot be read.
    fn check(&self, vdi: Uuid) -> Result<Vec<CheckedImage>, StepError>;

    /// How long consumers were held off, in microseconds.
    fn pauses(&self) -> PauseCounts;
}

/// How a step ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The image is gone.
    Done,
    /// It was cancelled, by a call on the image or by somebody.
    Cancelled,
    /// The images are not as they were when the step was planned, or somebody has one of them.
    Overtaken,
}

/// Why a step did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// There is not enough room on the medium.
    #[error("it needs {needed} bytes of free space, and {free} bytes are free")]
    NoSpace {
        /// What the step may take, in bytes.
        needed: u64,
        /// What is free, in bytes.
        free: u64,
    },
    /// An image is damaged; it is not merged into anything.
    #[error("{image} is damaged: {defect}")]
    Damaged {
        /// The image.
        image: String,
        /// The first thing that is wrong with it.
        defect: String,
    },
    /// The layout failed.
    #[error("{0}")]
    Layout(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StepError {
    /// True when the medium is full: it was seen beforehand, or while the step wrote.
    pub fn is_no_space(&self) -> bool {
        if matches!(self, StepError::NoSpace { .. }) {
            return true;
        }
        let first: &(dyn std::error::Error + 'static) = self;
        std::iter::successors(Some(first), |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| {
                let kind = error.kind();
                kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded
            })
    }
}

/// What a check found in one image of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedImage {
    /// The image's file or volume.
    pub name: String,
    /// What is wrong with it; empty when it is sound.
    pub defects: Vec<String>,
}

/// Upper ends of the ranges by which pauses are counted, in microseconds; what is longer is in none.
pub const PAUSE_BUCKETS_US: [u64; 8] = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000];

/// How long consumers were held off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PauseCounts {
    /// Pauses up to each of [`PAUSE_BUCKETS_US`], the shorter ones included.
    pub up_to: [u64; PAUSE_BUCKETS_US.len()],
    /// All pauses.
    pub count: u64,
    /// Microseconds of all pauses together.
    pub sum_us: u64,
    /// The longest pause in microseconds.
    pub longest_us: u64,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Prune { vdi } => write!(f, "delete {vdi}"),
            Work::Inner { vdi, parent } => write!(f, "merge {vdi} into {parent}"),
            Work::Leaf { vdi, parent } => write!(f, "merge VDI {vdi} into its parent {parent}"),
        }
    }
}
