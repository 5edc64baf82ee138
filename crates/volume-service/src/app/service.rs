//! What every use case works with.

use std::sync::Arc;

use super::direct::DirectIo;
use super::known::Known;
use super::log_levels::ProcessLog;
use super::refusal::Refusals;
use crate::audit::{AuditLog, Event};
use crate::auth::Authenticator;
use crate::auth::keystone::Keystone;
use crate::auth::token_source::TokenSource;
use crate::auth::vault::Vault;
use crate::config::Config;
use crate::context::Context;
use crate::db::{Database, backends, settings};
use crate::driver::Mover;
use crate::error::{Error, Result};
use crate::operation::intake::Intakes;

/// The name of the sealed text that proves the master key.
const KEY_PROOF: &str = "master_key_proof";

/// What every use case works with; cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// Time, chance, ids.
    pub context: Context,
    /// What the operator configured.
    pub config: Arc<Config>,
    /// Rows.
    pub database: Database,
    /// Seals and opens the secrets in rows.
    pub vault: Vault,
    /// What this process logs.
    pub log: Arc<ProcessLog>,
    /// What is kept of rows that rarely change.
    pub(crate) known: Arc<Known>,
    /// The workers of this process.
    pub(crate) intakes: Arc<Intakes>,
    /// What was refused lately.
    pub(super) refusals: Arc<Refusals>,
    /// The blocks of snapshots.
    pub(super) direct: Arc<DirectIo>,
    /// Passwords and tokens.
    pub(crate) authenticator: Arc<Authenticator>,
    /// Writes down who changed what; none when that is not wanted.
    pub(crate) audit: Option<Arc<AuditLog>>,
    /// Says what a token is worth; none for the built-in identity.
    pub(crate) token_source: Option<Arc<dyn TokenSource>>,
}

impl Service {
    /// Opens the database and checks the configuration against it (zones that are gone but have backends, a master key
    /// that does not open the stored secrets).
    ///
    /// # Errors
    /// Those of [`Database::open`], and `Invalid` for another master key than the one that the database was made with.
    pub async fn open(context: Context, config: Config) -> Result<Self> {
        let database = Database::open(&config.database_url).await?;
        let vault = Vault::new(context.clone(), &config.master_key);
        check_key(&database, &vault).await?;
        for zone in database.read(backends::zones).await? {
            if !config.zones.iter().any(|known| known.name == zone) {
                // Not refused: nova-manage must still be able to remove those backends.
                tracing::error!(
                    zone,
                    "backends belong to a zone that is not configured; nothing serves them"
                );
            }
        }
        let authenticator = Authenticator::new(&context, &config.master_key);
        let token_source: Option<Arc<dyn TokenSource>> = match &config.keystone {
            Some(keystone) => Some(Arc::new(Keystone::new(context.clone(), keystone.clone())?)),
            None => None,
        };
        let audit = match &config.audit_dir {
            Some(directory) => Some(Arc::new(AuditLog::open(context.clone(), directory)?)),
            None => None,
        };
        Ok(Service {
            audit,
            token_source,
            context,
            config: Arc::new(config),
            database,
            vault,
            log: Arc::default(),
            known: Arc::default(),
            intakes: Arc::default(),
            refusals: Arc::default(),
            direct: Arc::default(),
            authenticator: Arc::new(authenticator),
        })
    }

    /// Says what reaches the bytes of snapshots; once. Without it the EBS direct APIs refuse.
    pub fn moves_bytes_by(&self, mover: Arc<dyn Mover>) {
        self.direct.is_moved_by(mover);
    }

    /// Writes down that a command at the machine begins, and waits until that is on stable storage; nothing where there is no audit
    /// log.
    ///
    /// # Errors
    /// `Internal` when it cannot be written: the command must not go on.
    pub fn note_command_begun(&self, what: &str, target: &str, person: &str) -> Result<()> {
        let begun = Event::command(what, target, person, "begun");
        self.audit
            .as_ref()
            .map_or(Ok(()), |audit| audit.note_flushed(begun))
    }

    /// Queues a line that says how a command ended.
    pub fn note_command_ended(&self, what: &str, target: &str, person: &str, outcome: &str) {
        if let Some(audit) = &self.audit {
            audit.note(Event::command(what, target, person, outcome));
        }
    }

    /// Refuses a zone that is not configured.
    pub(super) fn check_zone(&self, zone: &str) -> Result<()> {
        if self.config.zones.iter().any(|known| known.name == zone) {
            return Ok(());
        }
        Err(super::flavor_choice::invalid_zone(zone))
    }

    /// How many items a page has at most.
    pub(super) fn page_size(&self, asked: Option<usize>) -> usize {
        let most = self.config.limits.page_max;
        asked.map_or(most, |asked| asked.min(most))
    }
}

/// The first process stores a sealed text; every later one must be able to open it.
async fn check_key(database: &Database, vault: &Vault) -> Result<()> {
    let stored = database.read(|tx| settings::find(tx, KEY_PROOF)).await?;
    let proof = match stored {
        Some(proof) => proof,
        None => {
            let fresh = vault.seal(KEY_PROOF, b"xensm");
            database
                .write(move |tx| {
                    settings::insert(tx, KEY_PROOF, &fresh)?;
                    Ok(settings::find(tx, KEY_PROOF)?.unwrap_or_default())
                })
                .await?
        }
    };
    vault.open(KEY_PROOF, &proof).map(drop).map_err(|error| {
        Error::invalid(
            "The master key is not the one that this database was made with: restore the key file that belongs to it.",
        )
        .caused_by(error)
    })
}
