//! A service with snapshots whose bytes are a test's, and who asks it. No worker runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use http::Method;
use ring::hmac;
use serde_json::json;
use uuid::Uuid;

use crate::api::ec2::signature::{canonical_query, encode};
use crate::api::fixture::{ACCESS_KEY, Answer, Fixture, SECRET_KEY, send};
use crate::api::timestamp;
use crate::app::direct::BLOCK_BYTES;
use crate::app::{flavors, identity};
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::snapshots;
use crate::driver::{Disk, Mover, NbdEndpoint, PoolError, PoolFuture, RangeMap, Run, Trouble};
use crate::model::id::SnapshotId;

/// The VDIs of a pool that is none, by their uuids.
#[derive(Default)]
pub(super) struct Bytes {
    pub(super) disks: Mutex<HashMap<Uuid, BTreeMap<u64, u8>>>,
    /// What opening fails with.
    pub(super) trouble: Mutex<Option<Trouble>>,
    pub(super) differing: Mutex<Option<RangeMap>>,
    pub(super) opened: Mutex<usize>,
    pub(super) takes_writes: Mutex<bool>,
    /// What was written and flushed: the export, the block and its first byte.
    pub(super) written: Flushed,
}

type Flushed = Arc<Mutex<Vec<(String, u64, u8)>>>;

/// A disk that notes what is written.
struct Written(Flushed, String);

impl Disk for Written {
    fn size_bytes(&self) -> u64 {
        1 << 30
    }

    fn read(&mut self, _: &mut [u8], _: u64) -> Result<(), PoolError> {
        Err(PoolError::new("NBD", Trouble::Refused, "write-only"))
    }

    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), PoolError> {
        assert_eq!((data.len() as u64, offset % BLOCK_BYTES), (BLOCK_BYTES, 0));
        let block = offset / BLOCK_BYTES;
        self.0
            .lock()
            .unwrap()
            .push((self.1.clone(), block, data[0]));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PoolError> {
        Ok(())
    }

    fn runs(&mut self, _: u64, _: u64) -> Result<Vec<Run>, PoolError> {
        Err(PoolError::new("NBD", Trouble::Refused, "write-only"))
    }
}

/// A disk of 1 GiB that holds one letter in each of some blocks, and zeros.
pub(super) struct Held(BTreeMap<u64, u8>);

impl Disk for Held {
    fn size_bytes(&self) -> u64 {
        1 << 30
    }

    fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), PoolError> {
        assert_eq!(
            (buffer.len() as u64, offset % BLOCK_BYTES),
            (BLOCK_BYTES, 0)
        );
        let letter = self.0.get(&(offset / BLOCK_BYTES));
        buffer.fill(letter.copied().unwrap_or(0));
        Ok(())
    }

    fn write(&mut self, _: &[u8], _: u64) -> Result<(), PoolError> {
        Err(PoolError::new("NBD", Trouble::Refused, "read-only"))
    }

    fn flush(&mut self) -> Result<(), PoolError> {
        Ok(())
    }

    fn runs(&mut self, offset: u64, length: u64) -> Result<Vec<Run>, PoolError> {
        let blocks = offset / BLOCK_BYTES..(offset + length) / BLOCK_BYTES;
        let run = |index| Run {
            length: BLOCK_BYTES,
            is_zero: !self.0.contains_key(&index),
        };
        Ok(blocks.map(run).collect())
    }
}

impl Mover for Bytes {
    fn open<'a>(&'a self, _: &'a str, vdi: Uuid) -> PoolFuture<'a, Box<dyn Disk>> {
        let trouble = *self.trouble.lock().unwrap();
        let found = self.disks.lock().unwrap().get(&vdi).cloned();
        *self.opened.lock().unwrap() += 1;
        let opened: Result<Box<dyn Disk>, PoolError> = match (trouble, found) {
            (Some(trouble), _) => Err(PoolError::new("NBD", trouble, "as told")),
            (None, Some(letters)) => Ok(Box::new(Held(letters))),
            (None, None) => Err(PoolError::new("NBD", Trouble::Gone, "no such VDI")),
        };
        Box::pin(std::future::ready(opened))
    }

    fn takes_writes<'a>(&'a self, _: &'a str) -> PoolFuture<'a, bool> {
        Box::pin(std::future::ready(Ok(*self.takes_writes.lock().unwrap())))
    }

    fn open_plugged<'a>(&'a self, at: &'a NbdEndpoint) -> PoolFuture<'a, Box<dyn Disk>> {
        let disk = Written(Arc::clone(&self.written), at.export.clone());
        Box::pin(std::future::ready(Ok(Box::new(disk) as Box<dyn Disk>)))
    }

    fn differing<'a>(&'a self, _: &'a str, _: Uuid, _: Uuid) -> PoolFuture<'a, Option<RangeMap>> {
        let map = self.differing.lock().unwrap().clone();
        Box::pin(std::future::ready(Ok(map)))
    }
}

pub(super) struct Scene {
    pub(super) fixture: Fixture,
    pub(super) bytes: Arc<Bytes>,
}

/// Who signs, and for which service.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) access_key: &'a str,
    pub(super) secret: &'a str,
    pub(super) service: &'a str,
}

pub(super) const OWNER: Signer<'static> = Signer {
    access_key: ACCESS_KEY,
    secret: SECRET_KEY,
    service: "ebs",
};

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn sha256(bytes: &[u8]) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, bytes)
}

impl Scene {
    pub(super) async fn new() -> Self {
        let fixture = Fixture::new().await;
        // Snapshots that are written lie where volumes do that name no type.
        let operator = RequestContext::operator();
        let made = flavors::create(&fixture.service, &operator, "default", "").await;
        made.expect("a flavor");
        let bytes = Arc::new(Bytes::default());
        fixture.service.moves_bytes_by(bytes.clone());
        Scene { fixture, bytes }
    }

    /// A request, signed with version 4.
    pub(super) async fn ask_as(
        &self,
        signer: Signer<'_>,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.ask_with(signer, method, path, query, body, &[]).await
    }

    /// The same with headers that are not signed.
    pub(super) async fn ask_with(
        &self,
        signer: Signer<'_>,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &[u8],
        more: &[(&str, &str)],
    ) -> Answer {
        let now = timestamp::basic(self.fixture.service.context.now_us());
        let query = canonical_query(query.iter().copied());
        let hash = hex(sha256(body).as_ref());
        let canonical = format!(
            "{method}\n{}\n{query}\nhost:ebs.test\nx-amz-date:{now}\n\nhost;x-amz-date\n{hash}",
            encode(path, true)
        );
        let scope = format!("{}/us-east-1/{}/aws4_request", &now[..8], signer.service);
        let text = format!(
            "AWS4-HMAC-SHA256\n{now}\n{scope}\n{}",
            hex(sha256(canonical.as_bytes()).as_ref())
        );
        let start = format!("AWS4{}", signer.secret).into_bytes();
        let key = scope.split('/').fold(start, |key, part| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            hmac::sign(&key, part.as_bytes()).as_ref().to_vec()
        });
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}",
            signer.access_key
        );
        let uri = format!("{path}?{query}");
        let signed = [
            ("host", "ebs.test"),
            ("x-amz-date", now.as_str()),
            ("authorization", authorization.as_str()),
        ];
        let headers = [&signed[..], more].concat();
        send(&self.fixture.ec2, method, &uri, &headers, body.to_vec()).await
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.ask_as(OWNER, Method::GET, path, query, b"").await
    }

    /// A snapshot of a volume of 1 GiB that holds letters in some blocks; its EC2 name and its VDI.
    pub(super) async fn snapshot(&self, volume: &str, letters: &[(u64, u8)]) -> (String, Uuid) {
        let body = json!({"snapshot": {"volume_id": volume}});
        let made = self
            .fixture
            .call(Method::POST, "/v3/snapshots", body)
            .await
            .json();
        let id: SnapshotId = made["snapshot"]["id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("a snapshot's id");
        let vdi = self.fixture.service.context.new_uuid();
        self.fixture.settle_snapshot(&id.to_string()).await;
        let database = &self.fixture.service.database;
        database
            .write(move |tx| snapshots::set_vdi(tx, id, Some(vdi)))
            .await
            .expect("a row");
        let letters = letters.iter().copied().collect();
        self.bytes.disks.lock().unwrap().insert(vdi, letters);
        (id.ec2_id(), vdi)
    }

    pub(super) async fn volume(&self) -> String {
        let id = self.fixture.make_volume("base").await;
        self.fixture.settle(&id).await;
        id
    }

    /// A key of a user with a role in a project of its own, or in the first one's.
    pub(super) async fn key_of(&self, role: &str, project: Option<&str>) -> (String, String) {
        let service = &self.fixture.service;
        let operator = RequestContext::operator();
        let name = format!("user-{}", service.context.new_uuid());
        let project = match project {
            Some(project) => project.to_owned(),
            None => {
                let made = identity::create_project(service, &operator, &name, "").await;
                made.expect("a project").id
            }
        };
        let password = Secret::new("another-password");
        let user = identity::create_user(service, &operator, &name, password, &project, role)
            .await
            .expect("a user");
        let made = identity::create_ec2_key(service, &operator, &user.id, &project).await;
        let (access_key, secret) = made.expect("a key");
        (access_key, secret.expose().to_owned())
    }
}

pub(super) fn indices(answer: &Answer, list: &str) -> Vec<u64> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let listed = answer.json();
    let blocks = listed[list].as_array().expect("a list");
    blocks
        .iter()
        .map(|block| block["BlockIndex"].as_u64().expect("an index"))
        .collect()
}

/// Exception, reason and words.
pub(super) fn refusal(answer: &Answer) -> (String, String, String) {
    let body = answer.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (
        answer.header("x-amzn-errortype").to_owned(),
        text("Reason"),
        text("Message"),
    )
}

pub(super) fn refused(exception: &str, reason: &str, words: &str) -> (String, String, String) {
    (exception.to_owned(), reason.to_owned(), words.to_owned())
}
