//! Flavors and backends: the rules of `nova-manage sm`.

use volume_service::app::backends::{
    AddBackend, add, get, list, remove, set_position, set_use, sr_types,
};
use volume_service::app::{flavors, volumes};
use volume_service::db::{self, operations};
use volume_service::error::Subject;
use volume_service::model::backend::{BackendState, BackendUse};
use volume_service::model::operation::OperationKind;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, flavor, on_each, requester, wanted};

fn backend(flavor: &str, sr_type: &str, pairs: &[(&str, &str)]) -> AddBackend {
    AddBackend {
        flavor: flavor.to_owned(),
        sr_type: sr_type.to_owned(),
        parameters: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        zone: None,
        position: None,
        capabilities: Vec::new(),
    }
}

const NFS: [(&str, &str); 2] = [
    ("server", "myserver"),
    ("serverpath", "/local/scratch/my name=x"),
];

pub async fn add_nfs(bench: &Bench, flavor: &str) -> volume_service::model::backend::Backend {
    add(
        &bench.service,
        &RequestContext::operator(),
        backend(flavor, "NFS", &NFS),
    )
    .await
    .unwrap()
}

#[test]
fn what_an_operator_says_of_a_backend_is_kept_for_extra_specs() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let operator = RequestContext::operator();
        let asked = |pairs: &[(&str, &str)]| AddBackend {
            capabilities: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..backend("gold", "nfs", &NFS)
        };
        for (pairs, why) in [
            (&[("sr_type", "fast")][..], "says of itself"),
            (&[("a:b", "c")], "a colon or a blank"),
            (&[("a b", "c")], "a colon or a blank"),
            (&[("a", "c"), ("a", "d")], "twice"),
            (&[("", "c")], "name"),
            (&[("a", "\0")], "capability"),
        ] {
            let refused = add(&bench.service, &operator, asked(pairs)).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Invalid, "{pairs:?}");
            assert!(refused.public.contains(why), "{}", refused.public);
        }
        assert!(
            list(&bench.service, &operator, None)
                .await
                .unwrap()
                .is_empty()
        );
        let said = [("tier", "fast"), ("note", "two words: \"x\"")];
        let made = add(&bench.service, &operator, asked(&said)).await.unwrap();
        assert_eq!(made.capabilities, crate::support::map(&said));
        add_nfs(&bench, "gold").await;
        let all = list(&bench.service, &operator, None).await.unwrap();
        let kept: Vec<usize> = all.iter().map(|one| one.capabilities.len()).collect();
        assert_eq!(kept, [2, 0]);
        remove(&bench.service, &operator, made.id).await.unwrap();
        let left = list(&bench.service, &operator, None).await.unwrap();
        assert_eq!(left.len(), 1);
    });
}

#[test]
fn a_backend_is_stored_and_waits_to_be_connected() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let operator = RequestContext::operator();
        let mut parameters = NFS.to_vec();
        parameters.extend([
            ("name_label", "toybox-renuka"),
            ("Password", "pass word=1"),
            ("chappassword_secret", "uuid"),
        ]);
        let made = add(
            &bench.service,
            &operator,
            backend("gold", "nfs", &parameters),
        )
        .await
        .unwrap();
        assert_eq!(
            (made.id.0, made.position, made.sr_type.as_str()),
            (1, 1, "nfs")
        );
        assert_eq!(
            (made.name_label.as_str(), made.zone.as_str()),
            ("toybox-renuka", "nova")
        );
        assert_eq!(
            (made.state, made.usage),
            (BackendState::New, BackendUse::Enabled)
        );
        assert_eq!(
            made.config.keys().collect::<Vec<_>>(),
            ["server", "serverpath"]
        );
        assert_eq!(made.config["serverpath"], "/local/scratch/my name=x");
        assert_eq!(made.secrets["Password"].expose(), "pass word=1");
        assert_eq!(made.secrets.len(), 2);
        assert!(!format!("{made:?}").contains("pass word"), "never shown");
        let stored = bench
            .service
            .database
            .read(|tx| tx.query("SELECT secrets FROM backends", &[], |row| row.bytes(0)))
            .await
            .unwrap();
        assert!(
            !stored[0].windows(4).any(|part| part == b"pass"),
            "never stored in clear"
        );

        let second = add_nfs(&bench, "gold").await;
        assert_eq!(
            (second.id.0, second.position, second.name_label.as_str()),
            (2, 2, "SR-2")
        );
        let waiting = bench
            .service
            .database
            .read(|tx| operations::unfinished(tx, "nova", 10))
            .await
            .unwrap();
        let targets: Vec<_> = waiting
            .iter()
            .map(|op| (op.kind, op.target.as_str()))
            .collect();
        assert_eq!(
            targets,
            [
                (OperationKind::ConnectBackend, "1"),
                (OperationKind::ConnectBackend, "2")
            ]
        );
    });
}

#[test]
fn wrong_backends_are_refused_with_what_is_expected() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let operator = RequestContext::operator();
        let service = &bench.service;
        let refusal = async |wanted: AddBackend| add(service, &operator, wanted).await.unwrap_err();

        let error = refusal(backend("gold", "zfs", &[])).await;
        assert_eq!(error.kind, ErrorKind::Invalid);
        for facts in sr_types() {
            assert!(error.public.contains(facts.sr_type), "{error}");
        }
        let error = refusal(backend("gold", "nfs", &[("server", "x")])).await;
        assert!(error.public.contains("missing: serverpath"), "{error}");
        let error = refusal(backend("lead", "nfs", &NFS)).await;
        assert_eq!(
            (error.kind, error.subject),
            (ErrorKind::NotFound, Subject::Flavor)
        );
        let mut elsewhere = backend("gold", "nfs", &NFS);
        elsewhere.zone = Some("west".to_owned());
        assert_eq!(refusal(elsewhere).await.subject, Subject::Zone);
        let long = "x".repeat(5000);
        let wrong: [&[(&str, &str)]; 5] = [
            &[("server", "a"), ("serverpath", "b"), ("server", "c")],
            &[("server", "a"), ("serverpath", "b"), ("", "c")],
            &[("server", "a"), ("serverpath", "b"), ("sr_uuid", "not one")],
            &[("server", "a"), ("serverpath", &long)],
            &[("server", "a"), ("serverpath", "b\0")],
        ];
        for parameters in wrong {
            let error = refusal(backend("gold", "nfs", parameters)).await;
            assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        }
        assert!(list(service, &operator, None).await.unwrap().is_empty());
    });
}

#[test]
fn every_type_takes_its_required_keys() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let operator = RequestContext::operator();
        for facts in sr_types() {
            let mut pairs: Vec<(&str, &str)> =
                facts.required.iter().map(|key| (*key, "v")).collect();
            pairs.push(("other", "a driver may take more"));
            let made = add(
                &bench.service,
                &operator,
                backend("gold", facts.sr_type, &pairs),
            )
            .await
            .unwrap();
            assert_eq!(made.config.len() + made.secrets.len(), pairs.len());
            let expected = facts.required.contains(&"password");
            assert_eq!(made.secrets.contains_key("password"), expected, "{facts:?}");
        }
        let alias = backend(
            "gold",
            "lvhdoiscsi",
            &[("target", "t"), ("targetIQN", "i"), ("LUNid", "0")],
        );
        assert_eq!(
            add(&bench.service, &operator, alias).await.unwrap().sr_type,
            "lvmoiscsi"
        );
        let known = [("target", "t"), ("username", "u"), ("password_secret", "s")];
        let error = add(&bench.service, &operator, backend("gold", "netapp", &known))
            .await
            .unwrap_err();
        assert!(error.public.contains("missing: aggregate"));
        let mut existing = known.to_vec();
        existing.push(("sr_uuid", "6b1cb3ae-6ba4-4a0f-8ae1-4eba3ba1a66b"));
        add(
            &bench.service,
            &operator,
            backend("gold", "netapp", &existing),
        )
        .await
        .unwrap();
        let error = add(
            &bench.service,
            &operator,
            backend("gold", "netapp", &existing),
        )
        .await
        .unwrap_err();
        assert_eq!(
            (error.kind, error.subject),
            (ErrorKind::Conflict, Subject::Backend)
        );
    });
}

#[test]
fn the_order_of_a_flavor_is_kept_and_changed() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        flavor(&bench, "bronze").await;
        let operator = RequestContext::operator();
        let (first, second) = (add_nfs(&bench, "gold").await, add_nfs(&bench, "gold").await);
        let other = add_nfs(&bench, "bronze").await;
        let ids = async |flavor| -> Vec<i64> {
            let found = list(&bench.service, &operator, flavor).await.unwrap();
            found.into_iter().map(|backend| backend.id.0).collect()
        };
        assert_eq!(ids(None).await, [other.id.0, first.id.0, second.id.0]);
        assert_eq!(ids(Some("gold")).await, [first.id.0, second.id.0]);
        set_position(&bench.service, &operator, second.id, -5)
            .await
            .unwrap();
        assert_eq!(ids(Some("gold")).await, [second.id.0, first.id.0]);
        let off = set_use(&bench.service, &operator, first.id, BackendUse::Disabled)
            .await
            .unwrap();
        assert_eq!(off.usage, BackendUse::Disabled);
        let missing = volume_service::model::id::BackendId(99);
        assert_eq!(
            get(&bench.service, &operator, missing)
                .await
                .unwrap_err()
                .kind,
            ErrorKind::NotFound
        );
        assert_eq!(
            set_use(&bench.service, &operator, missing, BackendUse::Disabled)
                .await
                .unwrap_err()
                .kind,
            ErrorKind::NotFound
        );
    });
}

#[test]
fn what_is_in_use_refuses_to_go() {
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        let operator = RequestContext::operator();
        let made = add_nfs(&bench, "gold").await;
        let volume = volumes::create(
            &bench.service,
            &requester("alice", "member"),
            wanted("gold", 1),
        )
        .await
        .unwrap();
        let sr_uuid = uuid::Uuid::new_v4();
        let id = made.id;
        bench
            .service
            .database
            .write(move |tx| {
                assert!(db::backends::set_sr(tx, id, sr_uuid)?);
                assert!(
                    !db::backends::set_sr(tx, id, uuid::Uuid::new_v4())?,
                    "an SR is for life"
                );
                db::volumes::set_backend(tx, volume.id, Some(id))
            })
            .await
            .unwrap();
        let error = remove(&bench.service, &operator, id).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.public.contains("1 volume;"), "{error}");
        let error = flavors::delete(&bench.service, &operator, "gold")
            .await
            .unwrap_err();
        assert!(error.public.contains("1 backend and 1 volume;"), "{error}");
        // The database itself refuses what a race would slip past the count.
        let direct = bench
            .service
            .database
            .write(move |tx| db::flavors::remove(tx, gold.id))
            .await;
        assert_eq!(direct.unwrap_err().kind, ErrorKind::Conflict);
        let direct = bench
            .service
            .database
            .write(move |tx| db::backends::remove(tx, id, 1))
            .await;
        assert_eq!(direct.unwrap_err().kind, ErrorKind::Conflict);

        bench
            .service
            .database
            .write(move |tx| db::volumes::remove(tx, volume.id))
            .await
            .unwrap();
        remove(&bench.service, &operator, id).await.unwrap();
        assert_eq!(
            remove(&bench.service, &operator, id)
                .await
                .unwrap_err()
                .kind,
            ErrorKind::NotFound
        );
        let retired = bench
            .service
            .database
            .read(|tx| db::backends::retired(tx, "nova"))
            .await
            .unwrap();
        assert_eq!(retired, [sr_uuid], "to be forgotten in the pool");
        flavors::delete(&bench.service, &operator, "gold")
            .await
            .unwrap();

        flavor(&bench, "gold").await;
        let mut parameters = NFS.to_vec();
        let text = sr_uuid.to_string();
        parameters.push(("sr_uuid", &text));
        let again = add(
            &bench.service,
            &operator,
            backend("gold", "nfs", &parameters),
        )
        .await
        .unwrap();
        assert_eq!(again.id.0, 2, "a number is never used twice");
        let retired = bench
            .service
            .database
            .read(|tx| db::backends::retired(tx, "nova"))
            .await
            .unwrap();
        assert!(retired.is_empty(), "it is wanted again");
    });
}

#[test]
fn flavors_have_unique_labels() {
    on_each(|bench| async move {
        let operator = RequestContext::operator();
        let gold = flavor(&bench, "gold").await;
        let error = flavors::create(&bench.service, &operator, "gold", "")
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.subject),
            (ErrorKind::Conflict, Subject::Flavor)
        );
        for label in ["", "  ", "a\nb", &"x".repeat(256)] {
            let error = flavors::create(&bench.service, &operator, label, "")
                .await
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
        }
        flavor(&bench, "bronze").await;
        let reader = requester("alice", "reader");
        let labels: Vec<String> = flavors::list(&bench.service, &reader)
            .await
            .unwrap()
            .into_iter()
            .map(|f| f.label)
            .collect();
        assert_eq!(labels, ["bronze", "gold"]);
        let by_id = flavors::get(&bench.service, &reader, &gold.id.to_string())
            .await
            .unwrap();
        assert_eq!(by_id, gold);
        assert!(
            flavors::default(&bench.service, &reader)
                .await
                .unwrap()
                .is_none()
        );
        let error = flavors::delete(&bench.service, &operator, "lead")
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    });
}
