//! A group, a client of it, and a client that dies at a command.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use storage_manager::Secret;
use storage_manager::array::IscsiVolumes;
use storage_manager::array::equallogic::{
    Allocation, Answer, CliError, Command, Dial, EqualOptions, EqualVolumes, Group, Sessions,
    Shell, SrVolume, SshDial,
};
use storage_manager::sr::{NewVdi, SrParams};
use testkit::equallogic::{EqualLogicEmulator, ISCSI_PORT, Options};
use uuid::Uuid;
use xenapi::Failure;

pub const INITIATOR: &str = "iqn.2026-11.org.example:tests-of-equal";
pub const PAGE: u64 = 15 << 20;

pub fn sr(number: u128) -> Uuid {
    Uuid::from_u128(0x5e << 120 | number)
}

pub fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(0x0d1 << 116 | number << 64 | 7)
}

/// What the driver is told, with some keys more, or (without a value) fewer.
pub fn params(group: &EqualLogicEmulator, sr_uuid: Uuid, more: &[(&str, &str)]) -> SrParams {
    let own = [
        ("target", group.address().to_string()),
        ("controlport", group.ssh_port().to_string()),
        ("username", "grpadmin".to_owned()),
        ("password", Options::default().password),
        ("storagepool", "default".to_owned()),
        ("localIQN", INITIATOR.to_owned()),
    ];
    let mut device_config: BTreeMap<String, String> =
        own.map(|(key, value)| (key.to_owned(), value)).into();
    for (key, value) in more {
        match *value {
            "" => device_config.remove(*key),
            value => device_config.insert((*key).to_owned(), value.to_owned()),
        };
    }
    SrParams {
        sr_uuid,
        device_config,
        sm_config: BTreeMap::new(),
    }
}

pub fn wish(uuid: Uuid, size: u64, sm_config: &[(&str, &str)]) -> NewVdi {
    let sm_config = sm_config
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    NewVdi {
        uuid,
        virtual_size: size,
        sm_config: sm_config.collect(),
    }
}

pub fn number(result: Result<impl Sized, Failure>) -> Option<u16> {
    result.map(|_| ()).unwrap_err().backend_number()
}

/// Commands that a client may still run.
#[derive(Debug)]
struct Life {
    left: usize,
    is_over: bool,
}

/// What a test does when a command was carried out.
type Hook = Box<dyn Fn(&str) + Send + Sync>;

/// Sessions of a client that dies: after the command that is its last no session can be made.
pub struct MortalDial {
    inner: Arc<SshDial>,
    life: Arc<Mutex<Life>>,
    hook: Arc<Option<Hook>>,
}

impl std::fmt::Debug for MortalDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

struct MortalShell {
    inner: Box<dyn Shell>,
    life: Arc<Mutex<Life>>,
    hook: Arc<Option<Hook>>,
}

impl MortalDial {
    fn dead(&self) -> CliError {
        CliError::Ended {
            address: self.inner.address(),
            command: "nothing any more".to_owned(),
        }
    }
}

impl Dial for MortalDial {
    fn address(&self) -> String {
        self.inner.address()
    }

    fn dial(&self) -> Result<Box<dyn Shell>, CliError> {
        if self.life.lock().unwrap().is_over {
            return Err(self.dead());
        }
        Ok(Box::new(MortalShell {
            inner: self.inner.dial()?,
            life: self.life.clone(),
            hook: self.hook.clone(),
        }))
    }
}

impl Shell for MortalShell {
    fn run(&mut self, command: &Command) -> Result<Answer, CliError> {
        let ended = || CliError::Ended {
            address: "a group".to_owned(),
            command: command.text.clone(),
        };
        let mut life = self.life.lock().unwrap();
        if life.is_over {
            return Err(ended());
        }
        let answer = self.inner.run(command);
        if let Some(hook) = self.hook.as_ref() {
            hook(&command.text);
        }
        life.left -= 1;
        if life.left == 0 {
            // The group has carried it out, and nobody hears the answer.
            life.is_over = true;
            return Err(ended());
        }
        answer
    }

    fn is_alive(&mut self) -> bool {
        !self.life.lock().unwrap().is_over && self.inner.is_alive()
    }
}

/// A client of an SR.
pub struct ArrayClient {
    pub group: Group,
    pub volumes: EqualVolumes,
    life: Arc<Mutex<Life>>,
}

impl ArrayClient {
    /// One that lives for ever.
    pub fn new(group: &EqualLogicEmulator, sr_uuid: Uuid, allocation: Allocation) -> Self {
        Self::with_hook(group, sr_uuid, allocation, None)
    }

    /// One that tells of each command that was carried out.
    pub fn with_hook(
        group: &EqualLogicEmulator,
        sr_uuid: Uuid,
        allocation: Allocation,
        hook: Option<Hook>,
    ) -> Self {
        let password = Secret::new(Options::default().password);
        let host = group.address().to_string();
        let life = Arc::new(Mutex::new(Life {
            left: usize::MAX,
            is_over: false,
        }));
        let dial = MortalDial {
            inner: Arc::new(SshDial::new(
                &host,
                group.ssh_port(),
                "grpadmin",
                password,
                None,
            )),
            life: life.clone(),
            hook: Arc::new(hook),
        };
        let cli = Group::new(Arc::new(Sessions::new(Arc::new(dial))));
        ArrayClient {
            group: cli.clone(),
            volumes: volumes(group, cli, sr_uuid, allocation),
            life,
        }
    }

    /// Another one, which knows nothing yet and talks over the same sessions.
    pub fn another(
        &self,
        group: &EqualLogicEmulator,
        sr_uuid: Uuid,
        allocation: Allocation,
    ) -> Self {
        ArrayClient {
            group: self.group.clone(),
            volumes: volumes(group, self.group.clone(), sr_uuid, allocation),
            life: self.life.clone(),
        }
    }

    /// Makes the SR that it is a client of.
    pub fn make_sr(&self, sr_uuid: Uuid, allocation: Allocation) {
        let pool = "default".to_owned();
        SrVolume {
            sr: sr_uuid,
            pool,
            allocation,
        }
        .make(&self.group)
        .unwrap();
    }

    /// Lets it die after so many commands from now.
    pub fn dies_after(&self, commands: usize) {
        self.life.lock().unwrap().left = commands;
    }

    /// True once it has died.
    pub fn is_dead(&self) -> bool {
        self.life.lock().unwrap().is_over
    }
}

fn volumes(
    group: &EqualLogicEmulator,
    cli: Group,
    sr_uuid: Uuid,
    allocation: Allocation,
) -> EqualVolumes {
    let options = EqualOptions {
        sr: sr_uuid,
        pool: "default".to_owned(),
        allocation,
        portal: (group.address().to_string(), ISCSI_PORT),
        credentials: None,
        initiator: INITIATOR.to_owned(),
    };
    EqualVolumes::new(
        cli,
        options,
        Arc::new(IscsiVolumes::new(INITIATOR.to_owned())),
    )
}

/// Bytes of a file at an offset.
pub fn bytes_at(file: &std::path::Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(file)
        .unwrap()
        .read_exact_at(&mut bytes, offset)
        .unwrap();
    bytes
}
