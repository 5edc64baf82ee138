//! From a line of the CLI to a command. Keywords may be shortened as long as they stay unique, as `vol sel v off`.

use super::command::{Command, Context, Setting, Terminal, VolumeCommand};
use super::refusal::Refusal;
use super::words::Words;

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

/// What is said about the session, whatever the context.
const OF_SESSION: &[&str] = &["exit", "logout", "stty", "cli-settings", "whoami", "help"];

/// Reads a line that is given in a context.
pub fn parse(line: &str, context: &Context) -> Result<Command, Refusal> {
    let mut words = Words::of(line)?;
    match words.first() {
        None => return Ok(Command::Nothing),
        Some("?") => return Ok(Command::Help),
        Some(first) if OF_SESSION.contains(&first) => {}
        Some(_) => words.put_before(&context.words()),
    }
    let command = words.command()?;
    words.nothing_left()?;
    Ok(command)
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
}

#[cfg(test)]
mod tests {
    use super::super::command::SnapshotCommand;
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
            "volume show -volume",
            "volume create v 5G read-write online sector-size 512",
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
