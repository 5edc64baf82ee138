//! A client of the running Storage Manager on this machine: JSON-RPC on its unix socket, one connection per call.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Exit, Failure, Result};

/// Longest wait for an answer; the Storage Manager gives up on a medium before that.
const DEADLINE: Duration = Duration::from_secs(180);

/// Longest answer that is read.
const MAX_ANSWER: u64 = 64 << 20;

/// A session with the Storage Manager.
pub struct SmClient {
    socket: PathBuf,
    session: String,
}

impl SmClient {
    /// Logs in; whoever may open the socket is root there.
    pub fn login(socket: &Path) -> Result<Self> {
        let mut client = SmClient {
            socket: socket.to_owned(),
            session: String::new(),
        };
        let params = json!(["root", "", "1.0", "xensm"]);
        let session = client.request("session.login_with_password", params)?;
        client.session = session.as_str().unwrap_or_default().to_owned();
        Ok(client)
    }

    /// Calls a method with the session in front.
    pub fn call(&self, method: &str, params: &[Value]) -> Result<Value> {
        let mut all = vec![json!(self.session)];
        all.extend_from_slice(params);
        self.request(method, Value::Array(all))
    }

    fn request(&self, method: &str, params: Value) -> Result<Value> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.exchange(&call.to_string()).map_err(|cause| {
            let mut failure = Failure::failed(
                format!("ask the Storage Manager at {}", self.socket.display()),
                &cause,
            );
            failure.exit = Exit::Unavailable;
            failure.hint("start it with `xensm serve`, or name its data directory with --data-dir")
        })?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|cause| Failure::failed(format!("read the answer to {method}"), &cause))?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(refused(method, error));
        }
        Ok(answer["result"].clone())
    }

    /// Sends a body and returns the body of the answer.
    fn exchange(&self, body: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        write!(
            stream,
            "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(answer.split_off(end + 4))
    }
}

fn refused(method: &str, error: &Value) -> Failure {
    let code = error["message"].as_str().unwrap_or_default();
    let params: Vec<&str> = error["data"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    let exit = match code {
        "UUID_INVALID" | "HANDLE_INVALID" => Exit::NotFound,
        "SR_UNHEALTHY" => Exit::Unavailable,
        "VDI_IN_USE" | "OTHER_OPERATION_IN_PROGRESS" => Exit::Conflict,
        _ => Exit::Failed,
    };
    let mut failure = Failure::new(exit, format!("{method} failed: {code}"));
    failure
        .causes
        .extend(params.iter().map(|text| (*text).to_owned()));
    failure
}
