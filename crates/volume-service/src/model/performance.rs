//! What EC2 says of a volume beside what OpenStack says of it.

/// What few volumes have; the default is what all others have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ebs {
    /// Operations a second that were asked for; none where the type says it.
    pub iops: Option<u64>,
    /// MiB a second that were asked for; none where the type says it.
    pub throughput: Option<u64>,
    /// MiB a second at which the bytes of its snapshot were asked to come.
    pub initialization_rate: Option<u64>,
    /// True when its owner wants it used again after an interruption without being asked.
    pub auto_enable_io: bool,
}
