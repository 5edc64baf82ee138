//! Client tokens: the same request twice is one, also when what it made is gone, and for how long.

use volume_service::ErrorKind;
use volume_service::app::volumes::{CreateVolume, create};
use volume_service::config::Config;
use volume_service::db::{Transaction, client_tokens};
use volume_service::error::{Error, Result, Subject};
use volume_service::model::id::VolumeId;

use crate::support::{flavor, on_each, requester, wanted};

fn with_token(token: &str) -> CreateVolume {
    CreateVolume {
        client_token: Some(token.to_owned()),
        ..wanted("gold", 3)
    }
}

fn remove(tx: &mut Transaction<'_>, id: VolumeId) -> Result<u64> {
    tx.execute(
        "DELETE FROM operations WHERE target = ?1",
        &[id.to_string().into()],
    )?;
    tx.execute("DELETE FROM volumes WHERE id = ?1", &[id.into()])
}

fn assert_is_gone(error: &Error, id: VolumeId) {
    assert_eq!(
        (error.kind, error.subject),
        (ErrorKind::Conflict, Subject::Request)
    );
    let ends = format!(
        "resource '{}' which has already been deleted. Please use a different client token.",
        id.ec2_id()
    );
    assert!(error.public.ends_with(&ends), "{error}");
}

#[test]
fn a_token_outlives_what_it_made() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let made = create(service, &alice, with_token("gone")).await.unwrap();
        let kept = create(service, &alice, with_token("kept")).await.unwrap();
        let away = create(service, &alice, with_token("away")).await.unwrap();
        let (gone, given) = (made.id, away.id);
        let changed = service.database.write(move |tx| {
            let removed = remove(tx, gone)?;
            let sql = "UPDATE volumes SET project_id = 'bob' WHERE id = ?1";
            Ok(removed + tx.execute(sql, &[given.into()])?)
        });
        assert_eq!(changed.await.unwrap(), 2);

        let again = create(service, &alice, with_token("gone")).await;
        assert_is_gone(&again.unwrap_err(), made.id);
        let again = create(service, &alice, with_token("away")).await;
        assert_is_gone(&again.unwrap_err(), away.id);
        let again = create(service, &alice, with_token("kept")).await;
        assert_eq!(again.unwrap().id, kept.id);
        let volumes = service
            .database
            .read(|tx| tx.query_first("SELECT COUNT(*) FROM volumes", &[], |row| row.int(0)));
        assert_eq!(volumes.await.unwrap(), Some(2), "nothing was made");
        // Another action has tokens of its own.
        let other = service.database.write(move |tx| {
            let client = client_tokens::ClientToken {
                action: "CopySnapshot",
                token: "kept".to_owned(),
                digest: "d".to_owned(),
            };
            let before = client_tokens::replay(tx, "alice", &client)?;
            client_tokens::remember(tx, "alice", &client, "s", 1)?;
            Ok((before, client_tokens::replay(tx, "alice", &client)?))
        });
        let made = client_tokens::Replay::Same("s".to_owned());
        assert_eq!(other.await.unwrap(), (client_tokens::Replay::New, made));
    });
}

#[test]
fn a_token_is_forgotten_when_what_it_made_is_gone_and_it_is_old() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let mut made = Vec::new();
        for token in ["1", "2", "3", "4"] {
            made.push(create(service, &alice, with_token(token)).await.unwrap());
        }
        let gone = [made[0].id, made[2].id];
        let removed = service.database.write(move |tx| {
            gone.iter()
                .try_fold(0, |sum, id| Ok(sum + remove(tx, *id)?))
        });
        assert_eq!(removed.await.unwrap(), 2);
        let forget = async |before_us: i64| {
            let forget =
                move |tx: &mut Transaction<'_>| client_tokens::forget_gone(tx, before_us, 1);
            service.database.write(forget).await.unwrap()
        };
        let oldest_us = made.iter().map(|made| made.created_at_us).min().unwrap();
        assert_eq!(forget(oldest_us).await, 0, "none is old");
        let mut forgotten = Vec::new();
        for _ in 0..3 {
            forgotten.push(forget(i64::MAX).await);
        }
        assert_eq!(forgotten, [1, 1, 0], "two are gone");

        let anew = create(service, &alice, with_token("1")).await.unwrap();
        assert_ne!(anew.id, made[0].id);
        let again = create(service, &alice, with_token("2")).await.unwrap();
        assert_eq!(again.id, made[1].id);
    });
}

#[test]
fn a_token_of_a_refused_request_is_free() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let refused = CreateVolume {
            flavor: Some("lead".to_owned()),
            ..with_token("t")
        };
        let refused = create(service, &alice, refused).await.unwrap_err();
        assert_eq!(refused.subject, Subject::Flavor);
        assert!(create(service, &alice, with_token("t")).await.is_ok());
    });
}

/// Versions before the table of tokens know the columns of the volumes' rows only, and run beside this one while it comes.
#[test]
fn older_versions_and_this_one_know_each_others_tokens() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let made = create(service, &alice, with_token("theirs")).await.unwrap();
        let columns = service.database.write(|tx| {
            tx.execute("DELETE FROM client_tokens", &[])?;
            let sql = "SELECT v.client_token || ' ' || v.client_digest FROM volumes v";
            tx.query_first(sql, &[], |row| row.text(0))
        });
        let columns = columns.await.unwrap().expect("a token and its digest");
        assert!(columns.starts_with("theirs ") && columns.len() > "theirs ".len());
        let again = create(service, &alice, with_token("theirs")).await;
        assert_eq!(again.unwrap().id, made.id);
        let other = CreateVolume {
            size_gib: 4,
            ..with_token("theirs")
        };
        let other = create(service, &alice, other).await.unwrap_err();
        assert_eq!(other.kind, ErrorKind::Conflict);
        let bob = requester("bob", "member");
        assert!(create(service, &bob, with_token("theirs")).await.is_ok());
    });
}

#[test]
fn a_token_is_known_when_the_zone_is_gone() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let wanted = CreateVolume {
            zone: Some("nova".to_owned()),
            ..with_token("once")
        };
        let made = create(&bench.service, &alice, wanted.clone()).await;
        let mut without = bench.service.clone();
        let mut config = Config::clone(&without.config);
        config.zones.clear();
        without.config = std::sync::Arc::new(config);
        let again = create(&without, &alice, wanted.clone()).await;
        assert_eq!(again.unwrap().id, made.unwrap().id);
        let anew = CreateVolume {
            client_token: None,
            ..wanted
        };
        let refused = create(&without, &alice, anew).await.unwrap_err();
        assert_eq!(refused.subject, Subject::Zone);
    });
}
