//! Comparing two answers, guided by the schema.

use std::collections::BTreeMap;

use xenapi::schema::{self, Ty};
use xenapi::wire::Limits;
use xenapi::{Failure, NULL_REF, Value, jsonrpc, xmlrpc};

/// Fields that hold references to objects that a storage manager without a hypervisor does not have.
const NO_SUCH_OBJECTS: [&str; 3] = ["metrics", "host_CPUs", "telemetry_uuid"];

/// Text fields that must be equal, not only of one type.
const EQUAL_TEXTS: [&str; 5] = [
    "name_label",
    "name_description",
    "content_type",
    "userdevice",
    "location",
];

/// An answer, parsed.
pub enum Answer {
    Result(Value),
    Failure(Failure),
    /// No answer of the API: a page, or nothing.
    Page,
}

impl Answer {
    pub fn parse(protocol: &str, status: u16, body: &[u8]) -> Answer {
        if status != 200 || body.is_empty() {
            return Answer::Page;
        }
        if protocol == "jsonrpc" {
            match jsonrpc::parse_response(body, &Limits::RESPONSE).unwrap() {
                Ok(value) => Answer::Result(value),
                Err(failure) => Answer::Failure(failure),
            }
        } else {
            match xmlrpc::parse_response(body, &Limits::RESPONSE).unwrap() {
                xmlrpc::Response::Success(value) | xmlrpc::Response::Bare(value) => {
                    Answer::Result(value)
                }
                xmlrpc::Response::Failure(failure) => Answer::Failure(failure),
                xmlrpc::Response::Fault { message, .. } => {
                    Answer::Failure(Failure::new("FAULT", [message]))
                }
            }
        }
    }

    pub fn failure_code(&self) -> Option<&str> {
        match self {
            Answer::Failure(failure) => Some(&failure.code),
            _ => None,
        }
    }
}

/// What stands here for what was recorded.
pub struct Mapping {
    known: BTreeMap<String, String>,
    directory: String,
}

/// A parameter of a call; the session is the first.
pub fn parameter(request: &str, protocol: &str, place: usize) -> String {
    params(request, protocol)
        .get(place)
        .and_then(Value::as_str)
        .unwrap()
        .to_owned()
}

fn params(request: &str, protocol: &str) -> Vec<Value> {
    if protocol == "jsonrpc" {
        jsonrpc::parse_call(request.as_bytes(), &Limits::CALL)
            .map(|call| call.params)
            .unwrap_or_default()
    } else {
        xmlrpc::parse_call(request.as_bytes(), &Limits::CALL)
            .map(|call| call.params)
            .unwrap_or_default()
    }
}

/// A uuid, a reference made of one, or an event token.
fn is_name(text: &str) -> bool {
    let uuid = text.strip_prefix("OpaqueRef:").unwrap_or(text);
    let is_uuid = uuid.len() == 36 && uuid::Uuid::try_parse(uuid).is_ok();
    let is_token = text.len() == 41
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b',');
    is_uuid || is_token
}

type Compared = Result<(), String>;

impl Mapping {
    pub fn new(directory: &str) -> Mapping {
        Mapping {
            known: BTreeMap::new(),
            directory: directory.to_owned(),
        }
    }

    pub fn learn(&mut self, golden: &str, ours: &str) {
        self.known.insert(golden.to_owned(), ours.to_owned());
    }

    /// The session of a request that was made outside of the recording.
    pub fn unknown_session(&self, request: &str, protocol: &str) -> Option<String> {
        let session = params(request, protocol).first()?.as_str()?.to_owned();
        (session.starts_with("OpaqueRef:")
            && is_name(&session)
            && !self.known.contains_key(&session))
        .then_some(session)
    }

    /// The request as it is made here.
    pub fn apply(&self, request: &str) -> String {
        let mut applied = String::with_capacity(request.len());
        let mut rest = request;
        while !rest.is_empty() {
            let found = [46, 41, 36].into_iter().find_map(|length| {
                let head = rest.get(..length).filter(|head| is_name(head))?;
                Some((length, self.known.get(head).map_or(head, String::as_str)))
            });
            let (length, text) = found.unwrap_or_else(|| {
                let length = rest.chars().next().map_or(1, char::len_utf8);
                (length, &rest[..length])
            });
            applied.push_str(text);
            rest = &rest[length..];
        }
        applied.replace("/srv/", &format!("{}/", self.directory))
    }

    pub fn compare(
        &mut self,
        method: &str,
        what: &str,
        golden: &Answer,
        ours: &Answer,
    ) -> Compared {
        match (golden, ours) {
            (Answer::Page, Answer::Page) => Ok(()),
            (Answer::Failure(golden), Answer::Failure(ours)) => self.failures(golden, ours),
            (Answer::Result(golden), Answer::Result(ours)) => {
                self.results(method, what, golden, ours)
            }
            (Answer::Result(_), Answer::Failure(failure)) => Err(format!("failed with {failure}")),
            (Answer::Failure(failure), Answer::Result(_)) => {
                Err(format!("succeeded instead of failing with {failure}"))
            }
            _ => Err("a page instead of an answer, or the reverse".to_owned()),
        }
    }

    fn failures(&mut self, golden: &Failure, ours: &Failure) -> Compared {
        if golden.code != ours.code {
            return Err(format!("failed with {ours} instead of {golden}"));
        }
        if golden.code == "INTERNAL_ERROR" || golden.code == "Fault" {
            return Ok(());
        }
        if golden.params.len() != ours.params.len() {
            return Err(format!("failed with {ours} instead of {golden}"));
        }
        golden
            .params
            .iter()
            .zip(&ours.params)
            .try_for_each(|(golden, ours)| self.name(golden, ours))
    }

    fn results(&mut self, method: &str, what: &str, golden: &Value, ours: &Value) -> Compared {
        if let Some(method) = method.strip_prefix("Async.") {
            let _ = method;
            return self.value(&Ty::Ref("task"), "", golden, ours);
        }
        if what.contains("(poll)") || what.contains("right away") {
            return self.value(&Ty::Any, "", golden, ours);
        }
        match method {
            "system.listMethods" => return listing(golden, ours),
            "event.from" => return self.batch(golden, ours),
            "event.next" => return self.events(golden, ours),
            "task.get_result" => return self.result_text(golden, ours),
            "VDI.list_changed_blocks" if golden != ours => {
                return Err(format!("{ours:?} instead of {golden:?}"));
            }
            _ => {}
        }
        let resolved = schema::resolve(method).ok_or("the method is unknown here")?;
        let field = method.split_once(".get_").map_or("", |(_, field)| field);
        self.value(&resolved.message.result, field, golden, ours)
    }

    fn value(&mut self, ty: &Ty, field: &str, golden: &Value, ours: &Value) -> Compared {
        if std::mem::discriminant(golden) != std::mem::discriminant(ours) {
            return Err(format!("{field}: {ours:?} instead of {golden:?}"));
        }
        match (ty, golden, ours) {
            (Ty::Record(class), Value::Struct(golden), Value::Struct(ours)) => {
                self.record(class, golden, ours)
            }
            (Ty::Map(_, Ty::Record(class)), Value::Struct(golden), Value::Struct(ours)) => {
                self.records(class, golden, ours)
            }
            (Ty::Map(_, ty), Value::Struct(golden), Value::Struct(ours)) => {
                // Keys are what a host happens to have; what both have must be of one type.
                let both = golden
                    .iter()
                    .filter_map(|(key, golden)| Some((golden, ours.get(key)?)));
                both.into_iter()
                    .try_for_each(|(golden, ours)| self.value(ty, "", golden, ours))
            }
            (Ty::Set(Ty::Ref(_)), Value::Array(golden), Value::Array(ours)) => {
                self.references(field, golden, ours)
            }
            (Ty::Set(Ty::Enum(..)), Value::Array(golden), Value::Array(ours)) => {
                // What is allowed here is part of what is allowed there.
                match ours.iter().find(|operation| !golden.contains(operation)) {
                    Some(operation) => {
                        Err(format!("{field}: {operation:?} is not among {golden:?}"))
                    }
                    None => Ok(()),
                }
            }
            (Ty::Ref(_) | Ty::String, Value::String(golden), Value::String(ours))
                if NO_SUCH_OBJECTS.contains(&field) =>
            {
                if ours == NULL_REF {
                    Ok(())
                } else {
                    self.name(golden, ours)
                }
            }
            (Ty::Ref(_), Value::String(golden), Value::String(ours)) => {
                if NO_SUCH_OBJECTS.contains(&field) && ours == NULL_REF {
                    Ok(())
                } else {
                    self.name(golden, ours)
                }
            }
            (Ty::Enum(..), golden, ours) if golden != ours => {
                Err(format!("{field}: {ours:?} instead of {golden:?}"))
            }
            (Ty::Int, golden, ours) if field == "virtual_size" && golden != ours => {
                Err(format!("{field}: {ours:?} instead of {golden:?}"))
            }
            (_, Value::String(golden), Value::String(ours)) if is_name(golden) => {
                self.name(golden, ours)
            }
            (_, golden, ours) if EQUAL_TEXTS.contains(&field) && golden != ours => {
                Err(format!("{field}: {ours:?} instead of {golden:?}"))
            }
            _ => Ok(()),
        }
    }

    fn record(
        &mut self,
        class: &str,
        golden: &BTreeMap<String, Value>,
        ours: &BTreeMap<String, Value>,
    ) -> Compared {
        let keys = |record: &BTreeMap<String, Value>| record.keys().cloned().collect::<Vec<_>>();
        if keys(golden) != keys(ours) {
            return Err(format!(
                "fields {:?} instead of {:?}",
                keys(ours),
                keys(golden)
            ));
        }
        let class = schema::class(class).ok_or("the class is unknown here")?;
        for (name, golden) in golden {
            // The one host and its VM have names of their own.
            let own = matches!(class.name, "host" | "VM" | "SM" | "network")
                && EQUAL_TEXTS.contains(&name.as_str());
            let ty = class.field(name).map_or(Ty::Any, |field| field.ty);
            let field = if own { "" } else { name };
            self.value(&ty, field, golden, &ours[name])
                .map_err(|why| format!("{}.{name}: {why}", class.name))?;
        }
        Ok(())
    }

    fn records(
        &mut self,
        class: &str,
        golden: &BTreeMap<String, Value>,
        ours: &BTreeMap<String, Value>,
    ) -> Compared {
        if !golden.is_empty() && ours.is_empty() {
            return Err(format!("no records instead of {}", golden.len()));
        }
        if let ([(golden_ref, _)], [(our_ref, _)]) = (
            Vec::from_iter(golden).as_slice(),
            Vec::from_iter(ours).as_slice(),
        ) {
            self.name(golden_ref, our_ref)?;
        }
        // An object that no call has named yet is known by its uuid, when another object has named that.
        let uuid = |record: &Value| Some(record.as_struct()?.get("uuid")?.as_str()?.to_owned());
        for (reference, golden) in golden {
            let named = uuid(golden).and_then(|uuid| self.known.get(&uuid).cloned());
            let ours = ours
                .iter()
                .find(|(_, ours)| named.is_some() && uuid(ours) == named);
            if let Some((ours, _)) = ours.filter(|_| !self.known.contains_key(reference)) {
                self.learn(reference, ours);
            }
        }
        for (reference, golden) in golden {
            let same_type = |ours: &&Value| {
                let kind = |record: &Value| {
                    record
                        .as_struct()
                        .and_then(|record| record.get("type").cloned())
                };
                class == "SM" && kind(ours) == kind(golden)
            };
            let found = self.known.get(reference).and_then(|known| ours.get(known));
            let Some(found) = found.or_else(|| ours.values().find(same_type)) else {
                continue;
            };
            self.value(&Ty::Record(class_name(class)), "", golden, found)?;
        }
        Ok(())
    }

    fn references(&mut self, field: &str, golden: &[Value], ours: &[Value]) -> Compared {
        if NO_SUCH_OBJECTS.contains(&field)
            || matches!(field, "consoles" | "all") && golden.len() != ours.len()
        {
            return Ok(());
        }
        if let ([Value::String(golden)], [Value::String(ours)]) = (golden, ours) {
            return self.name(golden, ours);
        }
        for golden in golden.iter().filter_map(Value::as_str) {
            if let Some(known) = self.known.get(golden)
                && !ours.iter().any(|ours| ours.as_str() == Some(known))
            {
                return Err(format!("{field}: {known} is missing"));
            }
        }
        Ok(())
    }

    /// Texts that name something: the first time they are noted, later they must stay the same.
    fn name(&mut self, golden: &str, ours: &str) -> Compared {
        if !is_name(golden) {
            let same_shape = golden.starts_with("OpaqueRef:") == ours.starts_with("OpaqueRef:")
                && !is_name(ours);
            let same_null = (golden == NULL_REF) == (ours == NULL_REF);
            return if same_shape && same_null {
                Ok(())
            } else {
                Err(format!("{ours:?} instead of {golden:?}"))
            };
        }
        if !is_name(ours) {
            return Err(format!("{ours:?} instead of a name like {golden:?}"));
        }
        match self.known.get(golden) {
            Some(known) if known != ours && golden.len() != 41 => {
                Err(format!("{ours} instead of {known}"))
            }
            Some(_) => Ok(()),
            None if golden.contains("00000000-0000-0000-0000-000000000000") => Ok(()),
            None => {
                self.learn(golden, ours);
                Ok(())
            }
        }
    }

    /// The text of a task's result: the wrapper is the same, and a reference in it is noted.
    fn result_text(&mut self, golden: &Value, ours: &Value) -> Compared {
        let inner = |value: &Value| {
            let text = value.as_str()?.strip_prefix("<value>")?;
            text.strip_suffix("</value>").map(str::to_owned)
        };
        match (inner(golden), inner(ours)) {
            (Some(golden), Some(ours)) if is_name(&golden) => self.name(&golden, &ours),
            (golden, ours) if golden == ours => Ok(()),
            _ => Err(format!("{ours:?} instead of {golden:?}")),
        }
    }

    /// The answer of `event.from`.
    fn batch(&mut self, golden: &Value, ours: &Value) -> Compared {
        let (golden, ours) = (
            golden.as_struct().ok_or("no struct")?,
            ours.as_struct().ok_or("no struct")?,
        );
        if golden.keys().ne(ours.keys()) {
            return Err(format!(
                "fields {:?} instead of {:?}",
                ours.keys(),
                golden.keys()
            ));
        }
        self.events(&golden["events"], &ours["events"])?;
        for (class, count) in ours["valid_ref_counts"].as_struct().ok_or("no counts")? {
            let known = golden["valid_ref_counts"]
                .as_struct()
                .and_then(|counts| counts.get(class));
            self.value(
                &Ty::Any,
                class,
                known.ok_or_else(|| format!("the class {class} is unknown there"))?,
                count,
            )?;
        }
        let (golden, ours) = (
            golden["token"].as_str().ok_or("no token")?,
            ours["token"].as_str().ok_or("no token")?,
        );
        // The token of a real pool that saw nothing is the one it was asked with.
        self.known.insert(golden.to_owned(), ours.to_owned());
        if is_name(ours) {
            Ok(())
        } else {
            Err(format!("the token {ours:?}"))
        }
    }

    /// Events: each of ours must look as one of theirs of its class does. What happened besides is not compared.
    fn events(&mut self, golden: &Value, ours: &Value) -> Compared {
        let (golden, ours) = (
            golden.as_array().ok_or("no events")?,
            ours.as_array().ok_or("no events")?,
        );
        let text =
            |event: &Value, field: &str| event.as_struct()?.get(field)?.as_str().map(str::to_owned);
        for event in ours {
            let fields = event.as_struct().ok_or("an event is no struct")?;
            let (class, operation) = (
                text(event, "class").ok_or("no class")?,
                text(event, "operation").ok_or("no operation")?,
            );
            if !matches!(operation.as_str(), "add" | "mod" | "del")
                || fields.contains_key("snapshot") == (operation == "del")
            {
                return Err(format!("the event {event:?}"));
            }
            let alike = golden.iter().find(|g| {
                text(g, "class") == text(event, "class")
                    && text(g, "operation") == text(event, "operation")
            });
            let Some(alike) = alike.and_then(Value::as_struct) else {
                continue;
            };
            if alike.keys().ne(fields.keys()) {
                return Err(format!(
                    "fields {:?} instead of {:?}",
                    fields.keys(),
                    alike.keys()
                ));
            }
            if let (Some(golden), Some(ours)) = (alike.get("snapshot"), fields.get("snapshot")) {
                let keys = |record: &Value| {
                    record
                        .as_struct()
                        .map(|record| record.keys().cloned().collect::<Vec<_>>())
                };
                if keys(golden) != keys(ours) {
                    return Err(format!(
                        "{class}: fields {:?} instead of {:?}",
                        keys(ours),
                        keys(golden)
                    ));
                }
            }
        }
        // What a step made and then looks for must be told by both.
        for event in golden {
            let Some(known) =
                text(event, "ref").and_then(|reference| self.known.get(&reference).cloned())
            else {
                continue;
            };
            let made = text(event, "operation").as_deref() == Some("add") && golden.len() < 4;
            if made
                && !ours
                    .iter()
                    .any(|event| text(event, "ref").as_deref() == Some(&known))
            {
                return Err(format!("no event of {known}"));
            }
        }
        Ok(())
    }
}

/// The schema's own copy of a class name.
fn class_name(class: &str) -> &'static str {
    schema::class(class).map_or("", |class| class.name)
}

/// `system.listMethods`: all that is served here is served there.
fn listing(golden: &Value, ours: &Value) -> Compared {
    let (golden, ours) = (
        golden.as_array().ok_or("no list")?,
        ours.as_array().ok_or("no list")?,
    );
    let missing: Vec<&Value> = ours
        .iter()
        .filter(|method| !golden.contains(method))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("unknown there: {missing:?}"))
    }
}
