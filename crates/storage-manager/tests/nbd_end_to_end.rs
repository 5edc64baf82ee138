//! A consumer's tools write through NBD, and other tools find the same bytes in the file.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod tools;

use std::path::Path;
use std::sync::Arc;

use nbd::{Export, Refusal};
use storage_manager::export::{ExportOptions, ReaderGate, VdiExports};
use storage_manager::sr::{AttachedSr, OpenMode};
use tools::{MIB, attach_new, new_raw_vdi, new_vdi, run, succeed};
use uuid::Uuid;

/// Lets one session in and opens VDIs of an SR for it.
struct Gate(Arc<dyn AttachedSr>);

impl ReaderGate for Gate {
    fn is_valid_session(&self, session: &str) -> bool {
        session == "OpaqueRef:session"
    }

    fn open(&self, vdi: Uuid) -> Result<Arc<dyn Export>, Refusal> {
        self.0
            .open_vdi(vdi, OpenMode::ReadOnly)
            .map_err(|_| Refusal::Unknown)
    }
}

fn exports(data_dir: &Path, sr: &Arc<dyn AttachedSr>, tls: bool) -> VdiExports {
    let options = ExportOptions {
        data_dir: data_dir.to_owned(),
        host_name: "storage-1".to_owned(),
        tls_address: tls.then(|| "127.0.0.1:0".parse().unwrap()),
    };
    VdiExports::start(&options, Arc::new(Gate(sr.clone()))).unwrap()
}

/// Bytes without a pattern that repeats.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn qemu_reads_in_the_file_what_it_wrote_through_nbd() {
    for raw in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let sr = attach_new(&dir.path().join("sr"));
        let vdi = if raw {
            new_raw_vdi(1, 64 * MIB)
        } else {
            new_vdi(1, 64 * MIB)
        };
        sr.create_vdi(&vdi).unwrap();
        let exports = exports(&dir.path().join("data"), &sr, false);
        let endpoint = exports
            .publish(
                vdi.uuid,
                sr.open_vdi(vdi.uuid, OpenMode::ReadWrite).unwrap(),
            )
            .unwrap();
        let uri = endpoint.uri();

        // Within a block, over the border of two, the last sector, zeros over data, a trim.
        let commands = [
            "write -P 0x11 0 64k",
            "write -P 0x22 3M 2M",
            "write -P 0x33 67108352 512",
            "write -P 0x44 20M 1M",
            "write -z 20M 64k",
            "discard 30M 4M",
            "flush",
            "read -P 0x22 4M 1M",
            "read -P 0 10M 1M",
        ];
        let mut arguments = vec!["-f", "raw", uri.as_str()];
        commands
            .iter()
            .for_each(|command| arguments.extend(["-c", command]));
        let Some(text) = succeed("qemu-io", &arguments) else {
            return;
        };
        assert!(!text.contains("verification failed"), "{text}");

        // nbdcopy writes a file of noise, and reads it back.
        let noise_file = dir.path().join("noise");
        std::fs::write(&noise_file, noise(8 << 20)).unwrap();
        let grown = std::fs::OpenOptions::new()
            .write(true)
            .open(&noise_file)
            .unwrap();
        grown.set_len(64 * MIB).unwrap();
        let second = if raw {
            new_raw_vdi(2, 64 * MIB)
        } else {
            new_vdi(2, 64 * MIB)
        };
        sr.create_vdi(&second).unwrap();
        let copy = exports
            .publish(
                second.uuid,
                sr.open_vdi(second.uuid, OpenMode::ReadWrite).unwrap(),
            )
            .unwrap();
        let back = dir.path().join("back");
        if succeed(
            "nbdcopy",
            &["--flush", noise_file.to_str().unwrap(), &copy.uri()],
        )
        .is_some()
        {
            succeed("nbdcopy", &[&copy.uri(), back.to_str().unwrap()]).unwrap();
            assert!(std::fs::read(&back).unwrap() == std::fs::read(&noise_file).unwrap());
            exports.withdraw(second.uuid).unwrap();
            compare(&image(dir.path(), second.uuid, raw), raw, &noise_file);
        }

        let reference = dir.path().join("reference");
        write_reference(&reference);
        exports.withdraw(vdi.uuid).unwrap();
        let (ok, _) = run("qemu-io", &["-f", "raw", &uri, "-c", "read 0 512"]).unwrap();
        assert!(!ok, "nobody is served after the withdrawal");
        compare(&image(dir.path(), vdi.uuid, raw), raw, &reference);
        let report = sr.scan().unwrap();
        assert_eq!((report.vdis.len(), report.damaged.len()), (2, 0));
        exports.shutdown().unwrap();
        sr.detach().unwrap();
    }
}

fn image(dir: &Path, vdi: Uuid, raw: bool) -> String {
    format!(
        "{}/sr/{vdi}.{}",
        dir.display(),
        if raw { "raw" } else { "vhd" }
    )
}

/// Reads the image with qemu-img, by its current size as XenServer does, and compares.
fn compare(image: &str, raw: bool, expected: &Path) {
    let source = match raw {
        true => format!("driver=raw,file.driver=file,file.filename={image}"),
        false => format!(
            "driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={image}"
        ),
    };
    let wanted = format!(
        "driver=raw,file.driver=file,file.filename={}",
        expected.display()
    );
    let compared = succeed("qemu-img", &["compare", "--image-opts", &source, &wanted]);
    assert!(compared.is_none_or(|text| text.contains("identical")));
    let converted = expected.with_extension("converted");
    let converted = converted.to_str().unwrap();
    if succeed(
        "qemu-img",
        &["convert", "--image-opts", &source, "-O", "raw", converted],
    )
    .is_some()
    {
        assert!(
            std::fs::read(converted).unwrap() == std::fs::read(expected).unwrap(),
            "{image} reads differently"
        );
    }
}

/// What the commands above leave.
fn write_reference(path: &Path) {
    let mut bytes = vec![0u8; 64 << 20];
    bytes[..64 << 10].fill(0x11);
    bytes[3 << 20..5 << 20].fill(0x22);
    let end = bytes.len();
    bytes[end - 512..].fill(0x33);
    bytes[(20 << 20) + (64 << 10)..21 << 20].fill(0x44);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_reader_with_a_session_reads_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let sr = attach_new(&dir.path().join("sr"));
    let vdi = new_vdi(1, 4 * MIB);
    sr.create_vdi(&vdi).unwrap();
    let writer = sr.open_vdi(vdi.uuid, OpenMode::ReadWrite).unwrap();
    writer.write_at(&noise(100_000), 2 * MIB - 5000).unwrap();
    writer.close().unwrap();

    let exports = exports(dir.path(), &sr, true);
    let endpoint = exports.tls_endpoint().unwrap().clone();
    std::fs::write(dir.path().join("ca-cert.pem"), &endpoint.certificate_pem).unwrap();
    let name = VdiExports::session_export_name(vdi.uuid, "OpaqueRef:session").replace('?', "%3F");
    let port = endpoint.address.port();
    let uri = format!(
        "nbds://localhost:{port}/{name}?tls-certificates={}",
        dir.path().display()
    );
    let Some(text) = succeed("nbdinfo", &["--json", &uri]) else {
        return;
    };
    assert!(
        text.contains("\"is_read_only\": true") && text.contains("\"export-size\": 4194304"),
        "{text}"
    );
    let copy = dir.path().join("copy");
    if succeed("nbdcopy", &[&uri, copy.to_str().unwrap()]).is_some() {
        let bytes = std::fs::read(&copy).unwrap();
        let start = 2 * MIB as usize - 5000;
        assert!(bytes[start..start + 100_000] == noise(100_000)[..]);
        assert!(
            bytes[..start]
                .iter()
                .chain(&bytes[start + 100_000..])
                .all(|&byte| byte == 0)
        );
    }
    // After a withdrawal nobody has it open: a writer may come.
    exports.withdraw(vdi.uuid).unwrap();
    let writer = sr.open_vdi(vdi.uuid, OpenMode::ReadWrite).unwrap();
    writer.close().unwrap();
    exports.shutdown().unwrap();
}
