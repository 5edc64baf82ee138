//! Secrets at rest, passwords, tokens, and the caches that keep them cheap.

pub(crate) mod http_client;
pub mod keystone;
pub mod password;
pub mod policy;
mod policy_file;
mod recent;
pub mod rule;
pub mod token;
pub mod token_source;
pub mod vault;

use crate::config::{MasterKey, Secret};
use crate::context::{Context, RequestContext};

/// Passwords and tokens with their memories; one per process.
pub(crate) struct Authenticator {
    pub(crate) passwords: password::Passwords,
    pub(crate) tokens: token::Signer,
    /// Tokens whose user, project and roles were looked up a moment ago, by audit id.
    pub(crate) validated: recent::Recent<String, crate::app::identity::Token>,
    /// EC2 keys that were looked up a moment ago, with whom they act for, by access key.
    pub(crate) ec2_keys: recent::Recent<String, (Secret, RequestContext)>,
}

impl Authenticator {
    pub(crate) fn new(context: &Context, master: &MasterKey) -> Self {
        Authenticator {
            passwords: password::Passwords::new(context),
            tokens: token::Signer::new(master),
            validated: recent::Recent::new(VALIDATED_MAX, VALIDATED_FOR_US),
            ec2_keys: recent::Recent::new(VALIDATED_MAX, VALIDATED_FOR_US),
        }
    }
}

/// Tokens, and EC2 keys, that are remembered as valid at most.
const VALIDATED_MAX: usize = 4096;
/// How long: a revocation by another process is seen after this.
const VALIDATED_FOR_US: i64 = 5_000_000;
