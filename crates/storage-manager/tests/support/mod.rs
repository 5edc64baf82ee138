//! What the tests of the server share: a running storage manager, a client, and an SR type that does what a test wants.

#![allow(clippy::unwrap_used)] // a test helper fails its test
#![allow(dead_code)] // each test file uses its own part

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use storage_manager::sr::SrType;
use storage_manager::{Config, LocalAddresses, StorageManager};
use tokio_util::sync::CancellationToken;
use xenapi::wire::Limits;
use xenapi::{Failure, Value, jsonrpc, xmlrpc};

/// Who may log in over TCP in the tests.
pub const USER: (&str, &str) = ("root", "xenroot");

/// Longest wait for anything in a test, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Deadline for drivers where a test has one hang: all that does not hang must come to its end within it, on a machine that is
/// busy too.
pub const HASTE: Duration = Duration::from_secs(4);

/// A storage manager that runs on a thread of this process and is stopped when it is dropped.
pub struct Running {
    pub addresses: LocalAddresses,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(config: Config, types: Option<Vec<Arc<dyn SrType>>>) -> Running {
        let manager = match types {
            Some(types) => StorageManager::open_with(config, types),
            None => StorageManager::open(config),
        };
        let manager = manager.unwrap_or_else(|error| panic!("{}", error.detail()));
        let addresses = manager.local_addresses().clone();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(manager.serve(token)).unwrap();
        });
        let running = Running {
            addresses,
            shutdown,
            thread: Some(thread),
        };
        running.wait_for_recovery();
        running
    }

    /// Waits until every SR that was attached is so again, or is known not to be: it answers others after a while all the same.
    fn wait_for_recovery(&self) {
        let mut client = self.unix();
        wait_for("the SRs are attached again", || {
            let srs = client.call("SR.get_all_records", []).unwrap();
            let is_plugged = |sr: &Value| {
                let operations = &sr.as_struct().unwrap()["current_operations"];
                let mut operations = operations.as_struct().unwrap().values();
                operations.any(|operation| operation.as_str() == Some("plug"))
            };
            !srs.as_struct().unwrap().values().any(is_plugged)
        });
        client.call("session.logout", []).unwrap();
    }

    pub fn stop(mut self) {
        self.end();
    }

    pub fn unix(&self) -> Client {
        Client::login(Address::Unix(self.addresses.unix_socket.clone()))
    }

    fn end(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The configuration of a test: TCP on a free port, everything else in the directory.
pub fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir.join("data"), USER.0, USER.1);
    config.http = Some("127.0.0.1:0".parse().unwrap());
    config
}

/// Where a client connects.
#[derive(Clone, Debug)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// A response as it came.
#[derive(Debug)]
pub struct RawResponse {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

enum Stream {
    Unix(BufReader<UnixStream>),
    Tcp(BufReader<TcpStream>),
}

/// A blocking client with one connection.
pub struct Client {
    pub address: Address,
    pub session: String,
    stream: Option<Stream>,
}

impl Client {
    pub fn new(address: Address) -> Client {
        Client {
            address,
            session: String::new(),
            stream: None,
        }
    }

    pub fn login(address: Address) -> Client {
        let mut client = Client::new(address);
        let session = client
            .raw_call(
                "session.login_with_password",
                vec![USER.0.into(), USER.1.into()],
            )
            .unwrap();
        client.session = session.as_str().unwrap().to_owned();
        client
    }

    /// Calls a method of the session.
    pub fn call(
        &mut self,
        method: &str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<Value, Failure> {
        let params = std::iter::once(Value::from(self.session.as_str()))
            .chain(params)
            .collect();
        self.raw_call(method, params)
    }

    /// Calls a method; the parameters are complete. JSON-RPC, because it keeps the types.
    pub fn raw_call(&mut self, method: &str, params: Vec<Value>) -> Result<Value, Failure> {
        self.try_call(method, params).expect("the server answers")
    }

    /// Calls a method; the outer error is a connection that broke.
    pub fn try_call(
        &mut self,
        method: &str,
        params: Vec<Value>,
    ) -> std::io::Result<Result<Value, Failure>> {
        let call = jsonrpc::Call {
            version: jsonrpc::Version::V2,
            id: jsonrpc::Id::Int(1),
            method: method.to_owned(),
            params,
        };
        let body = jsonrpc::write_call(&call).unwrap();
        let response = self.send("POST", "/jsonrpc", &body)?;
        assert_eq!(
            response.status,
            200,
            "{}",
            String::from_utf8_lossy(&response.body)
        );
        Ok(jsonrpc::parse_response(&response.body, &Limits::RESPONSE).unwrap())
    }

    /// Calls a method over XML-RPC.
    pub fn xml_call(&mut self, method: &str, params: &[Value]) -> xmlrpc::Response {
        let response = self
            .send("POST", "/", &xmlrpc::write_call(method, params).unwrap())
            .unwrap();
        xmlrpc::parse_response(&response.body, &Limits::RESPONSE).unwrap()
    }

    /// Sends one request.
    pub fn send(&mut self, verb: &str, path: &str, body: &[u8]) -> std::io::Result<RawResponse> {
        if self.stream.is_none() {
            self.stream = Some(match &self.address {
                Address::Unix(path) => Stream::Unix(BufReader::new(UnixStream::connect(path)?)),
                Address::Tcp(address) => Stream::Tcp(BufReader::new(TcpStream::connect(address)?)),
            });
        }
        let result = match self.stream.as_mut().unwrap() {
            Stream::Unix(stream) => {
                stream.get_ref().set_read_timeout(Some(PATIENCE))?;
                let writer = stream.get_ref().try_clone()?;
                exchange(stream, writer, verb, path, body)
            }
            Stream::Tcp(stream) => {
                stream.get_ref().set_read_timeout(Some(PATIENCE))?;
                let writer = stream.get_ref().try_clone()?;
                exchange(stream, writer, verb, path, body)
            }
        };
        let ends = |response: &RawResponse| {
            response.headers.get("connection").map(String::as_str) == Some("close")
        };
        if result.as_ref().map_or(true, ends) {
            self.stream = None;
        }
        result
    }
}

fn exchange(
    reader: &mut impl BufRead,
    mut writer: impl Write,
    verb: &str,
    path: &str,
    body: &[u8],
) -> std::io::Result<RawResponse> {
    let mut request = format!(
        "{verb} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    writer.write_all(&request)?;
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(broken)?;
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut response = vec![0; if verb == "HEAD" { 0 } else { length }];
    reader.read_exact(&mut response)?;
    Ok(RawResponse {
        status,
        headers,
        body: response,
    })
}

/// A consumer that waits for each request as long as a test waits for anything.
pub fn patient_consumer() -> nbd::client::ClientOptions {
    nbd::client::ClientOptions {
        timeout: PATIENCE,
        ..Default::default()
    }
}

/// Waits until a condition holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    testkit::wait::until(what, PATIENCE, || holds().then_some(()));
}

/// A map value of texts.
pub fn texts(entries: &[(&str, &str)]) -> Value {
    Value::Struct(
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect(),
    )
}

/// The record that `VDI.create` takes.
pub fn vdi_record(sr: &str, label: &str, size: i64) -> Value {
    Value::Struct(BTreeMap::from([
        ("name_label".to_owned(), label.into()),
        ("SR".to_owned(), sr.into()),
        ("virtual_size".to_owned(), Value::Int(size)),
        ("type".to_owned(), "user".into()),
        ("sharable".to_owned(), false.into()),
        ("read_only".to_owned(), false.into()),
        ("other_config".to_owned(), texts(&[("k", "v")])),
    ]))
}

/// The record that `VBD.create` takes.
pub fn vbd_record(vm: &str, vdi: &str, mode: &str) -> Value {
    Value::Struct(BTreeMap::from([
        ("VM".to_owned(), vm.into()),
        ("VDI".to_owned(), vdi.into()),
        ("userdevice".to_owned(), "autodetect".into()),
        ("bootable".to_owned(), false.into()),
        ("mode".to_owned(), mode.into()),
        ("type".to_owned(), "Disk".into()),
        ("empty".to_owned(), false.into()),
        ("unpluggable".to_owned(), true.into()),
        ("other_config".to_owned(), texts(&[])),
        ("qos_algorithm_type".to_owned(), "".into()),
        ("qos_algorithm_params".to_owned(), texts(&[])),
    ]))
}

/// Makes an SR of type `file` in a directory.
pub fn make_sr(client: &mut Client, location: &Path, sr_type: &str) -> String {
    let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let config = texts(&[("location", location.to_str().unwrap())]);
    let params = [
        host,
        config,
        Value::Int(0),
        "an SR".into(),
        "".into(),
        sr_type.into(),
        "".into(),
        false.into(),
        texts(&[]),
    ];
    client
        .call("SR.create", params)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}
