//! SR type `iscsi` against a target that somebody else wrote, alone and through the server.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use storage_manager::layout::lun_per_vdi::vdi_uuid;
use storage_manager::sr::{AttachedSr, IscsiSr, LvmoIscsiSr, NewVdi, OpenMode, SrParams, SrType};
use support::{Client, Running, config, texts, vdi_record};
use testkit::iscsi_target::Tgt;
use uuid::Uuid;
use xenapi::{Failure, Value};

const TARGET: &str = "iqn.2026-11.org.example:luns";
const OTHER: &str = "iqn.2026-11.org.example:other";
const INITIATOR: &str = "iqn.2026-11.org.example:tests";
const MIB: u64 = 1 << 20;

fn tgt() -> Option<Tgt> {
    let mut tgt = Tgt::start()?;
    tgt.add_target(1, TARGET);
    Some(tgt)
}

fn params(tgt: &Tgt, more: &[(&str, &str)]) -> SrParams {
    let port = tgt.port().to_string();
    let own = [
        ("target", "127.0.0.1"),
        ("port", port.as_str()),
        ("localIQN", INITIATOR),
    ];
    let all = own.iter().chain(more);
    SrParams {
        sr_uuid: Uuid::from_u128(1),
        device_config: all
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        sm_config: BTreeMap::new(),
    }
}

fn wish(size: u64) -> NewVdi {
    NewVdi {
        uuid: Uuid::nil(),
        virtual_size: size,
        sm_config: BTreeMap::new(),
    }
}

fn number(result: Result<impl Sized, Failure>) -> Option<u16> {
    result.map(|_| ()).unwrap_err().backend_number()
}

#[test]
fn what_is_configured_wrongly_is_said() {
    let Some(mut tgt) = tgt() else { return };
    tgt.add_lun(1, 1, 16 * MIB);
    tgt.require_chap(1, "somebody", "a secret of 12");
    let driver = IscsiSr::default();
    let named = ("targetIQN", TARGET);
    let mut without_target = params(&tgt, &[named]);
    without_target.device_config.remove("target");
    assert_eq!(number(driver.create(&without_target)), Some(95));
    let mut without_name = params(&tgt, &[named]);
    without_name.device_config.remove("localIQN");
    assert_eq!(number(driver.create(&without_name)), Some(97));
    for (more, expected) in [
        (&[named, ("port", "0")][..], 142),
        (&[named, ("port", "1")], 141),
        (&[named, ("target", "no-such-host.invalid")], 140),
        (&[named, ("chapuser", "somebody")], 68),
        (&[named], 68),
        (
            &[
                named,
                ("chapuser", "somebody"),
                ("chappassword", "another secret"),
            ],
            68,
        ),
    ] {
        let failure = driver.create(&params(&tgt, more)).unwrap_err();
        assert_eq!(failure.backend_number(), Some(expected), "{failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
    let credentials = [("chapuser", "somebody"), ("chappassword", "a secret of 12")];
    let right: Vec<_> = credentials.into_iter().chain([named]).collect();
    driver.create(&params(&tgt, &right)).unwrap();
    // No target, and one that is not there: the failure tells which there are.
    for target in ["", "iqn.2026-11.org.example:nothing"] {
        let mut asked = params(&tgt, &credentials);
        asked
            .device_config
            .insert("targetIQN".to_owned(), target.to_owned());
        let failure = driver.probe(&asked).unwrap_err();
        assert_eq!(failure.backend_number(), Some(96), "{failure}");
        let document = failure.params.last().unwrap();
        let entry = format!(
            "\t<TGT>\n\t\t<Index>0</Index>\n\t\t<IPAddress>127.0.0.1</IPAddress>\n\t\t<Port>{}</Port>\n\t\t<TargetIQN>{TARGET}</TargetIQN>\n\t</TGT>\n",
            tgt.port()
        );
        assert!(document.contains(&entry), "{document}");
        assert!(document.contains("<TargetIQN>*</TargetIQN>"), "{document}");
    }
}

#[test]
fn luns_of_a_target_are_vdis() {
    let Some(mut tgt) = tgt() else { return };
    let large = tgt.add_lun(1, 1, 64 * MIB);
    let small = tgt.add_lun(1, 2, 16 * MIB);
    // A second target shows the first LUN too: another path to it.
    tgt.add_target(2, OTHER);
    tgt.add_lun_of(2, 5, &large);
    let driver = IscsiSr::default();
    let both = format!("{TARGET},{OTHER}");
    let params = params(&tgt, &[("targetIQN", &both)]);
    let sr = driver.attach(&params).unwrap();
    let changes = sr.config_changes();
    assert_eq!(changes.sm_config["datatype"].as_deref(), Some("ISCSI"));
    assert!(changes.device_config.contains_key("multiSession"));
    let report = sr.scan().unwrap();
    assert_eq!(report.vdis.len(), 2, "{:?}", report.vdis);
    assert_eq!(report.space.physical_size, 80 * MIB);
    for vdi in &report.vdis {
        assert_eq!(vdi.uuid, vdi_uuid(&vdi.sm_config["SCSIid"]));
    }
    let taken = sr.take_vdi(&wish(MIB), &BTreeSet::new()).unwrap();
    assert_eq!(taken.virtual_size, 16 * MIB);
    write_and_find(&*sr, taken.uuid, &small);
    assert_eq!(sr.health(), None);

    assert!(!sr.has_changed().unwrap());
    tgt.add_lun(1, 3, 32 * MIB);
    assert!(sr.has_changed().unwrap());
    assert_eq!(sr.scan().unwrap().vdis.len(), 3);
    tgt.remove_lun(1, 3);
    assert!(sr.has_changed().unwrap());
    assert_eq!(sr.scan().unwrap().vdis.len(), 2);
    // Attaching again gives the same.
    let again = driver.attach(&params).unwrap();
    assert!(Arc::ptr_eq(&sr, &again));
    sr.detach().unwrap();
    assert_eq!(number(sr.scan()), Some(47));
}

fn write_and_find(sr: &dyn AttachedSr, vdi: Uuid, file: &Path) {
    let export = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    export.write_at(b"written", 5 * MIB + 3).unwrap();
    export.flush().unwrap();
    let mut read = [0; 7];
    export.read_at(&mut read, 5 * MIB + 3).unwrap();
    assert_eq!(&read, b"written");
    export.close().unwrap();
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(&bytes[5 * MIB as usize + 3..][..7], b"written");
}

fn make_sr(client: &mut Client, tgt: &Tgt, more: &[(&str, &str)]) -> Result<String, Failure> {
    make_sr_of("iscsi", client, tgt, more)
}

fn make_sr_of(
    sr_type: &str,
    client: &mut Client,
    tgt: &Tgt,
    more: &[(&str, &str)],
) -> Result<String, Failure> {
    let device_config = params(tgt, more).device_config;
    let entries: Vec<(&str, &str)> = device_config
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let host = client.call("host.get_all", []).unwrap().as_array().unwrap()[0].clone();
    let made = client.call(
        "SR.create",
        [
            host,
            texts(&entries),
            Value::Int(0),
            "LUNs".into(),
            "".into(),
            sr_type.into(),
            "".into(),
            true.into(),
            texts(&[]),
        ],
    );
    made.map(|sr| sr.as_str().unwrap().to_owned())
}

fn field(client: &mut Client, vdi: &Value, field: &str) -> Value {
    client
        .call(&format!("VDI.get_{field}"), [vdi.clone()])
        .unwrap()
}

fn vdis(client: &mut Client, sr: &str) -> Vec<Value> {
    let vdis = client.call("SR.get_VDIs", [sr.into()]).unwrap();
    vdis.as_array().unwrap().to_vec()
}

fn introduce(client: &mut Client, sr: &str, sm_config: Value) -> Result<Value, Failure> {
    client.call(
        "VDI.introduce",
        [
            "".into(),
            "introduced".into(),
            "".into(),
            sr.into(),
            "user".into(),
            false.into(),
            false.into(),
            texts(&[]),
            "".into(),
            texts(&[]),
            sm_config,
        ],
    )
}

/// Which LUNs are in use stands in the records alone, over a restart too.
#[test]
fn the_server_takes_luns_and_gives_them_back() {
    let Some(mut tgt) = tgt() else { return };
    for (lun, size) in [(1, 16), (2, 24), (3, 32)] {
        tgt.add_lun(1, lun, size * MIB);
    }
    let dir = tempfile::tempdir().unwrap();
    let start = || Running::start(config(dir.path()), Some(vec![Arc::new(IscsiSr::default())]));
    let running = start();
    let mut client = running.unix();
    let named = [("targetIQN", TARGET)];
    let sr = make_sr(&mut client, &tgt, &named).unwrap();
    assert_eq!(vdis(&mut client, &sr).len(), 3);
    assert_eq!(number(make_sr(&mut client, &tgt, &named)), Some(16));

    // Two at once never get the same.
    let taken: Vec<Value> = std::thread::scope(|scope| {
        let makers = ["one", "two"].map(|name| {
            let (mut client, sr) = (running.unix(), &sr);
            scope.spawn(move || client.call("VDI.create", [vdi_record(sr, name, 1 << 20)]))
        });
        makers.map(|maker| maker.join().unwrap().unwrap()).to_vec()
    });
    assert_ne!(taken[0], taken[1]);
    let size = |client: &mut Client, vdi: &Value| field(client, vdi, "virtual_size").as_int();
    let sizes: BTreeSet<_> = taken.iter().map(|vdi| size(&mut client, vdi)).collect();
    assert_eq!(sizes, BTreeSet::from([Some(16 << 20), Some(24 << 20)]));
    assert_eq!(vdis(&mut client, &sr).len(), 3);
    let too_large = client.call("VDI.create", [vdi_record(&sr, "x", 1 << 30)]);
    assert_eq!(number(too_large), Some(44));
    let snapshot = client.call("VDI.snapshot", [taken[0].clone(), texts(&[])]);
    assert_eq!(snapshot.unwrap_err().code, "SR_OPERATION_NOT_SUPPORTED");
    drop(client);
    running.stop();

    let running = start();
    let mut client = running.unix();
    for vdi in &taken {
        assert_eq!(field(&mut client, vdi, "managed").as_bool(), Some(true));
    }
    assert_eq!(
        field(&mut client, &taken[0], "name_label").as_str(),
        Some("one")
    );
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    let uuid = field(&mut client, &taken[0], "uuid");
    client.call("VDI.destroy", [taken[0].clone()]).unwrap();
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    assert_eq!(vdis(&mut client, &sr).len(), 3);
    let again = client
        .call("VDI.create", [vdi_record(&sr, "again", 1 << 20)])
        .unwrap();
    assert_eq!(field(&mut client, &again, "uuid"), uuid);

    assert_eq!(number(introduce(&mut client, &sr, texts(&[]))), Some(89));
    let introduced = introduce(&mut client, &sr, texts(&[("LUNid", "3")])).unwrap();
    assert_eq!(size(&mut client, &introduced), Some(32 << 20));
    // A LUN that is not shown any more takes no name with it.
    tgt.remove_lun(1, 3);
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    assert_eq!(
        field(&mut client, &introduced, "name_label").as_str(),
        Some("introduced")
    );
    let other_config = client.call("SR.get_other_config", [sr.as_str().into()]);
    let other_config = other_config.unwrap();
    let damaged = other_config.as_struct().unwrap()["xensm:damaged"].clone();
    assert_eq!(damaged, field(&mut client, &introduced, "uuid"));
    client.call("VDI.forget", [introduced]).unwrap();
    client.call("SR.scan", [sr.as_str().into()]).unwrap();
    assert_eq!(vdis(&mut client, &sr).len(), 2);
    running.stop();
}

fn unplug(client: &mut Client, sr: &str) {
    let pbds = client.call("SR.get_PBDs", [sr.into()]).unwrap();
    let pbd = pbds.as_array().unwrap()[0].clone();
    client.call("PBD.unplug", [pbd]).unwrap();
}

/// Notes in `pool.other_config` of LUNs of forgotten SRs.
fn noted(client: &mut Client) -> usize {
    let pools = client.call("pool.get_all", []).unwrap();
    let pool = pools.as_array().unwrap()[0].clone();
    let config = client.call("pool.get_other_config", [pool]).unwrap();
    let keys = config.as_struct().unwrap().keys();
    keys.filter(|key| key.starts_with("xensm:lun:")).count()
}

/// A LUN that looked blank could be formatted for an SR although it was somebody's VDI, since nobody asked the other SRs of the
/// pool; and an SR's LUN could become a VDI when it looked blank. What a forgotten SR had in use was anybody's.
#[test]
fn a_lun_has_one_user_in_the_pool() {
    let Some(mut tgt) = tgt() else { return };
    let files = [(1, 16), (2, 64), (3, 256)].map(|(lun, size)| tgt.add_lun(1, lun, size * MIB));
    let dir = tempfile::tempdir().unwrap();
    let types: Vec<Arc<dyn SrType>> = vec![
        Arc::new(IscsiSr::default()),
        Arc::new(LvmoIscsiSr::default()),
    ];
    let running = Running::start(config(dir.path()), Some(types));
    let mut client = running.unix();
    let named = ("targetIQN", TARGET);
    let luns = make_sr(&mut client, &tgt, &[named]).unwrap();
    let record = vdi_record(&luns, "mine", 200 << 20);
    let vdi = client.call("VDI.create", [record]).unwrap();
    let sm_config = field(&mut client, &vdi, "sm_config");
    let scsi_id = sm_config.as_struct().unwrap()["SCSIid"].clone();
    let scsi_id = scsi_id.as_str().unwrap();

    for by in [("LUNid", "3"), ("SCSIid", scsi_id)] {
        let refused = make_sr_of("lvmoiscsi", &mut client, &tgt, &[named, by]).unwrap_err();
        assert_eq!(refused.backend_number(), Some(16), "{refused}");
        assert!(refused.to_string().contains("is VDI "), "{refused}");
    }
    // Of two who want one LUN one gets it.
    let made: Vec<_> = std::thread::scope(|scope| {
        let makers = [(); 2].map(|()| {
            let (mut client, tgt) = (running.unix(), &tgt);
            let by = [named, ("LUNid", "2")];
            scope.spawn(move || make_sr_of("lvmoiscsi", &mut client, tgt, &by))
        });
        makers.map(|maker| maker.join().unwrap()).into()
    });
    let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!(number(refused.into_iter().next().unwrap()), Some(16));
    let lvhd = made.into_iter().next().unwrap().unwrap();
    let by_number = texts(&[("LUNid", "2")]);
    let refused = introduce(&mut client, &luns, by_number.clone()).unwrap_err();
    assert_eq!(refused.backend_number(), Some(46), "{refused}");
    assert!(refused.to_string().contains("belongs to SR "), "{refused}");
    // Also when it looks blank: somebody has cleared it while nobody looked.
    unplug(&mut client, &lvhd);
    let lun = std::fs::File::create(&files[1]).unwrap();
    lun.set_len(64 * MIB).unwrap();
    let wanted = || vdi_record(&luns, "another", 30 << 20);
    assert_eq!(number(client.call("VDI.create", [wanted()])), Some(44));
    client.call("SR.forget", [lvhd.into()]).unwrap();
    let another = client.call("VDI.create", [wanted()]).unwrap();
    client.call("VDI.forget", [another]).unwrap();

    unplug(&mut client, &luns);
    let refused = client.call("SR.destroy", [luns.as_str().into()]);
    assert_eq!(refused.unwrap_err().code, "SR_NOT_EMPTY");
    client.call("SR.forget", [luns.into()]).unwrap();
    assert_eq!(noted(&mut client), 1);
    let by = [named, ("SCSIid", scsi_id)];
    let refused = make_sr_of("lvmoiscsi", &mut client, &tgt, &by).unwrap_err();
    assert_eq!(refused.backend_number(), Some(16), "{refused}");
    assert!(refused.to_string().contains("was forgotten"), "{refused}");
    // A new SR on the same LUNs finds it in use, by its name.
    let luns = make_sr(&mut client, &tgt, &[named]).unwrap();
    let all = vdis(&mut client, &luns);
    let in_use = |vdi: &&Value| field(&mut client, vdi, "managed").as_bool() == Some(true);
    let in_use: Vec<_> = all.iter().filter(in_use).collect();
    assert_eq!(in_use.len(), 1);
    let name = field(&mut client, in_use[0], "name_label");
    assert_eq!(name.as_str(), Some("mine"));
    assert_eq!(noted(&mut client), 0);
    running.stop();
}
