//! What the operations that read answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::scene::{Scene, indices, refusal, refused, sha256};
use crate::app::direct::BLOCK_BYTES;
use crate::driver::RangeMap;

#[tokio::test]
async fn blocks_are_listed_and_read() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let (snapshot, _) = scene.snapshot(&volume, &[(0, b'a'), (7, b'b')]).await;
    let path = format!("/snapshots/{snapshot}/blocks");
    let listed = scene.get(&path, &[]).await;
    assert_eq!(indices(&listed, "Blocks"), [0, 7]);
    assert_eq!(listed.header("content-type"), "application/json");
    assert_ne!(listed.header("x-amzn-requestid"), "");
    let page = listed.json();
    assert_eq!(page["BlockSize"], 524_288);
    assert_eq!(page["VolumeSize"], 1);
    assert_eq!(page["NextToken"], Value::Null);
    let seven_days = scene.fixture.service.context.now_us() / 1000 + 7 * 24 * 3600 * 1000;
    assert_eq!(page["ExpiryTime"], seven_days as f64 / 1000.0);
    let token = page["Blocks"][1]["BlockToken"].as_str().expect("a token");
    let read = scene
        .get(&format!("{path}/7"), &[("blockToken", token)])
        .await;
    assert_eq!(read.status, 200, "{}", read.text);
    assert_eq!(read.text, "b".repeat(BLOCK_BYTES as usize));
    assert_eq!(read.header("x-amz-data-length"), "524288");
    assert_eq!(read.header("x-amz-checksum-algorithm"), "SHA256");
    let checksum = STANDARD.encode(sha256(read.text.as_bytes()));
    assert_eq!(read.header("x-amz-checksum"), checksum);
    // One connection for all of it.
    assert_eq!(*scene.bytes.opened.lock().unwrap(), 1);
    for (start, expected) in [("1", vec![7]), ("8", vec![]), ("2147483647", vec![])] {
        let listed = scene.get(&path, &[("startingBlockIndex", start)]).await;
        assert_eq!(indices(&listed, "Blocks"), expected, "{start}");
        // Nothing is said of the snapshot beside an empty list.
        assert_eq!(listed.json()["VolumeSize"].is_null(), expected.is_empty());
    }
}

#[tokio::test]
async fn lists_are_cut_into_pages() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let letters: Vec<(u64, u8)> = (0..250).map(|index| (index, b'x')).collect();
    let (snapshot, _) = scene.snapshot(&volume, &letters).await;
    let (other, _) = scene.snapshot(&volume, &[]).await;
    let path = format!("/snapshots/{snapshot}/blocks");
    let mut token = String::new();
    let mut all = Vec::new();
    for (count, start) in [(100, "0"), (100, "240"), (50, "0")] {
        let query = [
            ("maxResults", "100"),
            ("pageToken", token.as_str()),
            // A token comes before it.
            ("startingBlockIndex", start),
        ];
        let page = scene.get(&path, &query).await;
        let found = indices(&page, "Blocks");
        assert_eq!(found.len(), count);
        all.extend(found);
        let next = page.json()["NextToken"].clone();
        token = next.as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(all, (0..250).collect::<Vec<u64>>());
    assert_eq!(token, "");
    // Of another snapshot, of another list, bent, too late.
    let page = scene.get(&path, &[("maxResults", "100")]).await.json();
    let token = page["NextToken"].as_str().expect("a token").to_owned();
    let block = page["Blocks"][0]["BlockToken"].as_str().expect("a token");
    let of_other = format!("/snapshots/{other}/blocks");
    for (path, token) in [(&of_other, token.as_str()), (&path, block), (&path, "AAAA")] {
        let answer = scene.get(path, &[("pageToken", token)]).await;
        assert_eq!(answer.status, 400);
        let words = format!("The pagination token {token} is invalid.");
        let expected = refused("ValidationException", "INVALID_PAGE_TOKEN", &words);
        assert_eq!(refusal(&answer), expected);
    }
    scene.fixture.advance_s(7 * 24 * 3600);
    let late = scene.get(&path, &[("pageToken", token.as_str())]).await;
    assert_eq!(refusal(&late).1, "INVALID_PAGE_TOKEN");
}

#[tokio::test]
async fn tokens_of_blocks_are_bound_and_expire() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let (one, _) = scene.snapshot(&volume, &[(0, b'a'), (1, b'b')]).await;
    let (two, _) = scene.snapshot(&volume, &[(0, b'c')]).await;
    let listed = scene.get(&format!("/snapshots/{one}/blocks"), &[]).await;
    let token = listed.json()["Blocks"][0]["BlockToken"].clone();
    let token = token.as_str().expect("a token");
    for (snapshot, index, token) in [(&one, 1, token), (&two, 0, token), (&one, 0, "AAAA")] {
        let path = format!("/snapshots/{snapshot}/blocks/{index}");
        let answer = scene.get(&path, &[("blockToken", token)]).await;
        assert_eq!(answer.status, 400);
        let words = format!("The block token {token} is invalid.");
        let expected = refused("ValidationException", "INVALID_BLOCK_TOKEN", &words);
        assert_eq!(refusal(&answer), expected);
    }
    let path = format!("/snapshots/{one}/blocks/0");
    scene.fixture.advance_s(7 * 24 * 3600 - 1);
    let in_time = scene.get(&path, &[("blockToken", token)]).await;
    assert_eq!(in_time.status, 200);
    scene.fixture.advance_s(1);
    let late = scene.get(&path, &[("blockToken", token)]).await;
    assert_eq!(refusal(&late).1, "INVALID_BLOCK_TOKEN");
}

#[tokio::test]
async fn changed_blocks_are_those_that_may_differ_and_are_not_zeros_in_both() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let (first, _) = scene.snapshot(&volume, &[(0, b'a'), (5, b'b')]).await;
    let (second, _) = scene.snapshot(&volume, &[(0, b'a'), (6, b'c')]).await;
    let path = format!("/snapshots/{second}/changedblocks");
    let list = async |query: &[(&str, &str)]| scene.get(&path, query).await;
    let query = [("firstSnapshotId", first.as_str())];
    // Nobody can tell: whatever either holds.
    assert_eq!(indices(&list(&query).await, "ChangedBlocks"), [0, 5, 6]);
    // Units of four blocks: the second unit differs.
    *scene.bytes.differing.lock().unwrap() = Some(RangeMap {
        unit_bytes: 4 * BLOCK_BYTES,
        bits: vec![0x40],
    });
    let changed = list(&query).await;
    assert_eq!(indices(&changed, "ChangedBlocks"), [5, 6]);
    let changed = changed.json();
    let block = |number: usize| changed["ChangedBlocks"][number].clone();
    assert_eq!(block(0)["SecondBlockToken"], Value::Null);
    assert_eq!(block(1)["FirstBlockToken"], Value::Null);
    for (snapshot, index, token, letter) in [
        (&first, 5, block(0)["FirstBlockToken"].clone(), "b"),
        (&second, 6, block(1)["SecondBlockToken"].clone(), "c"),
    ] {
        let token = token.as_str().expect("a token");
        let path = format!("/snapshots/{snapshot}/blocks/{index}");
        let read = scene.get(&path, &[("blockToken", token)]).await;
        assert!(read.text.starts_with(letter), "{}", read.status);
    }
    let none = list(&[]).await;
    let words = "First snapshot should not be empty or null";
    let expected = refused("ValidationException", "INVALID_SNAPSHOT_ID", words);
    assert_eq!(refusal(&none), expected);
    let (stranger, _) = scene.snapshot(&scene.volume().await, &[]).await;
    let unrelated = list(&[("firstSnapshotId", stranger.as_str())]).await;
    let words = "The snapshots are not related.";
    let expected = refused("ValidationException", "UNRELATED_SNAPSHOTS", words);
    assert_eq!(refusal(&unrelated), expected);
    let missing = list(&[("firstSnapshotId", "snap-0123456789abcdef0")]).await;
    let words = "The snapshot 'snap-0123456789abcdef0' does not exist.";
    let expected = refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", words);
    assert_eq!((missing.status, refusal(&missing)), (404, expected));
}
