//! SR type `lvmoiscsi` on targets that somebody else wrote: what a client is told on the way to an SR, and a life of one.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

use std::collections::BTreeMap;

use storage_manager::sr::{LvmoIscsiSr, NewVdi, OpenMode, SnapshotKind, SrParams, SrType};
use testkit::iscsi_target::Tgt;
use uuid::Uuid;

const TARGET: &str = "iqn.2026-11.org.example:lvhd";
const MIB: u64 = 1 << 20;

fn params(tgt: &Tgt, more: &[(&str, &str)]) -> SrParams {
    let port = tgt.port().to_string();
    let own = [
        ("target", "127.0.0.1"),
        ("port", &*port),
        ("localIQN", "iqn.2026-11.org.example:tests"),
    ];
    let pairs = own.iter().chain(more);
    SrParams {
        sr_uuid: Uuid::from_u128(0x51),
        device_config: pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        sm_config: BTreeMap::new(),
    }
}

fn between<'a>(text: &'a str, tag: &str) -> &'a str {
    let open = format!("<{tag}>");
    let start = text.find(&open).unwrap() + open.len();
    &text[start..start + text[start..].find('<').unwrap()]
}

#[test]
fn an_sr_lives_on_a_lun() {
    let Some(mut tgt) = Tgt::start() else { return };
    tgt.add_target(1, TARGET);
    tgt.add_lun(1, 1, 512 * MIB);
    tgt.add_lun(1, 2, 64 * MIB);
    tgt.require_chap(1, "xensm", "secret-of-twelve");
    let driver = LvmoIscsiSr::default();
    let chap = [("chapuser", "xensm"), ("chappassword", "secret-of-twelve")];

    // As clients go: the list of targets, the list of LUNs, the SR.
    let failure = driver.create(&params(&tgt, &chap)).unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_96");
    assert!(
        failure.params[2].contains(&format!("<TargetIQN>{TARGET}</TargetIQN>")),
        "{failure}"
    );
    let target = [chap[0], chap[1], ("targetIQN", TARGET)];
    let failure = driver.create(&params(&tgt, &target)).unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_107");
    let document = failure.params[2].clone();
    assert_eq!(between(&document, "LUNid"), "1");
    assert_eq!(between(&document, "size"), (512 * MIB).to_string());
    assert_eq!(between(&document, "vendor"), "XENSM");
    assert_eq!(document.matches("<LUN>").count(), 2);
    let scsi_id = between(&document, "SCSIid");
    let wrong = [target[0], target[1], target[2], ("SCSIid", "36nobody")];
    let failure = driver.create(&params(&tgt, &wrong)).unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_107");

    let by_number = params(&tgt, &[target[0], target[1], target[2], ("LUNid", "1")]);
    driver.create(&by_number).unwrap();
    let whole = params(
        &tgt,
        &[target[0], target[1], target[2], ("SCSIid", scsi_id)],
    );
    let failure = driver.create(&whole).unwrap_err();
    assert!(
        failure.to_string().contains("XenStorage"),
        "it is not overwritten: {failure}"
    );
    let found = driver.probe(&whole).unwrap();
    assert_eq!(between(&found, "UUID"), whole.sr_uuid.to_string());

    let sr = driver.attach(&by_number).unwrap();
    let changes = sr.config_changes();
    assert_eq!(changes.device_config["SCSIid"].as_deref(), Some(scsi_id));
    assert_eq!(changes.device_config["LUNid"], None);
    let serial = format!("scsi-{scsi_id},");
    assert_eq!(changes.sm_config["devserial"].as_deref(), Some(&*serial));
    let vdi = Uuid::from_u128(0x52);
    let new = NewVdi {
        uuid: vdi,
        virtual_size: 32 * MIB,
        sm_config: BTreeMap::new(),
    };
    sr.create_vdi(&new).unwrap();
    let export = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    export.write_at(&[7; 4096], 5 * MIB).unwrap();
    export.flush().unwrap();
    // The target is restarted under an open VDI.
    export.write_at(&[8; 4096], 6 * MIB).unwrap();
    tgt.restart();
    let mut read = [0; 4096];
    export.read_at(&mut read, 6 * MIB).unwrap();
    assert!(read == [8; 4096]);
    sr.snapshot_vdi(vdi, Uuid::from_u128(0x53), SnapshotKind::Snapshot)
        .unwrap();
    export.close().unwrap();
    drop(export);
    sr.detach().unwrap();
    drop(sr);

    // From nothing but the medium.
    let sr = LvmoIscsiSr::default().attach(&whole).unwrap();
    let vdis = sr.scan().unwrap().vdis;
    assert_eq!(vdis.iter().filter(|vdi| vdi.managed).count(), 2, "{vdis:?}");
    let export = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    export.read_at(&mut read, 5 * MIB).unwrap();
    assert!(read == [7; 4096]);
    drop(export);
    sr.detach().unwrap();
    drop(sr);
    let failure = driver.delete(&whole).unwrap_err();
    assert_eq!(failure.code, "SR_NOT_EMPTY");
}
