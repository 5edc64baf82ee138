//! From a line of the CLI to a command. Keywords may be shortened as long as they stay unique, as `vol sel v off`.

use super::command::{Command, Context, Setting, SnapshotCommand, Terminal, VolumeCommand};
use super::refusal::Refusal;
use super::size;
use super::snapshots::NewSnapshot;
use super::volume::{AccessRecord, AppliesTo, Depletion};
use super::volumes::NewVolume;

/// What commands begin with.
const OBJECTS: &[&str] = &[
    "volume",
    "pool",
    "member",
    "grpparams",
    "chapuser",
    "show",
    "stty",
    "cli-settings",
    "exit",
    "logout",
    "whoami",
    "help",
];

/// What `volume select NAME` is followed by.
const VOLUME_VERBS: &[&str] = &[
    "show",
    "online",
    "offline",
    "size",
    "shrink",
    "description",
    "iscsi-alias",
    "snap-reserve",
    "snap-warn",
    "snap-depletion",
    "read-write",
    "read-only",
    "multihost-access",
    "clone",
    "access",
    "snapshot",
];

/// What `snapshot select NAME` is followed by.
const SNAPSHOT_VERBS: &[&str] = &[
    "show",
    "online",
    "offline",
    "description",
    "read-write",
    "read-only",
    "clone",
    "restore",
];

/// What may follow the size of a new volume, or the name of a clone.
const VOLUME_OPTIONS: &[&str] = &[
    "pool",
    "thin-provision",
    "snap-reserve",
    "snap-warn",
    "snap-depletion",
    "description",
    "iscsi-alias",
    "offline",
    "online",
    "read-only",
    "read-write",
    "unrestricted",
];

/// Reads a line that is given in a context.
pub fn parse(line: &str, context: &Context) -> Result<Command, Refusal> {
    let mut words: Vec<(usize, String)> = split(line)?;
    if words.is_empty() {
        return Ok(Command::Nothing);
    }
    if words[0].1 == "?" {
        return Ok(Command::Help);
    }
    let of_session = ["exit", "logout", "stty", "cli-settings", "whoami", "help"];
    if !of_session.contains(&words[0].1.as_str()) {
        let before = context.words().into_iter().map(|word| (0, word.to_owned()));
        words.splice(0..0, before.collect::<Vec<_>>());
    }
    let mut words = Words {
        end: line.len(),
        words,
        at: 0,
    };
    let command = words.command()?;
    words.nothing_left()?;
    Ok(command)
}

/// The words with their columns; quotes keep blanks in a word.
fn split(line: &str) -> Result<Vec<(usize, String)>, Refusal> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut open: Option<char> = None;
    let mut inside = false;
    for (column, letter) in line.char_indices() {
        match (open, letter) {
            (Some(quote), letter) if letter == quote => open = None,
            (None, '"' | '\'') => {
                open = Some(letter);
                if !inside {
                    words.push((column, String::new()));
                }
                inside = true;
            }
            (None, letter) if letter.is_whitespace() => inside = false,
            (_, letter) => {
                if !inside {
                    words.push((column, String::new()));
                }
                inside = true;
                if let Some((_, word)) = words.last_mut() {
                    word.push(letter);
                }
            }
        }
    }
    match open {
        Some(_) => Err(Refusal::BadCommand { column: line.len() }),
        None => Ok(words),
    }
}

struct Words {
    words: Vec<(usize, String)>,
    at: usize,
    end: usize,
}

impl Words {
    fn command(&mut self) -> Result<Command, Refusal> {
        match self.keyword(OBJECTS)? {
            "volume" => self.volumes(),
            "pool" => self.pools(),
            "member" => self.members(),
            "grpparams" => match self.keyword(&["show", "info-messages"])? {
                "show" => Ok(Command::ShowParameters),
                _ => Ok(Command::InfoMessages(self.enabled()?)),
            },
            "chapuser" => self.chap_users(),
            "show" => self.show(),
            "stty" => self.terminal(),
            "cli-settings" => self.settings(),
            "exit" => Ok(Command::Exit),
            "logout" => Ok(Command::Logout),
            "whoami" => Ok(Command::Whoami),
            _ => Ok(Command::Help),
        }
    }

    /// `show volume v` is `volume show v`.
    fn show(&mut self) -> Result<Command, Refusal> {
        if self.is_done() {
            return Ok(Command::ShowGroup);
        }
        let object = self.keyword(&["volume", "pool", "member", "grpparams", "chapuser"])?;
        let name = (!self.is_done()).then(|| self.word()).transpose()?;
        Ok(match (object, name) {
            ("volume", Some(name)) => Command::Volume(name, VolumeCommand::Show),
            ("volume", None) => Command::ShowVolumes,
            ("pool", Some(name)) => Command::ShowPool(name),
            ("pool", None) => Command::ShowPools,
            ("member", Some(name)) => Command::ShowMember(name, false),
            ("member", None) => Command::ShowMembers,
            ("chapuser", name) => Command::ShowChapUsers(name),
            _ => Command::ShowParameters,
        })
    }

    fn pools(&mut self) -> Result<Command, Refusal> {
        if self.keyword(&["show", "select"])? == "show" {
            let name = (!self.is_done()).then(|| self.word()).transpose()?;
            return Ok(name.map_or(Command::ShowPools, Command::ShowPool));
        }
        let name = self.word()?;
        if self.is_done() {
            return Ok(Command::Enter(Context::Pool(name)));
        }
        self.keyword(&["show"])?;
        Ok(Command::ShowPool(name))
    }

    fn members(&mut self) -> Result<Command, Refusal> {
        if self.keyword(&["show", "select"])? == "show" {
            let name = (!self.is_done()).then(|| self.word()).transpose()?;
            return Ok(name.map_or(Command::ShowMembers, |name| {
                Command::ShowMember(name, false)
            }));
        }
        let name = self.word()?;
        if self.is_done() {
            return Ok(Command::Enter(Context::Member(name)));
        }
        self.keyword(&["show"])?;
        let controllers = !self.is_done();
        if controllers {
            self.keyword(&["controllers"])?;
        }
        Ok(Command::ShowMember(name, controllers))
    }

    fn chap_users(&mut self) -> Result<Command, Refusal> {
        match self.keyword(&["show", "create", "delete"])? {
            "show" => {
                let name = (!self.is_done()).then(|| self.word()).transpose()?;
                Ok(Command::ShowChapUsers(name))
            }
            "create" => {
                let name = self.word()?;
                let mut password = None;
                if !self.is_done() {
                    self.keyword(&["password"])?;
                    password = Some(self.word()?);
                }
                Ok(Command::CreateChapUser(name, password))
            }
            _ => Ok(Command::DeleteChapUser(self.word()?)),
        }
    }

    fn terminal(&mut self) -> Result<Command, Refusal> {
        Ok(Command::Terminal(
            match self.keyword(&["columns", "rows", "hardwrap", "show"])? {
                "columns" => Terminal::Columns(self.number()?),
                "rows" => Terminal::Rows(self.number()?),
                "hardwrap" => Terminal::Hardwrap(self.switched()?),
                _ => Terminal::Show,
            },
        ))
    }

    fn settings(&mut self) -> Result<Command, Refusal> {
        let names = [
            "show",
            "confirmation",
            "paging",
            "events",
            "formatoutput",
            "displayinMB",
            "idlelogout",
            "reprintBadInput",
        ];
        let setting = match self.keyword(&names)? {
            "show" => return Ok(Command::ShowSettings),
            "confirmation" => Setting::Confirmation,
            "paging" => Setting::Paging,
            "events" => Setting::Events,
            "formatoutput" => Setting::FormatOutput,
            "displayinMB" => Setting::DisplayInMb,
            "idlelogout" => Setting::IdleLogout,
            _ => Setting::ReprintBadInput,
        };
        Ok(Command::Setting(setting, self.switched()?))
    }

    fn volumes(&mut self) -> Result<Command, Refusal> {
        match self.keyword(&["show", "create", "delete", "rename", "select"])? {
            "show" if self.is_done() => Ok(Command::ShowVolumes),
            "show" => Ok(Command::Volume(self.word()?, VolumeCommand::Show)),
            "create" => {
                let name = self.word()?;
                let bytes = self.size()?;
                Ok(Command::CreateVolume(name, bytes, self.volume_options()?))
            }
            "delete" => Ok(Command::DeleteVolume(self.word()?)),
            "rename" => Ok(Command::RenameVolume(self.word()?, self.word()?)),
            _ => {
                let name = self.word()?;
                if self.is_done() {
                    return Ok(Command::Enter(Context::Volume(name)));
                }
                self.volume(name)
            }
        }
    }

    fn volume(&mut self, name: String) -> Result<Command, Refusal> {
        let command = match self.keyword(VOLUME_VERBS)? {
            "show" => VolumeCommand::Show,
            "online" => VolumeCommand::Online(true),
            "offline" => VolumeCommand::Online(false),
            "size" => VolumeCommand::Grow {
                bytes: self.size()?,
                no_snap: self.flag("no-snap")?,
            },
            "shrink" => VolumeCommand::Shrink {
                bytes: self.size()?,
                no_snap: self.flag("no-snap")?,
            },
            "description" => VolumeCommand::Description(self.word()?),
            "iscsi-alias" => VolumeCommand::Alias(self.word()?),
            "snap-reserve" => VolumeCommand::SnapReserve(self.percent("snap-reserve")?),
            "snap-warn" => VolumeCommand::SnapWarn(self.percent("snap-warn")?),
            "snap-depletion" => VolumeCommand::SnapDepletion(self.depletion()?),
            "read-write" => VolumeCommand::Writable(true),
            "read-only" => VolumeCommand::Writable(false),
            "multihost-access" => VolumeCommand::MultihostAccess(self.enabled()?),
            "clone" => VolumeCommand::Clone(self.word()?, self.volume_options()?),
            "access" => self.access()?,
            _ => return self.snapshots(name),
        };
        Ok(Command::Volume(name, command))
    }

    fn access(&mut self) -> Result<VolumeCommand, Refusal> {
        Ok(
            match self.keyword(&["show", "create", "delete", "select"])? {
                "show" => VolumeCommand::ShowAccess,
                "delete" => VolumeCommand::DeleteAccess(self.number_32()?),
                "select" => {
                    let id = self.number_32()?;
                    match self.keyword(&["show", "delete"])? {
                        "show" => VolumeCommand::ShowRecord(id),
                        _ => VolumeCommand::DeleteAccess(id),
                    }
                }
                _ => VolumeCommand::CreateAccess(self.record()?),
            },
        )
    }

    fn record(&mut self) -> Result<AccessRecord, Refusal> {
        let mut record = AccessRecord {
            id: 0,
            initiator: None,
            address: AccessRecord::ANYWHERE.to_owned(),
            chap_user: None,
            applies_to: AppliesTo::Both,
        };
        let keys = [
            "initiator",
            "ipaddress",
            "username",
            "authmethod",
            "apply-to",
            "unrestricted",
        ];
        let mut method = None;
        if self.is_done() {
            return Err(self.bad());
        }
        while !self.is_done() {
            match self.keyword(&keys)? {
                "initiator" => record.initiator = Some(self.word()?),
                "ipaddress" => record.address = self.address()?,
                "username" => record.chap_user = Some(self.word()?),
                "authmethod" => method = Some(self.keyword(&["chap", "none"])?),
                "apply-to" => {
                    record.applies_to = match self.keyword(&["volume", "snapshot", "both"])? {
                        "volume" => AppliesTo::Volume,
                        "snapshot" => AppliesTo::Snapshot,
                        _ => AppliesTo::Both,
                    }
                }
                _ => {}
            }
        }
        if (method == Some("chap")) != record.chap_user.is_some() && method.is_some() {
            return Err(Refusal::BadValue {
                parameter: "authmethod",
                right: "A user name goes with CHAP and with nothing else.",
            });
        }
        Ok(record)
    }

    fn address(&mut self) -> Result<String, Refusal> {
        let word = self.word()?;
        let parts: Vec<&str> = word.split('.').collect();
        let right = |part: &&str| *part == "*" || part.parse::<u8>().is_ok();
        if parts.len() != 4 || !parts.iter().all(right) {
            return Err(Refusal::BadValue {
                parameter: "ipaddress",
                right: "Use four numbers, of which each may be *.",
            });
        }
        Ok(word)
    }

    fn snapshots(&mut self, volume: String) -> Result<Command, Refusal> {
        let command = match self.keyword(&["show", "create-now", "delete", "rename", "select"])? {
            "show" => VolumeCommand::ShowSnapshots,
            "create-now" => VolumeCommand::CreateSnapshot(self.snapshot_options()?),
            "delete" => VolumeCommand::DeleteSnapshot(self.word()?),
            "rename" => VolumeCommand::RenameSnapshot(self.word()?, self.word()?),
            _ => {
                let name = self.word()?;
                if self.is_done() {
                    return Ok(Command::Enter(Context::Snapshot(volume, name)));
                }
                VolumeCommand::Snapshot(name, self.snapshot()?)
            }
        };
        Ok(Command::Volume(volume, command))
    }

    fn snapshot(&mut self) -> Result<SnapshotCommand, Refusal> {
        Ok(match self.keyword(SNAPSHOT_VERBS)? {
            "show" => SnapshotCommand::Show,
            "online" => SnapshotCommand::Online(true),
            "offline" => SnapshotCommand::Online(false),
            "description" => SnapshotCommand::Description(self.word()?),
            "read-write" => SnapshotCommand::Writable(true),
            "read-only" => SnapshotCommand::Writable(false),
            "clone" => SnapshotCommand::Clone(self.word()?, self.volume_options()?),
            _ => SnapshotCommand::Restore,
        })
    }

    fn snapshot_options(&mut self) -> Result<NewSnapshot, Refusal> {
        let mut new = NewSnapshot::default();
        let keys = [
            "description",
            "online",
            "offline",
            "read-only",
            "read-write",
        ];
        while !self.is_done() {
            match self.keyword(&keys)? {
                "description" => new.description = Some(self.word()?),
                "online" => new.online = true,
                "read-only" => new.read_only = true,
                _ => {}
            }
        }
        Ok(new)
    }

    fn volume_options(&mut self) -> Result<NewVolume, Refusal> {
        let mut new = NewVolume::default();
        while !self.is_done() {
            match self.keyword(VOLUME_OPTIONS)? {
                "pool" => new.pool = Some(self.word()?),
                "thin-provision" => new.thin = true,
                "snap-reserve" => new.snap_reserve = Some(self.percent("snap-reserve")?),
                "snap-warn" => new.snap_warn = Some(self.percent("snap-warn")?),
                "snap-depletion" => new.depletion = Some(self.depletion()?),
                "description" => new.description = Some(self.word()?),
                "iscsi-alias" => new.alias = Some(self.word()?),
                "offline" => new.offline = true,
                "read-only" => new.read_only = true,
                "unrestricted" => new.unrestricted = true,
                _ => {}
            }
        }
        Ok(new)
    }

    fn depletion(&mut self) -> Result<Depletion, Refusal> {
        Ok(match self.keyword(&["delete-oldest", "volume-offline"])? {
            "delete-oldest" => Depletion::DeleteOldest,
            _ => Depletion::VolumeOffline,
        })
    }

    fn percent(&mut self, parameter: &'static str) -> Result<u32, Refusal> {
        let word = self.word()?;
        let number = word.strip_suffix('%').unwrap_or(&word).parse().ok();
        // The array takes up to a thousand per cent for snapshots.
        number
            .filter(|percent| *percent <= 1000)
            .ok_or(Refusal::BadValue {
                parameter,
                right: "Use a percentage up to 1000%.",
            })
    }

    fn size(&mut self) -> Result<u64, Refusal> {
        size::parse(&self.word()?).ok_or(Refusal::BadValue {
            parameter: "size",
            right: "Use a number with MB, GB or TB behind it.",
        })
    }

    fn switched(&mut self) -> Result<bool, Refusal> {
        Ok(self.keyword(&["on", "off"])? == "on")
    }

    fn enabled(&mut self) -> Result<bool, Refusal> {
        Ok(self.keyword(&["enable", "disable"])? == "enable")
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        if self.is_done() {
            return Ok(false);
        }
        self.keyword(&[name])?;
        Ok(true)
    }

    fn number(&mut self) -> Result<usize, Refusal> {
        let bad = self.bad();
        self.word()?.parse().map_err(|_| bad)
    }

    fn number_32(&mut self) -> Result<u32, Refusal> {
        let bad = self.bad();
        self.word()?.parse().map_err(|_| bad)
    }

    fn keyword(&mut self, known: &[&'static str]) -> Result<&'static str, Refusal> {
        let bad = self.bad();
        let word = self.word()?;
        if let Some(exact) = known.iter().find(|one| one.eq_ignore_ascii_case(&word)) {
            return Ok(exact);
        }
        let mut begun = known.iter().filter(|one| {
            !word.is_empty()
                && one
                    .get(..word.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(&word))
        });
        match (begun.next(), begun.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(bad),
        }
    }

    fn word(&mut self) -> Result<String, Refusal> {
        let bad = self.bad();
        let word = self.words.get(self.at).ok_or(bad)?.1.clone();
        self.at += 1;
        Ok(word)
    }

    fn is_done(&self) -> bool {
        self.at == self.words.len()
    }

    fn nothing_left(&self) -> Result<(), Refusal> {
        if self.is_done() {
            Ok(())
        } else {
            Err(self.bad())
        }
    }

    fn bad(&self) -> Refusal {
        let column = self.words.get(self.at).map_or(self.end, |word| word.0);
        Refusal::BadCommand { column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(line: &str) -> Result<Command, Refusal> {
        parse(line, &Context::Group)
    }

    #[test]
    fn reads_what_published_clients_say() {
        let created = top(
            "volume create v 10G pool p thin-provision snap-reserve 100% description \"a b\" offline",
        );
        let Ok(Command::CreateVolume(name, bytes, new)) = created else {
            panic!("{created:?}");
        };
        assert_eq!((name.as_str(), bytes), ("v", 10 << 30));
        assert!(new.thin && new.offline);
        assert_eq!(new.description.as_deref(), Some("a b"));
        assert_eq!(new.snap_reserve, Some(100));
        assert_eq!(
            top("volume select v size 20G no-snap"),
            Ok(Command::Volume(
                "v".to_owned(),
                VolumeCommand::Grow {
                    bytes: 20 << 30,
                    no_snap: true
                }
            ))
        );
        assert_eq!(
            top("volume select v snapshot rename 'a' 'b'"),
            Ok(Command::Volume(
                "v".to_owned(),
                VolumeCommand::RenameSnapshot("a".to_owned(), "b".to_owned())
            ))
        );
        for line in [
            "volume select v access create initiator iqn.a authmethod chap username u",
            "volume select v access create ipaddress *.*.*.* authmethod none",
            "vol create flk 5GB thin",
            "show pool",
            "volume show v",
            "cli-settings displayinMB on",
            "grpparams info-messages disable",
        ] {
            top(line).unwrap_or_else(|refusal| panic!("{line}: {refusal:?}"));
        }
    }

    #[test]
    fn a_context_stands_before_the_line() {
        let context = Context::Snapshot("v".to_owned(), "s".to_owned());
        assert_eq!(
            parse("offline", &context),
            Ok(Command::Volume(
                "v".to_owned(),
                VolumeCommand::Snapshot("s".to_owned(), SnapshotCommand::Online(false))
            ))
        );
        assert_eq!(parse("exit", &context), Ok(Command::Exit));
    }

    #[test]
    fn says_where_the_words_stop_to_mean_something() {
        for (line, column) in [
            ("volume frobnicate", 7),
            ("volume create v", 15),
            ("volume select v o", 16),
            ("volume delete v w", 16),
            ("volume select v description \"a", 30),
        ] {
            assert_eq!(top(line), Err(Refusal::BadCommand { column }), "{line}");
        }
    }
}
