//! An array, an SR on it, and things of others beside it.

use std::collections::BTreeMap;

use storage_manager::sr::{AttachedSr, FoundVdi, NewVdi, OpenMode, SnapshotHints, SrParams};
use testkit::ontap::{OntapEmulator, Options};
use uuid::Uuid;
use xenapi::Failure;

pub const INITIATOR: &str = "iqn.2026-11.org.example:tests";
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

pub fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// The parameters that are needed always, without TLS, which costs time.
pub fn params(array: &OntapEmulator, more: &[(&str, &str)]) -> SrParams {
    let port = array.http_port().to_string();
    let own = [
        ("target", array.address()),
        ("username", "admin"),
        ("password", "secret-password"),
        ("usehttps", "false"),
        ("port", port.as_str()),
        ("localIQN", INITIATOR),
    ];
    let all = own.iter().chain(more);
    SrParams {
        sr_uuid: vdi(0x5_1),
        device_config: all
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        sm_config: BTreeMap::new(),
    }
}

pub const THIN: &[(&str, &str)] = &[
    ("aggregate", "AGGR1"),
    ("FlexVols", "2"),
    ("allocation", "thin"),
];

pub fn new_vdi(number: u128, size: u64, vmhint: &str) -> NewVdi {
    let hint = (!vmhint.is_empty()).then(|| ("vmhint".to_owned(), vmhint.to_owned()));
    NewVdi {
        uuid: vdi(number),
        virtual_size: size,
        sm_config: hint.into_iter().collect(),
    }
}

pub fn hinted(epochhint: &str) -> SnapshotHints {
    SnapshotHints {
        epochhint: Some(epochhint.to_owned()),
    }
}

pub fn number<T>(result: Result<T, Failure>) -> Option<u16> {
    result.err().and_then(|failure| {
        assert!(!failure.to_string().contains("secret"), "{failure}");
        failure.backend_number()
    })
}

pub fn write(sr: &dyn AttachedSr, vdi: Uuid, text: &[u8]) {
    let export = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    export.write_at(text, 3 * MIB + 5).unwrap();
    export.close().unwrap();
}

pub fn read(sr: &dyn AttachedSr, vdi: Uuid) -> String {
    let export = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    let mut bytes = [0; 6];
    export.read_at(&mut bytes, 3 * MIB + 5).unwrap();
    export.close().unwrap();
    String::from_utf8_lossy(&bytes).replace('\0', ".")
}

pub fn scanned(sr: &dyn AttachedSr) -> BTreeMap<Uuid, FoundVdi> {
    let report = sr.scan().unwrap();
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
    report.vdis.into_iter().map(|vdi| (vdi.uuid, vdi)).collect()
}

/// Things of others in the SVM, and in a FlexVol of the SR.
pub fn add_strangers(array: &OntapEmulator) {
    use testkit::ontap::state::luns::LunRequest;
    array.with(|cluster| {
        let flexvol = cluster
            .volumes
            .iter()
            .find(|volume| volume.name.ends_with("_FV0"))
            .unwrap()
            .name
            .clone();
        for name in ["lun0", "xensm-notauuid"] {
            let made = cluster.create_lun(LunRequest {
                svm: Some("svm1".to_owned()),
                path: Some(format!("/vol/{flexvol}/{name}")),
                size: Some(MIB),
                os_type: Some("linux".to_owned()),
                ..LunRequest::default()
            });
            made.unwrap();
        }
    });
}

pub fn strangers(array: &OntapEmulator) -> usize {
    array.with(|cluster| {
        let luns = cluster.luns.iter();
        luns.filter(|lun| lun.name == "lun0" || lun.name == "xensm-notauuid")
            .count()
    })
}

/// An array whose REST interface lacks what is needed.
pub fn old() -> Options {
    Options {
        version: [9, 8, 0],
        ..Options::default()
    }
}
