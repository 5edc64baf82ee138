//! The array as a test starts it.

use std::net::TcpListener;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use uuid::Uuid;

use super::data::files::Files;
use super::data::portal::{PORT, Portal};
use super::data::target::Targets;
use super::fault::{Fault, Faults, Trouble};
use super::http::{Request, Response};
use super::listener::{Certificate, Listener};
use super::machine::{Machine, Shared};
use super::rest;
use super::state::cluster::{Cluster, Interface};
use super::zapi;
use crate::iscsi_target::Tgt;

/// How often another address is tried: another test may have taken one.
const ADDRESS_TRIES: usize = 50;
/// The path of the older API.
const ZAPI_PATH: &str = "/servlets/netapp.servlets.admin.XMLrequest_filer";

/// The first version with the newer API.
const FIRST_WITH_REST: [u32; 3] = [9, 6, 0];

/// What the array is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Aggregates: names and bytes.
    pub aggregates: Vec<(String, u64)>,
    /// SVMs with an iSCSI service: names, and how many interfaces each has.
    pub svms: Vec<(String, usize)>,
    /// Generation, major, minor.
    pub version: [u32; 3],
    /// Who may log in.
    pub logins: Vec<Login>,
}

/// An account of the array.
#[derive(Debug, Clone)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The SVM to which it is confined.
    pub svm: Option<String>,
}

/// A running array. It ends with the value.
pub struct OntapEmulator {
    shared: Arc<Shared>,
    faults: Arc<Faults>,
    certificate: Certificate,
    address: String,
    logins: Vec<Login>,
    portals: Vec<(Uuid, Portal)>,
    https: Listener,
    http: Listener,
}

impl Default for Options {
    /// One aggregate `aggr1` of 1 TiB, one SVM `svm1` with two interfaces, version 9.14.1, `admin` with `secret-password`.
    fn default() -> Self {
        Options {
            aggregates: vec![("aggr1".to_owned(), 1 << 40)],
            svms: vec![("svm1".to_owned(), 2)],
            version: [9, 14, 1],
            logins: vec![Login {
                user: "admin".to_owned(),
                password: "secret-password".to_owned(),
                svm: None,
            }],
        }
    }
}

impl OntapEmulator {
    /// Starts an array; none, with a printed line, when tgt is not installed and `CI` is not set.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(options: Options) -> Option<Self> {
        let tgt = Tgt::start()?;
        let targets = Targets::new(tgt);
        let mut cluster = Cluster::new("cluster1");
        cluster.version = options.version;
        // From 9.16 on, a new LUN is answered with a job.
        cluster.behaviour.lun_create_is_async = options.version >= [9, 16, 0];
        for (name, size) in &options.aggregates {
            cluster.add_aggregate(name, *size);
        }
        let mut taken = Vec::new();
        for (name, interfaces) in &options.svms {
            cluster.add_svm(name);
            if *interfaces > 0 {
                cluster
                    .create_service(name, true, None)
                    .expect("the service is new");
            }
            for index in 1..=*interfaces {
                let address = free_address(&taken);
                taken.push(address.clone());
                cluster.interfaces.push(Interface {
                    name: format!("{name}_iscsi_{index}"),
                    uuid: Uuid::new_v4(),
                    svm: name.clone(),
                    address,
                    enabled: true,
                });
            }
        }
        let address = taken
            .first()
            .cloned()
            .unwrap_or_else(|| "127.0.0.1".to_owned());
        let files = Files::new(targets.directory());
        let interfaces: Vec<(Uuid, String)> = cluster
            .interfaces
            .iter()
            .map(|one| (one.uuid, one.address.clone()))
            .collect();
        let shared = Arc::new(Shared::new(Machine {
            cluster,
            files,
            targets,
        }));
        let open = |(uuid, address): (Uuid, String)| {
            let portal = Portal::open(&address, uuid, Arc::clone(&shared));
            (uuid, portal.expect("an address that was free"))
        };
        let portals = interfaces.into_iter().map(open).collect();
        let faults = Arc::new(Faults::default());
        let certificate = Certificate::new(&address);
        let front = Front {
            shared: Arc::clone(&shared),
            faults: Arc::clone(&faults),
            logins: options.logins.clone(),
        };
        let answer: Arc<super::listener::Answer> = Arc::new(move |request| front.answer(request));
        let https = Listener::open(&address, Some(&certificate), Arc::clone(&answer));
        let http = Listener::open(&address, None, answer);
        Some(OntapEmulator {
            shared,
            faults,
            certificate,
            address,
            logins: options.logins,
            portals,
            https: https.expect("a free port"),
            http: http.expect("a free port"),
        })
    }

    /// The address of both APIs and of the first interface.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port of the APIs with TLS.
    pub fn https_port(&self) -> u16 {
        self.https.port()
    }

    /// The port of the APIs without TLS.
    pub fn http_port(&self) -> u16 {
        self.http.port()
    }

    /// The certificate (PEM) of the authority that signed the one of the APIs.
    pub fn certificate(&self) -> &str {
        &self.certificate.authority
    }

    /// Who may log in.
    pub fn logins(&self) -> &[Login] {
        &self.logins
    }

    /// Reads or changes what the array knows; data and targets follow.
    pub fn with<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        self.shared.change(change)
    }

    /// Has something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.faults.add(fault);
    }

    /// What is to go wrong, and what was called.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The file with the contents of a LUN, by its SVM and path.
    ///
    /// # Panics
    /// When there is no such LUN.
    pub fn lun_file(&self, svm: &str, path: &str) -> std::path::PathBuf {
        let machine = self.shared.lock();
        let lun = machine
            .cluster
            .lun_at(svm, path)
            .expect("a LUN of that path");
        machine.files.path(lun.data)
    }

    /// Switches an interface on or off, and cuts its connections. Its address stays.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn set_interface(&self, name: &str, enabled: bool) {
        let uuid = self.with(|cluster| {
            let found = cluster.interfaces.iter_mut().find(|one| one.name == name);
            let found = found.expect("an interface of that name");
            found.enabled = enabled;
            found.uuid
        });
        for (_, portal) in self.portals.iter().filter(|(own, _)| *own == uuid) {
            portal.cut();
        }
    }

    /// Cuts all iSCSI connections.
    pub fn cut_sessions(&self) {
        for (_, portal) in &self.portals {
            portal.cut();
        }
    }
}

/// What answers requests.
struct Front {
    shared: Arc<Shared>,
    faults: Arc<Faults>,
    logins: Vec<Login>,
}

impl Front {
    fn answer(&self, request: &Request) -> Option<Response> {
        let zapi = (request.path == ZAPI_PATH).then(|| zapi::called(request).unwrap_or_default());
        let trouble = match &zapi {
            None => self.faults.meet(request),
            Some(call) => self.faults.meet(&as_request(call)),
        };
        let refused = |status, code, text: &str| match zapi {
            None => refused(status, code, text),
            Some(_) => zapi::refused(code, text),
        };
        let mut job = (None, false);
        match &trouble {
            Some(Trouble::CutBefore) => return None,
            Some(Trouble::Unauthorized) => return Some(unauthorized()),
            Some(Trouble::Busy) => {
                let text = "Device busy. Try the operation again later.";
                return Some(refused(500, if zapi.is_some() { 13_001 } else { 8 }, text));
            }
            Some(Trouble::Refused(status, code, text)) => {
                return Some(refused(*status, *code, text));
            }
            Some(Trouble::SlowJob(calls)) => job.0 = Some(*calls),
            Some(Trouble::LostJob) => job.1 = true,
            Some(Trouble::CutAfter) | None => {}
        }
        let Some(login) = self.login(request) else {
            return Some(unauthorized());
        };
        let svm = login.svm.as_deref();
        let response = self.shared.change(|cluster| {
            cluster.tick();
            if zapi.is_some() {
                zapi::handle(cluster, request, svm)
            } else if cluster.version < FIRST_WITH_REST {
                refused(404, 3, "API not found")
            } else {
                rest::handle(cluster, request, svm, job)
            }
        });
        (trouble != Some(Trouble::CutAfter)).then_some(response)
    }

    fn login(&self, request: &Request) -> Option<&Login> {
        let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
        let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        self.logins
            .iter()
            .find(|login| login.user == user && login.password == password)
    }
}

/// A call of the older API, which has one path and one method, as faults and the list of calls name it: `GET` where it only asks.
fn as_request(call: &str) -> Request {
    let asks = call.ends_with("-get-iter") || call.contains("-get-") || call.starts_with("system-");
    Request {
        method: if asks { "GET" } else { "POST" }.to_owned(),
        path: format!("{ZAPI_PATH}/{call}"),
        ..Request::default()
    }
}

fn unauthorized() -> Response {
    let mut response = refused(401, 6_691_623, "User is not authorized.");
    response
        .headers
        .push(("WWW-Authenticate", "Basic realm=\"ONTAP\"".to_owned()));
    response
}

fn refused(status: u16, code: u32, text: &str) -> Response {
    Response::json(
        status,
        &json!({"error": {"code": code.to_string(), "message": text}}),
    )
}

/// An address of the loopback network on which nobody serves iSCSI.
///
/// An array tells addresses without ports, so each interface needs an address of its own: all of 127.0.0.0/8 is this machine.
fn free_address(taken: &[String]) -> String {
    for _ in 0..ADDRESS_TRIES {
        let [a, b, c, ..] = *Uuid::new_v4().as_bytes();
        let address = format!("127.{}.{b}.{}", a.max(1), c.clamp(1, 254));
        if !taken.contains(&address) && TcpListener::bind((address.as_str(), PORT)).is_ok() {
            return address;
        }
    }
    panic!("no free address in 127.0.0.0/8");
}
