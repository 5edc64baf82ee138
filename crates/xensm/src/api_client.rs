//! A client of our own Block Storage and Identity APIs, for `attach`, `detach` and the demo.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use volume_service::config::Secret;

use crate::credentials::read_exports;
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};
use crate::tls;

/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(90);
/// The largest answer that is read.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;
/// The newest microversion that this client was written for.
const MICROVERSION: &str = "volume 3.54";

/// A client with a token for one project.
pub struct ApiClient {
    volume_base: String,
    token: Secret,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl ApiClient {
    /// Logs in with the credentials in the data directory.
    pub async fn login(data_dir: &DataDir) -> Result<Self> {
        let variables = read_exports(&data_dir.file("openrc.sh"))?;
        let value = |name: &str| {
            variables
                .get(name)
                .cloned()
                .ok_or_else(|| Failure::new(Exit::Usage, format!("openrc.sh does not set {name}")))
        };
        let tls = match variables.get("OS_CACERT") {
            Some(path) => Some(tls::client_config(Path::new(path))?),
            None => None,
        };
        let domain = json!({"name": "Default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": value("OS_USERNAME")?, "password": value("OS_PASSWORD")?, "domain": domain}}},
            "scope": {"project": {"name": value("OS_PROJECT_NAME")?, "domain": domain}}}});
        let url = format!("{}/auth/tokens", value("OS_AUTH_URL")?);
        let request = Request::builder().method(Method::POST).uri(&url);
        let (head, answer) = send(request, &url, Some(&body), tls.as_ref()).await?;
        let token = head
            .headers
            .get("x-subject-token")
            .and_then(|token| token.to_str().ok());
        let token = token
            .ok_or_else(|| Failure::new(Exit::Failed, format!("{url} answered without a token")))?;
        let volume_base = volume_endpoint(&answer).ok_or_else(|| {
            Failure::new(Exit::Failed, "the catalogue has no Block Storage endpoint")
        })?;
        Ok(ApiClient {
            volume_base,
            token: Secret::new(token),
            tls,
        })
    }

    /// Sends a request to the Block Storage API; `path` begins with `/`.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.volume_base);
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header("x-auth-token", self.token.expose())
            .header("openstack-api-version", MICROVERSION);
        Ok(send(request, &url, body, self.tls.as_ref()).await?.1)
    }

    /// The volume with this id or, if exactly one has it, this name.
    pub async fn find_volume(&self, id_or_name: &str) -> Result<Value> {
        if uuid::Uuid::parse_str(id_or_name).is_ok() {
            let answer = self
                .call(Method::GET, &format!("/volumes/{id_or_name}"), None)
                .await?;
            return Ok(answer["volume"].clone());
        }
        let name: String = url_encoded(id_or_name);
        let answer = self
            .call(
                Method::GET,
                &format!("/volumes/detail?name={name}&limit=2"),
                None,
            )
            .await?;
        match answer["volumes"].as_array().map(Vec::as_slice) {
            Some([volume]) => Ok(volume.clone()),
            Some([]) | None => Err(Failure::new(
                Exit::NotFound,
                format!("there is no volume called {id_or_name}"),
            )),
            Some(_) => Err(Failure::new(
                Exit::Conflict,
                format!("more than one volume is called {id_or_name}"),
            )
            .hint("name it by its id")),
        }
    }
}

/// Percent-encodes everything that is not unreserved.
fn url_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn volume_endpoint(token: &Value) -> Option<String> {
    let service = token["token"]["catalog"]
        .as_array()?
        .iter()
        .find(|service| matches!(service["type"].as_str(), Some("block-storage" | "volumev3")))?;
    let endpoint = service["endpoints"]
        .as_array()?
        .iter()
        .find(|endpoint| endpoint["interface"] == "public")?;
    Some(endpoint["url"].as_str()?.trim_end_matches('/').to_owned())
}

async fn send(
    request: http::request::Builder,
    url: &str,
    body: Option<&Value>,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<(http::response::Parts, Value)> {
    let content = body.map(Value::to_string).unwrap_or_default();
    let request = request
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(content)))
        .map_err(|cause| Failure::failed(format!("make a request to {url}"), &cause))?;
    let (head, bytes) = exchange(request, url, tls).await?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    if head.status.is_success() || head.status == StatusCode::MULTIPLE_CHOICES {
        return Ok((head, answer));
    }
    let message = answer
        .as_object()
        .and_then(|faults| faults.values().next())
        .and_then(|fault| fault["message"].as_str());
    let exit = match head.status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::CONFLICT | StatusCode::BAD_REQUEST => Exit::Conflict,
        StatusCode::SERVICE_UNAVAILABLE => Exit::Unavailable,
        _ => Exit::Failed,
    };
    Err(Failure::new(
        exit,
        message.map_or_else(|| format!("{url} answered {}", head.status), str::to_owned),
    ))
}

/// Sends a request whose answer is text; for the demo's EC2 calls on loopback.
pub async fn exchange_text(
    request: http::request::Builder,
    url: &str,
    body: &str,
) -> Result<String> {
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .map_err(|cause| Failure::failed(format!("make a request to {url}"), &cause))?;
    let (head, bytes) = exchange(request, url, None).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if head.status.is_success() {
        return Ok(text);
    }
    Err(Failure::new(
        Exit::Failed,
        format!("{url} answered {}: {text}", head.status),
    ))
}

/// One request on a connection of its own, within the deadline.
async fn exchange(
    request: Request<Full<Bytes>>,
    url: &str,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<(http::response::Parts, Bytes)> {
    let exchange = tokio::time::timeout(REQUEST_DEADLINE, connect_and_converse(request, url, tls));
    exchange.await.unwrap_or_else(|_| {
        Err(Failure::new(
            Exit::Unavailable,
            format!(
                "{url} did not answer within {} s",
                REQUEST_DEADLINE.as_secs()
            ),
        ))
    })
}

async fn connect_and_converse(
    request: Request<Full<Bytes>>,
    url: &str,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<(http::response::Parts, Bytes)> {
    let unreachable = |cause: &(dyn std::error::Error + 'static)| Failure {
        exit: Exit::Unavailable,
        ..Failure::failed(format!("reach {url}"), cause).hint("is `xensm serve` running?")
    };
    let uri = request.uri().clone();
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|cause| unreachable(&cause))?;
    let (mut parts, body) = request.into_parts();
    // An HTTP/1.1 request names its path; the authority goes into the Host header.
    if let Some(authority) = uri.authority() {
        let value = authority.as_str().parse().map_err(|cause| {
            Failure::failed(
                format!("use {url}"),
                &cause as &http::header::InvalidHeaderValue,
            )
        })?;
        parts.headers.insert(http::header::HOST, value);
    }
    parts.uri = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
        .parse()
        .unwrap_or_default();
    let request = Request::from_parts(parts, body);
    if !is_tls {
        return converse(TokioIo::new(stream), request, url).await;
    }
    let config = tls.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{url} needs a CA file (OS_CACERT in openrc.sh)"),
        )
    })?;
    let name = rustls::pki_types::ServerName::try_from(host)
        .map_err(|cause| Failure::failed(format!("use the host name of {url}"), &cause))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|cause| unreachable(&cause))?;
    converse(TokioIo::new(stream), request, url).await
}

async fn converse<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    url: &str,
) -> Result<(http::response::Parts, Bytes)>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let failed = |cause: &(dyn std::error::Error + 'static)| {
        Failure::failed(format!("talk to {url}"), cause)
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(|cause| failed(&cause))?;
    // The sender ends with the conversation, and with it the connection.
    let conversation = async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|cause| failed(&cause))?;
        let (head, body) = response.into_parts();
        let bytes = Limited::new(body, ANSWER_MAX_BYTES)
            .collect()
            .await
            .map_err(|cause| failed(cause.as_ref()))?
            .to_bytes();
        Ok((head, bytes))
    };
    let (outcome, _) = tokio::join!(conversation, async {
        // The connection ends with the answer; its own error is the answer's.
        let _ = connection.await;
    });
    outcome
}
