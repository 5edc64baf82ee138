//! The operations that write. No worker runs: what one would have done is done by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::scene::{OWNER, Scene, Signer, refusal, refused, sha256};
use crate::api::fixture::{Answer, NOW_US};
use crate::app::direct::BLOCK_BYTES;
use crate::db::direct_uploads::{self, Upload, UploadState};
use crate::db::{attachments, operations, snapshots, volumes};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::AttachmentId;
use crate::model::operation::OperationKind;
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::VolumeStatus;

impl Scene {
    async fn start(&self, body: Value) -> Answer {
        let body = body.to_string();
        self.ask_as(OWNER, Method::POST, "/snapshots", &[], body.as_bytes())
            .await
    }

    /// A snapshot that is being written, with its upload.
    async fn upload(&self) -> (String, Upload) {
        *self.bytes.takes_writes.lock().unwrap() = true;
        let made = self.start(json!({"VolumeSize": 1})).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let ec2_id = made.json()["SnapshotId"]
            .as_str()
            .expect("an id")
            .to_owned();
        let upload = self.row(&ec2_id).await.expect("an upload");
        (ec2_id, upload)
    }

    async fn row(&self, ec2_id: &str) -> Option<Upload> {
        let wanted = vec![ec2_id.to_owned()];
        let read = self.fixture.service.database.read(move |tx| {
            let found = snapshots::find_by_ec2_ids(tx, None, &wanted)?;
            match found.values().next() {
                Some(snapshot) => direct_uploads::of_snapshot(tx, snapshot.id),
                None => Ok(None),
            }
        });
        read.await.expect("the database answers")
    }

    /// Does what a worker would: the volume is made and attached.
    async fn attach(&self, upload: &Upload) {
        let (id, now_us) = (upload.volume_id, NOW_US);
        let attachment = Attachment {
            id: AttachmentId(self.fixture.service.context.new_uuid()),
            volume_id: id,
            project_id: "ebs-direct".to_owned(),
            instance_id: None,
            host_name: None,
            mountpoint: None,
            status: AttachmentStatus::Attaching,
            mode: AttachMode::ReadWrite,
            delete_on_termination: false,
            connector: json!({}),
            connection_info: json!({"socket": "/nowhere", "export": "of-the-volume"}),
            failure: String::new(),
            attached_at_us: None,
            detached_at_us: None,
            created_at_us: now_us,
        };
        let written = self.fixture.service.database.write(move |tx| {
            let sql = "UPDATE operations SET state = 'succeeded' WHERE target = ?1";
            tx.execute(sql, &[id.to_string().into()])?;
            volumes::change_status(
                tx,
                id,
                &[VolumeStatus::Creating],
                VolumeStatus::Available,
                now_us,
            )?;
            attachments::insert(tx, &attachment)?;
            volumes::settle(tx, id, now_us)
        });
        written.await.expect("the database answers");
    }

    async fn put(&self, ec2_id: &str, index: &str, data: &[u8], more: &[(&str, &str)]) -> Answer {
        let checksum = STANDARD.encode(sha256(data));
        let length = data.len().to_string();
        let usual = [
            ("x-amz-checksum", checksum.as_str()),
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-data-length", length.as_str()),
        ];
        let kept = usual
            .into_iter()
            .filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
        let headers: Vec<(&str, &str)> = kept.chain(more.iter().copied()).collect();
        let path = format!("/snapshots/{ec2_id}/blocks/{index}");
        self.ask_with(OWNER, Method::PUT, &path, &[], data, &headers)
            .await
    }

    async fn complete(&self, ec2_id: &str, headers: &[(&str, &str)]) -> Answer {
        let path = format!("/snapshots/completion/{ec2_id}");
        self.ask_with(OWNER, Method::POST, &path, &[], b"", headers)
            .await
    }

    /// Does the next step of a worker's reconciler.
    async fn advance(&self, upload: &Upload) -> bool {
        let (context, upload) = (self.fixture.service.context.clone(), upload.clone());
        let database = &self.fixture.service.database;
        let advanced = database
            .write(move |tx| crate::app::direct::advance(tx, &context, "req-test", &upload));
        advanced.await.expect("a step")
    }
}

fn block(letter: u8) -> Vec<u8> {
    vec![letter; BLOCK_BYTES as usize]
}

fn about(answer: &Answer) -> (u16, String, String) {
    let (exception, reason, _) = refusal(answer);
    (answer.status, exception, reason)
}

fn invalid(reason: &str) -> (u16, String, String) {
    (400, "ValidationException".to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_snapshot_is_begun_once_for_each_token() {
    let scene = Scene::new().await;
    *scene.bytes.takes_writes.lock().unwrap() = true;
    let wanted = json!({
        "VolumeSize": 3, "Description": "of a disk", "ClientToken": "once", "Timeout": 10,
        "Tags": [{"Key": "Name", "Value": "x"}],
    });
    let made = scene.start(wanted.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let shown = made.json();
    assert_eq!(shown["Status"], "pending");
    assert_eq!(
        (&shown["VolumeSize"], &shown["BlockSize"]),
        (&json!(3), &json!(524_288))
    );
    assert_eq!(shown["Tags"], wanted["Tags"]);
    assert_eq!(shown["OwnerId"], scene.fixture.project);
    let again = scene.start(wanted.clone()).await;
    assert_eq!(again.json(), shown);
    let mut other = wanted;
    other["VolumeSize"] = json!(4);
    let words = "Current request does not match request stored with this token.";
    let conflict = scene.start(other).await;
    assert_eq!(conflict.status, 409);
    assert_eq!(refusal(&conflict), refused("ConflictException", "", words));
    // Its volume is nobody's.
    let none = json!(null);
    let listed = scene.fixture.call(Method::GET, "/v3/volumes", none).await;
    assert_eq!(listed.json()["volumes"], json!([]));
    // It cannot be read before it is complete.
    let path = format!(
        "/snapshots/{}/blocks",
        shown["SnapshotId"].as_str().expect("an id")
    );
    assert_eq!(scene.get(&path, &[]).await.status, 404);
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused() {
    let scene = Scene::new().await;
    let plain = scene.start(json!({"VolumeSize": 1})).await;
    assert_eq!(about(&plain), invalid("INVALID_DEPENDENCY_REQUEST"));
    *scene.bytes.takes_writes.lock().unwrap() = true;
    for body in [
        json!({}),
        json!({"VolumeSize": 0}),
        json!({"VolumeSize": "1"}),
        json!({"VolumeSize": 1, "Timeout": 9}),
        json!({"VolumeSize": 1, "Timeout": 4321}),
        json!({"VolumeSize": 1, "Size": 1}),
        json!({"VolumeSize": 1, "ParentSnapshotId": "vol-0"}),
        json!({"VolumeSize": 1, "Tags": "x"}),
        json!({"VolumeSize": 1, "Description": "x".repeat(256)}),
        json!([]),
    ] {
        assert_eq!(
            about(&scene.start(body.clone()).await),
            invalid(""),
            "{body}"
        );
    }
    let too_large = scene.start(json!({"VolumeSize": 65_537})).await;
    assert_eq!(about(&too_large), invalid("INVALID_VOLUME_SIZE"));
    for tags in [
        json!([{"Key": "", "Value": "x"}]),
        json!([{"Key": "aws:x", "Value": "x"}]),
        json!([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]),
    ] {
        let answer = scene.start(json!({"VolumeSize": 1, "Tags": tags})).await;
        assert_eq!(about(&answer), invalid("INVALID_TAG"));
    }
    let parent = "snap-0123456789abcdef0";
    let missing = json!({"VolumeSize": 1, "ParentSnapshotId": parent});
    let missing = scene.start(missing).await;
    let words = format!("The snapshot '{parent}' does not exist.");
    let expected = refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", &words);
    assert_eq!((missing.status, refusal(&missing)), (404, expected));
    for more in ["Encrypted", "KmsKeyArn"] {
        let mut body = json!({"VolumeSize": 1, "ParentSnapshotId": parent});
        body[more] = if more == "Encrypted" {
            json!(false)
        } else {
            json!("arn")
        };
        assert_eq!(
            about(&scene.start(body).await),
            invalid("INVALID_PARAMETER_VALUE")
        );
    }
    let (pending, _) = scene.upload().await;
    let answer = scene
        .start(json!({"VolumeSize": 1, "ParentSnapshotId": pending}))
        .await;
    let words = format!("Source snapshot ({pending}) is not complete.");
    let expected = refused("ValidationException", "INVALID_SNAPSHOT_ID", &words);
    assert_eq!(refusal(&answer), expected);
    // A reader begins nothing, and nobody writes to another's.
    let project = scene.fixture.project.clone();
    let (access_key, secret) = scene.key_of("reader", Some(&project)).await;
    let reader = Signer {
        access_key: &access_key,
        secret: &secret,
        ..OWNER
    };
    let body = json!({"VolumeSize": 1}).to_string();
    let answer = scene
        .ask_as(reader, Method::POST, "/snapshots", &[], body.as_bytes())
        .await;
    assert_eq!(answer.status, 403);
    let (access_key, secret) = scene.key_of("member", None).await;
    let stranger = Signer {
        access_key: &access_key,
        secret: &secret,
        ..OWNER
    };
    let path = format!("/snapshots/completion/{pending}");
    let count = [("x-amz-changedblockscount", "0")];
    let answer = scene
        .ask_with(stranger, Method::POST, &path, &[], b"", &count)
        .await;
    assert_eq!(about(&answer), invalid("INVALID_SNAPSHOT_ID"));
}

#[tokio::test]
async fn blocks_are_written_and_a_snapshot_is_taken_of_them() {
    let scene = Scene::new().await;
    let (snapshot, upload) = scene.upload().await;
    scene.attach(&upload).await;
    for (index, letter) in [("7", b'b'), ("0", b'a'), ("7", b'c')] {
        let put = scene.put(&snapshot, index, &block(letter), &[]).await;
        assert_eq!(put.status, 201, "{}", put.text);
        assert_eq!(put.text, "{}");
        let checksum = STANDARD.encode(sha256(&block(letter)));
        assert_eq!(put.header("x-amz-checksum"), checksum);
    }
    let written = scene.bytes.written.lock().unwrap().clone();
    let export = || "of-the-volume".to_owned();
    let expected = [
        (export(), 7, b'b'),
        (export(), 0, b'a'),
        (export(), 7, b'c'),
    ];
    assert_eq!(written, expected);
    let sums = [b'a', b'c'].map(|letter| sha256(&block(letter)).as_ref().to_vec());
    let all = STANDARD.encode(sha256(&sums.concat()));
    let said = [
        ("x-amz-changedblockscount", "2"),
        ("x-amz-checksum", all.as_str()),
        ("x-amz-checksum-algorithm", "SHA256"),
        ("x-amz-checksum-aggregation-method", "LINEAR"),
    ];
    let done = scene.complete(&snapshot, &said).await;
    assert_eq!(
        (done.status, done.text.as_str()),
        (202, "{\"Status\":\"pending\"}")
    );
    for again in [
        scene.put(&snapshot, "1", &block(b'x'), &[]).await,
        scene.complete(&snapshot, &said).await,
    ] {
        let words = "Snapshot is already completed";
        let expected = refused("ValidationException", "INVALID_SNAPSHOT_ID", words);
        assert_eq!(refusal(&again), expected);
    }
    // The volume is detached, and only then the snapshot is taken.
    assert!(scene.advance(&upload).await);
    assert!(!scene.advance(&upload).await);
    let (volume, id) = (upload.volume_id, upload.snapshot_id);
    let database = scene.fixture.service.database.clone();
    let detached = database.write(move |tx| {
        tx.execute("UPDATE operations SET state = 'succeeded'", &[])?;
        for attachment in attachments::of_volume(tx, volume)? {
            attachments::remove(tx, attachment.id)?;
        }
        volumes::settle(tx, volume, NOW_US)
    });
    detached.await.expect("the database answers");
    assert!(scene.advance(&upload).await);
    let taking = database.read(move |tx| operations::find_unfinished(tx, &id.to_string()));
    let taking = taking
        .await
        .expect("the database answers")
        .expect("an operation");
    assert_eq!(taking.kind, OperationKind::CreateSnapshot);
    assert!(!scene.advance(&upload).await);
    let taken = database.write(move |tx| {
        tx.execute("UPDATE operations SET state = 'succeeded'", &[])?;
        let (from, to) = ([SnapshotStatus::Creating], SnapshotStatus::Available);
        snapshots::change_status(tx, id, &from, to, NOW_US)
    });
    assert!(taken.await.expect("the database answers"));
    // Then the volume goes, and the upload with it.
    assert!(scene.advance(&upload).await);
    assert!(!scene.advance(&upload).await);
    let removed = database.write(move |tx| {
        tx.execute("UPDATE operations SET state = 'succeeded'", &[])?;
        volumes::remove(tx, volume)
    });
    removed.await.expect("the database answers");
    assert!(scene.advance(&upload).await);
    assert_eq!(scene.row(&snapshot).await, None);
}

#[tokio::test]
async fn what_is_no_block_is_not_written() {
    let scene = Scene::new().await;
    let (snapshot, upload) = scene.upload().await;
    scene.attach(&upload).await;
    let good = block(b'a');
    for (index, data, more, expected) in [
        ("2048", &good[..], &[][..], invalid("INVALID_BLOCK")),
        ("0", &good[1..], &[], invalid("INVALID_BLOCK")),
        (
            "0",
            &good,
            &[("x-amz-data-length", "1")],
            invalid("INVALID_BLOCK"),
        ),
        ("0", &good, &[("x-amz-data-length", "x")], invalid("")),
        (
            "0",
            &good,
            &[("x-amz-checksum-algorithm", "MD5")],
            invalid(""),
        ),
        ("0", &good, &[("x-amz-checksum", "")], invalid("")),
        ("-1", &good, &[], invalid("")),
    ] {
        let answer = scene.put(&snapshot, index, data, more).await;
        assert_eq!(about(&answer), expected, "{index} {more:?}");
    }
    let wrong = [("x-amz-checksum", "AAAA")];
    let answer = scene.put(&snapshot, "0", &good, &wrong).await;
    let (exception, _, words) = refusal(&answer);
    assert_eq!(
        (answer.status, exception.as_str()),
        (403, "InvalidSignatureException")
    );
    assert!(words.ends_with("expected checksum: AAAA"), "{words}");
    let nobody = "snap-0123456789abcdef0";
    let answer = scene.put(nobody, "0", &good, &[]).await;
    let words =
        format!("Value ({nobody}) for parameter snapshotId is invalid. Expected: 'snap-...'.");
    let expected = refused("ValidationException", "INVALID_SNAPSHOT_ID", &words);
    assert_eq!(refusal(&answer), expected);
    assert!(scene.bytes.written.lock().unwrap().is_empty());
    for (headers, expected) in [
        (vec![], invalid("")),
        (vec![("x-amz-changedblockscount", "-1")], invalid("")),
        (
            vec![
                ("x-amz-changedblockscount", "0"),
                ("x-amz-checksum-algorithm", "SHA256"),
                ("x-amz-checksum-aggregation-method", "LINEAR"),
            ],
            invalid("INVALID_PARAMETER_VALUE"),
        ),
    ] {
        let answer = scene.complete(&snapshot, &headers).await;
        assert_eq!(about(&answer), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn what_was_said_wrongly_fails_the_snapshot_and_not_the_request() {
    let scene = Scene::new().await;
    let zeros = STANDARD.encode([0; 32]);
    for (said, failure) in [
        (
            vec![("x-amz-changedblockscount", "1")],
            "Changed blocks count mismatch for snapshot",
        ),
        (
            vec![
                ("x-amz-changedblockscount", "0"),
                ("x-amz-checksum", zeros.as_str()),
                ("x-amz-checksum-algorithm", "SHA256"),
                ("x-amz-checksum-aggregation-method", "LINEAR"),
            ],
            "Checksum mismatch for snapshot",
        ),
    ] {
        let (snapshot, upload) = scene.upload().await;
        let done = scene.complete(&snapshot, &said).await;
        assert_eq!(done.status, 202, "{}", done.text);
        // The volume is still being made.
        assert!(!scene.advance(&upload).await);
        let (volume, id) = (upload.volume_id, upload.snapshot_id);
        scene.fixture.settle(&volume.to_string()).await;
        assert!(scene.advance(&upload).await);
        let database = &scene.fixture.service.database;
        let failed = database.read(move |tx| snapshots::get(tx, id)).await;
        let failed = failed.expect("a snapshot");
        assert_eq!(
            (failed.status, failed.failure.as_str()),
            (SnapshotStatus::Error, failure)
        );
    }
}

#[tokio::test]
async fn a_snapshot_that_nobody_writes_is_given_up() {
    let scene = Scene::new().await;
    let (snapshot, upload) = scene.upload().await;
    scene.fixture.settle(&upload.volume_id.to_string()).await;
    assert!(!scene.advance(&upload).await);
    scene.fixture.advance_s(3600);
    let late = scene.put(&snapshot, "0", &block(b'a'), &[]).await;
    assert_eq!(about(&late), invalid("WRITE_REQUEST_TIMEOUT"));
    assert!(scene.advance(&upload).await);
    let row = scene.row(&snapshot).await.expect("an upload");
    assert_eq!(row.state, UploadState::Failed);
    assert!(scene.advance(&upload).await);
    let id = upload.snapshot_id;
    let database = &scene.fixture.service.database;
    let failed = database.read(move |tx| snapshots::get(tx, id)).await;
    assert_eq!(failed.expect("a snapshot").status, SnapshotStatus::Error);
    let late = scene
        .complete(&snapshot, &[("x-amz-changedblockscount", "0")])
        .await;
    assert_eq!(about(&late), invalid("WRITE_REQUEST_TIMEOUT"));
}
