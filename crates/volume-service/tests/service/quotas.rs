//! Quotas of projects, flavors and classes, and that what is counted is what is there.

use std::collections::BTreeMap;

use volume_service::app::snapshots::{CreateSnapshot, InUse};
use volume_service::app::{quotas, snapshots, volumes};
use volume_service::config::Limits;
use volume_service::db::{self, Transaction};
use volume_service::error::Result;
use volume_service::model::id::VolumeId;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, available, flavor, on_each, on_each_with, requester, wanted};
use crate::volumes::assert_usage_is_true;

fn limits(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs
        .iter()
        .map(|(name, limit)| ((*name).to_owned(), *limit))
        .collect()
}

async fn set(bench: &Bench, project: &str, pairs: &[(&str, i64)]) {
    let admin = RequestContext::operator();
    quotas::update(&bench.service, &admin, project, limits(pairs))
        .await
        .unwrap();
}

async fn quota(bench: &Bench, project: &str, name: &str) -> (u64, i64) {
    let found = quotas::show(&bench.service, &RequestContext::operator(), project)
        .await
        .unwrap();
    let quota = found.into_iter().find(|quota| quota.name == name).unwrap();
    (quota.in_use, quota.limit)
}

fn snapshot_of(volume_id: VolumeId) -> CreateSnapshot {
    CreateSnapshot {
        volume_id,
        name: String::new(),
        description: String::new(),
        metadata: BTreeMap::new(),
        in_use: InUse::Refuse,
    }
}

#[test]
fn each_limit_refuses_in_its_words_and_changes_nothing() {
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        flavor(&bench, "silver").await;
        let alice = requester("alice", "member");
        let s = &bench.service;
        let volume = available(&bench, &alice, "gold").await;
        let refusal = async |flavor: &str, size_gib| {
            let refused = volumes::create(s, &alice, wanted(flavor, size_gib)).await;
            let error = refused.unwrap_err();
            assert_eq!(error.kind, ErrorKind::QuotaExceeded);
            assert_usage_is_true(&bench, "alice").await;
            assert_eq!(quota(&bench, "alice", "volumes").await.0, 1);
            error.public
        };
        set(&bench, "alice", &[("volumes", 1)]).await;
        assert_eq!(
            refusal("gold", 1).await,
            "VolumeLimitExceeded: Maximum number of volumes allowed (1) exceeded for quota 'volumes'."
        );
        set(&bench, "alice", &[("volumes", -1), ("volumes_gold", 1)]).await;
        assert_eq!(
            refusal("gold", 1).await,
            "VolumeLimitExceeded: Maximum number of volumes allowed (1) exceeded for quota 'volumes_gold'."
        );
        set(&bench, "alice", &[("gigabytes", 4)]).await;
        assert_eq!(
            refusal("silver", 9).await,
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested 9G, \
             quota is 4G and 1G has been consumed."
        );
        set(
            &bench,
            "alice",
            &[("gigabytes", -1), ("gigabytes_silver", 3)],
        )
        .await;
        assert!(
            refusal("silver", 4)
                .await
                .contains("gigabytes_silver quota")
        );
        set(&bench, "alice", &[("per_volume_gigabytes", 2)]).await;
        assert_eq!(
            refusal("silver", 3).await,
            "VolumeSizeExceedsLimit: Requested volume size 3G is larger than maximum allowed limit 2G."
        );
        let refused = volumes::extend(s, &alice, volume, 3, InUse::Refuse).await;
        assert!(
            refused
                .unwrap_err()
                .public
                .contains("VolumeSizeExceedsLimit")
        );
        set(&bench, "alice", &[("snapshots_gold", 0)]).await;
        let refused = snapshots::create(s, &alice, snapshot_of(volume)).await;
        assert_eq!(
            refused.unwrap_err().public,
            "SnapshotLimitExceeded: Maximum number of snapshots allowed (0) exceeded."
        );
        volumes::create(s, &alice, wanted("silver", 2))
            .await
            .unwrap();
        assert_eq!(quota(&bench, "alice", "gigabytes_silver").await, (2, 3));
        assert_eq!(quota(&bench, "alice", "volumes_gold").await, (1, 1));
        let kept = s
            .database
            .read(move |tx| db::quotas::standing(tx, "alice", gold.id));
        let kept = kept.await.unwrap();
        assert_eq!((kept.project.gigabytes, kept.flavor.gigabytes), (3, 1));
        // Bob is under the defaults.
        let bob = requester("bob", "member");
        volumes::create(s, &bob, wanted("silver", 9)).await.unwrap();
    });
}

#[test]
fn what_is_set_comes_before_the_class_and_that_before_the_configuration() {
    let configured = Limits {
        volumes_per_project: 7,
        ..Limits::default()
    };
    on_each_with(configured, |bench| async move {
        flavor(&bench, "gold").await;
        let (s, admin) = (&bench.service, RequestContext::operator());
        assert_eq!(quota(&bench, "alice", "volumes").await, (0, 7));
        assert_eq!(quota(&bench, "alice", "volumes_gold").await, (0, -1));
        let class = limits(&[("volumes", 5), ("volumes_gold", 3)]);
        quotas::update_class(s, &admin, "default", class)
            .await
            .unwrap();
        assert_eq!(quota(&bench, "alice", "volumes").await, (0, 5));
        set(&bench, "alice", &[("volumes", 9)]).await;
        assert_eq!(quota(&bench, "alice", "volumes").await, (0, 9));
        assert_eq!(quota(&bench, "bob", "volumes").await, (0, 5));
        let defaults = quotas::defaults(s, &admin, "alice").await.unwrap();
        assert_eq!(
            (defaults[0].name.as_str(), defaults[0].limit),
            ("volumes", 5)
        );
        quotas::delete(s, &admin, "alice").await.unwrap();
        assert_eq!(quota(&bench, "alice", "volumes").await, (0, 5));
        let other = limits(&[("snapshots", 2)]);
        quotas::update_class(s, &admin, "rich", other)
            .await
            .unwrap();
        let rich = quotas::of_class(s, &admin, "rich").await.unwrap();
        let shown: Vec<i64> = rich.iter().take(2).map(|quota| quota.limit).collect();
        assert_eq!(
            shown,
            [5, 2],
            "what the class does not set is the default's"
        );
        let alice = requester("alice", "member");
        for _ in 0..3 {
            volumes::create(s, &alice, wanted("gold", 1)).await.unwrap();
        }
        let refused = volumes::create(s, &alice, wanted("gold", 1)).await;
        assert!(refused.unwrap_err().public.contains("'volumes_gold'"));
    });
}

#[test]
fn who_may_see_and_set_quotas() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (reader, member) = (requester("alice", "reader"), requester("alice", "member"));
        let (s, admin) = (&bench.service, RequestContext::operator());
        quotas::show(s, &reader, "alice").await.unwrap();
        quotas::defaults(s, &reader, "alice").await.unwrap();
        let some = || limits(&[("volumes", 1)]);
        for (what, refused) in [
            ("show", quotas::show(s, &member, "bob").await.err()),
            ("defaults", quotas::defaults(s, &member, "bob").await.err()),
            (
                "update",
                quotas::update(s, &member, "alice", some()).await.err(),
            ),
            ("delete", quotas::delete(s, &member, "alice").await.err()),
            ("class", quotas::of_class(s, &member, "default").await.err()),
            (
                "set class",
                quotas::update_class(s, &member, "default", some())
                    .await
                    .err(),
            ),
        ] {
            assert_eq!(refused.unwrap().kind, ErrorKind::Forbidden, "{what}");
        }
        available(&bench, &member, "gold").await;
        for (pairs, word) in [
            (
                vec![("volumes", 5), ("colours", 1)],
                "Bad key(s) in quota set: colours",
            ),
            (vec![("volumes_lead", 1)], "volumes_lead"),
            (vec![("groups_gold", 1)], "groups_gold"),
            (vec![("volumes", 5), ("gigabytes", -2)], "-1 to"),
            (vec![("volumes", 1 << 40)], "-1 to"),
            (
                vec![("snapshots", 5), ("volumes", 0)],
                "Current usage is 1 and the requested limit is 0",
            ),
            (vec![("volumes_gold", 0)], "volumes_gold"),
        ] {
            let refused = quotas::update(s, &admin, "alice", limits(&pairs))
                .await
                .unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Invalid, "{pairs:?}");
            assert!(refused.public.contains(word), "{pairs:?}: {refused}");
            assert_eq!(
                quota(&bench, "alice", "volumes").await.1,
                10_000,
                "{pairs:?}"
            );
        }
    });
}

#[test]
fn no_two_flavors_together_exceed_the_projects_limit() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        flavor(&bench, "silver").await;
        set(&bench, "alice", &[("volumes", 5)]).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let service = bench.service.clone();
            tasks.spawn(async move {
                let flavor = ["gold", "silver"][number % 2];
                let alice = requester("alice", "member");
                volumes::create(&service, &alice, wanted(flavor, 1))
                    .await
                    .is_ok()
            });
        }
        let made = tasks
            .join_all()
            .await
            .into_iter()
            .filter(|made| *made)
            .count();
        assert_eq!(made, 5);
        assert_usage_is_true(&bench, "alice").await;
    });
}

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

const PROJECTS: [&str; 3] = ["alice", "bob", "carol"];

/// One random change of the tables that are counted.
fn change(
    tx: &mut Transaction<'_>,
    dice: &mut Dice,
    flavors: &[String],
    number: usize,
) -> Result<()> {
    let volume = dice.throw(number + 1).to_string();
    let (project, flavor) = (
        PROJECTS[dice.throw(3)],
        flavors[dice.throw(flavors.len())].as_str(),
    );
    let size = dice.throw(9) as i64 + 1;
    let fresh = number.to_string();
    match dice.throw(9) {
        0..=2 => tx.execute(
            "INSERT INTO volumes (id, ec2_id, project_id, user_id, name, description, size_gib, status, flavor_id, zone, bootable, \
             failure, created_at_us, updated_at_us) VALUES (?1, ?1, ?2, '', '', '', ?3, 'available', ?4, 'nova', 0, '', 1, 0) \
             ON CONFLICT DO NOTHING",
            &[fresh.into(), project.into(), size.into(), flavor.into()],
        ),
        3 | 4 => tx.execute(
            "INSERT INTO snapshots (id, ec2_id, project_id, user_id, volume_id, name, description, size_gib, status, zone, failure, \
             created_at_us, updated_at_us) SELECT ?1, ?1, project_id, '', id, '', '', size_gib, 'available', 'nova', '', 1, 0 \
             FROM volumes WHERE id = ?2 ON CONFLICT DO NOTHING",
            &[fresh.into(), volume.into()],
        ),
        5 => tx.execute(
            "INSERT INTO volume_extensions (volume_id, project_id, added_gib) SELECT id, project_id, ?2 FROM volumes WHERE id = ?1 \
             ON CONFLICT DO NOTHING",
            &[volume.into(), size.into()],
        ),
        6 => tx.execute(
            "UPDATE volumes SET flavor_id = ?2, size_gib = ?3 WHERE id = ?1",
            &[volume.into(), flavor.into(), size.into()],
        ),
        // A transfer, with and without the snapshots; nothing is transferred while it is being extended.
        7 => {
            tx.execute("DELETE FROM volume_extensions WHERE volume_id = ?1", &[volume.as_str().into()])?;
            tx.execute(
                "UPDATE volumes SET project_id = ?2 WHERE id = ?1",
                &[volume.as_str().into(), project.into()],
            )?;
            let sql = match dice.throw(2) {
                0 => "UPDATE snapshots SET project_id = ?2 WHERE volume_id = ?1",
                _ => "DELETE FROM snapshots WHERE volume_id = ?1 AND project_id <> ?2",
            };
            tx.execute(sql, &[volume.into(), project.into()])
        }
        _ => {
            tx.execute(
                "INSERT INTO snapshot_origins (snapshot_id, flavor_id, bootable) SELECT s.id, v.flavor_id, 0 \
                 FROM snapshots s JOIN volumes v ON v.id = s.volume_id WHERE v.id = ?1 ON CONFLICT DO NOTHING",
                &[volume.as_str().into()],
            )?;
            tx.execute("DELETE FROM volumes WHERE id = ?1", &[volume.as_str().into()])?;
            // Those that outlived a volume go too, one day.
            tx.execute("DELETE FROM snapshots WHERE id = ?1", &[volume.into()])
        }
    }
    .map(drop)
}

#[test]
fn whatever_happens_what_is_counted_is_what_is_there() {
    on_each(|bench| async move {
        let mut flavors = Vec::new();
        for label in ["gold", "silver", "lead"] {
            flavors.push(flavor(&bench, label).await.id.to_string());
        }
        for round in 0..6 {
            let flavors = flavors.clone();
            let changed = bench.service.database.write(move |tx| {
                let mut dice = Dice(0x9e37_79b9_7f4a_7c15 + round as u64);
                for number in round * 60..(round + 1) * 60 {
                    change(tx, &mut dice, &flavors, number)?;
                }
                Ok(())
            });
            changed.await.unwrap();
            for project in PROJECTS {
                assert_usage_is_true(&bench, project).await;
            }
        }
        let read = bench
            .service
            .database
            .read(|tx| db::quotas::usage(tx, "alice"));
        let used = read.await.unwrap();
        assert!(used.volumes > 0 && used.snapshots > 0, "{used:?}");
    });
}

#[test]
fn a_wrong_count_is_found_and_made_right() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        available(&bench, &alice, "gold").await;
        let database = &bench.service.database;
        let spoilt = database.write(|tx| {
            tx.execute("UPDATE type_usage SET volumes = 40, snapshots = 2", &[])?;
            tx.execute(
                "INSERT INTO type_usage VALUES ('bob', 'gone', 1, 1, 1)",
                &[],
            )
        });
        spoilt.await.unwrap();
        let next =
            |behind: &'static str| database.read(move |tx| db::quotas::project_behind(tx, behind));
        assert_eq!(next("").await.unwrap().as_deref(), Some("alice"));
        assert_eq!(next("alice").await.unwrap().as_deref(), Some("bob"));
        assert_eq!(next("bob").await.unwrap(), None);
        for project in PROJECTS {
            let recounted = database.write(move |tx| db::quotas::recount(tx, project));
            recounted.await.unwrap();
            assert_usage_is_true(&bench, project).await;
        }
        assert_eq!(quota(&bench, "alice", "volumes_gold").await.0, 1);
    });
}
