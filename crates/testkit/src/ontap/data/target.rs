//! tgt as the array's targets: one target for each initiator, with the LUNs that the initiator may see.
//!
//! A real array has one target and shows each initiator other LUNs. tgt cannot, so [`super::portal`] leads each initiator to its own.

use std::collections::BTreeMap;

use super::files::Files;
use crate::iscsi_target::{LunIdentity, Tgt};
use crate::ontap::state::cluster::{Cluster, DataId};
use crate::ontap::state::iscsi::{Account, Authentication};

/// The targets.
pub struct Targets {
    tgt: Tgt,
    /// By SVM and initiator.
    views: BTreeMap<(String, String), View>,
    /// The passwords that tgt knows, by user.
    passwords: BTreeMap<String, String>,
}

/// What one initiator sees.
#[derive(Debug)]
struct View {
    tid: u32,
    /// By the array's number.
    luns: BTreeMap<u16, DataId>,
    inbound: Option<Account>,
    outbound: Option<Account>,
}

impl Targets {
    /// Targets of a tgt that has none.
    pub fn new(tgt: Tgt) -> Self {
        Targets {
            tgt,
            views: BTreeMap::new(),
            passwords: BTreeMap::new(),
        }
    }

    /// Where tgt listens.
    pub fn portal(&self) -> String {
        self.tgt.portal()
    }

    /// A directory that lives as long as tgt.
    pub fn directory(&self) -> &std::path::Path {
        self.tgt.directory()
    }

    /// The name of an initiator's own target, which is made if it is not there.
    pub fn of(&mut self, cluster: &Cluster, files: &Files, svm: &str, initiator: &str) -> String {
        let key = (svm.to_owned(), initiator.to_owned());
        if !self.views.contains_key(&key) {
            let tid = u32::try_from(self.views.len() + 1).expect("few initiators");
            self.tgt.add_target(tid, &target_name(tid));
            let view = View {
                tid,
                luns: BTreeMap::new(),
                inbound: None,
                outbound: None,
            };
            self.views.insert(key.clone(), view);
            self.update(cluster, files, &key);
        }
        target_name(self.views[&key].tid)
    }

    /// Has the targets show what the state says.
    pub fn follow(&mut self, cluster: &Cluster, files: &Files) {
        let keys: Vec<(String, String)> = self.views.keys().cloned().collect();
        for key in keys {
            self.update(cluster, files, &key);
        }
    }

    /// Has the targets use a file again that was exchanged or has another size; tells who sees it under which number: SVM,
    /// initiator, number.
    pub fn reopen(&mut self, files: &Files, data: DataId) -> Vec<(String, String, u16)> {
        let mut seen = Vec::new();
        for ((svm, initiator), view) in &self.views {
            for (number, _) in view.luns.iter().filter(|(_, there)| **there == data) {
                self.tgt.reopen_lun(view.tid, number + 1, &files.path(data));
                seen.push((svm.clone(), initiator.clone(), *number));
            }
        }
        seen
    }

    fn update(&mut self, cluster: &Cluster, files: &Files, key: &(String, String)) {
        let (svm, initiator) = key;
        let wanted = wanted(cluster, svm, initiator);
        let view = self.views.get_mut(key).expect("the view is there");
        let gone = view
            .luns
            .iter()
            .filter(|(number, data)| wanted.get(number).is_none_or(|lun| lun.data != **data));
        let gone: Vec<u16> = gone.map(|(number, _)| *number).collect();
        for number in gone {
            self.tgt.remove_lun(view.tid, number + 1);
            view.luns.remove(&number);
        }
        for (number, lun) in wanted {
            if let std::collections::btree_map::Entry::Vacant(place) = view.luns.entry(number) {
                let path = files.path(lun.data);
                self.tgt
                    .add_lun_as(view.tid, number + 1, &path, &identity(cluster, &lun.serial));
                place.insert(lun.data);
            }
        }
        self.authenticate(key, cluster.authentication(svm, initiator));
    }

    fn authenticate(&mut self, key: &(String, String), how: Authentication) {
        let (inbound, outbound) = match how {
            Authentication::Chap { inbound, outbound } => (Some(inbound), outbound),
            _ => (None, None),
        };
        let view = self.views.get_mut(key).expect("the view is there");
        if view.inbound == inbound && view.outbound == outbound {
            return;
        }
        if let Some(old) = view.inbound.take() {
            self.tgt.unbind_account(view.tid, &old.user, false);
        }
        if let Some(old) = view.outbound.take() {
            self.tgt.unbind_account(view.tid, &old.user, true);
        }
        for (account, is_outgoing) in [(&inbound, false), (&outbound, true)] {
            if let Some(account) = account {
                self.know(account);
                let tid = self.views[key].tid;
                self.tgt.bind_account(tid, &account.user, is_outgoing);
            }
        }
        let view = self.views.get_mut(key).expect("the view is there");
        (view.inbound, view.outbound) = (inbound, outbound);
    }

    /// tgt knows one password for each user: the last one counts, for all initiators that name the user.
    fn know(&mut self, account: &Account) {
        match self.passwords.get(&account.user) {
            Some(known) if *known == account.password => return,
            Some(_) => {
                self.tgt.remove_account(&account.user);
                self.tgt.add_account(&account.user, &account.password);
                for view in self.views.values() {
                    for (bound, is_outgoing) in [(&view.inbound, false), (&view.outbound, true)] {
                        if bound
                            .as_ref()
                            .is_some_and(|bound| bound.user == account.user)
                        {
                            self.tgt.bind_account(view.tid, &account.user, is_outgoing);
                        }
                    }
                }
            }
            None => self.tgt.add_account(&account.user, &account.password),
        }
        self.passwords
            .insert(account.user.clone(), account.password.clone());
    }
}

struct Wanted {
    data: DataId,
    serial: String,
}

fn wanted(cluster: &Cluster, svm: &str, initiator: &str) -> BTreeMap<u16, Wanted> {
    let seen = cluster.seen_by(svm, initiator).filter_map(|map| {
        let lun = cluster.lun(map.lun).ok()?;
        let is_online = lun.enabled && cluster.volume(lun.volume)?.online;
        let wanted = Wanted {
            data: lun.data,
            serial: lun.serial.clone(),
        };
        is_online.then_some((map.number, wanted))
    });
    seen.collect()
}

fn identity(cluster: &Cluster, serial: &str) -> LunIdentity {
    let [generation, major, minor] = cluster.version;
    let hex: String = serial.bytes().map(|byte| format!("{byte:02x}")).collect();
    LunIdentity {
        vendor: "NETAPP".to_owned(),
        product: "LUN C-Mode".to_owned(),
        revision: format!("{generation}{major}{minor}")
            .chars()
            .take(4)
            .collect(),
        serial: serial.to_owned(),
        id: format!("600a0980{hex}"),
    }
}

fn target_name(tid: u32) -> String {
    format!("iqn.2026-11.testkit:ontap-view-{tid}")
}
