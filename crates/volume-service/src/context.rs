//! Where time, randomness and ids come from, and who asks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::auth::policy::{Credentials, Policies, Target};
use crate::auth::rule::Rule;

/// Time and chance, replaceable in tests.
pub trait World: Send + Sync {
    /// Microseconds since 1970-01-01T00:00:00Z; what rows and leases store.
    fn now_us(&self) -> i64;
    /// Fills the buffer with random bytes fit for secrets.
    fn fill_random(&self, buffer: &mut [u8]);
}

/// The real world.
pub struct RealWorld {
    random: ring::rand::SystemRandom,
}

impl Default for RealWorld {
    fn default() -> Self {
        RealWorld {
            random: ring::rand::SystemRandom::new(),
        }
    }
}

impl World for RealWorld {
    fn now_us(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        use ring::rand::SecureRandom;
        self.random
            .fill(buffer)
            .expect("the system's random source answers");
    }
}

/// Handed to everything that needs time, chance or ids.
#[derive(Clone)]
pub struct Context {
    world: Arc<dyn World>,
}

impl Context {
    /// The real world.
    pub fn real() -> Self {
        Context {
            world: Arc::new(RealWorld::default()),
        }
    }

    /// A world of a test's making.
    pub fn with(world: Arc<dyn World>) -> Self {
        Context { world }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn now_us(&self) -> i64 {
        self.world.now_us()
    }

    /// A fresh random (version 4) uuid.
    pub fn new_uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.world.fill_random(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Random bytes fit for secrets.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.world.fill_random(&mut bytes);
        bytes
    }
}

/// Who asks, in which project, with which roles.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// For logs and error bodies: `req-<uuid>`.
    pub request_id: String,
    /// The user; 32 hex digits.
    pub user_id: String,
    /// The project that the token or key is scoped to; 32 hex digits.
    pub project_id: String,
    /// Role names: `admin`, `member`, `reader`.
    pub roles: Vec<String>,
    /// True when a service vouches for the request with a token of its own.
    pub is_service: bool,
    /// The policies in force.
    pub policies: Policies,
    /// The rule of the route that led here, which must be passed beside that of the use case.
    pub rule: Option<Rule>,
    /// True when not even an administrator reaches beyond the project.
    pub is_bound: bool,
}

impl RequestContext {
    /// Who asks, with Cinder's default policies and no rule of a route.
    pub fn new(
        request_id: impl Into<String>,
        user_id: impl Into<String>,
        project_id: impl Into<String>,
        roles: Vec<String>,
    ) -> Self {
        RequestContext {
            request_id: request_id.into(),
            user_id: user_id.into(),
            project_id: project_id.into(),
            roles,
            is_service: false,
            policies: Policies::default(),
            rule: None,
            is_bound: false,
        }
    }

    /// The same where there are no administrators over projects, as EC2 has none over accounts.
    #[must_use]
    pub fn within_project(mut self) -> Self {
        self.is_bound = true;
        self
    }

    /// The same under these policies.
    #[must_use]
    pub fn under(mut self, policies: &Policies) -> Self {
        self.policies = policies.clone();
        self
    }

    /// The same for an action or route of this rule.
    #[must_use]
    pub fn ruled(mut self, rule: Option<Rule>) -> Self {
        self.rule = rule;
        self
    }

    /// True when the requester passes the rule for such an object.
    pub fn allows(&self, rule: Rule, target: Target) -> bool {
        self.policies.allows(rule, self.credentials(), target)
    }

    /// True when the rule lets the requester see what it is about, in whatever is shown: Cinder does not ask whose that is.
    pub fn shows(&self, rule: Rule) -> bool {
        self.allows(rule, Target::OWN)
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            user_id: &self.user_id,
            project_id: &self.project_id,
            roles: &self.roles,
        }
    }

    /// The person at the machine: what `nova-manage` and the first start act as.
    pub fn operator() -> Self {
        let roles = ["admin", "member", "reader"].map(str::to_owned).to_vec();
        RequestContext::new("req-operator", "operator", "", roles)
    }

    /// True when the role is held.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }

    /// True for administrators, who see every project.
    pub fn is_admin(&self) -> bool {
        self.policies.is_admin(self.credentials())
    }
}
