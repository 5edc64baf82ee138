//! Use cases. Both APIs and the command line call these and nothing else; authorisation, quota and policy are decided here
//! and nowhere else. A call writes its intent in one transaction; waiting for the outcome is the caller's choice.

pub mod attachments;
pub mod backends;
pub mod flavors;
pub mod identity;
pub mod messages;
pub mod overview;
pub mod volumes;

use std::sync::Arc;

use crate::auth::vault::Vault;
use crate::config::Config;
use crate::context::Context;
use crate::db::Database;
use crate::error::Result;

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
}

impl Service {
    /// Opens the database and checks the configuration against it (zones that are gone but have backends, a master key
    /// that does not open the stored secrets).
    pub async fn open(context: Context, config: Config) -> Result<Self> {
        let database = Database::open(&config.database_url).await?;
        let vault = Vault::new(context.clone(), &config.master_key);
        Ok(Service {
            context,
            config: Arc::new(config),
            database,
            vault,
        })
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// True when there are more behind the last item.
    pub has_more: bool,
    /// How many match in all, when the caller asked for it.
    pub total: Option<u64>,
}
