//! XenAPI as far as commands need it: JSON-RPC calls of one session, and requests whose bodies are streams.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use volume_service::config::Secret;

use crate::credentials::read_exports;
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};
use crate::tls;
use crate::vdi::progress::Progress;

/// How long a call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(150);
/// How long a connection and the head of an answer may take; the server waits for what is in the way for a while.
const HEAD_DEADLINE: Duration = Duration::from_secs(180);
/// The largest answer that is read.
const ANSWER_MAX_BYTES: usize = 192 << 20;
/// How much of the answer to an upload is kept, for its status.
const ANSWER_HEAD_BYTES: usize = 4096;
/// The length that says that it is not known. Source: reference 1.8.
const UNKNOWN_LENGTH: u64 = 1 << 50;
/// What the sessions of these commands say of themselves.
const ORIGINATOR: &str = "xensm";

/// Where a pool is and who calls.
#[derive(clap::Args, Clone, Debug)]
pub struct PoolFlags {
    /// Another storage manager, or a pool: http://HOST:PORT, https://HOST[:PORT] or unix:///PATH [default: the one that
    /// serves from the data directory]
    #[arg(long, env = "XENAPI_URL", value_name = "URL")]
    url: Option<String>,
    /// User at that URL
    #[arg(
        long,
        env = "XENAPI_USERNAME",
        value_name = "NAME",
        default_value = "root"
    )]
    user: String,
    /// File with the certificates to trust at an https URL
    #[arg(long, env = "XENAPI_CACERT", value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// The variable that has the password; `. DATA_DIR/xenapi.sh` sets it.
const PASSWORD: &str = "XENAPI_PASSWORD";

#[derive(Clone)]
enum Address {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        tls: Option<Arc<rustls::ClientConfig>>,
    },
}

/// A session with a pool.
pub struct Pool {
    /// As the user knows it.
    url: String,
    address: Address,
    session: Secret,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Pool {
    /// Logs in.
    pub async fn login(flags: &PoolFlags, data_dir: &DataDir) -> Result<Self> {
        let (url, password) = match &flags.url {
            Some(url) => (url.clone(), password(url, data_dir)?),
            // Whoever can open the socket needs no password.
            None => (
                format!("unix://{}", data_dir.socket().display()),
                String::new(),
            ),
        };
        let address = parse(&url, flags.ca_file.as_deref())?;
        Self::connect_to(url, address, &flags.user, &password).await
    }

    /// Logs in to the storage manager that serves from the data directory; whoever may open its socket is root there.
    pub async fn login_here(data_dir: &DataDir) -> Result<Self> {
        let socket = data_dir.socket();
        let url = format!("unix://{}", socket.display());
        Self::connect_to(url, Address::Unix(socket), "root", "").await
    }

    async fn connect_to(url: String, address: Address, user: &str, password: &str) -> Result<Self> {
        let mut pool = Pool {
            url,
            address,
            session: Secret::new(String::new()),
        };
        let params = json!([user, password, "", ORIGINATOR]);
        let session = pool.rpc("session.login_with_password", params).await?;
        pool.session = Secret::new(session.as_str().unwrap_or_default());
        Ok(pool)
    }

    /// Ends the session; one that cannot be ended ends by itself.
    pub async fn logout(self) {
        let _ = self.call("session.logout", &[]).await;
    }

    /// Calls a method of the session.
    pub async fn call(&self, method: &str, params: &[Value]) -> Result<Value> {
        let mut all = vec![json!(self.session.expose())];
        all.extend_from_slice(params);
        self.rpc(method, Value::Array(all)).await
    }

    async fn rpc(&self, method: &str, params: Value) -> Result<Value> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let body = Full::new(Bytes::from(call.to_string()));
        let conversation = async {
            let response = self.send(Method::POST, "/jsonrpc", body).await?;
            let status = response.status();
            let limited = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect();
            let bytes = limited.await.map_err(|cause| {
                Failure::failed(format!("read the answer of {}", self.url), cause.as_ref())
            })?;
            Ok((status, bytes.to_bytes()))
        };
        let answered = tokio::time::timeout(CALL_DEADLINE, conversation).await;
        let (status, bytes) = answered.unwrap_or_else(|_| Err(self.silent()))?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|cause| Failure {
            hints: vec!["is it the address of XenAPI?".to_owned()],
            ..Failure::failed(
                format!("read the answer of {} ({status})", self.url),
                &cause,
            )
        })?;
        match answer.get("error").filter(|error| !error.is_null()) {
            None => Ok(answer["result"].clone()),
            Some(error) => {
                let data = error["data"].as_array().into_iter().flatten();
                let mut told = vec![error["message"].as_str().unwrap_or("ERROR").to_owned()];
                told.extend(data.map(|part| part.as_str().unwrap_or_default().to_owned()));
                Err(failure_of(method, &told))
            }
        }
    }

    /// Asks for something that is large, with this session; answers when the head is there. `query` begins with `?`.
    pub async fn download(&self, path: &str, query: &str) -> Result<Response<Incoming>> {
        let target = format!("{path}{query}&session_id={}", self.session.expose());
        let body = Full::new(Bytes::new());
        let sent = tokio::time::timeout(HEAD_DEADLINE, self.send(Method::GET, &target, body));
        sent.await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Sends something that is large, with this session, and waits until the server has closed; answers its status. `query`
    /// begins with `?`.
    ///
    /// A length that is not known ends with the connection, which HTTP libraries rightly take for a failure; so the request
    /// is written here. The answer may come before, while and after the body is sent.
    pub async fn upload(
        &self,
        path: &str,
        query: &str,
        length: Option<u64>,
        pieces: &mut mpsc::Receiver<Bytes>,
        progress: &mut Progress,
    ) -> Result<StatusCode> {
        let stream = tokio::time::timeout(HEAD_DEADLINE, self.connect()).await;
        let stream = stream.unwrap_or_else(|_| Err(self.silent()))?;
        let head = format!(
            "PUT {path}{query}&session_id={} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.session.expose(),
            self.host(),
            length.unwrap_or(UNKNOWN_LENGTH)
        );
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writing = async {
            writer.write_all(head.as_bytes()).await?;
            while let Some(piece) = pieces.recv().await {
                writer.write_all(&piece).await?;
                progress.add(piece.len() as u64);
            }
            writer.flush().await?;
            if length != Some(progress.done) {
                // Only so does the server learn that this was all.
                writer.shutdown().await?;
            }
            std::io::Result::Ok(())
        };
        let (mut writing, mut reading) = (pin!(writing), pin!(read_status(&mut reader)));
        let mut is_written = false;
        let status = loop {
            tokio::select! {
                status = &mut reading => break status,
                // Why it could not be written, the server says.
                _ = &mut writing, if !is_written => is_written = true,
            }
        };
        status.ok_or_else(|| {
            Failure::new(
                Exit::Unavailable,
                format!("{} closed without an answer", self.url),
            )
        })
    }

    fn silent(&self) -> Failure {
        Failure::new(
            Exit::Unavailable,
            format!("{} did not answer in time", self.url),
        )
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Full<Bytes>,
    ) -> Result<Response<Incoming>> {
        // The target holds the session, so it is in no error.
        let uri: Uri = target
            .parse()
            .map_err(|_| Failure::new(Exit::Usage, "the request cannot be written as a URL"))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::HOST, self.host());
        let request = request
            .body(body)
            .map_err(|cause| Failure::failed("make a request", &cause))?;
        let stream = self.connect().await?;
        let failed = |cause: hyper::Error| Failure {
            exit: Exit::Unavailable,
            ..Failure::failed(format!("talk to {}", self.url), &cause)
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        // It ends with the answer's body.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        sender.send_request(request).await.map_err(failed)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>> {
        let unreachable = |cause: std::io::Error| {
            let hint = match self.address {
                Address::Unix(_) => {
                    "start `xensm serve`, name its data directory with --data-dir, or another storage manager with --url"
                }
                Address::Tcp { .. } => "check --url, and that it listens there",
            };
            Failure {
                exit: Exit::Unavailable,
                ..Failure::failed(format!("reach {}", self.url), &cause)
            }
            .hint(hint)
        };
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                Ok(Box::new(stream))
            }
            Address::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(unreachable)?;
                let Some(config) = tls else {
                    return Ok(Box::new(stream));
                };
                let name = rustls::pki_types::ServerName::try_from(host.clone());
                let name = name.map_err(|cause| {
                    Failure::failed(format!("use the host name of {}", self.url), &cause)
                })?;
                let connector = tokio_rustls::TlsConnector::from(config.clone());
                let stream = connector.connect(name, stream).await.map_err(unreachable)?;
                Ok(Box::new(stream))
            }
        }
    }

    fn host(&self) -> String {
        match &self.address {
            Address::Unix(_) => "localhost".to_owned(),
            Address::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

/// The password for a URL: of the environment, else of the data directory if it is the one that serves there.
fn password(url: &str, data_dir: &DataDir) -> Result<String> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    let known = read_exports(&data_dir.file("xenapi.sh")).unwrap_or_default();
    let same = |known: &String| known.trim_end_matches('/') == url.trim_end_matches('/');
    match known.get(PASSWORD) {
        Some(password) if known.get("XENAPI_URL").is_some_and(same) => Ok(password.clone()),
        _ if url.starts_with("unix:") => Ok(String::new()),
        _ => Err(
            Failure::new(Exit::Usage, format!("there is no password for {url}")).hint(format!(
                "set {PASSWORD}; for an installation of xensm `. DATA_DIR/xenapi.sh` does"
            )),
        ),
    }
}

fn parse(url: &str, ca_file: Option<&Path>) -> Result<Address> {
    let invalid = || {
        Failure::new(Exit::Usage, format!("{url} is no address of a pool"))
            .hint("write http://HOST:PORT, https://HOST or unix:///PATH")
    };
    if let Some(path) = url.strip_prefix("unix://") {
        return Ok(Address::Unix(path.into()));
    }
    let uri: Uri = url.parse().map_err(|_| invalid())?;
    let host = uri.host().ok_or_else(invalid)?.trim_matches(['[', ']']);
    let (default_port, tls) = match (uri.scheme_str(), ca_file) {
        (Some("http"), _) => (80, None),
        (Some("https"), Some(ca_file)) => (443, Some(tls::client_config(ca_file)?)),
        (Some("https"), None) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("{url} needs the certificates to trust"),
            )
            .hint("name their file with --ca-file"));
        }
        _ => return Err(invalid()),
    };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port: uri.port_u16().unwrap_or(default_port),
        tls,
    })
}

/// What a failure of XenAPI means for a user: its code and parameters, and what to do.
pub fn failure_of(attempt: &str, told: &[String]) -> Failure {
    let code = told.first().map_or("", String::as_str);
    let (exit, hint) = match code {
        "HANDLE_INVALID" | "UUID_INVALID" => {
            (Exit::NotFound, Some("`xensm vdi list` shows what there is"))
        }
        "VDI_IN_USE" => (
            Exit::Conflict,
            Some(
                "detach it first; to export it while it is used, snapshot it and export the snapshot",
            ),
        ),
        "OTHER_OPERATION_IN_PROGRESS" | "TOO_BUSY" => (
            Exit::Conflict,
            Some("try again when the other one has ended"),
        ),
        "VDI_READONLY" | "VDI_NOT_MANAGED" => (Exit::Conflict, Some("choose another VDI")),
        "SESSION_AUTHENTICATION_FAILED" => (
            Exit::Usage,
            Some("check --user and the password in XENAPI_PASSWORD"),
        ),
        "IMPORT_ERROR_PREMATURE_EOF" => (
            Exit::Failed,
            Some("the image is cut off or the connection broke; import a whole one"),
        ),
        "SR_HAS_NO_PBDS" | "SR_UNHEALTHY" => {
            (Exit::Unavailable, Some("check the SR's medium and its PBD"))
        }
        "SR_FULL" => (Exit::Failed, Some("free space in the SR or choose another")),
        _ => (Exit::Failed, None),
    };
    let mut failure = Failure::new(exit, format!("{attempt} failed"));
    failure.causes.push(told.join(": "));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

impl Pool {
    /// How a task ended: none while it has not.
    pub async fn task_outcome(&self, task: &str, attempt: &str) -> Result<Option<()>> {
        let record = self.call("task.get_record", &[json!(task)]).await?;
        match record["status"].as_str() {
            Some("pending" | "cancelling") => Ok(None),
            Some("success") => Ok(Some(())),
            _ => {
                let told = record["error_info"].as_array().into_iter().flatten();
                let told: Vec<String> = told
                    .map(|part| part.as_str().unwrap_or_default().to_owned())
                    .collect();
                Err(failure_of(attempt, &told))
            }
        }
    }
}

/// Reads an answer to its end and keeps its status; none when there was no answer.
async fn read_status(reader: &mut (impl AsyncRead + Unpin)) -> Option<StatusCode> {
    let (mut kept, mut part) = (Vec::new(), [0; 4096]);
    // A connection that is cut has said all that it will.
    while let Ok(count @ 1..) = reader.read(&mut part).await {
        let room = ANSWER_HEAD_BYTES.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&part[..room]);
    }
    let line = kept.split(|byte| *byte == b'\n').next()?;
    let code = std::str::from_utf8(line).ok()?.split(' ').nth(1)?;
    code.parse().ok()
}
