//! Carries commands out on a group.

use super::answer::Answer;
use super::command::{Command, Context, Setting, SnapshotCommand, VolumeCommand};
use super::describe::{Connections, View};
use super::describe_volume::record_table;
use super::group::{Account, Group, Role};
use super::refusal::Refusal;
use super::snapshots::NewSnapshot;
use super::volume::Volume;
use super::volumes::{NewVolume, check_description};

/// Carries a command out for an account, or says why not. `now` is the time as names of snapshots have it.
///
/// Commands about the session alone answer nothing here, but for `cli-settings` and `whoami`.
pub fn execute(
    group: &mut Group,
    account: &str,
    command: &Command,
    now: &str,
    connections: Connections<'_>,
) -> Result<Answer, Refusal> {
    let account = group.account(account).cloned().ok_or(Refusal::Denied)?;
    let mut answer = Answer::default();
    allow(group, &account, command)?;
    if command.changes() {
        change(group, command, now, &mut answer)?;
        return Ok(answer);
    }
    if let Command::Setting(setting, on) = command {
        set(group, &account.name, *setting, *on);
        return Ok(answer);
    }
    let view = View {
        group,
        account: &account,
        connections,
    };
    show(&view, command, &mut answer)?;
    Ok(answer)
}

/// Whether the account may do this.
fn allow(group: &Group, account: &Account, command: &Command) -> Result<(), Refusal> {
    let Role::PoolAdministrator(pools) = &account.role else {
        let looks = account.role == Role::ReadOnly && command.changes();
        return if looks { Err(Refusal::Denied) } else { Ok(()) };
    };
    let reaches = |pool: Option<&str>| pool.is_some_and(|pool| pools.iter().any(|one| one == pool));
    let pool_of = |name: &str| group.volumes.get(name).map(|volume| volume.pool.as_str());
    let default = group.pools.iter().find(|pool| pool.default);
    let pool_of_new = |new: &NewVolume| new.pool.clone().or(default.map(|pool| pool.name.clone()));
    let allowed = match command {
        Command::CreateVolume(_, _, new) => reaches(pool_of_new(new).as_deref()),
        // What it does not see is missing to it.
        Command::DeleteVolume(name) | Command::RenameVolume(name, _) => {
            reaches(pool_of(name)) || return_missing(name)?
        }
        Command::Volume(name, _) | Command::Enter(Context::Volume(name)) => {
            reaches(pool_of(name)) || return_missing(name)?
        }
        Command::InfoMessages(_) | Command::CreateChapUser(..) | Command::DeleteChapUser(_) => {
            false
        }
        _ => true,
    };
    if allowed {
        Ok(())
    } else {
        Err(Refusal::Denied)
    }
}

fn return_missing(name: &str) -> Result<bool, Refusal> {
    Err(Refusal::Missing {
        what: "Volume",
        name: name.to_owned(),
    })
}

fn set(group: &mut Group, account: &str, setting: Setting, on: bool) {
    let Some(account) = group.account_mut(account) else {
        return;
    };
    let settings = &mut account.settings;
    *match setting {
        Setting::Confirmation => &mut settings.confirmation,
        Setting::Paging => &mut settings.paging,
        Setting::Events => &mut settings.events,
        Setting::FormatOutput => &mut settings.formatoutput,
        Setting::DisplayInMb => &mut settings.display_in_mb,
        Setting::IdleLogout => &mut settings.idlelogout,
        Setting::ReprintBadInput => &mut settings.reprint_bad_input,
    } = on;
}

fn show(view: &View<'_>, command: &Command, answer: &mut Answer) -> Result<(), Refusal> {
    match command {
        Command::Whoami => answer.line(view.account.name.clone()),
        Command::Help => answer.line(
            "chapuser cli-settings exit grpparams logout member pool show stty volume whoami",
        ),
        Command::ShowSettings => view.settings(answer, &view.account.settings),
        Command::ShowGroup => view.group(answer),
        Command::ShowParameters => view.parameters(answer),
        Command::ShowPools => view.pools(answer),
        Command::ShowPool(name) => view.pool(answer, name)?,
        Command::ShowMembers => view.members(answer),
        Command::ShowMember(name, controllers) => view.member(answer, name, *controllers)?,
        Command::ShowVolumes => view.volumes(answer),
        Command::ShowChapUsers(name) => chap_users(view, name.as_deref(), answer)?,
        Command::Volume(name, command) => show_volume(view, view.volume(name)?, command, answer)?,
        Command::Enter(context) => return enter(view, context),
        _ => {}
    }
    Ok(())
}

fn show_volume(
    view: &View<'_>,
    volume: &Volume,
    command: &VolumeCommand,
    answer: &mut Answer,
) -> Result<(), Refusal> {
    match command {
        VolumeCommand::Show => view.one_volume(answer, volume),
        VolumeCommand::ShowAccess => {
            if view.firmware() >= 5 {
                answer.title("Access Records");
                answer.line("");
            }
            record_table(answer, &volume.records);
        }
        VolumeCommand::ShowRecord(id) => {
            let found = volume.records.iter().find(|record| record.id == *id);
            let record = found.ok_or_else(|| Refusal::Missing {
                what: "Access control record",
                name: id.to_string(),
            })?;
            view.record(answer, record);
        }
        VolumeCommand::ShowSnapshots => view.snapshot_table(answer, &volume.snapshots),
        VolumeCommand::Snapshot(name, SnapshotCommand::Show) => {
            let snapshot = view.group.snapshot(&volume.name, name)?;
            view.one_snapshot(answer, snapshot);
        }
        _ => {}
    }
    Ok(())
}

fn enter(view: &View<'_>, context: &Context) -> Result<(), Refusal> {
    match context {
        Context::Group => Ok(()),
        Context::Pool(name) => view.group.pool(name).map(drop),
        Context::Member(name) => view.member(&mut Answer::default(), name, false),
        Context::Volume(name) => view.volume(name).map(drop),
        Context::Snapshot(volume, name) => {
            view.volume(volume)?;
            view.group.snapshot(volume, name).map(drop)
        }
    }
}

fn chap_users(view: &View<'_>, name: Option<&str>, answer: &mut Answer) -> Result<(), Refusal> {
    let Some(name) = name else {
        let rows: Vec<Vec<String>> = view
            .group
            .chap_users
            .iter()
            .map(|(name, user)| {
                let enabled = if user.enabled { "enable" } else { "disable" };
                vec![name.clone(), enabled.to_owned()]
            })
            .collect();
        answer.table(&[("Name", 30), ("Status", 7)], &rows);
        return Ok(());
    };
    let found = view.group.chap_users.get(name);
    let user = found.ok_or_else(|| Refusal::Missing {
        what: "CHAP user",
        name: name.to_owned(),
    })?;
    let values = [
        ("UserName", name.to_owned()),
        ("Password", user.password.clone()),
        ("Status", "enable".to_owned()),
    ];
    answer.block(
        "CHAP User Information",
        &values,
        view.account.settings.formatoutput,
    );
    Ok(())
}

fn change(
    group: &mut Group,
    command: &Command,
    now: &str,
    answer: &mut Answer,
) -> Result<(), Refusal> {
    match command {
        Command::InfoMessages(on) => group.info_messages = *on,
        Command::CreateChapUser(name, password) => {
            let made = group.create_chap_user(name, password.as_deref())?;
            answer.line("CHAP user creation succeeded.");
            if password.is_none() {
                answer.line(format!("Password is {made}"));
            }
        }
        Command::DeleteChapUser(name) => {
            group.delete_chap_user(name)?;
            answer.line("CHAP user deletion succeeded.");
        }
        Command::CreateVolume(name, bytes, new) => {
            let volume = group.create_volume(name, *bytes, new)?;
            created(answer, volume);
        }
        Command::DeleteVolume(name) => {
            group.delete_volume(name)?;
            answer.line("Volume deletion succeeded.");
        }
        Command::RenameVolume(name, to) => group.rename_volume(name, to)?,
        Command::Volume(name, command) => change_volume(group, name, command, now, answer)?,
        _ => {}
    }
    Ok(())
}

fn created(answer: &mut Answer, volume: &Volume) {
    answer.line("Volume creation succeeded.");
    answer.line(format!("iSCSI target name is {}.", volume.iqn));
}

fn change_volume(
    group: &mut Group,
    name: &str,
    command: &VolumeCommand,
    now: &str,
    answer: &mut Answer,
) -> Result<(), Refusal> {
    match command {
        VolumeCommand::Online(online) => group.set_volume_online(name, *online)?,
        VolumeCommand::Grow { bytes, no_snap } => {
            snapshot_before(group, name, *no_snap, now)?;
            group.grow_volume(name, *bytes)?;
        }
        VolumeCommand::Shrink { bytes, no_snap } => {
            snapshot_before(group, name, *no_snap, now)?;
            group.shrink_volume(name, *bytes)?;
        }
        VolumeCommand::Description(text) => {
            check_description(text)?;
            group.volume_mut(name)?.description.clone_from(text);
        }
        VolumeCommand::Alias(text) => group.volume_mut(name)?.alias.clone_from(text),
        VolumeCommand::SnapReserve(percent) => group.set_snap_reserve(name, *percent)?,
        VolumeCommand::SnapWarn(percent) => group.volume_mut(name)?.snap_warn = *percent,
        VolumeCommand::SnapDepletion(policy) => group.volume_mut(name)?.depletion = *policy,
        VolumeCommand::Writable(writable) => group.volume_mut(name)?.writable = *writable,
        VolumeCommand::MultihostAccess(on) => group.volume_mut(name)?.multihost = *on,
        VolumeCommand::Clone(to, new) => {
            let volume = group.clone_volume(name, None, to, new)?;
            created(answer, volume);
        }
        VolumeCommand::CreateAccess(record) => {
            group.add_record(name, record.clone())?;
            answer.line("Access control record creation succeeded.");
        }
        VolumeCommand::DeleteAccess(id) => {
            group.delete_record(name, *id)?;
            answer.line("Access control record deletion succeeded.");
        }
        VolumeCommand::CreateSnapshot(new) => {
            let snapshot = group.create_snapshot(name, now, new)?;
            answer.line("Snapshot creation succeeded.");
            answer.line(format!("Snapshot name is {}", snapshot.name));
        }
        VolumeCommand::DeleteSnapshot(snapshot) => {
            group.delete_snapshot(name, snapshot)?;
            answer.line("Snapshot deletion succeeded.");
        }
        VolumeCommand::RenameSnapshot(snapshot, to) => group.rename_snapshot(name, snapshot, to)?,
        VolumeCommand::Snapshot(snapshot, command) => {
            change_snapshot(group, name, snapshot, command, now, answer)?;
        }
        VolumeCommand::Show
        | VolumeCommand::ShowAccess
        | VolumeCommand::ShowRecord(_)
        | VolumeCommand::ShowSnapshots => {}
    }
    Ok(())
}

/// A change of size takes a snapshot first, unless told not to, or there is no room for any.
fn snapshot_before(group: &mut Group, name: &str, no_snap: bool, now: &str) -> Result<(), Refusal> {
    if !no_snap && group.volume(name)?.snap_reserve > 0 {
        group.create_snapshot(name, now, &NewSnapshot::default())?;
    }
    Ok(())
}

fn change_snapshot(
    group: &mut Group,
    volume: &str,
    name: &str,
    command: &SnapshotCommand,
    now: &str,
    answer: &mut Answer,
) -> Result<(), Refusal> {
    match command {
        SnapshotCommand::Show => {}
        SnapshotCommand::Online(online) => group.set_snapshot_online(volume, name, *online)?,
        SnapshotCommand::Description(text) => {
            check_description(text)?;
            group
                .snapshot_mut(volume, name)?
                .description
                .clone_from(text);
        }
        SnapshotCommand::Writable(writable) => {
            group.snapshot_mut(volume, name)?.writable = *writable;
        }
        SnapshotCommand::Clone(to, new) => {
            let volume = group.clone_volume(volume, Some(name), to, new)?;
            created(answer, volume);
        }
        SnapshotCommand::Restore => {
            group.restore_snapshot(volume, name, now)?;
            answer.line("Snapshot restore succeeded.");
        }
    }
    Ok(())
}
