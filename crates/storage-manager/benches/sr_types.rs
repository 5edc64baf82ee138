//! NBD through an SR of each type, beside fio on what lies beneath: the rows of docs/benchmarks.md.
//!
//! `cargo bench --package storage-manager --bench sr_types`; everything lies below the target directory. A type that the
//! storage manager does not have, or whose server is not installed, is said and left out.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints and stops at the first failure"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Client, Running, config, texts, vbd_record, vdi_record};
use testkit::nfs_server::NfsServer;
use testkit::tool;
use xenapi::Value;

/// Loads: name, fio's `rw`, block size, queue depth.
const LOADS: [(&str, &str, &str, u32); 6] = [
    ("random read 4 KiB, queue 1", "randread", "4k", 1),
    ("random read 4 KiB, queue 16", "randread", "4k", 16),
    ("random write 4 KiB, queue 1", "randwrite", "4k", 1),
    ("random write 4 KiB, queue 16", "randwrite", "4k", 16),
    ("sequential read 1 MiB, queue 4", "read", "1m", 4),
    ("sequential write 1 MiB, queue 4", "write", "1m", 4),
];

/// Rounds of which the median is told; all targets take turns in each.
const ROUNDS: usize = 3;

/// Seconds of one load.
const SECONDS: u32 = 3;

/// Size of the VDI and of the file beneath.
const SIZE: i64 = 512 << 20;

/// A type that is measured.
struct Measured {
    sr_type: &'static str,
    device_config: Vec<(&'static str, String)>,
    /// A file on the same medium, reached as directly as fio can; none where fio cannot.
    beneath: Option<PathBuf>,
    /// Kept while it is measured.
    _server: Option<NfsServer>,
}

fn main() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sr-types");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).unwrap();
    if tool::program("fio").is_none() {
        return;
    }
    let running = Running::start(config(&root), None);
    let mut client = running.unix();
    let supported = client.call("SR.get_supported_types", []).unwrap();
    let supported: Vec<&str> = supported
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    println!("\n| type | load | NBD through xensm | beneath | ratio |\n|---|---|---|---|---|");
    for measured in all(&root) {
        if supported.contains(&measured.sr_type) {
            // Anew: the server ends connections that are quiet for as long as a type is measured.
            measure(&mut running.unix(), &measured);
        } else {
            println!(
                "| {} | not in this storage manager | | | |",
                measured.sr_type
            );
        }
    }
    running.stop();
    std::fs::remove_dir_all(&root).unwrap();
}

fn all(root: &Path) -> Vec<Measured> {
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let mut all = vec![Measured {
        sr_type: "file",
        device_config: vec![("location", path("file"))],
        beneath: Some(root.join("beneath-file.raw")),
        _server: None,
    }];
    let exported = root.join("exported");
    std::fs::create_dir_all(&exported).unwrap();
    match NfsServer::start(&exported) {
        // fio on the server's own directory: what the server could at most give. No engine of fio speaks NFS.
        Some(server) => all.push(Measured {
            sr_type: "nfs",
            device_config: vec![
                ("server", "127.0.0.1".to_owned()),
                ("serverpath", server.path.clone()),
                ("options", server.options()),
            ],
            beneath: Some(exported.join("beneath.raw")),
            _server: Some(server),
        }),
        None => println!("nfs: no server is installed"),
    }
    // A plain file of the size of a small LUN stands for the device, where the type takes one.
    let device = root.join("device.raw");
    std::fs::File::create(&device)
        .unwrap()
        .set_len(8 << 30)
        .unwrap();
    all.push(Measured {
        sr_type: "lvm",
        device_config: vec![("device", path("device.raw"))],
        beneath: Some(root.join("beneath-lvm.raw")),
        _server: None,
    });
    all
}

fn measure(client: &mut Client, measured: &Measured) {
    let uri = match attach(client, measured) {
        Ok(uri) => uri,
        Err(failure) => {
            println!("| {} | {failure} | | | |", measured.sr_type);
            return;
        }
    };
    let nbd = ["--ioengine=nbd".to_owned(), format!("--uri={uri}")];
    let file = measured.beneath.as_ref().map(|path| {
        std::fs::File::create(path)
            .unwrap()
            .set_len(u64::try_from(SIZE).unwrap())
            .unwrap();
        [
            "--ioengine=io_uring".to_owned(),
            format!("--filename={}", path.display()),
        ]
    });
    let targets: Vec<&[String; 2]> = [Some(&nbd), file.as_ref()].into_iter().flatten().collect();
    for target in &targets {
        fio(target, "write", "1m", 8, false);
    }
    for (name, rw, block, depth) in LOADS {
        let mut rounds = vec![Vec::new(); targets.len()];
        for _ in 0..ROUNDS {
            for (target, figures) in targets.iter().zip(&mut rounds) {
                figures.push(fio(target, rw, block, depth, true));
            }
        }
        let figures: Vec<f64> = rounds.into_iter().map(median).collect();
        let (beneath, ratio) = match figures.get(1) {
            Some(beneath) => (
                format!("{beneath:.0}/s"),
                format!("{:.2}", figures[0] / beneath),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!(
            "| {} | {name} | {:.0}/s | {beneath} | {ratio} |",
            measured.sr_type, figures[0]
        );
    }
}

/// Makes an SR and a VDI, plugs it and answers its NBD URI.
fn attach(client: &mut Client, measured: &Measured) -> Result<String, xenapi::Failure> {
    let host = client.call("host.get_all", [])?.as_array().unwrap()[0].clone();
    let device_config: Vec<(&str, &str)> = measured
        .device_config
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let params = [
        host,
        texts(&device_config),
        Value::Int(0),
        measured.sr_type.into(),
        "".into(),
        measured.sr_type.into(),
        "".into(),
        false.into(),
        texts(&[]),
    ];
    let sr = client.call("SR.create", params)?;
    let vdi = client.call("VDI.create", [vdi_record(sr.as_str().unwrap(), "v", SIZE)])?;
    let vm = client.call("VM.get_all", [])?.as_array().unwrap()[0].clone();
    let record = vbd_record(vm.as_str().unwrap(), vdi.as_str().unwrap(), "RW");
    let vbd = client.call("VBD.create", [record])?;
    client.call("VBD.plug", [vbd.clone()])?;
    let other_config = client.call("VBD.get_other_config", [vbd])?;
    let keys: BTreeMap<String, Value> = other_config.as_struct().unwrap().clone();
    let text = |key: &str| keys[key].as_str().unwrap().to_owned();
    Ok(format!(
        "nbd+unix:///{}?socket={}",
        text("xensm:nbd_export"),
        text("xensm:nbd_socket")
    ))
}

/// Operations per second.
fn fio(target: &[String; 2], rw: &str, block: &str, depth: u32, is_timed: bool) -> f64 {
    let mut command = Command::new("fio");
    command
        .args(["--name=x", "--output-format=json", "--invalidate=0"])
        .args(["--randrepeat=0", "--direct=1", "--size=512m"])
        .args(target)
        .args([format!("--rw={rw}"), format!("--bs={block}")])
        .arg(format!("--iodepth={depth}"));
    if is_timed {
        command.args(["--time_based".to_owned(), format!("--runtime={SECONDS}")]);
    }
    let said = tool::run(&mut command);
    let report: serde_json::Value =
        serde_json::from_str(&said[said.find('{').expect("fio prints JSON")..]).unwrap();
    let side = if rw.ends_with("read") {
        "read"
    } else {
        "write"
    };
    report["jobs"][0][side]["iops"].as_f64().unwrap()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
