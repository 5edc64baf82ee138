//! A private PostgreSQL server for tests: own data directory, unix socket only, gone with the test process.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use postgres::{Client, NoTls};

/// How long the server may take to start.
const START_WAIT: Duration = Duration::from_secs(180);
/// How long a database that is copied may stay in use by connections that are closing.
const COPY_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the server, then waits for the end of its input and stops it: whatever way the test process ends, its pipe closes.
/// Arguments: directory with the programs, directory for the data and socket.
const KEEPER: &str = r#"
set -e
"$1/initdb" -D "$2/data" -U xensm --auth=trust -E UTF8 --locale=C --no-sync >"$2/initdb.log" 2>&1
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c synchronous_commit=off \
    -c full_page_writes=off -c max_connections=300 -c shared_buffers=32MB >"$2/server.log" 2>&1 </dev/null &
server=$!
cat >/dev/null || true
kill -INT $server 2>/dev/null || true
wait $server || true
rm -rf "$2"
"#;

/// A running server.
pub struct Cluster {
    socket_directory: PathBuf,
    next: AtomicU64,
    _keeper: Child,
    // Closing this stops the server.
    _input: ChildStdin,
}

/// The server of this test process, started at the first call.
///
/// `None`, with a line on standard error, when PostgreSQL is not installed and `CI` is not set.
///
/// # Panics
/// When it is installed and does not start, or is missing while `CI` is set.
pub fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| match programs() {
            Some(programs) => match start(&programs) {
                Ok(cluster) => Some(cluster),
                Err(error) => panic!("PostgreSQL does not start: {error:#}"),
            },
            None => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "PostgreSQL is not installed (looked for /usr/lib/postgresql/*/bin/postgres), and CI is set"
                );
                say("PostgreSQL is not installed: its tests are SKIPPED");
                None
            }
        })
        .as_ref()
}

impl Cluster {
    /// Makes an empty database and returns its URL.
    pub fn create_database(&self) -> anyhow::Result<String> {
        let name = self.fresh_name();
        self.administer(&format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// Copies the database at `template`, which nobody may be using any more, and returns the copy's URL.
    pub fn clone_database(&self, template: &str) -> anyhow::Result<String> {
        let template = template
            .split('?')
            .next()
            .and_then(|rest| rest.rsplit('/').next())
            .context("a URL with a database name")?;
        let name = self.fresh_name();
        let deadline = Instant::now() + COPY_WAIT;
        loop {
            match self.administer(&format!("CREATE DATABASE {name} TEMPLATE {template}")) {
                Ok(()) => return Ok(self.url(&name)),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn fresh_name(&self) -> String {
        format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn url(&self, database: &str) -> String {
        let directory = self.socket_directory.display();
        format!("postgresql://xensm@/{database}?host={directory}")
    }

    /// Runs a statement in the server's first database, on a thread of its own: callers may be inside an async runtime, where
    /// the synchronous client must not run.
    fn administer(&self, statement: &str) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| -> anyhow::Result<()> {
                    let mut client = Client::connect(&self.url("postgres"), NoTls)?;
                    client.batch_execute(statement)?;
                    Ok(())
                })
                .join()
                .unwrap_or_else(|_| bail!("the thread panicked"))
        })
        .with_context(|| format!("run {statement}"))
    }
}

/// The newest installed version's directory of programs.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs
                .join("postgres")
                .exists()
                .then_some((version, programs))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs)
}

fn start(programs: &std::path::Path) -> anyhow::Result<Cluster> {
    let directory = tempfile::Builder::new()
        .prefix("xensm-pg-")
        .tempdir()?
        .keep();
    // PostgreSQL refuses to run as root.
    let is_root = Command::new("id").arg("-u").output()?.stdout == b"0\n";
    let mut command = if is_root {
        let owned = Command::new("chown")
            .arg("postgres")
            .arg(&directory)
            .status()?;
        if !owned.success() {
            bail!("chown postgres {}: {owned}", directory.display());
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let mut keeper = command
        .args(["-c", KEEPER, "keeper"])
        .arg(programs)
        .arg(&directory)
        .current_dir("/")
        // A signal to the tests' group must not reach the keeper, which has to clean up.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the keeper of PostgreSQL")?;
    let input = keeper.stdin.take().context("the keeper's input")?;
    let mut complaints = keeper.stderr.take().context("the keeper's output")?;
    let cluster = Cluster {
        socket_directory: directory,
        next: AtomicU64::new(1),
        _keeper: keeper,
        _input: input,
    };
    let deadline = Instant::now() + START_WAIT;
    loop {
        match cluster.administer("SELECT 1") {
            Ok(()) => return Ok(cluster),
            Err(error) if Instant::now() >= deadline => {
                drop(cluster);
                let mut text = String::new();
                complaints.read_to_string(&mut text)?;
                return Err(error.context(text));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "what is skipped is said plainly to whoever runs the tests"
)]
fn say(text: &str) {
    eprintln!("{text}");
}
