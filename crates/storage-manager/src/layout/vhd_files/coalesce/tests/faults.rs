//! An error and a death at each point of a step.

use super::*;
use crate::io::fault;

/// The share of deaths under a consumer that may not be reached, as a divisor: what the pauses of a step flush, a body and a footer
/// each, depends on what the consumer has written just before, so that a step may have fewer points than the one that was counted.
const MISSED_SHARE: usize = 4;

/// Runs a step with an error, and with a death, at each of its points in turn, up to the first one of this name.
pub(super) fn at_every_point_until(
    end: &str,
    scene: fn(&Path),
    work: Work,
    with_consumer: bool,
) -> Vec<&'static str> {
    let vdis = |dir: &Path| -> Vec<u128> {
        let visible = [4, 5, 9].into_iter();
        visible
            .filter(|n| dir.join(file_name(*n)).exists())
            .collect()
    };
    let step = |chains: &Arc<FileChains>, run: &mut dyn FnMut()| {
        let consumer = with_consumer.then(|| Consumer::new(chains, 4));
        match &consumer {
            Some(consumer) => consumer.beside(run),
            None => run(),
        }
        consumer
    };
    let mut points = Vec::new();
    let dir = testkit::scratch::directory();
    scene(dir.path());
    let chains = attach(dir.path());
    step(&chains, &mut || {
        points = fault::count(|| {
            assert_eq!(run(&chains, &work).unwrap(), Outcome::Done);
        });
    });
    let tried = points.iter().take_while(|name| **name != end);
    let (mut deaths_tried, mut deaths_missed) = (0, 0);
    for (index, name) in tried.enumerate() {
        // Under a consumer, who differs from run to run, errors and deaths take turns: a run shall not take minutes.
        let deaths: &[bool] = match (with_consumer, index % 2) {
            (false, _) => &[false, true],
            (true, 0) => &[false],
            (true, _) => &[true],
        };
        for &death in deaths {
            let context = format!("{work} at {index} {name}, death: {death}");
            let dir = testkit::scratch::directory();
            scene(dir.path());
            let chains = attach(dir.path());
            let before: Vec<_> = vdis(dir.path())
                .into_iter()
                .map(|n| (n, read(&chains, n)))
                .collect();
            let consumer = step(&chains, &mut || {
                if death {
                    let is_dead = fault::try_crash_at(index, || run(&chains, &work));
                    assert!(is_dead || with_consumer, "{context}: it was not reached");
                    deaths_tried += 1;
                    deaths_missed += usize::from(!is_dead);
                } else {
                    // An error that has no consequence is no failure of the step.
                    let _ = fault::fail_at(index, 5, || run(&chains, &work));
                }
            });
            let assert_content = |chains: &FileChains| {
                for (n, before) in &before {
                    let found = read(chains, *n);
                    match &consumer {
                        Some(consumer) if *n == 4 => consumer.assert_kept(&found, before, &context),
                        _ => assert!(found == *before, "{context}: {n}"),
                    }
                }
            };
            // What a killed process leaves: neither flushed nor closed.
            let left = testkit::scratch::directory();
            copy(dir.path(), left.path());
            let assert_recovers = |chains: &FileChains| {
                assert_content(chains);
                coalesce_all(chains);
                // The first open for writing puts the footer where a consumer that was killed or failed had left none.
                let repaired = chains.images().open(uuid(4), OpenMode::ReadWrite);
                repaired.unwrap().close().unwrap();
                assert_content(chains);
                assert_sound(chains);
            };
            if death {
                assert_recovers(&attach(left.path()));
                assert!(
                    names(left.path()).len() <= 3,
                    "{context}: {:?}",
                    names(left.path())
                );
                continue;
            }
            if let Some(consumer) = &consumer {
                let mut byte = [0];
                if consumer.image.read_at(&mut byte, 0).is_ok() {
                    consumer.assert_kept(&content(&consumer.image), &before[0].1, &context);
                }
                let _ = consumer.image.close();
            }
            chains.close();
            drop(chains);
            assert_recovers(&attach(dir.path()));
        }
    }
    assert!(
        deaths_missed * MISSED_SHARE <= deaths_tried,
        "{deaths_missed} deaths of {deaths_tried} were not reached"
    );
    points
}

fn at_every_point(scene: fn(&Path), work: Work, with_consumer: bool) -> Vec<&'static str> {
    at_every_point_until("", scene, work, with_consumer)
}

#[test]
fn an_inner_step_that_fails_or_dies_anywhere_loses_nothing() {
    let points = at_every_point(inner_scene, INNER, false);
    for expected in [
        "LVHDRT_finding_a_suitable_pair",
        "LVHDRT_coalescing_VHD_data",
        "LVHDRT_before_create_relink_journal",
        "LVHDRT_relinking_grandchildren",
    ] {
        assert!(points.contains(&expected), "{expected} in {points:?}");
    }
}

#[test]
fn an_inner_step_under_a_consumer_that_fails_or_dies_anywhere_loses_nothing() {
    at_every_point(inner_scene, INNER, true);
}

#[test]
fn a_leaf_step_that_fails_or_dies_anywhere_loses_nothing() {
    let points = at_every_point(leaf_scene, LEAF, false);
    for expected in [
        "LVHDRT_coaleaf_before_coalesce",
        "LVHDRT_coaleaf_after_coalesce",
        "LVHDRT_coaleaf_one_renamed",
        "LVHDRT_coaleaf_both_renamed",
        "LVHDRT_coaleaf_before_remove_j",
        "LVHDRT_coaleaf_before_delete",
        "LVHDRT_coaleaf_after_delete",
    ] {
        assert!(points.contains(&expected), "{expected} in {points:?}");
    }
}

#[test]
fn a_leaf_step_under_a_consumer_that_fails_or_dies_anywhere_loses_nothing() {
    let points = at_every_point(leaf_scene, LEAF, true);
    assert!(points.contains(&"LVHDRT_coaleaf_after_vdirec"));
}
