//! Policies: which credentials pass which of Cinder's rules, by default or as a policy file says.
//!
//! The file is oslo.policy's: `"name": "check"` as flat JSON or as YAML lines, with `and`, `or`, `not`, parentheses, `@`
//! (everybody), `!` (nobody), `role:`, `rule:`, `project_id:`, `user_id:`. A rule that the file leaves alone keeps its default.
//!
//! Source: oslo.policy 4, "Policy and rules"; Cinder 29's base rules.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::policy_file;
use super::rule::{DefaultCheck, Rule};

/// Deepest nesting of parentheses, `not` and references to other rules.
pub(super) const DEPTH_MAX: usize = 32;

/// Rules that Cinder defines for others to refer to, in its words.
const BASE_RULES: [(&str, &str); 6] = [
    ("context_is_admin", "role:admin"),
    ("admin_api", "is_admin:True"),
    (
        "admin_or_owner",
        "is_admin:True or project_id:%(project_id)s",
    ),
    (
        "xena_system_admin_or_project_reader",
        "role:admin or (role:reader and project_id:%(project_id)s)",
    ),
    (
        "xena_system_admin_or_project_member",
        "role:admin or (role:member and project_id:%(project_id)s)",
    ),
    (
        "system_or_domain_or_project_admin",
        "role:admin and project_id:%(project_id)s",
    ),
];

/// The base rule that says who is an administrator.
const ADMIN_RULE: &str = "context_is_admin";

/// All rules with their checks; cheap to clone.
#[derive(Clone)]
pub struct Policies(Arc<Checks>);

struct Checks {
    /// By [`Rule`], in its order.
    rules: Box<[Check]>,
    admin: Check,
}

/// What a check looks at.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The project that the token is scoped to.
    pub project_id: &'a str,
    /// Role names.
    pub roles: &'a [String],
}

/// What a check looks at beside the credentials: how the object relates to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The object is the requester's project's.
    pub is_own_project: bool,
    /// The object is the requester's.
    pub is_own_user: bool,
}

impl Target {
    /// What is about to be made, or belongs to nobody: Cinder takes the requester for its owner.
    pub const OWN: Target = Target {
        is_own_project: true,
        is_own_user: true,
    };
}

/// A check, with all references resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Everybody,
    Nobody,
    Role(String),
    IsAdmin,
    OwnProject,
    OwnUser,
    Project(String),
    User(String),
    Not(Box<Check>),
    All(Vec<Check>),
    Any(Vec<Check>),
}

/// A policy file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file is longer than is read.
    #[error("the policy file is {found} bytes long and may be {limit} at most")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A line or the JSON is not `"name": "check"`.
    #[error("the policy file is not \"name\": \"check\" at line {line}: {found}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        found: String,
    },
    /// A name is there twice.
    #[error("the policy file has the rule {name} twice, at line {line} again")]
    Twice {
        /// The rule.
        name: String,
        /// From 1.
        line: usize,
    },
    /// A name that is neither one of Cinder's nor referred to.
    #[error(
        "the policy file names {name} at line {line}, which is no rule of Cinder's and which no other rule refers to: mend the name or remove the line"
    )]
    Unknown {
        /// The rule.
        name: String,
        /// From 1.
        line: usize,
    },
    /// A check cannot be read.
    #[error(
        "the policy file's rule {name} at line {line} cannot be read at character {column}: {found}"
    )]
    Syntax {
        /// The rule.
        name: String,
        /// From 1.
        line: usize,
        /// From 1, in the check.
        column: usize,
        /// What was found and expected.
        found: String,
    },
    /// A reference to a rule that nobody defines.
    #[error("the policy file's rule {name} refers to rule:{to}, which does not exist")]
    NoSuchRule {
        /// The rule that refers.
        name: String,
        /// What it refers to.
        to: String,
    },
    /// Rules that refer to each other in a circle, or deeper than is followed.
    #[error(
        "the policy file's rule {name} refers to itself through other rules, or deeper than {DEPTH_MAX} rules"
    )]
    Circle {
        /// The rule.
        name: String,
    },
}

static DEFAULTS: LazyLock<Policies> = LazyLock::new(|| {
    Policies::parse("{}").expect("Cinder's base rules refer to nothing that is missing")
});

impl Default for Policies {
    fn default() -> Self {
        DEFAULTS.clone()
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<policies>")
    }
}

impl Policies {
    /// Reads a policy file.
    ///
    /// # Errors
    /// Whatever is wrong first, and where.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let entries = policy_file::entries(text)?;
        let mut source = Source::default();
        for (name, check) in BASE_RULES {
            let parsed = policy_file::check(name, 0, check)?;
            source.parsed.insert(name.to_owned(), parsed);
        }
        for rule in Rule::ALL {
            let parsed = default_check(rule.default_check());
            source.parsed.insert(rule.name().to_owned(), parsed);
        }
        let mut added = Vec::new();
        for entry in entries {
            let parsed = policy_file::check(&entry.name, entry.line, &entry.check)?;
            parsed.references(&mut source.referred);
            if source.parsed.insert(entry.name.clone(), parsed).is_none() {
                added.push(entry);
            }
        }
        if let Some(entry) = added
            .into_iter()
            .find(|entry| !source.referred.contains(&entry.name))
        {
            let (name, line) = (entry.name, entry.line);
            return Err(PolicyError::Unknown { name, line });
        }
        let rules: Result<Vec<Check>, PolicyError> = Rule::ALL
            .iter()
            .map(|rule| source.resolve(rule.name(), rule.name(), 0))
            .collect();
        let admin = source.resolve(ADMIN_RULE, ADMIN_RULE, 0)?;
        if admin.asks_for_admin() {
            let name = ADMIN_RULE.to_owned();
            return Err(PolicyError::Circle { name });
        }
        Ok(Policies(Arc::new(Checks {
            rules: rules?.into(),
            admin,
        })))
    }

    /// True for administrators, who see every project.
    pub fn is_admin(&self, who: Credentials<'_>) -> bool {
        self.0.admin.passes(who, Target::OWN, &self.0.admin)
    }

    /// True when the credentials pass the rule for such an object.
    pub fn allows(&self, rule: Rule, who: Credentials<'_>, target: Target) -> bool {
        self.0.rules[rule as usize].passes(who, target, &self.0.admin)
    }
}

fn default_check(check: DefaultCheck) -> Parsed {
    let rule = |name: &str| Parsed::Rule(name.to_owned());
    match check {
        DefaultCheck::Admin => rule("admin_api"),
        DefaultCheck::Member => rule("xena_system_admin_or_project_member"),
        DefaultCheck::Reader => rule("xena_system_admin_or_project_reader"),
    }
}

impl Check {
    fn asks_for_admin(&self) -> bool {
        match self {
            Check::IsAdmin => true,
            Check::Not(inner) => inner.asks_for_admin(),
            Check::All(checks) | Check::Any(checks) => checks.iter().any(Check::asks_for_admin),
            _ => false,
        }
    }

    fn passes(&self, who: Credentials<'_>, target: Target, admin: &Check) -> bool {
        match self {
            Check::Everybody => true,
            Check::Nobody => false,
            Check::Role(role) => holds(who.roles, role),
            // The rule for administrators does not ask for itself: `Policies::parse` has looked.
            Check::IsAdmin => admin.passes(who, Target::OWN, &Check::Nobody),
            Check::OwnProject => target.is_own_project,
            Check::OwnUser => target.is_own_user,
            Check::Project(id) => who.project_id == id,
            Check::User(id) => who.user_id == id,
            Check::Not(inner) => !inner.passes(who, target, admin),
            Check::All(checks) => checks.iter().all(|check| check.passes(who, target, admin)),
            Check::Any(checks) => checks.iter().any(|check| check.passes(who, target, admin)),
        }
    }
}

/// Roles imply one another as Keystone's bootstrap makes them: an administrator is a member, a member is a reader.
fn holds(roles: &[String], role: &str) -> bool {
    let has = |name: &str| roles.iter().any(|held| held.eq_ignore_ascii_case(name));
    has(role)
        || match role.to_ascii_lowercase().as_str() {
            "reader" => has("member") || has("admin"),
            "member" => has("admin"),
            _ => false,
        }
}

/// A check as it was read, with references by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Rule(String),
    Plain(Check),
    Not(Box<Parsed>),
    All(Vec<Parsed>),
    Any(Vec<Parsed>),
}

impl Parsed {
    fn references(&self, into: &mut std::collections::BTreeSet<String>) {
        match self {
            Parsed::Rule(name) => drop(into.insert(name.clone())),
            Parsed::Plain(_) => {}
            Parsed::Not(inner) => inner.references(into),
            Parsed::All(all) | Parsed::Any(all) => {
                all.iter().for_each(|inner| inner.references(into));
            }
        }
    }
}

#[derive(Default)]
struct Source {
    parsed: BTreeMap<String, Parsed>,
    referred: std::collections::BTreeSet<String>,
}

impl Source {
    /// The check of a rule with its references put in; `top` is the rule that is resolved, for errors.
    fn resolve(&self, top: &str, name: &str, depth: usize) -> Result<Check, PolicyError> {
        if depth > DEPTH_MAX {
            return Err(PolicyError::Circle {
                name: top.to_owned(),
            });
        }
        match self.parsed.get(name) {
            Some(parsed) => self.put_in(top, parsed, depth),
            None => Err(PolicyError::NoSuchRule {
                name: top.to_owned(),
                to: name.to_owned(),
            }),
        }
    }

    fn put_in(&self, top: &str, parsed: &Parsed, depth: usize) -> Result<Check, PolicyError> {
        let all = |checks: &[Parsed]| -> Result<Vec<Check>, PolicyError> {
            checks
                .iter()
                .map(|check| self.put_in(top, check, depth))
                .collect()
        };
        Ok(match parsed {
            Parsed::Rule(name) => self.resolve(top, name, depth + 1)?,
            Parsed::Plain(check) => check.clone(),
            Parsed::Not(inner) => Check::Not(Box::new(self.put_in(top, inner, depth)?)),
            Parsed::All(checks) => Check::All(all(checks)?),
            Parsed::Any(checks) => Check::Any(all(checks)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(policies: &Policies, rule: Rule, roles: &[&str], is_own_project: bool) -> bool {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let who = Credentials {
            user_id: "alice",
            project_id: "p",
            roles: &roles,
        };
        let target = Target {
            is_own_project,
            is_own_user: false,
        };
        policies.allows(rule, who, target)
    }

    #[test]
    fn defaults_are_cinders_three_personas() {
        let policies = Policies::default();
        for rule in Rule::ALL {
            let passes = |role: &str, own| allows(&policies, *rule, &[role], own);
            let least = rule.default_check();
            assert!(passes("admin", true) && passes("admin", false), "{rule:?}");
            assert_eq!(passes("member", true), least != DefaultCheck::Admin);
            assert_eq!(passes("reader", true), least == DefaultCheck::Reader);
            assert!(!passes("member", false), "{rule:?}");
            assert!(!allows(&policies, *rule, &[], true), "{rule:?}");
        }
    }

    #[test]
    fn a_file_replaces_what_it_names() {
        let text = "
# who may delete
\"volume:delete\": \"rule:keepers or user_id:%(user_id)s\"   # a remark
keepers: 'role:Keeper and not (role:guest or project_id:q)'
volume:create: \"!\"
\"volume:get\": \"\"
";
        let policies = Policies::parse(text).expect("a good file");
        let delete = |roles: &[&str]| allows(&policies, Rule::VolumeDelete, roles, true);
        assert!(delete(&["keeper"]));
        assert!(!delete(&["keeper", "guest"]) && !delete(&["admin"]));
        assert!(!allows(&policies, Rule::VolumeCreate, &["admin"], true));
        assert!(allows(&policies, Rule::VolumeGet, &[], false));
        assert!(allows(&policies, Rule::VolumeGetAll, &["reader"], true));
    }

    #[test]
    fn administrators_can_be_others() {
        let policies = Policies::parse(r#"{"context_is_admin": "role:storage"}"#).expect("good");
        assert!(allows(&policies, Rule::ServicesIndex, &["storage"], true));
        assert!(!allows(&policies, Rule::ServicesIndex, &["admin"], true));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let refusal = |text: &str| Policies::parse(text).expect_err(text).to_string();
        let refusals = [
            "{",
            "{\"volume:get\": 1}",
            "volume:get",
            "\"volume:get\":",
            "\n\"volume:fly\": \"@\"",
            "a: @\na: @",
            "\"volume:get\": \"role:\"",
            "\"volume:get\": \"role:a and\"",
            "\"volume:get\": \"(role:a\"",
            "\"volume:get\": \"role:a role:b\"",
            "\"volume:get\": \"http://x\"",
            "\"volume:get\": \"rule:none\"",
            "\"volume:get\": \"rule:volume:get\"",
            "\"context_is_admin\": \"is_admin:True\"",
            "\"volume:get\": [\"a\"]",
        ]
        .map(refusal);
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        the policy file is not "name": "check" at line 1: EOF while parsing an object at line 1 column 1
        the policy file is not "name": "check" at line 1: the check of volume:get is 1, not a text
        the policy file is not "name": "check" at line 1: a colon and a check are missing behind the name: volume:get
        the policy file is not "name": "check" at line 1: the check is missing: "volume:get":
        the policy file names volume:fly at line 2, which is no rule of Cinder's and which no other rule refers to: mend the name or remove the line
        the policy file has the rule a twice, at line 2 again
        the policy file's rule volume:get at line 1 cannot be read at character 1: a check as role:name is expected, not role:
        the policy file's rule volume:get at line 1 cannot be read at character 11: a check is expected, not the end
        the policy file's rule volume:get at line 1 cannot be read at character 8: a closing parenthesis is missing
        the policy file's rule volume:get at line 1 cannot be read at character 8: and, or or the end is expected, not role:b
        the policy file's rule volume:get at line 1 cannot be read at character 1: checks of the kind http://x are not known
        the policy file's rule volume:get refers to rule:none, which does not exist
        the policy file's rule volume:get refers to itself through other rules, or deeper than 32 rules
        the policy file's rule context_is_admin refers to itself through other rules, or deeper than 32 rules
        the policy file is not "name": "check" at line 1: the check must be a text on one line: "volume:get": ["a"]
        "#);
        let deep = format!("\"volume:get\": \"{}@{}\"", "(".repeat(40), ")".repeat(40));
        assert!(refusal(&deep).contains("deeper"));
    }
}
