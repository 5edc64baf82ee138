//! Client tokens: the same request twice is one, also when what it made is gone, and for how long.

use volume_service::ErrorKind;
use volume_service::app::volumes::{CreateVolume, create};
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
            client_tokens::replay(tx, "alice", &client, "s", 1)
        });
        assert_eq!(other.await.unwrap(), client_tokens::Replay::New);
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
        let forget = async |before_us: i64, after: Option<client_tokens::Seen>| {
            let forgotten = service
                .database
                .write(move |tx| client_tokens::forget_gone(tx, before_us, after.as_ref(), 3));
            forgotten.await.unwrap()
        };
        let oldest_us = made.iter().map(|made| made.created_at_us).min().unwrap();
        assert_eq!(forget(oldest_us, None).await, (0, None), "none is old");
        let (first, last) = forget(i64::MAX, None).await;
        let (second, end) = forget(i64::MAX, last).await;
        assert_eq!((first + second, end), (2, None));

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
