//! SRs of the type `nfs` as users see them, on a server that others wrote.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use storage_manager::Config;
use support::{Client, Running, make_sr, texts, vbd_record, vdi_record, wait_for};
use testkit::nfs_server::{ExportAccess, NfsServer};
use xenapi::{Failure, Value};

const MIB: u64 = 1 << 20;
const SIZE: i64 = 64 << 20;
/// Deadline for calls where a server hangs, each of which takes that long.
const HASTE: Duration = Duration::from_secs(10);

/// A server, a storage manager, and the directory that is exported.
struct Scene {
    running: Running,
    client: Client,
    server: NfsServer,
    exported: PathBuf,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Option<Scene> {
        Self::with_deadline(Config::DRIVER_DEADLINE)
    }

    /// With another deadline for calls to drivers.
    fn with_deadline(deadline: Duration) -> Option<Scene> {
        let dir = tempfile::tempdir().unwrap();
        let exported = dir.path().join("exported");
        std::fs::create_dir(&exported).unwrap();
        let server = NfsServer::start(&exported)?;
        let mut config = support::config(dir.path());
        config.driver_deadline = deadline;
        let running = Running::start(config, None);
        let client = running.unix();
        Some(Scene {
            running,
            client,
            server,
            exported,
            _dir: dir,
        })
    }

    fn device_config(&self, version: &str) -> Vec<(&'static str, String)> {
        vec![
            ("server", "127.0.0.1".to_owned()),
            ("serverpath", self.server.path.clone()),
            ("nfsversion", version.to_owned()),
            ("options", self.server.options()),
        ]
    }

    fn call(&mut self, method: &str, params: Vec<Value>) -> Result<Value, Failure> {
        self.client.call(method, params)
    }

    fn host(&mut self) -> Value {
        let hosts = self.call("host.get_all", vec![]).unwrap();
        hosts.as_array().unwrap()[0].clone()
    }

    fn create_with(
        &mut self,
        config: &[(&str, &str)],
        sm_config: &[(&str, &str)],
    ) -> Result<String, Failure> {
        let host = self.host();
        let params = vec![
            host,
            texts(config),
            Value::Int(0),
            "an SR".into(),
            "".into(),
            "nfs".into(),
            "".into(),
            true.into(),
            texts(sm_config),
        ];
        self.call("SR.create", params).map(text)
    }

    fn create(&mut self, version: &str) -> String {
        let config = self.device_config(version);
        self.create_with(&borrowed(&config), &[]).unwrap()
    }

    fn probe(&mut self, config: &[(&str, &str)]) -> Result<String, Failure> {
        let host = self.host();
        let params = vec![host, texts(config), "nfs".into(), texts(&[])];
        self.call("SR.probe", params).map(text)
    }

    fn uuid(&mut self, sr: &str) -> String {
        text(self.call("SR.get_uuid", vec![sr.into()]).unwrap())
    }

    fn pbd(&mut self, sr: &str) -> Value {
        let pbds = self.call("SR.get_PBDs", vec![sr.into()]).unwrap();
        pbds.as_array().unwrap()[0].clone()
    }

    fn health(&mut self, sr: &str) -> Option<String> {
        let config = self.call("SR.get_other_config", vec![sr.into()]).unwrap();
        let health = config.as_struct().unwrap().get("xensm:health").cloned();
        health.map(text)
    }

    /// A VDI and a consumer of it.
    fn disk(&mut self, sr: &str) -> (String, Value, nbd::Client) {
        let vdi = self.call("VDI.create", vec![vdi_record(sr, "disk", SIZE)]);
        let vdi = text(vdi.unwrap());
        let (vbd, consumer) = self.plug(&vdi);
        (vdi, vbd, consumer)
    }

    fn plug(&mut self, vdi: &str) -> (Value, nbd::Client) {
        let vms = self.call("VM.get_all", vec![]).unwrap();
        let vm = vms.as_array().unwrap()[0].as_str().unwrap().to_owned();
        let vbd = self.call("VBD.create", vec![vbd_record(&vm, vdi, "RW")]);
        let vbd = vbd.unwrap();
        self.call("VBD.plug", vec![vbd.clone()]).unwrap();
        let config = self.call("VBD.get_other_config", vec![vbd.clone()]);
        let config = config.unwrap();
        let entry = |key: &str| text(config.as_struct().unwrap()[key].clone());
        let (socket, name) = (entry("xensm:nbd_socket"), entry("xensm:nbd_export"));
        let options = support::patient_consumer();
        let consumer = nbd::Client::connect_unix(Path::new(&socket), &name, &options).unwrap();
        (vbd, consumer)
    }

    fn unplug(&mut self, vbd: Value, consumer: nbd::Client) {
        drop(consumer);
        self.call("VBD.unplug", vec![vbd.clone()]).unwrap();
        self.call("VBD.destroy", vec![vbd]).unwrap();
    }

    fn vhds(&self, uuid: &str) -> usize {
        let entries = std::fs::read_dir(self.exported.join(uuid)).unwrap();
        entries
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_str().unwrap().ends_with(".vhd")
            })
            .count()
    }
}

fn borrowed<'a>(config: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    config
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

fn moved(from: &Path, to: &Path) {
    testkit::tool::run(std::process::Command::new("mv").args([from, to]));
}

fn text(value: Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn number(failure: &Failure) -> Option<u16> {
    failure.backend_number()
}

fn pattern(seed: u8, length: u64) -> Vec<u8> {
    (0..length)
        .map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed) ^ (index >> 8) as u8)
        .collect()
}

fn read(consumer: &mut nbd::Client, offset: u64, length: u64) -> Vec<u8> {
    let mut buffer = vec![0; length as usize];
    consumer.read(&mut buffer, offset).unwrap();
    buffer
}

/// The whole life of an SR, by version 3 and 4.1: made, written, snapshot, its server killed under a consumer, coalesced, found
/// and introduced again, destroyed.
#[test]
fn an_sr_lives_on_a_server_that_is_killed() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    for version in ["3", "4.1"] {
        let sr = scene.create(version);
        let uuid = scene.uuid(&sr);
        let directory = scene.exported.join(&uuid);
        let links = std::fs::read_to_string(directory.join("sm-hardlink.conf"));
        assert_eq!(links.unwrap(), "1");
        let (vdi, vbd, mut consumer) = scene.disk(&sr);
        let first = pattern(1, 3 * MIB);
        consumer.write(&first, MIB).unwrap();
        consumer.flush().unwrap();
        let snapshot = scene.call("VDI.snapshot", vec![vdi.as_str().into(), texts(&[])]);
        let snapshot = text(snapshot.unwrap());

        // Unflushed, and the server loses it: the bytes are taken out of the files while no server runs.
        let second = pattern(2, 2 * MIB);
        consumer.write(&second, 2 * MIB).unwrap();
        scene.server.kill();
        let vdi_uuid = text(
            scene
                .call("VDI.get_uuid", vec![vdi.as_str().into()])
                .unwrap(),
        );
        let leaf = directory.join(format!("{vdi_uuid}.vhd"));
        let image = std::fs::OpenOptions::new().write(true).open(&leaf).unwrap();
        let length = image.metadata().unwrap().len();
        image
            .write_all_at(&vec![0; (length - 8192) as usize], 8192)
            .unwrap();
        scene.server.restart();
        consumer.flush().unwrap();
        assert!(
            read(&mut consumer, 2 * MIB, 2 * MIB) == second,
            "version {version}"
        );
        assert!(read(&mut consumer, MIB, MIB) == first[..MIB as usize]);
        scene.unplug(vbd, consumer);

        // From the medium alone.
        scene
            .call("VDI.destroy", vec![snapshot.as_str().into()])
            .unwrap();
        let exported = scene.exported.join(&uuid);
        wait_for("the chain is merged", || {
            let entries = std::fs::read_dir(&exported).unwrap();
            let vhds = entries.filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_str().unwrap().ends_with(".vhd")
            });
            vhds.count() == 1
        });
        let pbd = scene.pbd(&sr);
        scene.call("PBD.unplug", vec![pbd]).unwrap();
        scene.call("SR.forget", vec![sr.as_str().into()]).unwrap();
        let mut config = scene.device_config(version);
        config.push(("probeversion", "true".to_owned()));
        let probed = scene.probe(&borrowed(&config)).unwrap();
        assert!(probed.contains(&format!("<UUID>{uuid}</UUID>")), "{probed}");
        assert!(probed.contains("<Version>3</Version>"), "{probed}");
        let params = vec![
            uuid.as_str().into(),
            "again".into(),
            "".into(),
            "nfs".into(),
            "".into(),
            true.into(),
            texts(&[]),
        ];
        let sr = text(scene.call("SR.introduce", params).unwrap());
        let host = scene.host();
        let config = scene.device_config(version);
        let record = Value::Struct(
            [
                ("host".to_owned(), host),
                ("SR".to_owned(), sr.as_str().into()),
                ("device_config".to_owned(), texts(&borrowed(&config))),
                ("other_config".to_owned(), texts(&[])),
            ]
            .into(),
        );
        let pbd = scene.call("PBD.create", vec![record]).unwrap();
        scene.call("PBD.plug", vec![pbd.clone()]).unwrap();
        scene.call("SR.scan", vec![sr.as_str().into()]).unwrap();
        let vdi = scene.call("VDI.get_by_uuid", vec![vdi_uuid.as_str().into()]);
        let vdi = text(vdi.unwrap());
        let (vbd, mut consumer) = scene.plug(&vdi);
        assert!(read(&mut consumer, 2 * MIB, 2 * MIB) == second);
        scene.unplug(vbd, consumer);
        let refused = scene.call("SR.destroy", vec![sr.as_str().into()]);
        assert!(refused.is_err());
        scene.call("VDI.destroy", vec![vdi.into()]).unwrap();
        assert_eq!(scene.vhds(&uuid), 0);
        scene.call("PBD.unplug", vec![pbd]).unwrap();
        scene.call("SR.destroy", vec![sr.into()]).unwrap();
        assert!(!directory.exists(), "version {version}");
    }
    scene.running.stop();
}

/// A server that does nothing holds its own SR up and no other; the SR says so, and goes on when the server does.
#[test]
fn a_server_that_hangs_is_seen_and_comes_back() {
    let Some(mut scene) = Scene::with_deadline(HASTE) else {
        return;
    };
    let local = scene.exported.parent().unwrap().join("local");
    let other = make_sr(&mut scene.client, &local, "file");
    let sr = scene.create("3");
    let (_, vbd, mut consumer) = scene.disk(&sr);
    let before = pattern(3, MIB);
    consumer.write(&before, 0).unwrap();
    consumer.flush().unwrap();
    // A flush that takes long is noted, and the end of it too.
    wait_for("the SR is well", || scene.health(&sr).is_none());

    scene.server.freeze();
    let during = pattern(4, MIB);
    let writer = std::thread::spawn({
        let during = during.clone();
        move || {
            consumer.write(&during, MIB).unwrap();
            consumer.flush().unwrap();
            consumer
        }
    });
    wait_for("the SR says that it is unwell", || {
        scene.health(&sr).is_some()
    });
    let refused = scene.call("VDI.create", vec![vdi_record(&sr, "late", SIZE)]);
    assert_eq!(refused.unwrap_err().code, "SR_UNHEALTHY");
    let made = scene.call("VDI.create", vec![vdi_record(&other, "beside", SIZE)]);
    scene.call("VDI.destroy", vec![made.unwrap()]).unwrap();
    scene.call("SR.scan", vec![other.as_str().into()]).unwrap();
    assert_eq!(scene.health(&other), None);

    scene.server.resume();
    let mut consumer = writer.join().unwrap();
    assert!(read(&mut consumer, 0, MIB) == before);
    assert!(read(&mut consumer, MIB, MIB) == during);
    wait_for("the SR is well again", || {
        let _ = scene.call("SR.scan", vec![sr.as_str().into()]);
        scene.health(&sr).is_none()
    });
    scene.unplug(vbd, consumer);
    scene.running.stop();
}

/// Letting go of an SR whose server was gone took minutes: every call waited as long as a call of a consumer may, and nobody was
/// told what had not been saved.
#[test]
fn an_sr_is_detached_from_a_server_that_is_gone() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let sr = scene.create("4.1");
    // Its name is written to the medium and not flushed yet.
    let record = vdi_record(&sr, "disk", SIZE);
    scene.call("VDI.create", vec![record]).unwrap();
    scene.server.freeze();
    let pbd = scene.pbd(&sr);
    scene.call("PBD.unplug", vec![pbd]).unwrap();
    let messages = scene.call("message.get_all_records", vec![]).unwrap();
    let messages = messages.as_struct().unwrap().values();
    let told = messages.map(|message| text(message.as_struct().unwrap()["name"].clone()));
    let told: Vec<String> = told.collect();
    let expected = "SR_DETACHED_WITH_UNSAVED_DATA".to_owned();
    assert!(told.contains(&expected), "{told:?}");
    scene.server.resume();
    scene.running.stop();
}

#[test]
fn bad_configurations_are_told_apart() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let good = scene.device_config("3");
    let with = |key: &str, value: &str| -> Vec<(String, String)> {
        let mut config: Vec<(String, String)> = good
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        config.retain(|(name, _)| name != key);
        if !value.is_empty() {
            config.push((key.to_owned(), value.to_owned()));
        }
        config
    };
    let cases = [
        ("server", "", 102),
        ("server", "no.such.host.invalid", 140),
        ("serverpath", "", 101),
        ("serverpath", "relative", 103),
        ("serverpath", "/wrong", 73),
        ("nfsversion", "2", 72),
        ("nfsversion", "4.0", 72),
        ("useUDP", "true", 1),
        ("options", "port=1,fsc", 1),
        ("options", "port=1", 108),
    ];
    for (key, value, expected) in cases {
        let config = with(key, value);
        let config: Vec<(&str, &str)> = config
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let failure = scene.create_with(&config, &[]).unwrap_err();
        assert_eq!(number(&failure), Some(expected), "{key}={value}: {failure}");
        let failure = scene.probe(&config).unwrap_err();
        assert_eq!(number(&failure), Some(expected), "{key}={value}: {failure}");
        if expected == 101 {
            let document = &failure.params[2];
            assert!(document.contains("<Path>/sr</Path>"), "{document}");
            assert!(
                document.contains("<Target>127.0.0.1</Target>"),
                "{document}"
            );
        }
    }

    // Without a sub-directory the export itself is the SR, once.
    let sr = scene
        .create_with(&borrowed(&good), &[("nosubdir", "true")])
        .unwrap();
    let record = vdi_record(&sr, "disk", SIZE);
    let vdi = scene.call("VDI.create", vec![record]).unwrap();
    let vdi_uuid = text(scene.call("VDI.get_uuid", vec![vdi]).unwrap());
    assert!(scene.exported.join(format!("{vdi_uuid}.vhd")).exists());
    let second = scene.create_with(&borrowed(&good), &[("nosubdir", "true")]);
    assert_eq!(number(&second.unwrap_err()), Some(42));
    // Nothing but what lies in the export tells an SR from any other directory.
    let pbd = scene.pbd(&sr);
    scene.call("PBD.unplug", vec![pbd.clone()]).unwrap();
    let aside = scene.exported.with_extension("aside");
    moved(&scene.exported, &aside);
    std::fs::create_dir(&scene.exported).unwrap();
    scene.server.kill();
    scene.server.restart();
    let refused = scene.call("PBD.plug", vec![pbd.clone()]).unwrap_err();
    assert_eq!(number(&refused), Some(73), "{refused}");
    std::fs::remove_dir(&scene.exported).unwrap();
    moved(&aside, &scene.exported);
    scene.server.kill();
    scene.server.restart();
    scene.call("PBD.plug", vec![pbd]).unwrap();

    scene.server.kill();
    scene.server.set_access(ExportAccess::ReadOnly);
    scene.server.restart();
    let failure = scene.create_with(&borrowed(&good), &[]).unwrap_err();
    assert_eq!(number(&failure), Some(461), "{failure}");
    scene.running.stop();
}
