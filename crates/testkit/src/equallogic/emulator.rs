//! The emulator as tests use it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::array::{Array, State};
use super::faults::{Cut, Refused};
use super::group::{Account, Group, Role, Settings};
use super::size::PAGE;
use super::{portal, ssh};
use crate::tool;

/// How many addresses are tried, of which another test may have one.
const ADDRESS_TRIES: u32 = 64;
/// The port of iSCSI, at an address of the emulator's own.
pub const ISCSI_PORT: u16 = 3260;

/// What a group is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name, which is also the prompt.
    pub name: String,
    /// The password of `grpadmin`.
    pub password: String,
    /// Such as `V9.1.4`.
    pub firmware: String,
    /// What the pool `default` holds.
    pub capacity: u64,
    /// Further pools with what they hold.
    pub pools: Vec<(String, u64)>,
    /// Whether events are printed between answers while `cli-settings events` is on.
    pub noise: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "group-0".to_owned(),
            password: "eqlpassword".to_owned(),
            firmware: "V9.1.4".to_owned(),
            capacity: 1 << 40,
            pools: Vec::new(),
            noise: true,
        }
    }
}

/// A running group: a CLI behind SSH and an iSCSI portal, both at an address of 127.0.0.0/8 that nobody else uses.
///
/// As at a real group the portal's port is 3260 and the address is what `grpparams show` tells; SSH has a port of its own.
pub struct EqualLogicEmulator {
    array: Arc<Array>,
    address: Ipv4Addr,
    ssh_port: u16,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl EqualLogicEmulator {
    /// Starts a group. Its CLI is complete; logins to volumes are refused when istgt is not installed.
    ///
    /// # Panics
    /// When no address is free, or there is no memory for the server's threads.
    pub fn start(options: Options) -> Self {
        let (address, portal) = own_address();
        let cli = TcpListener::bind((address, 0)).expect("a free port");
        let ssh_port = cli.local_addr().expect("an address").port();
        let (name, password, firmware) = (&options.name, &options.password, &options.firmware);
        let mut group = Group::new(name, address, options.capacity / PAGE, password, firmware);
        for (pool, capacity) in &options.pools {
            group.add_pool(pool, capacity / PAGE);
        }
        let array = Arc::new(Array::new(group, options.noise));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&array);
        let server = std::thread::spawn(move || serve(cli, portal, &served, stopped));
        EqualLogicEmulator {
            array,
            address,
            ssh_port,
            stop: Some(stop),
            server: Some(server),
        }
    }

    /// As [`EqualLogicEmulator::start`]; none, with a printed line, when istgt is not installed and `CI` is not set.
    ///
    /// # Panics
    /// As there, or when istgt is missing while `CI` is set.
    pub fn start_with_data(options: Options) -> Option<Self> {
        tool::program("istgt")?;
        Some(Self::start(options))
    }

    /// The group's address, for SSH and iSCSI.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The port of SSH.
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// Address and port of the iSCSI portal.
    pub fn portal(&self) -> String {
        format!("{}:{ISCSI_PORT}", self.address)
    }

    /// The public host key, as `ssh-ed25519 AAAA...`.
    pub fn host_key(&self) -> String {
        let key = ssh::host_key(self.state().host_key_seed);
        key.public_key()
            .to_openssh()
            .expect("a key that was made here")
    }

    /// The fingerprint of the host key, as `SHA256:...`.
    pub fn host_key_fingerprint(&self) -> String {
        let key = ssh::host_key(self.state().host_key_seed);
        key.public_key()
            .fingerprint(russh::keys::HashAlg::Sha256)
            .to_string()
    }

    /// Gives it another host key, as if it were another array; open connections go on.
    pub fn change_host_key(&self) {
        self.state().host_key_seed[0] ^= 0xff;
    }

    /// Everything there is, to look at and to change. The files behind the volumes follow commands only, not what is changed here.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.array.state()
    }

    /// The file that holds the data of a volume.
    pub fn volume_file(&self, name: &str) -> Option<PathBuf> {
        let state = self.state();
        state
            .group
            .volumes
            .get(name)
            .map(|volume| state.data.file(volume.id))
    }

    /// The commands so far that read or changed the group, each with its context before it.
    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Adds an account of the CLI.
    pub fn add_account(&self, name: &str, password: &str, role: Role) {
        self.state().group.accounts.push(Account {
            name: name.to_owned(),
            password: password.to_owned(),
            role,
            settings: Settings::default(),
        });
    }

    /// Cuts the connection at the command of this number from now (1 is the next), once; commands about the session alone do not count.
    pub fn cut(&self, place: Cut, number: usize) {
        self.state().faults.cut = Some((place, number));
    }

    /// Answers the command of this number from now with this error, once.
    pub fn fail(&self, number: usize, text: &str) {
        self.state().faults.fail = Some((number, text.to_owned()));
    }

    /// Takes back cuts and errors that have not struck; whether there were any.
    pub fn calm(&self) -> bool {
        let faults = &mut self.state().faults;
        let cut = faults.cut.take().is_some();
        faults.fail.take().is_some() || cut
    }

    /// Makes each command take this long.
    pub fn slow_down(&self, delay: Option<Duration>) {
        self.state().faults.delay = delay;
    }

    /// Sets how many sessions there may be, how many of them are somebody else's, and what one too many meets.
    pub fn limit_sessions(&self, limit: usize, foreign: usize, refused: Refused) {
        let faults = &mut self.state().faults;
        faults.session_limit = limit;
        faults.foreign_sessions = foreign;
        faults.refused = refused;
    }

    /// Sets after how long a session ends in which nothing is said.
    pub fn log_out_idle(&self, after: Option<Duration>) {
        self.state().faults.idle = after;
    }

    /// Lets somebody else take all of a pool but so many pages.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn fill_pool(&self, pool: &str, but: u64) {
        let group = &mut self.state().group;
        let found = group.pools.iter_mut().find(|one| one.name == pool);
        found.expect("a pool of this name").foreign_pages = 0;
        let taken = group.free_pages(pool).saturating_sub(but);
        let found = group.pools.iter_mut().find(|one| one.name == pool);
        found.expect("a pool of this name").foreign_pages = taken;
    }

    /// Overwrites so many pages of a volume, as far as the snapshot reserve is concerned.
    ///
    /// # Panics
    /// When there is no such volume.
    pub fn overwrite(&self, volume: &str, pages: u64) {
        let mut state = self.state();
        let State { group, data, .. } = &mut *state;
        group
            .overwrite(volume, pages)
            .expect("a volume of this name");
        for change in group.take_changes() {
            data.apply(&change).expect("the data follows the state");
        }
    }

    /// Puts another firmware on all members.
    pub fn set_firmware(&self, version: &str) {
        for member in &mut self.state().group.members {
            version.clone_into(&mut member.firmware);
        }
    }
}

impl Drop for EqualLogicEmulator {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(server) = self.server.take() {
            // What went wrong there was seen by the client.
            let _ = server.join();
        }
        // A connection that ends late must not keep the targets alive.
        self.state().data.disconnect_all();
    }
}

fn serve(cli: TcpListener, iscsi: TcpListener, array: &Arc<Array>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = |listener: TcpListener| {
            listener
                .set_nonblocking(true)
                .expect("a socket that does not block");
            tokio::net::TcpListener::from_std(listener).expect("a socket of the runtime")
        };
        tokio::spawn(ssh::serve(listener(cli), Arc::clone(array)));
        tokio::spawn(portal::serve(listener(iscsi), Arc::clone(array)));
        // Dropping the sender is the end as well.
        let _ = stopped.await;
    });
    runtime.shutdown_background();
}

/// An address of 127.0.0.0/8 at which the port of iSCSI is free, with a listener there.
fn own_address() -> (Ipv4Addr, TcpListener) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..ADDRESS_TRIES {
        let number = std::process::id().wrapping_mul(0x9e37_79b1).wrapping_add(
            NEXT.fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x0001_0193),
        );
        let [_, b, c, d] = number.to_be_bytes();
        // 127.0 is everybody's.
        let address = Ipv4Addr::new(127, b | 0x40, c, d.clamp(1, 254));
        if let Ok(listener) = TcpListener::bind((address, ISCSI_PORT)) {
            return (address, listener);
        }
    }
    panic!("no address of 127.64.0.0/10 has a free port {ISCSI_PORT}");
}
