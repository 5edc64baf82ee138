//! Who may do what, as Cinder's policies say: a use case names its rule, the route that led to it may name another, and both
//! must be passed. An object of another project is not found; one that is found and may not be touched is forbidden.

use crate::auth::policy::Target;
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::error::{Error, ErrorKind, Result, Subject};

/// Refuses who does not pass the rule for what is their own project's, or nobody's.
pub(super) fn check(request: &RequestContext, rule: Rule) -> Result<()> {
    match refused(request, rule, Target::OWN) {
        None => Ok(()),
        Some(rule) => Err(forbidden(rule)),
    }
}

/// Refuses who does not pass all of these rules for what is their own project's: what a request is asked before what it is about is
/// looked up.
pub fn check_rules(request: &RequestContext, rules: &[Rule]) -> Result<()> {
    rules.iter().try_for_each(|rule| check(request, *rule))
}

/// Refuses who does not pass the rule of the route; what several routes share falls back to one when none led to it.
pub(super) fn check_routed(request: &RequestContext, fallback: Rule) -> Result<()> {
    check(request, request.rule.unwrap_or(fallback))
}

/// What no rule of Cinder's speaks of, or what is of all projects: administrators, who must pass the rule of the route that led
/// here too, so that a policy file can take from them what it names.
pub(super) fn is_admin(request: &RequestContext) -> Result<()> {
    if request.is_admin() {
        let kept = request
            .rule
            .filter(|rule| !request.allows(*rule, Target::OWN));
        return kept.map_or(Ok(()), |rule| Err(forbidden(rule)));
    }
    Err(Error::new(
        ErrorKind::Forbidden,
        Subject::Request,
        "You are not authorized to perform the requested action.",
    )
    .detail("to administer, a role is needed: admin"))
}

/// Which objects the requester may know of, and whether the rule lets them do it; made before a transaction, asked in it.
pub(super) fn tenancy_of(request: &RequestContext, rule: Rule) -> Tenancy {
    let verdict = |is_own_project, is_own_user| {
        let target = Target {
            is_own_project,
            is_own_user,
        };
        refused(request, rule, target)
    };
    Tenancy {
        sees_all: request.is_admin() && !request.is_bound,
        project_id: request.project_id.clone(),
        user_id: request.user_id.clone(),
        own: verdict(true, true),
        of_own_project: verdict(true, false),
        of_own_user: verdict(false, true),
        foreign: verdict(false, false),
    }
}

/// See [`tenancy_of`].
#[derive(Clone, Debug)]
pub(super) struct Tenancy {
    sees_all: bool,
    project_id: String,
    user_id: String,
    /// The rule that is not passed for an object of the requester's own, and so on.
    own: Option<Rule>,
    of_own_project: Option<Rule>,
    of_own_user: Option<Rule>,
    foreign: Option<Rule>,
}

impl Tenancy {
    /// The only project whose objects the requester may know of; none for an administrator, who may know of all.
    pub(super) fn project(&self) -> Option<&str> {
        (!self.sees_all).then_some(self.project_id.as_str())
    }

    /// [`Tenancy::project`] under the name that an optional text has.
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.project()
    }

    /// The same within one project, or in all.
    pub(super) fn within(mut self, project_id: Option<String>) -> Self {
        self.sees_all = project_id.is_none();
        self.project_id = project_id.unwrap_or(self.project_id);
        self
    }

    /// True when an object of this project exists for the requester.
    pub(super) fn sees(&self, project_id: &str) -> bool {
        self.sees_all || self.project_id == project_id
    }

    /// Refuses who does not pass the rule for an object of this project and user; an unknown user is another one.
    pub(super) fn check(&self, project_id: &str, user_id: Option<&str>) -> Result<()> {
        let is_own_user = user_id == Some(self.user_id.as_str());
        let refused = match (self.project_id == project_id, is_own_user) {
            (true, true) => self.own,
            (true, false) => self.of_own_project,
            (false, true) => self.of_own_user,
            (false, false) => self.foreign,
        };
        refused.map_or(Ok(()), |rule| Err(forbidden(rule)))
    }
}

/// The first rule that is not passed: the use case's own, then the one of the route that led to it.
fn refused(request: &RequestContext, rule: Rule, target: Target) -> Option<Rule> {
    [Some(rule), request.rule]
        .into_iter()
        .flatten()
        .find(|rule| !request.allows(*rule, target))
}

fn forbidden(rule: Rule) -> Error {
    let text = format!("Policy doesn't allow {} to be performed.", rule.name());
    Error::new(ErrorKind::Forbidden, Subject::Request, text)
}
