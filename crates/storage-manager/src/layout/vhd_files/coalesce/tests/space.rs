//! Merging on a medium that is full.

use super::*;

#[test]
fn a_merge_without_room_says_what_it_needs() {
    let dir = testkit::scratch::directory();
    let huge = vhd::size::MAX_VIRTUAL_SIZE;
    make(dir.path(), 1, None, true, huge);
    make(dir.path(), 2, Some(1), true, huge);
    make(dir.path(), 4, Some(2), false, huge);
    let chains = attach(dir.path());
    let work = Work::Inner {
        vdi: uuid(2),
        parent: uuid(1),
    };
    // The union has few blocks, so there is room.
    assert_eq!(run(&chains, &work).unwrap(), Outcome::Done);
}

/// A file system in memory of its own, unmounted when this is dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// None where it may not be mounted, which a test says.
    fn mount(bytes: u64) -> Option<Small> {
        let dir = testkit::scratch::directory();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Small(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that there is, but for `left` bytes.
    fn fill(&self, left: u64) {
        use std::io::Write;
        let mut filler = std::fs::File::create(self.path().join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length.saturating_sub(left)).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, so that a test that fails with open files leaves no mount.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status();
    }
}

fn small() -> Option<Small> {
    let small = Small::mount(64 * MIB);
    if small.is_none() {
        let reason = "a tmpfs cannot be mounted here (needs root)";
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        eprintln!("skipped: {reason}");
    }
    small
}

#[test]
fn a_step_for_which_there_is_no_room_says_so_and_leaves_nothing() {
    let Some(small) = small() else { return };
    leaf_scene(small.path());
    let chains = attach(small.path());
    let before = [4, 9].map(|n| read(&chains, n));
    small.fill(4096);
    let files = names(small.path());
    // The parent's blocks are holes in part, so it is seen beforehand or when they are written.
    match run(&chains, &LEAF) {
        Err(error) => assert!(error.is_no_space(), "{error:?}"),
        Ok(outcome) => panic!("{outcome:?}"),
    }
    assert_eq!(names(small.path()), files);
    small.empty();
    assert_eq!(run(&chains, &LEAF).unwrap(), Outcome::Done);
    assert!([4, 9].map(|n| read(&chains, n)) == before);
    assert_sound(&chains);
}

/// The room that was seen beforehand is taken by somebody else.
#[test]
fn a_medium_that_gets_full_under_a_step_costs_nothing() {
    let Some(small) = small() else { return };
    for (scene, work) in [
        (inner_scene as fn(&Path), INNER),
        (leaf_scene as fn(&Path), LEAF),
    ] {
        for with_consumer in [false, true] {
            scene(small.path());
            let chains = attach(small.path());
            let before = read(&chains, 4);
            let consumer = with_consumer.then(|| {
                let consumer = chains.images().open(uuid(4), OpenMode::ReadWrite).unwrap();
                consumer.write_at(&[3; 4096], 0).unwrap();
                consumer
            });
            let before = match &consumer {
                Some(consumer) => content(consumer),
                None => before,
            };
            let control = Arc::new(Control::default());
            control.pause();
            let failed = std::thread::scope(|scope| {
                let step = scope.spawn(|| chains.run(&work, &control));
                while control.progress().done == 0 && !step.is_finished() {
                    std::thread::yield_now();
                }
                small.fill(0);
                control.resume();
                step.join().unwrap()
            });
            match failed {
                Err(error) => assert!(error.is_no_space(), "{work}: {error:?}"),
                // All that it needed had been written.
                Ok(outcome) => assert_eq!(outcome, Outcome::Done, "{work}"),
            }
            if let Some(consumer) = &consumer {
                assert!(content(consumer) == before, "{work}");
            }
            small.empty();
            if let Some(consumer) = &consumer {
                consumer.write_at(&[3; 4096], 0).unwrap();
                consumer.flush().unwrap();
                consumer.close().unwrap();
            }
            coalesce_all(&chains);
            assert!(read(&chains, 4) == before, "{work}");
            assert_sound(&chains);
            chains.close();
            drop(chains);
            for name in names(small.path()) {
                std::fs::remove_file(small.path().join(name)).unwrap();
            }
        }
    }
}
