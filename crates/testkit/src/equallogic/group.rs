//! What a group is: members, pools, accounts and volumes, without any protocol.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::refusal::Refusal;
use super::size;
use super::volume::{Depletion, Volume};

/// A group of arrays.
#[derive(Debug)]
pub struct Group {
    /// Its name, which is also the prompt.
    pub name: String,
    /// Where it is reached.
    pub address: Ipv4Addr,
    /// Its arrays.
    pub members: Vec<Member>,
    /// Where space comes from.
    pub pools: Vec<Pool>,
    /// Who may log in to the CLI.
    pub accounts: Vec<Account>,
    /// The local CHAP accounts, by their name.
    pub chap_users: BTreeMap<String, ChapUser>,
    /// The volumes, by their name.
    pub volumes: BTreeMap<String, Volume>,
    /// The reserve of new volumes, in percent.
    pub snap_reserve: u32,
    /// What new volumes do when it is full.
    pub depletion: Depletion,
    /// Whether informational messages are shown.
    pub info_messages: bool,
    pub(super) next_id: u64,
    changes: Vec<DataChange>,
}

/// An array.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The pool it belongs to.
    pub pool: String,
    /// Such as `V9.1.4`.
    pub firmware: String,
    /// What it holds, in pages.
    pub pages: u64,
}

/// Space of some members.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Whether new volumes go there unless said otherwise.
    pub default: bool,
    /// Pages that something else has taken: replicas, other people's volumes.
    pub foreign_pages: u64,
}

/// An account of the CLI.
#[derive(Clone)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
    /// What it may do.
    pub role: Role,
    /// How the CLI talks to it.
    pub settings: Settings,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What an account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    GroupAdministrator,
    /// Everything with the volumes of these pools; it sees no others.
    PoolAdministrator(Vec<String>),
    /// Looking.
    ReadOnly,
}

/// What `cli-settings` changes. The array keeps them per account: Cinder sets them on one session and relies on them on others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ask before what cannot be undone.
    pub confirmation: bool,
    /// Stop after each screen.
    pub paging: bool,
    /// Show events as they happen.
    pub events: bool,
    /// Two values per line.
    pub formatoutput: bool,
    /// Sizes in megabytes only.
    pub display_in_mb: bool,
    /// End sessions in which nothing is said.
    pub idlelogout: bool,
    /// Offer a wrong command for correction.
    pub reprint_bad_input: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            confirmation: true,
            paging: true,
            events: true,
            formatoutput: true,
            display_in_mb: false,
            idlelogout: true,
            reprint_bad_input: false,
        }
    }
}

/// A local CHAP account.
#[derive(Clone)]
pub struct ChapUser {
    /// Its password.
    pub password: String,
    /// Whether it may be used.
    pub enabled: bool,
}

impl std::fmt::Debug for ChapUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChapUser").finish_non_exhaustive()
    }
}

/// What has to happen to the files behind the volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataChange {
    /// New data of zeroes.
    Create {
        /// Which.
        id: u64,
        /// How long, in bytes.
        bytes: u64,
    },
    /// New data with what another has now.
    Copy {
        /// The other.
        from: u64,
        /// Which; replaced when it is there.
        to: u64,
    },
    /// Another length.
    Resize {
        /// Which.
        id: u64,
        /// How long, in bytes.
        bytes: u64,
    },
    /// No initiator may go on using it.
    Disconnect {
        /// Which.
        id: u64,
    },
    /// It is gone.
    Remove {
        /// Which.
        id: u64,
    },
}

impl Group {
    /// A group of one member with one pool, `default`, of so many pages, and the account `grpadmin`.
    pub fn new(name: &str, address: Ipv4Addr, pages: u64, password: &str, firmware: &str) -> Self {
        let member = Member {
            name: "member-1".to_owned(),
            pool: "default".to_owned(),
            firmware: firmware.to_owned(),
            pages,
        };
        let administrator = Account {
            name: "grpadmin".to_owned(),
            password: password.to_owned(),
            role: Role::GroupAdministrator,
            settings: Settings::default(),
        };
        Group {
            name: name.to_owned(),
            address,
            members: vec![member],
            pools: vec![Pool {
                name: "default".to_owned(),
                default: true,
                foreign_pages: 0,
            }],
            accounts: vec![administrator],
            chap_users: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snap_reserve: 100,
            depletion: Depletion::DeleteOldest,
            info_messages: true,
            next_id: 1,
            changes: Vec::new(),
        }
    }

    /// Adds a pool with one member of so many pages.
    pub fn add_pool(&mut self, name: &str, pages: u64) {
        let mut member = self.members[0].clone();
        member.name = format!("member-{}", self.members.len() + 1);
        member.pool = name.to_owned();
        member.pages = pages;
        self.members.push(member);
        self.pools.push(Pool {
            name: name.to_owned(),
            default: false,
            foreign_pages: 0,
        });
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Result<&Pool, Refusal> {
        let found = self.pools.iter().find(|pool| pool.name == name);
        found.ok_or_else(|| Refusal::Missing {
            what: "Pool",
            name: name.to_owned(),
        })
    }

    /// The volumes of a pool.
    pub fn volumes_of<'a>(&'a self, pool: &'a str) -> impl Iterator<Item = &'a Volume> {
        self.volumes
            .values()
            .filter(move |volume| volume.pool == pool)
    }

    /// All pages of a pool.
    pub fn pool_pages(&self, pool: &str) -> u64 {
        let members = self.members.iter().filter(|member| member.pool == pool);
        members.map(|member| member.pages).sum()
    }

    /// Pages of a pool that nothing has taken.
    pub fn free_pages(&self, pool: &str) -> u64 {
        let taken: u64 = self.volumes_of(pool).map(Volume::taken_pages).sum();
        let foreign = self.pool(pool).map_or(0, |pool| pool.foreign_pages);
        self.pool_pages(pool).saturating_sub(taken + foreign)
    }

    /// Whether the pool has still so many free pages.
    pub(super) fn need(&self, pool: &str, pages: u64) -> Result<(), Refusal> {
        if pages > self.free_pages(pool) {
            return Err(Refusal::PoolFull {
                pool: pool.to_owned(),
            });
        }
        Ok(())
    }

    /// The account of this name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// The account of this name, to change it.
    pub fn account_mut(&mut self, name: &str) -> Option<&mut Account> {
        self.accounts
            .iter_mut()
            .find(|account| account.name == name)
    }

    /// What is to be done to the files since this was asked last, in this order.
    pub fn take_changes(&mut self) -> Vec<DataChange> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn change(&mut self, change: DataChange) {
        self.changes.push(change);
    }

    /// A number that was never used, for data and for names of targets.
    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// The name of the target of new data: lower case, as names of iSCSI are.
    pub(super) fn target_name(id: u64, name: &str) -> String {
        let (first, second) = (0x19f_91850c_u64 + id, 0x0670_0000_0000_4532 + (id << 24));
        format!(
            "iqn.2001-05.com.equallogic:0-8a0906-{first:09x}-{second:016x}-{}",
            name.to_ascii_lowercase()
        )
    }

    /// Creates a CHAP account; without a password the group makes one up, which is returned.
    pub fn create_chap_user(
        &mut self,
        name: &str,
        password: Option<&str>,
    ) -> Result<String, Refusal> {
        if self.chap_users.contains_key(name) {
            return Err(Refusal::Exists {
                what: "CHAP user",
                name: name.to_owned(),
            });
        }
        let made_up = format!("Pw{:014x}", self.new_id() * 0x9e37_79b9);
        let password = password.unwrap_or(&made_up).to_owned();
        let user = ChapUser {
            password: password.clone(),
            enabled: true,
        };
        self.chap_users.insert(name.to_owned(), user);
        Ok(password)
    }

    /// Deletes a CHAP account.
    pub fn delete_chap_user(&mut self, name: &str) -> Result<(), Refusal> {
        let gone = self.chap_users.remove(name);
        gone.map(drop).ok_or_else(|| Refusal::Missing {
            what: "CHAP user",
            name: name.to_owned(),
        })
    }

    /// Whether the space of all volumes, to the page, is within the pools; for tests of this model.
    pub fn is_consistent(&self) -> bool {
        self.pools.iter().all(|pool| {
            let taken: u64 = self.volumes_of(&pool.name).map(Volume::taken_pages).sum();
            taken <= self.pool_pages(&pool.name)
        }) && self.volumes.iter().all(|(name, volume)| {
            *name == volume.name && volume.used_pages <= size::pages(volume.size)
        })
    }
}
