//! The commands of the CLI, and in which context they are given.

use super::snapshots::NewSnapshot;
use super::volume::{AccessRecord, Depletion};
use super::volumes::NewVolume;

/// What a line of the CLI asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// An empty line.
    Nothing,
    /// One context up; from the top, the end.
    Exit,
    /// The end of the session.
    Logout,
    /// The account's name.
    Whoami,
    /// What there is to say.
    Help,
    /// About the terminal of this session.
    Terminal(Terminal),
    /// `cli-settings NAME on|off`.
    Setting(Setting, bool),
    /// `cli-settings show`.
    ShowSettings,
    /// `show`: the group at a glance.
    ShowGroup,
    /// `grpparams show`.
    ShowParameters,
    /// `grpparams info-messages enable|disable`.
    InfoMessages(bool),
    /// `pool show`.
    ShowPools,
    /// `pool select NAME show`.
    ShowPool(String),
    /// `member show`.
    ShowMembers,
    /// `member select NAME show`; with controllers when true.
    ShowMember(String, bool),
    /// `chapuser show`, of all or of one.
    ShowChapUsers(Option<String>),
    /// `chapuser create NAME [password P]`.
    CreateChapUser(String, Option<String>),
    /// `chapuser delete NAME`.
    DeleteChapUser(String),
    /// `volume show`.
    ShowVolumes,
    /// `volume create NAME SIZE ...`.
    CreateVolume(String, u64, NewVolume),
    /// `volume delete NAME`.
    DeleteVolume(String),
    /// `volume rename NAME NEW`.
    RenameVolume(String, String),
    /// `volume select NAME ...`.
    Volume(String, VolumeCommand),
    /// `... select NAME` with nothing behind: the following lines are about it.
    Enter(Context),
}

/// What follows `volume select NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeCommand {
    /// Everything about it.
    Show,
    /// Initiators may find it, or not.
    Online(bool),
    /// `size SIZE [no-snap]`.
    Grow {
        /// In bytes.
        bytes: u64,
        /// Whether no snapshot is taken before.
        no_snap: bool,
    },
    /// `shrink SIZE [no-snap]`.
    Shrink {
        /// In bytes.
        bytes: u64,
        /// Whether no snapshot is taken before.
        no_snap: bool,
    },
    /// Free text.
    Description(String),
    /// The target's alias.
    Alias(String),
    /// `snap-reserve N%`.
    SnapReserve(u32),
    /// `snap-warn N%`.
    SnapWarn(u32),
    /// `snap-depletion POLICY`.
    SnapDepletion(Depletion),
    /// `read-write`, `read-only`.
    Writable(bool),
    /// `multihost-access enable|disable`.
    MultihostAccess(bool),
    /// `clone NEW ...`.
    Clone(String, NewVolume),
    /// `access show`.
    ShowAccess,
    /// `access select ID show`.
    ShowRecord(u32),
    /// `access create ...`.
    CreateAccess(AccessRecord),
    /// `access delete ID`.
    DeleteAccess(u32),
    /// `snapshot show`.
    ShowSnapshots,
    /// `snapshot create-now ...`.
    CreateSnapshot(NewSnapshot),
    /// `snapshot delete NAME`.
    DeleteSnapshot(String),
    /// `snapshot rename NAME NEW`.
    RenameSnapshot(String, String),
    /// `snapshot select NAME ...`.
    Snapshot(String, SnapshotCommand),
}

/// What follows `snapshot select NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotCommand {
    /// Everything about it.
    Show,
    /// Initiators may find it, or not.
    Online(bool),
    /// Free text.
    Description(String),
    /// `read-write`, `read-only`.
    Writable(bool),
    /// `clone NEW ...`.
    Clone(String, NewVolume),
    /// The volume gets this content.
    Restore,
}

/// What `stty` changes, for this session alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// How wide it is.
    Columns(usize),
    /// How many lines it has.
    Rows(usize),
    /// Whether longer lines are broken.
    Hardwrap(bool),
    /// All of it.
    Show,
}

/// What `cli-settings` changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Ask before what cannot be undone.
    Confirmation,
    /// Stop after each screen.
    Paging,
    /// Show events.
    Events,
    /// Two values per line.
    FormatOutput,
    /// Sizes in megabytes.
    DisplayInMb,
    /// End idle sessions.
    IdleLogout,
    /// Offer a wrong command again.
    ReprintBadInput,
}

/// What the lines of a session are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Context {
    /// The group.
    #[default]
    Group,
    /// A pool.
    Pool(String),
    /// A member.
    Member(String),
    /// A volume.
    Volume(String),
    /// A snapshot, after its volume.
    Snapshot(String, String),
}

impl Context {
    /// What stands before every line that is given here.
    pub fn words(&self) -> Vec<&str> {
        match self {
            Context::Group => Vec::new(),
            Context::Pool(name) => vec!["pool", "select", name],
            Context::Member(name) => vec!["member", "select", name],
            Context::Volume(name) => vec!["volume", "select", name],
            Context::Snapshot(volume, name) => {
                vec!["volume", "select", volume, "snapshot", "select", name]
            }
        }
    }

    /// One up; none from the top.
    pub fn parent(&self) -> Option<Context> {
        match self {
            Context::Group => None,
            Context::Snapshot(volume, _) => Some(Context::Volume(volume.clone())),
            _ => Some(Context::Group),
        }
    }

    /// The prompt, with the blank at its end.
    pub fn prompt(&self, group: &str) -> String {
        match self {
            Context::Group => format!("{group}> "),
            Context::Pool(name) => format!("{group} (pool_{name})> "),
            Context::Member(name) => format!("{group} (member_{name})> "),
            Context::Volume(name) => format!("{group} (volume_{name})> "),
            Context::Snapshot(_, name) => format!("{group} (snapshot_{name})> "),
        }
    }
}

impl Command {
    /// Whether it speaks of the session only, and neither reads nor changes the group.
    pub fn is_of_session(&self) -> bool {
        matches!(
            self,
            Command::Nothing
                | Command::Exit
                | Command::Logout
                | Command::Whoami
                | Command::Help
                | Command::Terminal(_)
                | Command::Setting(..)
                | Command::ShowSettings
        )
    }

    /// Whether the group may be another one after it.
    pub fn changes(&self) -> bool {
        use VolumeCommand as V;
        match self {
            Command::InfoMessages(_)
            | Command::CreateChapUser(..)
            | Command::DeleteChapUser(_)
            | Command::CreateVolume(..)
            | Command::DeleteVolume(_)
            | Command::RenameVolume(..) => true,
            Command::Volume(_, command) => !matches!(
                command,
                V::Show
                    | V::ShowAccess
                    | V::ShowRecord(_)
                    | V::ShowSnapshots
                    | V::Snapshot(_, SnapshotCommand::Show)
            ),
            _ => false,
        }
    }

    /// The question that is asked first unless confirmation is off.
    pub fn question(&self) -> Option<&'static str> {
        match self {
            Command::DeleteVolume(_) => Some("Do you really want to delete the volume? (y/n) [n]"),
            Command::DeleteChapUser(_) => {
                Some("Do you really want to delete the CHAP user? (y/n) [n]")
            }
            Command::Volume(_, VolumeCommand::DeleteSnapshot(_)) => {
                Some("Do you really want to delete the snapshot? (y/n) [n]")
            }
            Command::Volume(_, VolumeCommand::DeleteAccess(_)) => {
                Some("Do you really want to delete the access control record? (y/n) [n]")
            }
            Command::Volume(_, VolumeCommand::Shrink { .. }) => Some(
                "Data at the end of the volume will be lost. Do you really want to shrink it? (y/n) [n]",
            ),
            Command::Volume(_, VolumeCommand::Snapshot(_, SnapshotCommand::Restore)) => {
                Some("Do you really want to restore the volume from the snapshot? (y/n) [n]")
            }
            _ => None,
        }
    }
}
