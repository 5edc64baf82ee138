//! The table of routes: it is the router, the policy test, the bad-input test, the OpenAPI document and the support matrix.
//!
//! Each resource file owns a slice `ROUTES` of it, and `mod.rs` names the slices. A route says everything about itself that
//! is no code: its rule, the microversion that brought it, its body, its query, its answer. A handler extracts `Caller` (which
//! authenticates, and refuses a too low microversion with 404) and `JsonBody` (which checks the body against the schema), calls
//! one use case and renders a view. Policy is enforced by the use case, after it has found the object (see `app/policy.rs`).
//!
//! ```ignore
//! pub(super) const ROUTES: &[Route] = &[
//!     Route::get("/widgets", |verb| on(verb, list))        // paths without `/v3`; `{id}` as axum has it
//!         .rule(Rule::WidgetGetAll)                        // without one: any token of a project; `.open()`: none at all
//!         .since(13)                                       // the microversion; 0 without
//!         .query(&[field("name", TEXT), field("with_count", BOOLEAN).since(45)])
//!         .answers(200, &WIDGETS),                         // status and schema of success
//!     Route::post("/widgets", |verb| on(verb, create)).rule(Rule::WidgetCreate).body(&CREATE).answers(202, &WIDGET),
//!     Route::post("/widgets/{id}/action", |verb| on(verb, act)).actions(ACTIONS),      // `route::act` for all resources
//! ];
//!
//! const ACTIONS: &[Action] = &[
//!     Action::new("os-polish", Rule::WidgetPolish, |call| Box::pin(polish(call))).since(20).body(&POLISH).status(202),
//!     Action::refused("os-migrate_widget", Rule::WidgetMigrate, |call| Box::pin(unbuilt(call))),   // known, not built
//! ];
//!
//! const CREATE: Schema = closed(&[required("widget", closed(&[       // `closed`: other fields are refused; `open`: passed over
//!     field("name", NAME),                                           // NAME, TEXT, UUID, BOOLEAN, SIZE, METADATA: schema.rs
//!     required("size", SIZE),
//!     field("group_id", UUID_OR_NULL).since(13),                     // an unknown field in lower versions
//! ]))]);
//! const POLISH: Schema = closed(&[field("cloth", words(&["soft", "rough"]))]);   // of the value under the action's name
//!
//! async fn polish(call: Call) -> Result<Response> {
//!     let id = widget_id(&call.id)?;
//!     let fields = call.fields();                                    // reads the value under the action's name
//!     widgets::polish(&call.service, &call.caller.context, id, fields.text("cloth")?).await?;
//!     Ok(success::ACCEPTED.into_response())
//! }
//! ```

use std::pin::Pin;

use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use serde_json::{Map, Value};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result};
use super::schema::{self, Field, Schema};
use crate::app::Service;
use crate::auth::rule::Rule;

/// Longest part of an unknown action's name that is repeated, in characters.
const ACTION_SHOWN_MAX_CHARS: usize = 64;

/// One method of one path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) verb: Verb,
    /// Behind `/v3`.
    pub(super) path: &'static str,
    /// The microversion 3.x that brought it.
    pub(super) since: u16,
    pub(super) access: Access,
    /// What a request's body must look like; `None` where there is none.
    pub(super) body: Option<&'static Schema>,
    /// What a request's query may hold.
    pub(super) query: &'static [Field],
    /// The status of success.
    pub(super) status: u16,
    /// The body of success; `None` where there is none.
    pub(super) answer: Option<&'static Schema>,
    pub(super) state: Support,
    handler: fn(MethodFilter) -> MethodRouter<Service>,
}

/// A method; all that Cinder's routes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    /// As in a request line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Everybody, without a token.
    Open,
    /// Every token of a project: Cinder has no policy for it.
    Token,
    /// Who passes this rule.
    Rule(Rule),
    /// Each action in the body has its own.
    Actions(&'static [Action]),
}

/// Whether a route or action does what Cinder's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// It does.
    Built,
    /// It is known and refused in so many words, or always empty.
    Refused,
}

impl Route {
    const fn new(verb: Verb, path: &'static str, handler: Handler) -> Self {
        Route {
            verb,
            path,
            since: 0,
            access: Access::Token,
            body: None,
            query: &[],
            status: 200,
            answer: None,
            state: Support::Built,
            handler,
        }
    }

    pub(super) const fn get(path: &'static str, handler: Handler) -> Self {
        Route::new(Verb::Get, path, handler)
    }

    pub(super) const fn post(path: &'static str, handler: Handler) -> Self {
        Route::new(Verb::Post, path, handler)
    }

    pub(super) const fn put(path: &'static str, handler: Handler) -> Self {
        Route::new(Verb::Put, path, handler)
    }

    pub(super) const fn delete(path: &'static str, handler: Handler) -> Self {
        Route::new(Verb::Delete, path, handler)
    }

    /// Open to everybody.
    pub(super) const fn open(mut self) -> Self {
        self.access = Access::Open;
        self
    }

    pub(super) const fn rule(mut self, rule: Rule) -> Self {
        self.access = Access::Rule(rule);
        self
    }

    pub(super) const fn actions(mut self, actions: &'static [Action]) -> Self {
        self.access = Access::Actions(actions);
        self
    }

    pub(super) const fn since(mut self, minor: u16) -> Self {
        self.since = minor;
        self
    }

    pub(super) const fn body(mut self, schema: &'static Schema) -> Self {
        self.body = Some(schema);
        self
    }

    pub(super) const fn query(mut self, query: &'static [Field]) -> Self {
        self.query = query;
        self
    }

    /// Success with a body.
    pub(super) const fn answers(mut self, status: u16, schema: &'static Schema) -> Self {
        self.status = status;
        self.answer = Some(schema);
        self
    }

    /// Success without a body.
    pub(super) const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Known and refused, or always empty.
    pub(super) const fn refused(mut self) -> Self {
        self.state = Support::Refused;
        self
    }

    /// The rule that every use of the route must pass.
    pub(super) fn rule_of_all(&self) -> Option<Rule> {
        match self.access {
            Access::Rule(rule) => Some(rule),
            Access::Open | Access::Token | Access::Actions(_) => None,
        }
    }
}

/// Makes the method router of a route: `|verb| on(verb, handler)`.
pub(super) type Handler = fn(MethodFilter) -> MethodRouter<Service>;

/// One action of a `POST .../{id}/action`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    /// The one key of the body.
    pub(super) name: &'static str,
    /// The microversion 3.x that brought it.
    pub(super) since: u16,
    pub(super) rule: Rule,
    /// What the value under the name must look like.
    pub(super) body: &'static Schema,
    /// The status of success.
    pub(super) status: u16,
    /// The body of success; `None` where there is none.
    pub(super) answer: Option<&'static Schema>,
    pub(super) state: Support,
    run: fn(Call) -> Running,
}

/// An action at work.
pub(super) type Running = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

impl Action {
    pub(super) const fn new(name: &'static str, rule: Rule, run: fn(Call) -> Running) -> Self {
        Action {
            name,
            since: 0,
            rule,
            body: &Schema::Any,
            status: 202,
            answer: None,
            state: Support::Built,
            run,
        }
    }

    /// Known and refused in so many words.
    pub(super) const fn refused(name: &'static str, rule: Rule, run: fn(Call) -> Running) -> Self {
        let mut action = Action::new(name, rule, run);
        action.state = Support::Refused;
        action
    }

    pub(super) const fn since(mut self, minor: u16) -> Self {
        self.since = minor;
        self
    }

    pub(super) const fn body(mut self, schema: &'static Schema) -> Self {
        self.body = schema;
        self
    }

    pub(super) const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Success with a body.
    pub(super) const fn answers(mut self, status: u16, schema: &'static Schema) -> Self {
        self.status = status;
        self.answer = Some(schema);
        self
    }
}

/// An action that is asked for: who asks, of what, and how.
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) caller: Caller,
    /// The object as the path names it.
    pub(super) id: String,
    pub(super) action: &'static Action,
    /// The value under the action's name; it has the form of the action's schema.
    value: Value,
    empty: Map<String, Value>,
}

impl Call {
    /// Reads the fields of the action; none when it has a null.
    pub(super) fn fields(&self) -> Fields<'_> {
        let map = self.value.as_object().unwrap_or(&self.empty);
        Fields::under(self.action.name, map)
    }
}

/// The handler of all routes with actions.
pub(super) async fn act(
    State(service): State<Service>,
    Extension(route): Extension<&'static Route>,
    mut caller: Caller,
    Path(id): Path<String>,
    JsonBody(mut body): JsonBody,
) -> Result<Response> {
    let name = Fields::top(&body).single()?.0.to_owned();
    let value = body.remove(&name).unwrap_or_default();
    let Access::Actions(actions) = route.access else {
        return Err(Fault::NoSuchAction(name));
    };
    let found = actions
        .iter()
        .find(|action| action.name == name && caller.version.at_least(action.since));
    let Some(action) = found else {
        let shown = name.chars().take(ACTION_SHOWN_MAX_CHARS).collect();
        return Err(Fault::NoSuchAction(shown));
    };
    schema::check_value(action.body, Some(action.name), &value, caller.version)?;
    caller.context.rule = Some(action.rule);
    let call = Call {
        service,
        caller,
        id,
        action,
        value,
        empty: Map::new(),
    };
    (action.run)(call).await
}

/// The router of some slices of the table.
pub(super) fn router(tables: &[&'static [Route]]) -> Router<Service> {
    tables
        .iter()
        .flat_map(|table| table.iter())
        .fold(Router::new(), |router, route| {
            let method = (route.handler)(route.verb.filter()).layer(Extension(route));
            router.route(&format!("/v3{}", route.path), method)
        })
}
