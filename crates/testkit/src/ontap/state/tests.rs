use uuid::Uuid;

use super::cluster::{Cluster, Effect};
use super::igroups::Igroup;
use super::jobs::Change;
use super::luns::{CloneSource, LunRequest};
use super::volumes::VolumeRequest;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// An aggregate of 10 GiB with the root volume.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new("c");
    cluster.add_aggregate("a", 10 * GIB);
    cluster.add_svm("s");
    cluster
}

fn volume(cluster: &mut Cluster, name: &str, size: u64, guarantee: &str) -> Result<Uuid, u32> {
    let made = cluster.create_volume(VolumeRequest {
        name: Some(name.to_owned()),
        svm: Some("s".to_owned()),
        aggregates: vec!["a".to_owned()],
        size: Some(size),
        guarantee: Some(guarantee.to_owned()),
        snapshot_reserve: Some(0),
        ..VolumeRequest::default()
    });
    made.map_err(|error| error.code)
}

fn lun(cluster: &mut Cluster, path: &str, size: u64, reserve: bool) -> Result<Uuid, u32> {
    let made = cluster.create_lun(LunRequest {
        svm: Some("s".to_owned()),
        path: Some(path.to_owned()),
        size: Some(size),
        os_type: Some("linux".to_owned()),
        reserve: Some(reserve),
        ..LunRequest::default()
    });
    made.map_err(|error| error.code)
}

fn clone(cluster: &mut Cluster, path: &str, source: &str) -> Result<Uuid, u32> {
    let made = cluster.create_lun(LunRequest {
        svm: Some("s".to_owned()),
        path: Some(path.to_owned()),
        source: Some(CloneSource::Path(source.to_owned())),
        ..LunRequest::default()
    });
    made.map_err(|error| error.code)
}

/// So many bytes of a LUN were written.
fn wrote(cluster: &mut Cluster, lun: Uuid, bytes: u64) {
    let data = cluster.lun(lun).unwrap().data;
    cluster.usage.insert(data, bytes);
}

fn available(cluster: &Cluster, volume: Uuid) -> u64 {
    cluster
        .volume_space(cluster.volume(volume).unwrap())
        .available
}

#[test]
fn a_guarantee_takes_room_from_the_aggregate() {
    let mut cluster = cluster();
    volume(&mut cluster, "thick", 6 * GIB, "volume").unwrap();
    assert_eq!(cluster.aggregate_available("a"), 4 * GIB - 20 * MIB);
    assert_eq!(
        volume(&mut cluster, "more", 6 * GIB, "volume"),
        Err(917_534)
    );
    assert_eq!(cluster.volumes.len(), 2);
    let thin = volume(&mut cluster, "thin", 60 * GIB, "none").unwrap();
    // It may use what the aggregate has left.
    assert_eq!(available(&cluster, thin), 4 * GIB - 20 * MIB);
    let written = lun(&mut cluster, "/vol/thin/l", 20 * GIB, true).unwrap();
    wrote(&mut cluster, written, GIB);
    assert_eq!(cluster.aggregate_available("a"), 3 * GIB - 20 * MIB);
    cluster.aggregate_mut("a").foreign = 3 * GIB;
    assert_eq!(lun(&mut cluster, "/vol/thin/m", MIB, false), Err(8));
}

#[test]
fn a_reservation_takes_room_from_the_flexvol() {
    let mut cluster = cluster();
    let v = volume(&mut cluster, "v", 4 * GIB, "volume").unwrap();
    let l = lun(&mut cluster, "/vol/v/l", 3 * GIB, true).unwrap();
    assert_eq!(available(&cluster, v), GIB);
    assert_eq!(lun(&mut cluster, "/vol/v/m", 2 * GIB, true), Err(8));
    lun(&mut cluster, "/vol/v/m", 2 * GIB, false).unwrap();
    // A snapshot keeps room for overwriting what is there.
    wrote(&mut cluster, l, 2 * GIB);
    let taken = cluster.create_snapshot(v, "s1", "");
    assert_eq!(taken.unwrap_err().code, 524_479);
    wrote(&mut cluster, l, GIB / 2);
    cluster.create_snapshot(v, "s1", "").unwrap();
    assert_eq!(available(&cluster, v), GIB / 2);
    let smaller = VolumeRequest {
        size: Some(3 * GIB),
        ..VolumeRequest::default()
    };
    assert_eq!(cluster.change_volume(v, smaller).unwrap_err().code, 917_534);
}

#[test]
fn a_snapshot_holds_what_was_deleted() {
    let mut cluster = cluster();
    let v = volume(&mut cluster, "v", 4 * GIB, "none").unwrap();
    let l = lun(&mut cluster, "/vol/v/l", GIB, false).unwrap();
    wrote(&mut cluster, l, GIB);
    let before = available(&cluster, v);
    cluster.create_snapshot(v, "s", "").unwrap();
    let kept = cluster.snapshots[0].luns[0].data;
    cluster.usage.insert(kept, GIB);
    assert_eq!(available(&cluster, v), before);
    cluster.delete_lun(l, false).unwrap();
    assert_eq!(available(&cluster, v), before);
    clone(&mut cluster, "/vol/v/again", "/vol/v/.snapshot/s/l").unwrap();
    let snapshot = cluster.snapshots[0].uuid;
    cluster.delete_snapshot(snapshot).unwrap();
    assert!(available(&cluster, v) > before);
    let last = cluster.effects.last();
    assert_eq!(last, Some(&Effect::Remove(kept)));
}

#[test]
fn limits_and_licences_are_kept() {
    let mut cluster = cluster();
    let v = volume(&mut cluster, "v", GIB, "none").unwrap();
    lun(&mut cluster, "/vol/v/l", MIB, false).unwrap();
    cluster.limits.snapshots_per_volume = 1;
    cluster.create_snapshot(v, "one", "").unwrap();
    assert_eq!(
        cluster.create_snapshot(v, "one", "").unwrap_err().code,
        525_059
    );
    assert_eq!(
        cluster.create_snapshot(v, "two", "").unwrap_err().code,
        525_062
    );
    cluster.licences.flexclone = false;
    assert_eq!(clone(&mut cluster, "/vol/v/c", "/vol/v/l"), Err(13_565_952));
    cluster.licences.iscsi = false;
    assert_eq!(
        cluster.create_service("s", true, None).unwrap_err().code,
        1_115_127
    );
    cluster.licences.asis = false;
    let dedupe = VolumeRequest {
        dedupe: Some("background".to_owned()),
        ..VolumeRequest::default()
    };
    assert_eq!(
        cluster.change_volume(v, dedupe).unwrap_err().code,
        1_966_753
    );
    assert_eq!(
        lun(&mut cluster, "/vol/s_root/l", MIB, false),
        Err(5_374_237)
    );
    assert_eq!(
        lun(&mut cluster, "/vol/v/bad name", MIB, false),
        Err(5_374_121)
    );
    assert_eq!(
        lun(&mut cluster, "/vol/v/large", 17 << 40, false),
        Err(5_374_125)
    );
}

#[test]
fn an_initiator_never_sees_two_luns_under_one_number() {
    let mut cluster = cluster();
    volume(&mut cluster, "v", GIB, "none").unwrap();
    let [one, two, three] = ["one", "two", "three"]
        .map(|name| lun(&mut cluster, &format!("/vol/v/{name}"), MIB, false).unwrap());
    let mut group = |name: &str, initiators: &[&str]| {
        let initiators = initiators
            .iter()
            .map(|host| (format!("iqn.2026-11.x:{host}"), String::new()));
        let group = Igroup {
            uuid: Uuid::new_v4(),
            name: name.to_owned(),
            svm: "s".to_owned(),
            protocol: "iscsi".to_owned(),
            os_type: "linux".to_owned(),
            comment: String::new(),
            initiators: initiators.collect(),
        };
        cluster.create_igroup(group).unwrap()
    };
    let (both, single) = (group("both", &["a", "b"]), group("single", &["b"]));
    assert_eq!(cluster.map_lun(one, both, None).unwrap().number, 0);
    // The lowest number that is free for all its initiators.
    assert_eq!(cluster.map_lun(two, single, None).unwrap().number, 1);
    assert_eq!(cluster.map_lun(three, both, None).unwrap().number, 2);
    assert_eq!(
        cluster.map_lun(three, single, None).unwrap_err().code,
        1_254_193
    );
    assert_eq!(
        cluster.map_lun(two, both, None).unwrap_err().code,
        1_254_193
    );
    assert_eq!(
        cluster
            .add_initiator(single, "iqn.2026-11.x:c", "")
            .map_err(|e| e.code),
        Ok(())
    );
    cluster.unmap_lun(one, both).unwrap();
    assert_eq!(
        cluster.map_lun(one, both, Some(2)).unwrap_err().code,
        1_254_324
    );
    assert_eq!(cluster.delete_lun(two, false).unwrap_err().code, 1_254_197);
    cluster.delete_lun(two, true).unwrap();
    assert!(cluster.maps.iter().all(|map| map.lun != two));
}

#[test]
fn a_job_works_whoever_calls() {
    let mut cluster = cluster();
    let asked = VolumeRequest {
        name: Some("v".to_owned()),
        svm: Some("s".to_owned()),
        aggregates: vec!["a".to_owned()],
        ..VolumeRequest::default()
    };
    cluster.begin(
        "first".to_owned(),
        Change::CreateVolume(asked.clone()),
        2,
        false,
    );
    cluster.begin("second".to_owned(), Change::CreateVolume(asked), 2, false);
    cluster.tick();
    assert!(cluster.volume_named("s", "v").is_err());
    cluster.tick();
    assert!(cluster.volume_named("s", "v").is_ok());
    let states: Vec<&str> = cluster.jobs.iter().map(super::jobs::Job::state).collect();
    assert_eq!(states, ["success", "failure"]);
    assert_eq!(
        cluster.jobs[1].error.as_ref().map(|error| error.code),
        Some(917_536)
    );
}
