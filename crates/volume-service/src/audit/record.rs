//! What a line says.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

/// Longest path or text of a line, in characters.
const TEXT_MAX_CHARS: usize = 512;

/// Something that is written down.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request that changes something, or was refused to.
    Request {
        /// The API: `volume`, `identity`, `ec2`.
        api: &'static str,
        /// Names it in the access log.
        request_id: String,
        /// The method, or EC2's action.
        method: String,
        /// The route's pattern.
        route: String,
        /// The path without its query; it names the resource.
        path: String,
        /// The HTTP status of the answer.
        status: u16,
        /// Who asked, when that was found out.
        who: Option<Who>,
    },
    /// An operation ended.
    Operation {
        /// Its id.
        id: String,
        /// Its kind.
        kind: String,
        /// What it was done to.
        target: String,
        /// `succeeded` or `failed`.
        outcome: String,
    },
    /// A command at the machine that changes something began or ended.
    Command {
        /// Its words, without arguments: those may hold secrets.
        what: String,
        /// What it was done to.
        target: String,
        /// Who typed it, as the kernel tells.
        person: String,
        /// `begun`, `succeeded` or `failed`.
        outcome: String,
    },
}

impl Event {
    /// A command at the machine.
    pub(crate) fn command(what: &str, target: &str, person: &str, outcome: &str) -> Self {
        Event::Command {
            what: what.to_owned(),
            target: target.to_owned(),
            person: person.to_owned(),
            outcome: outcome.to_owned(),
        }
    }
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The user's id.
    pub user_id: String,
    /// The project's id; empty for none.
    pub project_id: String,
}

/// Carries who asked from where it is found out to where it is written down; one for each request.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    who: OnceLock<Who>,
    action: OnceLock<String>,
}

impl Witness {
    /// The first one who is seen counts.
    pub fn saw(&self, user_id: &str, project_id: &str) {
        let _ = self.0.who.set(Who {
            user_id: user_id.to_owned(),
            project_id: project_id.to_owned(),
        });
    }

    /// What was asked for, where the method does not tell.
    pub fn saw_action(&self, action: &str) {
        let _ = self.0.action.set(action.chars().take(64).collect());
    }

    /// Who was seen.
    pub fn who(&self) -> Option<Who> {
        self.0.who.get().cloned()
    }

    /// What was asked for.
    pub fn action(&self) -> Option<String> {
        self.0.action.get().cloned()
    }
}

impl Event {
    /// The fields of its line.
    pub(super) fn fields(&self) -> Value {
        match self {
            Event::Request {
                api,
                request_id,
                method,
                route,
                path,
                status,
                who,
            } => json!({
                "kind": "request",
                "api": api,
                "request": request_id,
                "user": who.as_ref().map(|who| &who.user_id),
                "project": who.as_ref().map(|who| &who.project_id),
                "method": clipped(method),
                "route": clipped(route),
                "path": clipped(path),
                "status": status,
            }),
            Event::Operation {
                id,
                kind,
                target,
                outcome,
            } => json!({
                "kind": "operation",
                "operation": id,
                "what": kind,
                "target": target,
                "outcome": outcome,
            }),
            Event::Command {
                what,
                target,
                person,
                outcome,
            } => json!({
                "kind": "command",
                "user": person,
                "what": clipped(what),
                "target": clipped(target),
                "outcome": outcome,
            }),
        }
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(TEXT_MAX_CHARS).collect()
}
