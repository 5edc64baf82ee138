//! Exports over real sockets, with NBD's own tools as clients.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbd::{BlockStatus, Export, Extent, Refusal};
use uuid::Uuid;

use super::{Error, ExportOptions, ReaderGate, VdiExports};

const SIZE: usize = 1 << 20;

#[derive(Default)]
struct Memory {
    bytes: Mutex<Vec<u8>>,
    closed: AtomicUsize,
}

impl Memory {
    fn filled(byte: u8) -> Arc<Self> {
        Arc::new(Memory {
            bytes: Mutex::new(vec![byte; SIZE]),
            closed: AtomicUsize::new(0),
        })
    }
}

impl Export for Memory {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = offset as usize;
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[start..start + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let start = offset as usize;
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(&vec![0; length as usize], offset)
    }

    fn trim_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn block_status(&self, _offset: u64, length: u64, _limit: usize) -> io::Result<Vec<Extent>> {
        Ok(vec![Extent {
            length,
            status: BlockStatus::Data,
        }])
    }

    fn close(&self) -> io::Result<()> {
        self.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Knows one session, `OpaqueRef:good`, and opens one VDI.
struct Gate {
    vdi: Uuid,
    opened: AtomicUsize,
}

impl ReaderGate for Gate {
    fn is_valid_session(&self, session: &str) -> bool {
        session == "OpaqueRef:good"
    }

    fn open(&self, vdi: Uuid) -> Result<Arc<dyn Export>, Refusal> {
        if vdi != self.vdi {
            return Err(Refusal::Unknown);
        }
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Memory::filled(7))
    }
}

fn exports(dir: &std::path::Path, tls: bool) -> (VdiExports, Arc<Gate>) {
    let gate = Arc::new(Gate {
        vdi: Uuid::from_u128(99),
        opened: AtomicUsize::new(0),
    });
    let options = ExportOptions {
        data_dir: dir.to_owned(),
        host_name: "storage-1".to_owned(),
        tls_address: tls.then(|| "127.0.0.1:0".parse().unwrap()),
    };
    (VdiExports::start(&options, gate.clone()).unwrap(), gate)
}

/// Runs a tool for at most a minute; `None`, with one line said, when it is missing outside of CI.
fn run(tool: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let child = Command::new(tool)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("skipped: {tool} cannot be run: {error}");
            return None;
        }
        Err(error) => panic!("run {tool}: {error}"),
    };
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let text = std::thread::scope(|scope| {
        let errors = scope.spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).map(|_| text)
        });
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text + &errors.join().unwrap().unwrap()
    });
    Some((child.wait().unwrap().success(), text))
}

#[test]
fn a_published_vdi_is_served_until_it_is_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let (exports, _) = exports(dir.path(), false);
    assert!(exports.tls_endpoint().is_none());
    let vdi = Uuid::from_u128(1);
    let memory = Memory::filled(0x5a);
    let endpoint = exports.publish(vdi, memory.clone()).unwrap();
    assert_eq!(exports.endpoint(vdi).unwrap(), endpoint);
    assert_eq!(
        endpoint
            .unix_socket
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let socket_dir = endpoint.unix_socket.parent().unwrap();
    assert_eq!(
        socket_dir.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert!(matches!(
        exports.publish(vdi, Memory::filled(0)),
        Err(Error::Published { .. })
    ));

    if let Some((ok, text)) = run("nbdinfo", &["--size", &endpoint.uri()]) {
        assert!(ok && text.trim() == SIZE.to_string(), "{text}");
        let other = format!(
            "nbd+unix:///{}?socket={}",
            Uuid::from_u128(2),
            endpoint.unix_socket.display()
        );
        let (ok, text) = run("nbdinfo", &["--size", &other]).unwrap();
        assert!(!ok, "a socket serves its own VDI only: {text}");
    }

    exports.withdraw(vdi).unwrap();
    assert_eq!(memory.closed.load(Ordering::SeqCst), 1);
    assert!(!endpoint.unix_socket.exists());
    exports.withdraw(vdi).unwrap();
    assert!(exports.endpoint(vdi).is_none());
    exports.publish(vdi, memory).unwrap();
    exports.shutdown().unwrap();
    assert_eq!(std::fs::read_dir(socket_dir).unwrap().count(), 0);
}

#[test]
fn a_consumer_is_disconnected() {
    let dir = tempfile::tempdir().unwrap();
    let (exports, _) = exports(dir.path(), false);
    let vdi = Uuid::from_u128(1);
    let memory = Memory::filled(1);
    let endpoint = exports.publish(vdi, memory.clone()).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(&endpoint.unix_socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // Fixed newstyle without zeroes, then EXPORT_NAME with the empty name.
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    let mut hello = 3u32.to_be_bytes().to_vec();
    hello.extend(b"IHAVEOPT");
    hello.extend(1u32.to_be_bytes());
    hello.extend(0u32.to_be_bytes());
    io::Write::write_all(&mut stream, &hello).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(
        u64::from_be_bytes(reply[..8].try_into().unwrap()),
        SIZE as u64
    );
    exports.withdraw(vdi).unwrap();
    assert_eq!(memory.closed.load(Ordering::SeqCst), 1);
    assert_eq!(stream.read(&mut reply).unwrap(), 0);
}

#[test]
fn a_long_data_directory_gets_its_sockets_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(120));
    let (exports, _) = exports(&long, false);
    let endpoint = exports
        .publish(Uuid::from_u128(1), Memory::filled(0))
        .unwrap();
    assert!(endpoint.unix_socket.exists());
    let socket_dir = endpoint.unix_socket.parent().unwrap().to_owned();
    assert_eq!(
        socket_dir.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    exports.shutdown().unwrap();
    assert!(!socket_dir.exists());
}

#[test]
fn dead_sockets_are_cleared() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("nbd")).unwrap();
    let dead = dir
        .path()
        .join("nbd")
        .join(format!("{}.sock", Uuid::from_u128(5)));
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let keep = dir.path().join("nbd/other.sock");
    std::fs::write(&keep, b"").unwrap();
    exports(dir.path(), false);
    assert!(!dead.exists() && keep.exists());
}

#[test]
fn readers_with_a_session_come_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (exports, gate) = exports(dir.path(), true);
    let endpoint = exports.tls_endpoint().unwrap().clone();
    assert_eq!(endpoint.subject, "storage-1");
    let certificates = dir.path().join("pki");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::write(certificates.join("ca-cert.pem"), &endpoint.certificate_pem).unwrap();
    let uri = |scheme: &str, vdi: u128, session: &str| {
        let name = VdiExports::session_export_name(Uuid::from_u128(vdi), session);
        let pki = certificates.display();
        format!(
            "{scheme}://localhost:{}{}?tls-certificates={pki}",
            endpoint.address.port(),
            format_args!("/{}", name.replace('?', "%3F"))
        )
    };
    let published = Memory::filled(1);
    exports
        .publish(Uuid::from_u128(1), published.clone())
        .unwrap();

    let Some((ok, text)) = run("nbdinfo", &["--json", &uri("nbds", 1, "OpaqueRef:good")]) else {
        return;
    };
    assert!(ok, "{text}");
    assert!(
        text.contains("\"is_read_only\": true") && text.contains(&SIZE.to_string()),
        "{text}"
    );
    let (ok, text) = run("nbdinfo", &["--size", &uri("nbds", 99, "OpaqueRef:good")]).unwrap();
    assert!(
        ok && gate.opened.load(Ordering::SeqCst) >= 1,
        "a VDI that is not attached is opened: {text}"
    );
    for (scheme, vdi, session, what) in [
        ("nbd", 1, "OpaqueRef:good", "plain text"),
        ("nbds", 1, "OpaqueRef:bad", "a wrong session"),
        ("nbds", 98, "OpaqueRef:good", "an unknown VDI"),
    ] {
        let (ok, text) = run("nbdinfo", &["--size", &uri(scheme, vdi, session)]).unwrap();
        assert!(!ok, "{what} was let in: {text}");
    }
    assert_eq!(
        published.closed.load(Ordering::SeqCst),
        0,
        "a reader's end closes nothing that others use"
    );
    exports.shutdown().unwrap();
}

#[test]
fn readers_with_a_session_come_to_a_socket_of_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let (exports, gate) = exports(dir.path(), false);
    let published = Memory::filled(1);
    exports
        .publish(Uuid::from_u128(1), published.clone())
        .unwrap();
    let socket = exports.readers_socket().unwrap().to_owned();
    assert_eq!(exports.readers_socket().unwrap(), socket);
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let connect = |vdi: u128, session: &str| {
        let name = VdiExports::session_export_name(Uuid::from_u128(vdi), session);
        nbd::Client::connect_unix(&socket, &name, &nbd::client::ClientOptions::default())
    };
    for (vdi, letter) in [(1, 1), (99, 7)] {
        let mut client = connect(vdi, "OpaqueRef:good").unwrap();
        let mut byte = [0];
        client.read(&mut byte, 4096).unwrap();
        assert_eq!(byte, [letter]);
        assert!(client.is_read_only());
    }
    assert!(
        gate.opened.load(Ordering::SeqCst) >= 1,
        "a VDI that is not attached is opened"
    );
    for (vdi, session) in [(1, "OpaqueRef:bad"), (98, "OpaqueRef:good")] {
        assert!(connect(vdi, session).is_err(), "{vdi} {session}");
    }
    // A bare uuid is a name on the sockets of plugged VBDs only.
    let bare = Uuid::from_u128(1).to_string();
    let options = nbd::client::ClientOptions::default();
    assert!(nbd::Client::connect_unix(&socket, &bare, &options).is_err());
    // Withdrawing disconnects the readers too.
    let mut reader = connect(1, "OpaqueRef:good").unwrap();
    exports.withdraw(Uuid::from_u128(1)).unwrap();
    assert!(reader.read(&mut [0], 0).is_err());
    exports.shutdown().unwrap();
    assert!(!socket.exists());
}

#[test]
fn readers_share_one_opening_which_the_last_one_closes() {
    let readers = Arc::new(super::readers::Readers::default());
    let vdi = Uuid::from_u128(1);
    let memory = Memory::filled(1);
    let first = readers.open(vdi, || Ok(memory.clone())).unwrap();
    let second = readers.open(vdi, || panic!("it is open")).unwrap();
    assert!(first.write_at(&[0], 0).is_err() && first.is_read_only());
    drop(first);
    assert!(!readers.wait_closed(vdi, Duration::ZERO));
    assert_eq!(memory.closed.load(Ordering::SeqCst), 0);
    drop(second);
    assert!(readers.wait_closed(vdi, Duration::ZERO));
    assert_eq!(memory.closed.load(Ordering::SeqCst), 1);
    assert!(readers.open(vdi, || Err(Refusal::Unknown)).is_err());
    assert!(
        readers.wait_closed(vdi, Duration::ZERO),
        "what could not be opened is not open"
    );
}
