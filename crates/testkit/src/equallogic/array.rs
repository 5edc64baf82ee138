//! The running array: its state, its data and its faults behind one lock, used by the front ends and by the test.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::answer::Answer;
use super::command::Command;
use super::data_plane::{DataPlane, Target};
use super::execute::execute;
use super::faults::Faults;
use super::group::{Group, Settings};
use super::refusal::Refusal;
use super::volume::Volume;

/// The array.
pub struct Array {
    state: Mutex<State>,
}

/// What there is behind the lock.
pub struct State {
    /// Volumes, pools, accounts.
    pub group: Group,
    /// What the volumes hold.
    pub data: DataPlane,
    /// What goes wrong.
    pub faults: Faults,
    /// The commands that read or changed the group, in their order.
    pub log: Vec<String>,
    /// Whether events are made up around changes; they are shown while `cli-settings events` is on.
    pub noise: bool,
    /// Open sessions.
    pub sessions: usize,
    /// Most sessions that were open at once.
    pub most_sessions: usize,
    /// Which host key the CLI has.
    pub host_key_seed: [u8; 32],
    events: u64,
}

/// Why an initiator does not get to a target. The numbers are status class and detail of RFC 7143, 11.13.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// There is none of this name, or it is offline.
    NotFound,
    /// No record admits this initiator, or another one uses it.
    Forbidden,
    /// istgt is missing or does not start.
    Unavailable,
}

/// An open session; dropping it closes it.
pub struct OpenSession {
    array: Arc<Array>,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.array.state().sessions -= 1;
    }
}

impl Array {
    /// Around a group.
    pub fn new(group: Group, noise: bool) -> Self {
        let data = DataPlane::new(group.address);
        let state = State {
            group,
            data,
            faults: Faults::default(),
            log: Vec::new(),
            noise,
            sessions: 0,
            most_sessions: 0,
            host_key_seed: [0x45; 32],
            events: 0,
        };
        Array {
            state: Mutex::new(state),
        }
    }

    /// Everything. A test that panicked while it held it leaves it usable.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the password of the account.
    pub fn knows(&self, account: &str, password: &str) -> bool {
        let state = self.state();
        let known = state.group.account(account);
        known.is_some_and(|account| account.password == password)
    }

    /// Opens a session, unless there are too many.
    pub fn open_session(self: &Arc<Self>) -> Option<OpenSession> {
        let mut state = self.state();
        if state.sessions + state.faults.foreign_sessions >= state.faults.session_limit {
            return None;
        }
        state.sessions += 1;
        state.most_sessions = state.most_sessions.max(state.sessions);
        drop(state);
        Some(OpenSession {
            array: Arc::clone(self),
        })
    }

    /// How the CLI talks to this account.
    pub fn settings(&self, account: &str) -> Settings {
        let state = self.state();
        state
            .group
            .account(account)
            .map_or_else(Settings::default, |account| account.settings)
    }

    /// Carries a command out.
    pub fn run(&self, account: &str, command: &Command) -> Result<Answer, Refusal> {
        let mut state = self.state();
        let State { group, data, .. } = &mut *state;
        let volumes = group.volumes.values();
        let written: Vec<(String, u64)> = volumes
            .map(|volume| (volume.name.clone(), data.written_pages(volume.id)))
            .collect();
        for (name, pages) in written {
            group.set_written(&name, pages).expect("it is there");
        }
        let connections = |id| data.connections(id);
        let answer = execute(group, account, command, &now(), &connections);
        for change in group.take_changes() {
            // The files are in a directory of ours: only a full disk or a missing `cp` keeps them from following.
            data.apply(&change).expect("the data follows the state");
        }
        answer
    }

    /// An event as the array prints them between answers, when there is one to print.
    pub fn event(&self, account: &str, text: &str) -> Option<String> {
        let mut state = self.state();
        let wanted = state
            .group
            .account(account)
            .is_some_and(|one| one.settings.events);
        if !(wanted && state.noise && state.group.info_messages) {
            return None;
        }
        state.events += 1;
        let (number, member) = (state.events, &state.group.members[0].name);
        Some(format!(
            "{number}:{number}:{member}:agent:{}:cli.c:1024:INFO:25.2.9:CLI: {text}",
            now()
        ))
    }

    /// The targets that an initiator may log in to.
    pub fn targets(&self, initiator: &str, from: Ipv4Addr) -> Vec<String> {
        let state = self.state();
        let volumes = state.group.volumes.values();
        let found = volumes.flat_map(|volume| {
            let own = volume.is_online().then_some((&volume.iqn, false));
            let snapshots = volume.snapshots.iter().filter(|one| one.online);
            let all = own.into_iter().chain(snapshots.map(|one| (&one.iqn, true)));
            all.filter(|(_, snapshot)| {
                let mut records = volume.records.iter();
                records.any(|record| record.admits(initiator, from, *snapshot))
            })
            .map(|(iqn, _)| iqn.clone())
            .collect::<Vec<_>>()
        });
        found.collect()
    }

    /// Lets an initiator in to a target; returns the port at the group's address.
    pub fn admit(&self, iqn: &str, initiator: &str, from: Ipv4Addr) -> Result<u16, NotAdmitted> {
        let mut state = self.state();
        let State { group, data, .. } = &mut *state;
        let mut candidates = group.volumes.values().flat_map(|volume| {
            let snapshots = volume.snapshots.iter();
            let snapshots = snapshots
                .map(move |one| (volume, &one.iqn, one.id, one.online, one.writable, true));
            let own = (
                volume,
                &volume.iqn,
                volume.id,
                volume.is_online(),
                volume.writable,
                false,
            );
            std::iter::once(own).chain(snapshots)
        });
        let found = candidates.find(|one| one.1.eq_ignore_ascii_case(iqn));
        let Some((volume, iqn, id, true, writable, snapshot)) = found else {
            return Err(NotAdmitted::NotFound);
        };
        let chap = admitted_as(volume, group, initiator, from, snapshot)?;
        if !volume.multihost && data.is_used_by_another(id, initiator) {
            return Err(NotAdmitted::Forbidden);
        }
        let target = Target {
            id,
            iqn: iqn.clone(),
            writable,
            chap,
        };
        data.serve(&target, initiator)
            .map_err(|_| NotAdmitted::Unavailable)
    }
}

/// User and password with which an initiator has to come, none if it need not prove who it is.
fn admitted_as(
    volume: &Volume,
    group: &Group,
    initiator: &str,
    from: Ipv4Addr,
    snapshot: bool,
) -> Result<Option<(String, String)>, NotAdmitted> {
    let records = volume.records.iter();
    let fitting: Vec<_> = records
        .filter(|record| record.admits(initiator, from, snapshot))
        .collect();
    if fitting.iter().any(|record| record.chap_user.is_none()) {
        return Ok(None);
    }
    let users = fitting
        .iter()
        .filter_map(|record| record.chap_user.as_ref());
    let mut known = users.filter_map(|user| {
        let account = group.chap_users.get(user)?;
        account
            .enabled
            .then(|| (user.clone(), account.password.clone()))
    });
    known.next().map(Some).ok_or(NotAdmitted::Forbidden)
}

/// The time as names of snapshots have it: `2026-11-22-16:31:40`.
fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!(
        "{}-{:02}-{:02}-{:02}:{:02}:{:02}",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
}
