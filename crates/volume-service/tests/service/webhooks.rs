//! Webhooks: what they are told, how often, and where they may be.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use volume_service::app::attachments::{self, CreateAttachment};
use volume_service::app::transfers::{self, CreateTransfer, Encrypted, Snapshots};
use volume_service::app::webhooks::{self, NewWebhook};
use volume_service::db::webhooks as events;
use volume_service::model::attachment::{AttachMode, AttachmentStatus};
use volume_service::notify::{Notifier, SIGNATURE_HEADER, signature};
use volume_service::{ErrorKind, RequestContext};

use crate::support::{available, flavor, on_each, requester};

/// What a receiver was sent, and what it answers next (200 when nothing is left).
#[derive(Clone, Default)]
struct Receiver {
    taken: Arc<Mutex<Vec<(String, String, String)>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| {
        let value = headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    let body = String::from_utf8(body.to_vec()).unwrap();
    let line = (header("content-type"), header(SIGNATURE_HEADER), body);
    receiver.taken.lock().unwrap().push(line);
    let answer = receiver.answers.lock().unwrap().pop_front().unwrap_or(200);
    StatusCode::from_u16(answer).unwrap()
}

impl Receiver {
    /// Serves on loopback while the set lives; returns the URL.
    async fn serve(&self, tasks: &mut tokio::task::JoinSet<()>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/hook", post(take))
            .with_state(self.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn kinds(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let kind = |body: &str| {
            let event: Value = serde_json::from_str(body).unwrap();
            event["type"].as_str().unwrap().to_owned()
        };
        taken.iter().map(|(_, _, body)| kind(body)).collect()
    }
}

fn wanted(url: &str, kinds: &str, allows_local: bool) -> NewWebhook {
    NewWebhook {
        url: url.to_owned(),
        project_id: None,
        kinds: kinds.to_owned(),
        allows_local,
    }
}

async fn tell_all(notifier: &Notifier) {
    while notifier.turn().await.unwrap() {}
}

#[test]
fn a_webhook_is_told_of_everything_once_it_takes_it() {
    on_each(|bench| async move {
        let operator = RequestContext::operator();
        let mut tasks = tokio::task::JoinSet::new();
        let receiver = Receiver::default();
        let url = receiver.serve(&mut tasks).await;
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        available(&bench, &alice, "gold").await;
        let (hook, secret) =
            webhooks::add(&bench.service, &operator, wanted(&url, "volume.", true))
                .await
                .unwrap();
        let only_bobs = NewWebhook {
            project_id: Some("bob".to_owned()),
            ..wanted(&url, "", true)
        };
        webhooks::add(&bench.service, &operator, only_bobs)
            .await
            .unwrap();
        let notifier = Notifier::new(bench.service.clone());
        assert!(
            !notifier.turn().await.unwrap(),
            "what was before is not told"
        );

        // Refused at first: tried again, later, and in order.
        receiver.answers.lock().unwrap().extend([500, 503]);
        let volume = available(&bench, &alice, "gold").await;
        tell_all(&notifier).await;
        assert_eq!(receiver.kinds().len(), 1);
        let failing = webhooks::list(&bench.service, &operator).await.unwrap();
        assert!(failing[0].failure.contains("500"), "{}", failing[0].failure);
        for _ in 0..2 {
            bench.world.now_us.fetch_add(10_000_000, Ordering::Relaxed);
            tell_all(&notifier).await;
        }
        let creating = "org.xensm.volume.creating";
        let told = [creating, creating, creating, "org.xensm.volume.available"];
        assert_eq!(receiver.kinds(), told);
        let (media_type, signed, body) = receiver.taken.lock().unwrap()[3].clone();
        assert!(media_type.starts_with("application/cloudevents+json"));
        let seconds = signed.split(['=', ',']).nth(1).unwrap().parse().unwrap();
        assert_eq!(signed, signature(&secret, seconds, &body));
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["subject"], format!("volumes/{volume}"));
        assert_eq!(event["data"]["previous"], "creating");
        assert_eq!(event["data"]["project_id"], "alice");
        assert!(
            event["id"].is_string() && event["source"].is_string() && event["time"].is_string()
        );

        // Nothing is left to tell, and nothing is told twice.
        tell_all(&notifier).await;
        assert_eq!(receiver.kinds().len(), 4);
        let left = bench
            .service
            .database
            .read(|tx| tx.query("SELECT COUNT(*) FROM events", &[], |row| row.int(0)))
            .await
            .unwrap();
        assert_eq!(left, [0], "what everybody was told is forgotten");
        webhooks::test(&bench.service, &operator, &hook.id)
            .await
            .unwrap();
        assert_eq!(receiver.kinds()[4], "org.xensm.test");
        webhooks::remove(&bench.service, &operator, &hook.id)
            .await
            .unwrap();
        let error = webhooks::remove(&bench.service, &operator, &hook.id)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    });
}

#[test]
fn nobody_else_adds_one_and_the_machine_itself_is_not_told() {
    on_each(|bench| async move {
        let mut tasks = tokio::task::JoinSet::new();
        let receiver = Receiver::default();
        let url = receiver.serve(&mut tasks).await;
        let member = requester("alice", "member");
        let error = webhooks::add(&bench.service, &member, wanted(&url, "", true))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden);
        let operator = RequestContext::operator();
        for wrong in [
            "",
            "ftp://x/",
            "http://user@host/",
            "file:///etc/passwd",
            "/hook",
        ] {
            let error = webhooks::add(&bench.service, &operator, wanted(wrong, "", true))
                .await
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{wrong}");
        }
        let (hook, _) = webhooks::add(&bench.service, &operator, wanted(&url, "", false))
            .await
            .unwrap();
        let error = webhooks::test(&bench.service, &operator, &hook.id)
            .await
            .unwrap_err();
        assert!(
            error.detail.contains("no address that may be connected to"),
            "{error}"
        );
        let by_name = url.replace("127.0.0.1", "localhost");
        let (hook, _) = webhooks::add(&bench.service, &operator, wanted(&by_name, "", false))
            .await
            .unwrap();
        let error = webhooks::test(&bench.service, &operator, &hook.id)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(receiver.kinds().is_empty());
    });
}

/// Events that nobody fetches do not grow without an end, and a sweep looks at the oldest only.
#[test]
fn the_newest_events_stay_for_a_receiver_that_is_away() {
    on_each(|bench| async move {
        let operator = RequestContext::operator();
        webhooks::add(
            &bench.service,
            &operator,
            wanted("http://127.0.0.1:9/", "", true),
        )
        .await
        .unwrap();
        flavor(&bench, "gold").await;
        for _ in 0..3 {
            available(&bench, &requester("alice", "member"), "gold").await;
        }
        let ids = async || {
            let read = bench
                .service
                .database
                .read(|tx| tx.query("SELECT id FROM events ORDER BY id", &[], |row| row.int(0)));
            read.await.unwrap()
        };
        let before = ids().await;
        assert!(before.len() >= 4, "{before:?}");
        let database = &bench.service.database;
        let sweep = async |limit, kept| {
            let swept = database.write(move |tx| events::sweep(tx, 0, limit, kept));
            swept.await.unwrap()
        };
        assert_eq!(sweep(100, 100).await, 0);
        assert_eq!(sweep(1, 2).await, 1);
        assert_eq!(ids().await, before[1..]);
        sweep(100, 2).await;
        assert_eq!(ids().await, before[before.len() - 2..]);
    });
}

#[test]
fn attachments_and_transfers_are_told() {
    on_each(|bench| async move {
        let (operator, s) = (RequestContext::operator(), &bench.service);
        let mut tasks = tokio::task::JoinSet::new();
        flavor(&bench, "gold").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let volume = available(&bench, &alice, "gold").await;
        let hook = async |project: &str, kinds: &str, tasks: &mut tokio::task::JoinSet<()>| {
            let receiver = Receiver::default();
            let url = receiver.serve(tasks).await;
            let of_project = NewWebhook {
                project_id: Some(project.to_owned()),
                ..wanted(&url, kinds, true)
            };
            webhooks::add(s, &operator, of_project).await.unwrap();
            receiver
        };
        let attached = hook("alice", "attachment.", &mut tasks).await;
        let given = hook("alice", "transfer.", &mut tasks).await;
        let taken = hook("bob", "transfer.", &mut tasks).await;

        let claim = CreateAttachment {
            volume_id: volume,
            instance_id: None,
            connector: None,
            mode: AttachMode::ReadWrite,
            mountpoint: None,
        };
        let claimed = attachments::create(s, &alice, claim).await.unwrap();
        let moved = s.database.write(move |tx| {
            let (from, to) = ([AttachmentStatus::Reserved], AttachmentStatus::Attaching);
            volume_service::db::attachments::change_status(tx, claimed.id, &from, to)?;
            volume_service::db::attachments::change_status(tx, claimed.id, &[to], from[0])
        });
        assert!(moved.await.unwrap());
        attachments::delete(s, &alice, claimed.id).await.unwrap();
        let offer = || CreateTransfer {
            volume_id: volume,
            name: String::new(),
            snapshots: Snapshots::Stay,
            encrypted: Encrypted::Refuse,
        };
        let (first, _) = transfers::create(s, &alice, offer()).await.unwrap();
        transfers::delete(s, &alice, first.id).await.unwrap();
        let (second, key) = transfers::create(s, &alice, offer()).await.unwrap();
        transfers::accept(s, &bob, second.id, key).await.unwrap();

        tell_all(&Notifier::new(s.clone())).await;
        let of = |noun: &str, verbs: &[&str]| -> Vec<String> {
            let kind = |verb: &&str| format!("org.xensm.{noun}.{verb}");
            verbs.iter().map(kind).collect()
        };
        let states = ["reserved", "attaching", "reserved", "deleted"];
        assert_eq!(attached.kinds(), of("attachment", &states));
        let fates = ["created", "deleted", "created", "accepted"];
        assert_eq!(given.kinds(), of("transfer", &fates));
        assert_eq!(taken.kinds(), of("transfer", &fates[3..]));
        let (_, _, body) = attached.taken.lock().unwrap()[1].clone();
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["subject"], format!("attachments/{}", claimed.id));
        assert_eq!(event["data"]["volume_id"], volume.to_string());
        assert_eq!(event["data"]["previous"], "reserved");
        let (_, _, body) = taken.taken.lock().unwrap()[0].clone();
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["subject"], format!("transfers/{}", second.id));
        assert_eq!(event["data"]["project_id"], "bob");
    });
}
