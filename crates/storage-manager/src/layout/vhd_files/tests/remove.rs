//! Removing images, and what a crash leaves.

use super::*;

#[test]
fn a_crash_at_any_step_of_remove_can_be_repeated() {
    let dir = testkit::scratch::directory();
    let uuid = Uuid::from_u128(3);
    let prepare = || {
        let images = open(dir.path());
        create(&images, 1);
        create_child(dir.path(), 2, 1, true);
        create_child(dir.path(), 3, 2, true);
        create_child(dir.path(), 4, 1, false);
    };
    prepare();
    let images = open(dir.path());
    let steps = fault::count(|| images.remove(uuid).unwrap());
    assert_eq!(
        steps,
        [
            "directory: remove",
            "directory: sync",
            "directory: remove",
            "directory: sync"
        ]
    );
    let kept = [
        "00000000-0000-0000-0000-000000000001.vhd",
        "00000000-0000-0000-0000-000000000004.vhd",
    ];
    assert_eq!(names(dir.path()), kept);
    drop(images);
    for step in 0..steps.len() {
        kept.iter()
            .for_each(|name| std::fs::remove_file(dir.path().join(name)).unwrap());
        prepare();
        fault::crash_at(step, || open(dir.path()).remove(uuid));
        let images = open(dir.path());
        let survey = images.survey().unwrap();
        assert!(survey.damaged.is_empty(), "{:?}", survey.damaged);
        let shown: Vec<Uuid> = survey.vdis().iter().map(|vdi| vdi.uuid).collect();
        assert!(
            !shown.contains(&uuid) || step == 0,
            "step {step} shows {shown:?}"
        );
        // The next removal takes along what the interrupted one left.
        images.remove(uuid).unwrap();
        images.remove(Uuid::from_u128(4)).unwrap();
        assert_eq!(names(dir.path()), [""; 0], "step {step}");
        create(&images, 1);
        create_child(dir.path(), 4, 1, true);
    }
}

#[test]
fn removing_what_is_gone_makes_sure_that_it_stays_gone() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    create(&images, 1);
    let uuid = Uuid::from_u128(1);
    let steps = ["directory: remove", "directory: sync"];
    let io = rustix::io::Errno::IO.raw_os_error();
    fault::fail_at(1, io, || images.remove(uuid)).unwrap_err();
    assert_eq!(names(dir.path()), [""; 0], "unlinked and not synced");
    let again = fault::count(|| images.remove(uuid).unwrap());
    assert_eq!(again, steps[1..]);
}

#[test]
fn nothing_is_pruned_while_an_image_is_unreadable() {
    let dir = testkit::scratch::directory();
    let images = open(dir.path());
    create(&images, 1);
    create_child(dir.path(), 2, 1, true);
    std::fs::write(
        dir.path()
            .join(ImageName::vhd(Uuid::from_u128(5)).file_name()),
        b"may be a child of 1",
    )
    .unwrap();
    images.remove(Uuid::from_u128(2)).unwrap();
    assert!(
        dir.path()
            .join(ImageName::vhd(Uuid::from_u128(1)).file_name())
            .exists()
    );
}
