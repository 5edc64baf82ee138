//! Zones, services, usage and messages.

use volume_service::RequestContext;
use volume_service::app::messages::{self, Message, MessageQuery, MessageSortKey};
use volume_service::app::volumes::{self, SortDirection};
use volume_service::app::{overview, quotas, services};
use volume_service::db::{self, services::Heartbeat};
use volume_service::{Context, ErrorKind};

use crate::support::{Bench, available, flavor, on_each, requester, wanted};

async fn beat(bench: &Bench, binary: &str, zone: &str, updated_at_us: i64) {
    let heartbeat = Heartbeat {
        binary: binary.to_owned(),
        machine: "m1".to_owned(),
        zone: zone.to_owned(),
        updated_at_us,
    };
    bench
        .service
        .database
        .write(move |tx| db::services::beat(tx, &heartbeat))
        .await
        .unwrap();
}

#[test]
fn a_zone_is_available_while_a_worker_beats() {
    on_each(|bench| async move {
        let now_us = bench.service.context.now_us();
        beat(&bench, overview::WORKER, "nova", now_us - 61_000_000).await;
        beat(&bench, overview::WORKER, "east", now_us - 90_000_000_000).await;
        beat(&bench, "xensm-api", "east", now_us).await;
        let operator = RequestContext::operator();
        let zones = overview::zones(&bench.service, &operator).await.unwrap();
        assert!(zones.iter().all(|zone| !zone.available), "{zones:?}");
        beat(&bench, overview::WORKER, "nova", now_us).await;
        let zones = overview::zones(&bench.service, &operator).await.unwrap();
        let seen: Vec<_> = zones
            .iter()
            .map(|zone| (zone.name.as_str(), zone.available))
            .collect();
        assert_eq!(seen, [("nova", true), ("east", false)]);
        let services = services::list(&bench.service, &operator).await.unwrap();
        let seen: Vec<_> = services
            .iter()
            .map(|s| (s.binary.as_str(), s.host.as_str(), s.is_up))
            .collect();
        assert_eq!(
            seen,
            [
                ("cinder-scheduler", "m1", true),
                ("cinder-volume", "xensm@nova", true)
            ],
            "long silent ones are left out"
        );
    });
}

#[test]
fn messages_come_newest_first_and_expire() {
    on_each(|bench| async move {
        let alice = requester("alice", "member");
        let now_us = bench.service.context.now_us();
        for number in 0..5 {
            let message = Message {
                id: uuid::Uuid::new_v4(),
                project_id: "alice".to_owned(),
                request_id: String::new(),
                resource_type: "VOLUME".to_owned(),
                resource_id: format!("v{}", number % 2),
                action_id: "001".to_owned(),
                detail_id: "002".to_owned(),
                text: number.to_string(),
                created_at_us: now_us + number,
                expires_at_us: if number == 4 {
                    now_us
                } else {
                    now_us + 60_000_000
                },
            };
            bench
                .service
                .database
                .write(move |tx| db::messages::insert(tx, &message))
                .await
                .unwrap();
        }
        let texts =
            |page: &[Message]| -> Vec<String> { page.iter().map(|m| m.text.clone()).collect() };
        let list = async |query: MessageQuery| messages::list(&bench.service, &alice, query).await;
        let first = MessageQuery {
            limit: Some(3),
            ..MessageQuery::default()
        };
        let page = list(first.clone()).await.unwrap();
        assert_eq!(
            (texts(&page.items), page.has_more),
            (vec!["3".into(), "2".into(), "1".into()], true)
        );
        let marker = Some(page.items[2].id);
        let page = list(MessageQuery {
            marker,
            ..first.clone()
        })
        .await
        .unwrap();
        assert_eq!(
            (texts(&page.items), page.has_more),
            (vec!["0".into()], false)
        );
        let marker = Some(uuid::Uuid::nil());
        let unknown = MessageQuery { marker, ..first };
        let error = list(unknown).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        let of = |resource: &str, event: &str| MessageQuery {
            resource_id: Some(resource.to_owned()),
            event: Some(event.to_owned()),
            sort: vec![(MessageSortKey::Event, SortDirection::Ascending)],
            ..MessageQuery::default()
        };
        let none = list(of("v1", "VOLUME_VOLUME_001_003")).await.unwrap();
        assert_eq!(none.items, []);
        let page = list(of("v1", "VOLUME_VOLUME_001_002")).await.unwrap();
        assert_eq!(page.items.len(), 2);
        let oldest = vec![(MessageSortKey::CreatedAt, SortDirection::Ascending)];
        let sorted = MessageQuery {
            sort: oldest,
            resource_id: Some("v1".to_owned()),
            ..MessageQuery::default()
        };
        let page = list(sorted).await.unwrap();
        assert_eq!(texts(&page.items), ["1", "3"]);
        messages::delete(&bench.service, &alice, page.items[0].id)
            .await
            .unwrap();
        let error = messages::delete(&bench.service, &alice, page.items[0].id)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        let gone = bench
            .service
            .database
            .write(move |tx| db::messages::remove_expired(tx, now_us, 10))
            .await;
        assert_eq!(gone.unwrap(), 1);
    });
}

#[test]
fn another_master_key_is_refused() {
    on_each(|bench| async move {
        let mut config = crate::support::config(&bench.url, Default::default());
        volume_service::app::Service::open(Context::real(), config.clone())
            .await
            .unwrap();
        config.master_key = volume_service::config::MasterKey(zeroize::Zeroizing::new([8; 32]));
        let error = volume_service::app::Service::open(Context::real(), config)
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.public.contains("master key"), "{error}");
    });
}

#[test]
fn refusals_are_told_once_a_minute() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let (s, admin) = (&bench.service, RequestContext::operator());
        let volume = available(&bench, &alice, "gold").await;
        let full = [("volumes".to_owned(), 1), ("gigabytes".to_owned(), 1)].into();
        quotas::update(s, &admin, "alice", full).await.unwrap();
        for _ in 0..3 {
            volumes::create(s, &alice, wanted("gold", 1))
                .await
                .unwrap_err();
            let in_use = volume_service::app::snapshots::InUse::Refuse;
            volumes::extend(s, &alice, volume, 2, in_use)
                .await
                .unwrap_err();
        }
        // The request's own fault.
        volumes::create(s, &alice, wanted("lead", 1))
            .await
            .unwrap_err();
        let told = async || {
            let page = messages::list(s, &alice, MessageQuery::default())
                .await
                .unwrap();
            let mut told: Vec<_> = page.items.iter().map(Message::event).collect();
            told.sort();
            told
        };
        assert_eq!(
            told().await,
            ["VOLUME_VOLUME_001_006", "VOLUME_VOLUME_007_006"]
        );
        bench
            .world
            .now_us
            .fetch_add(61_000_000, std::sync::atomic::Ordering::Relaxed);
        volumes::create(s, &alice, wanted("gold", 1))
            .await
            .unwrap_err();
        assert_eq!(told().await.len(), 3);
    });
}
