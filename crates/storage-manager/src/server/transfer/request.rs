//! What a request for a transfer says: who, which VDI, which task, which format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use uuid::Uuid;
use xenapi::Failure;

use crate::database::{Object, Objects};
use crate::server::connection::Connection;
use crate::server::dispatch::Origin;
use crate::server::{Server, tasks};

/// How the bytes of a VDI are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As they are.
    Raw,
    /// As a VHD.
    Vhd,
}

impl Format {
    /// The `Content-Type` of an export.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Raw => "application/octet-stream",
            Format::Vhd => "application/vhd",
        }
    }

    /// The suffix of an export's file name.
    pub fn suffix(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Vhd => "vhd",
        }
    }
}

/// The parameters of a request: those of the query, then those of cookies.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads them from the head of a request.
    pub fn of(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        let mut all: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let cookies = parts.headers.get_all(COOKIE).into_iter();
        let cookies = cookies.filter_map(|cookie| cookie.to_str().ok());
        let pairs = cookies
            .flat_map(|cookie| cookie.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        all.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Parameters(all)
    }

    /// The first of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The format; raw when none is named.
    ///
    /// # Errors
    /// `INTERNAL_ERROR ["Unknown format x"]`, as a real pool; `tar` and `qcow2` are unknown here.
    pub fn format(&self) -> Result<Format, Failure> {
        let name = self.get("format").unwrap_or("raw");
        match name.to_ascii_lowercase().as_str() {
            "raw" => Ok(Format::Raw),
            "vhd" => Ok(Format::Vhd),
            _ => Err(Failure::internal_error(&format!("Unknown format {name}"))),
        }
    }

    /// Whether the request may pass: a session, else the user and password of HTTP Basic. A session that is not valid is
    /// not made good by a password.
    pub fn is_authorised(&self, server: &Server, connection: &Connection, parts: &Parts) -> bool {
        if let Some(session) = self.get("session_id") {
            return server.sessions.check(&server.database, session).is_ok();
        }
        let Some((user, password)) = basic(parts) else {
            return false;
        };
        // Whoever can open the unix socket is root already.
        connection.origin == Origin::UnixSocket
            || server.credentials.check(&user, &password).is_ok()
    }

    /// The task that the request names, or a new one.
    ///
    /// # Errors
    /// `HANDLE_INVALID ["task", task]`.
    pub fn task(&self, server: &Server, label: &str) -> Result<String, Failure> {
        if let Some(task) = self.get("task_id") {
            server.database.read().get("task", task)?;
            return Ok(task.to_owned());
        }
        let task = tasks::create(server, label, "")?;
        if let Some(parent) = self.get("subtask_of") {
            server.database.write_volatile(|transaction| {
                if transaction.find("task", parent).is_none() {
                    return Ok(());
                }
                transaction.set("task", &task, "subtask_of", parent)
            })?;
        }
        Ok(task)
    }
}

/// User and password of HTTP Basic.
fn basic(parts: &Parts) -> Option<(String, String)> {
    let given = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// A VDI whose content can be read or written.
#[derive(Clone, Debug)]
pub struct Vdi {
    /// Its reference.
    pub reference: String,
    /// Its uuid.
    pub uuid: Uuid,
    /// The reference of its SR.
    pub sr: String,
    /// Whether changes of it are tracked.
    pub cbt_enabled: bool,
    /// Whether its data are gone and only what changed is known.
    pub is_cbt_metadata: bool,
    /// Bytes.
    pub virtual_size: u64,
}

/// Finds a VDI by reference or uuid.
///
/// # Errors
/// `UUID_INVALID ["VDI", name]`.
pub fn find_vdi(objects: &Objects, name: &str) -> Result<Vdi, Failure> {
    let unknown = || Failure::new("UUID_INVALID", ["VDI", name]);
    let record = objects
        .find("VDI", name)
        .or_else(|| objects.find_by_uuid("VDI", name))
        .ok_or_else(unknown)?;
    Ok(Vdi {
        reference: record.reference.to_string(),
        uuid: Uuid::parse_str(record.uuid()).map_err(|_| unknown())?,
        sr: record.text("SR").to_owned(),
        cbt_enabled: record.flag("cbt_enabled"),
        is_cbt_metadata: record.text("type") == "cbt_metadata",
        virtual_size: u64::try_from(record.int("virtual_size")).unwrap_or(0),
    })
}

/// Refuses VDIs that have no content of their own to read or write.
///
/// # Errors
/// `VDI_NOT_MANAGED [vdi]`, `VDI_INCOMPATIBLE_TYPE [vdi, "cbt_metadata"]`.
pub fn check_content(record: &Object) -> Result<(), Failure> {
    let vdi: &str = &record.reference;
    if !record.flag("managed") {
        return Err(Failure::new("VDI_NOT_MANAGED", [vdi]));
    }
    if record.text("type") == "cbt_metadata" {
        return Err(Failure::new("VDI_INCOMPATIBLE_TYPE", [vdi, "cbt_metadata"]));
    }
    Ok(())
}
