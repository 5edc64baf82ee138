//! A storage manager in a process of its own, and its XenAPI as JSON-RPC on the unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

/// Longest wait for a start and for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running storage manager.
pub struct Manager {
    child: Arc<Mutex<Child>>,
    socket: PathBuf,
    session: String,
    doomed: Arc<AtomicBool>,
}

impl Manager {
    /// Starts it on a data directory and waits until it answers.
    pub fn start(binary: &Path, place: &Path) -> anyhow::Result<Self> {
        let data = place.join("data");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(place.join("storage-manager.log"))?;
        let child = Command::new(binary)
            .arg("storage-manager")
            .arg("--data-dir")
            .arg(&data)
            .args(["--listen-xenapi", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut manager = Manager {
            child: Arc::new(Mutex::new(child)),
            socket: data.join("xenapi.sock"),
            session: String::new(),
            doomed: Arc::default(),
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let params = json!(["root", "", "1.0", "soak"]);
            match manager.request("session.login_with_password", params) {
                Ok(session) => {
                    manager.session = text(&session);
                    return Ok(manager);
                }
                Err(error) if Instant::now() > until => {
                    return Err(error.context("the storage manager does not answer"));
                }
                Err(_) if manager.has_ended()? => {
                    bail!("the storage manager has ended; its log says why");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn has_ended(&self) -> anyhow::Result<bool> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(child.try_wait()?.is_some())
    }

    /// True once it is being killed, or what it works on is.
    pub fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Acquire)
    }

    /// Calls a method with the session in front.
    pub fn call(&self, method: &str, params: &[Value]) -> anyhow::Result<Value> {
        let mut all = vec![json!(self.session)];
        all.extend_from_slice(params);
        self.request(method, Value::Array(all))
    }

    /// Calls a function of the plugin for chains.
    pub fn chains(&self, function: &str, arguments: Value) -> anyhow::Result<Value> {
        let host = self.call("host.get_all", &[])?[0].clone();
        let params = [host, json!("xensm-chain"), json!(function), arguments];
        let answer = self.call("host.call_plugin", &params)?;
        Ok(serde_json::from_str(&text(&answer))?)
    }

    fn request(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let body = body.to_string();
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let start = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let start = start.ok_or_else(|| anyhow!("{method}: the answer was cut off"))? + 4;
        let answer: Value = serde_json::from_slice(&answer[start..])
            .with_context(|| format!("{method}: the answer was cut off"))?;
        match answer.get("error").filter(|error| !error.is_null()) {
            Some(error) => bail!("{method}: {error}"),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Kills it after a time, on a thread; `first` is done just before.
    pub fn kill_after(
        &self,
        life: Duration,
        first: Option<Box<dyn FnOnce() -> anyhow::Result<()> + Send>>,
    ) -> JoinHandle<anyhow::Result<()>> {
        let (child, doomed) = (self.child.clone(), self.doomed.clone());
        std::thread::spawn(move || {
            std::thread::sleep(life);
            doomed.store(true, Ordering::Release);
            let first = first.map_or(Ok(()), |first| first());
            child
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .kill()?;
            first
        })
    }

    /// Waits for the killed process.
    pub fn reap(&mut self) -> anyhow::Result<()> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait()?;
        Ok(())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // A round that failed leaves it running otherwise.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A text in an answer.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
