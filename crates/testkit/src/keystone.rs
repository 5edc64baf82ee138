//! A Keystone (from PyPI) on a SQLite file, behind TLS, on a port of its own.
//!
//! `keystone.py` prepares tables, keys and the first user and serves, in one process, because importing Keystone takes
//! seconds. It ends when its input does: whatever way the test process ends, its pipe closes.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::{process, tool};

/// What the process runs.
const SCRIPT: &str = include_str!("keystone.py");
/// The password of its first user, `admin`, in the project `admin`.
pub const PASSWORD: &str = "keystone-of-the-tests";

/// A running Keystone.
pub struct Keystone {
    /// `https://localhost:PORT/v3`
    pub url: String,
    /// PEM file with the certificate to trust.
    pub ca_file: PathBuf,
    process: Child,
    _input: Option<ChildStdin>,
    directory: tempfile::TempDir,
}

impl Keystone {
    /// Starts one; `None` after a printed line when it is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start, or missing while `CI` is set.
    pub fn start() -> Option<Self> {
        let python = tool::keystone_python()?;
        let directory = tempfile::Builder::new()
            .prefix("xensm-keystone-")
            .tempdir()
            .expect("a temporary directory");
        let root = directory.path();
        let (ca_file, key_file) = certificate(root);
        std::fs::write(root.join("keystone.conf"), configuration(root))
            .expect("the configuration is written");
        let mut process = Command::new(python)
            .args(["-c", SCRIPT])
            .arg(root)
            .arg(PASSWORD)
            .args([&ca_file, &key_file])
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(
                std::fs::File::create(root.join("out")).expect("a file for what it says"),
            ))
            .spawn()
            .expect("python starts");
        let input = process.stdin.take();
        let mut line = String::new();
        let output = process.stdout.take().expect("its output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it says its port");
        let Ok(port) = line.trim().parse::<u16>() else {
            let _ = process.wait();
            panic!("Keystone does not start:\n{}", said(root));
        };
        Some(Keystone {
            url: format!("https://localhost:{port}/v3"),
            ca_file,
            process,
            _input: input,
            directory,
        })
    }

    /// What it has said and logged.
    pub fn log(&self) -> String {
        said(self.directory.path())
    }

    /// Has it answer nothing until [`Keystone::resume`].
    pub fn freeze(&self) {
        process::freeze(self.process.id());
    }

    /// Has it go on.
    pub fn resume(&self) {
        process::signal(self.process.id(), "CONT");
    }

    /// Ends it.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        self.kill();
    }
}

fn certificate(root: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .expect("a certificate is made");
    let (ca_file, key_file) = (root.join("cert.pem"), root.join("key.pem"));
    std::fs::write(&ca_file, made.cert.pem()).expect("the certificate is written");
    std::fs::write(&key_file, made.signing_key.serialize_pem()).expect("the key is written");
    (ca_file, key_file)
}

fn configuration(root: &Path) -> String {
    let root = root.display();
    format!(
        "[DEFAULT]\nlog_file = {root}/log\n[database]\nconnection = sqlite:///{root}/keystone.db?timeout=60\n\
         [token]\nprovider = fernet\nallow_expired_window = 172800\n\
         [fernet_tokens]\nkey_repository = {root}/fernet\n\
         [fernet_receipts]\nkey_repository = {root}/fernet\n[credential]\nkey_repository = {root}/credential\n\
         [identity]\npassword_hash_rounds = 4\n"
    )
}

fn said(root: &Path) -> String {
    let mut text = String::new();
    for name in ["out", "log"] {
        if let Ok(mut file) = std::fs::File::open(root.join(name)) {
            let _ = file.read_to_string(&mut text);
        }
    }
    text
}
