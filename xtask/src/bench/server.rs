//! A `xensm serve` to measure, in a directory of its own on a real file system.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::http::Connection;

/// A running server.
pub struct Server {
    binary: PathBuf,
    /// Its directory.
    pub data_dir: PathBuf,
    process: Child,
    /// From the start of the process until it said that it is ready.
    pub start_time: Duration,
}

/// How requests reach the Block Storage API.
#[derive(Clone)]
pub struct Endpoint {
    /// `http://host:port`
    pub base: String,
    /// `/v3/<project>`
    pub path: String,
    /// Headers of every request.
    pub headers: String,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub fn start(binary: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        Server::start_with(binary, data_dir, None)
    }

    /// As [`Server::start`], with a configuration file.
    pub fn start_with(
        binary: &Path,
        data_dir: &Path,
        config: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut process = Command::new(binary)
            .arg("serve")
            .args(
                config
                    .iter()
                    .flat_map(|config| [Path::new("--config"), *config]),
            )
            .arg("--data-dir")
            .arg(data_dir)
            .args([
                "--listen-volume",
                "127.0.0.1:0",
                "--listen-identity",
                "127.0.0.1:0",
            ])
            .args([
                "--listen-ec2",
                "127.0.0.1:0",
                "--listen-xenapi",
                "127.0.0.1:0",
                "--log",
                "warn",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start xensm")?;
        let mut output = BufReader::new(process.stdout.take().context("stdout is piped")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let start_time = started.elapsed();
        if !line.contains("is ready") {
            bail!("xensm said {line:?}");
        }
        // Nobody reads the rest; the pipe holds it.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Server {
            binary: binary.to_owned(),
            data_dir: data_dir.to_owned(),
            process,
            start_time,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Stops it cleanly.
    pub fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status()?;
        self.process.wait()?;
        Ok(())
    }

    /// Stops it and starts it again.
    pub fn restart(self) -> anyhow::Result<Self> {
        let (binary, data_dir) = (self.binary.clone(), self.data_dir.clone());
        self.stop()?;
        Server::start(&binary, &data_dir)
    }

    /// Resident memory in MiB: its own pages and its share of shared ones (PSS).
    pub fn memory_mib(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = text
            .lines()
            .find(|line| line.starts_with("Pss:"))
            .context("smaps_rollup has Pss")?;
        let kib: f64 = line
            .split_whitespace()
            .nth(1)
            .context("Pss has a number")?
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// Processor time used so far.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time_of(self.process.id())
    }

    /// Logs in.
    pub fn login(&self) -> anyhow::Result<Endpoint> {
        let text = fs::read_to_string(self.data_dir.join("openrc.sh"))?;
        let variables: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('\'')))
            .collect();
        let domain = json!({"name": "Default"});
        let user = json!({"name": variables["OS_USERNAME"], "password": variables["OS_PASSWORD"], "domain": domain});
        let scope = json!({"project": {"name": variables["OS_PROJECT_NAME"], "domain": domain}});
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}});
        let answer = Connection::open(variables["OS_AUTH_URL"], "")?.expect(
            "POST",
            "/v3/auth/tokens",
            &body.to_string(),
        )?;
        let (_, token) = answer
            .headers
            .iter()
            .find(|(name, _)| name == "x-subject-token")
            .context("a token")?;
        let body: Value = serde_json::from_str(&answer.body)?;
        let catalogue = body["token"]["catalog"].as_array().context("a catalogue")?;
        let is_volume = |service: &&Value| {
            matches!(service["type"].as_str(), Some("block-storage" | "volumev3"))
        };
        let service = catalogue
            .iter()
            .find(is_volume)
            .context("a Block Storage service")?;
        let url = service["endpoints"][0]["url"].as_str().context("a URL")?;
        let (base, path) = url.split_once("/v3").context("a v3 endpoint")?;
        Ok(Endpoint {
            base: base.to_owned(),
            path: format!("/v3{path}"),
            headers: format!("X-Auth-Token: {token}\r\nOpenStack-API-Version: volume 3.44\r\n"),
        })
    }
}

/// Processor time that a process has used so far.
pub fn cpu_time_of(process: u32) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

impl Endpoint {
    /// A new connection.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.base, &self.headers)
    }
}
