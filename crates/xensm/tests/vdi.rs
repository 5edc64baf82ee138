//! `xensm vdi`: the content of VDIs to files and back, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use testkit::installation::Installation;
use testkit::tool;

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const MIB: usize = 1 << 20;

/// A file with something here and there, and nothing in between.
fn image(path: &Path, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for at in [0, 5 * MIB - 300, size - 4096] {
        for (index, byte) in bytes[at..at + 4096].iter_mut().enumerate() {
            *byte = (index % 251) as u8 + 1;
        }
    }
    std::fs::write(path, &bytes).unwrap();
    bytes
}

struct Manager {
    installation: Installation,
    sr: String,
}

impl Manager {
    fn start() -> Manager {
        let installation = Installation::start_with(XENSM, "storage-manager", &[]);
        let mut manager = Manager {
            installation,
            sr: String::new(),
        };
        manager.sr = manager.make_sr();
        manager
    }

    /// Makes an SR with a call of XenAPI, as any client would.
    fn make_sr(&self) -> String {
        use std::io::Read;
        let socket = self.installation.data_dir.join("xenapi.sock");
        let call = |method: &str, params: Value| -> Value {
            let body =
                serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let body = body.to_string();
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            let head = format!(
                "POST /jsonrpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let answer: Value =
                serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert!(answer["error"].is_null(), "{answer}");
            answer["result"].clone()
        };
        let session = call(
            "session.login_with_password",
            serde_json::json!(["root", ""]),
        );
        let host = call("host.get_all", serde_json::json!([session]))[0].clone();
        let location = self.installation.root.join("sr");
        let params = serde_json::json!([session, host, {"location": location}, 0, "mysr", "", "file", "", false, {}]);
        let sr = call("SR.create", params);
        let uuid = call("SR.get_uuid", serde_json::json!([session, sr]));
        uuid.as_str().unwrap().to_owned()
    }

    fn vdi(&self, arguments: &[&str]) -> Output {
        let mut command = self.installation.xensm(&["vdi"]);
        tool::output(command.args(arguments))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.vdi(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    /// Fails with this exit code; returns what is said.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.vdi(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(
            told.contains("error: ") && told.contains("hint: "),
            "{told}"
        );
        told
    }

    fn path(&self, name: &str) -> PathBuf {
        self.installation.root.join(name)
    }
}

#[test]
fn content_goes_out_and_comes_back() {
    let manager = Manager::start();
    let source = manager.path("image.raw");
    let content = image(&source, 24 * MIB);
    let source_text = source.to_str().unwrap();
    let sr = manager.sr.as_str();
    let made = manager.json(&[
        "import",
        source_text,
        "--sr",
        sr,
        "--name",
        "one",
        "--format",
        "json",
    ]);
    assert_eq!(
        (&made["bytes"], &made["image_format"]),
        (&(24 * MIB).into(), &"raw".into())
    );
    let uuid = made["vdi"].as_str().unwrap().to_owned();

    // Raw, with holes; and again only when told so.
    let raw = manager.path("out.raw");
    let raw_text = raw.to_str().unwrap();
    let told = manager.ok(&["export", "one", raw_text]);
    assert!(told.contains(&uuid) && told.contains("24.0 MiB"), "{told}");
    assert!(std::fs::read(&raw).unwrap() == content);
    assert!(std::fs::metadata(&raw).unwrap().blocks() * 512 < MIB as u64);
    let told = manager.fails(4, &["export", "one", raw_text]);
    assert!(told.contains("--overwrite"), "{told}");
    manager.ok(&["export", "one", raw_text, "--overwrite"]);

    // As a VHD, which makes a second VDI of the same size by itself.
    let vhd = manager.path("out.vhd");
    let vhd_text = vhd.to_str().unwrap();
    let told = manager.json(&["export", &uuid, vhd_text, "--format", "json"]);
    assert_eq!(told["image_format"], "vhd");
    manager.ok(&["import", vhd_text, "--sr", "mysr"]);
    let listed = manager.json(&["list", "--format", "json"]);
    let out = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|vdi| vdi["name_label"] == "out")
        .unwrap();
    assert_eq!(out["virtual_size"], 24 * MIB);
    manager.ok(&["export", "out", raw_text, "--overwrite", "--format", "raw"]);
    assert!(std::fs::read(&raw).unwrap() == content);
    if let Some(qemu_img) = tool::program("qemu-img") {
        tool::run(Command::new(qemu_img).args([
            "compare",
            "-f",
            "raw",
            "-F",
            "vpc",
            source_text,
            vhd_text,
        ]));
    }

    // A delta on top of what it was made against.
    let mut changed = content;
    changed[9 * MIB] ^= 0xff;
    std::fs::write(&source, &changed).unwrap();
    manager.ok(&["import", source_text, "--sr", sr, "--name", "two"]);
    let delta = manager.path("delta.vhd");
    let delta_text = delta.to_str().unwrap();
    manager.ok(&["export", "two", delta_text, "--base", "one"]);
    manager.ok(&["import", delta_text, "--vdi", "out", "--yes"]);
    manager.ok(&["export", "out", raw_text, "--overwrite"]);
    assert!(std::fs::read(&raw).unwrap() == changed);

    let shown = manager.ok(&["show", &uuid]);
    assert!(
        shown.contains("name_label") && shown.contains("one"),
        "{shown}"
    );
    let table = manager.ok(&["list"]);
    assert!(table.contains(&uuid) && table.contains("mysr"), "{table}");
}

#[test]
fn pipes_and_another_address_work_too() {
    let manager = Manager::start();
    let source = manager.path("image.raw");
    let content = image(&source, 8 * MIB);
    manager.ok(&[
        "import",
        source.to_str().unwrap(),
        "--sr",
        "mysr",
        "--name",
        "one",
    ]);
    let output = manager.vdi(&["export", "one", "-", "--format", "vhd,json"]);
    assert!(output.status.success());
    let result: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(result["bytes"], output.stdout.len());
    assert!(output.stdout.starts_with(b"conectix"));

    // Over TCP with the password; the length of what comes through a pipe is not known.
    let variables = manager.installation.variables("xenapi.sh");
    let url = variables["XENAPI_URL"].clone();
    manager.ok(&[
        "import",
        source.to_str().unwrap(),
        "--sr",
        "mysr",
        "--name",
        "two",
    ]);
    let piped = |format: &str, bytes: &[u8]| {
        let arguments = [
            "vdi", "--url", &url, "import", "-", "--vdi", "two", "--yes", "--format", format,
        ];
        let mut child = manager
            .installation
            .xensm(&arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap()
    };
    for (format, bytes) in [("vhd", &output.stdout[..]), ("raw", &content[..])] {
        let done = piped(format, bytes);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        assert!(manager.vdi(&["export", "two", "-"]).stdout == content);
    }
    let short = piped("raw", &content[..5 * MIB]);
    assert_eq!(short.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&short.stderr).contains("IMPORT_ERROR_PREMATURE_EOF"));

    let mut wrong = manager.installation.xensm(&["vdi", "--url", &url, "list"]);
    let wrong = tool::output(wrong.env("XENAPI_PASSWORD", "wrong"));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("SESSION_AUTHENTICATION_FAILED"));
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let manager = Manager::start();
    let source = manager.path("image.raw");
    image(&source, 8 * MIB);
    let source_text = source.to_str().unwrap();
    manager.fails(3, &["export", "nothing", "x.raw"]);
    manager.fails(3, &["show", "5b0f4a1e-3c0e-4f5b-8a51-0d5a6a1f6f5e"]);
    manager.fails(3, &["import", source_text, "--sr", "nosr"]);
    manager.ok(&["import", source_text, "--sr", "mysr", "--name", "one"]);
    manager.fails(2, &["import", source_text, "--vdi", "one"]);
    manager.fails(2, &["export", "one", "x.raw", "--base", "one"]);
    let vhd = manager.path("no.vhd");
    std::fs::write(&vhd, vec![1; 8192]).unwrap();
    manager.fails(2, &["import", vhd.to_str().unwrap(), "--sr", "mysr"]);
    // What is too large fails, and what was made for it goes again.
    let before = manager
        .json(&["list", "--format", "json"])
        .as_array()
        .unwrap()
        .len();
    let output = manager.vdi(&["import", source_text, "--sr", "mysr", "--size", "4194304"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("VDI_IO_ERROR"));
    let after = manager
        .json(&["list", "--format", "json"])
        .as_array()
        .unwrap()
        .len();
    assert_eq!(before, after);
    let mut gone = manager
        .installation
        .xensm(&["vdi", "--data-dir", "/nonexistent", "list"]);
    let gone = tool::output(gone.env_remove("XENSM_DATA_DIR"));
    assert_eq!(gone.status.code(), Some(5));
    let help = manager.ok(&["export", "--help"]);
    assert!(
        help.contains("Examples:") && help.contains("--base"),
        "{help}"
    );
}
