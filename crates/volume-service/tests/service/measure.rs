//! Figures, by hand: `cargo test --release -p volume-service --test service -- --ignored --nocapture measure`.

use std::time::{Duration, Instant};

use volume_service::RequestContext;
use volume_service::app::volumes::{VolumeQuery, create, get, list};
use volume_service::config::Limits;
use volume_service::db::volumes;
use volume_service::model::id::VolumeId;

use crate::support::{Bench, flavor, on_each_with, requester, wanted};

fn no_limits() -> Limits {
    Limits {
        volumes_per_project: -1,
        gigabytes_per_project: -1,
        ..Limits::default()
    }
}

async fn creates(bench: &Bench, callers: usize, each: usize) -> String {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let service = bench.service.clone();
        tasks.spawn(async move {
            let alice = requester("alice", "member");
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let begun = Instant::now();
                create(&service, &alice, wanted("gold", 1)).await.unwrap();
                times.push(begun.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    format!(
        "create, {callers} callers: {rate:.0}/s, p50 {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    )
}

async fn fill(bench: &Bench, count: usize) {
    let made = create(
        &bench.service,
        &requester("carol", "member"),
        wanted("gold", 1),
    )
    .await
    .unwrap();
    for chunk in 0..count / 1000 {
        let made = made.clone();
        bench
            .service
            .database
            .write(move |tx| {
                for number in 0..1000 {
                    let mut volume = made.clone();
                    volume.id = VolumeId(uuid::Uuid::new_v4());
                    volume.ec2_id = volume.id.ec2_id();
                    volume.project_id = "carol".to_owned();
                    volume.name = format!("name {}", (chunk * 7919 + number * 104_729) % 1_000_003);
                    volume.created_at_us += (chunk * 1000 + number) as i64;
                    volumes::insert(tx, &volume)?;
                }
                Ok(())
            })
            .await
            .unwrap();
    }
}

async fn lists(bench: &Bench, request: &RequestContext) -> String {
    let query = VolumeQuery {
        limit: Some(100),
        ..VolumeQuery::default()
    };
    let mut times = Vec::new();
    let mut marker = None;
    for _ in 0..200 {
        let begun = Instant::now();
        let page = list(
            &bench.service,
            request,
            VolumeQuery {
                marker,
                ..query.clone()
            },
        )
        .await
        .unwrap();
        times.push(begun.elapsed());
        marker = page
            .items
            .last()
            .map(|volume| volume.id)
            .filter(|_| page.has_more);
    }
    times.sort();
    let id = list(&bench.service, request, query).await.unwrap().items[0].id;
    let begun = Instant::now();
    for _ in 0..1000 {
        get(&bench.service, request, id).await.unwrap();
    }
    let get_time = begun.elapsed() / 1000;
    format!(
        "list of 100: p50 {:?}, p99 {:?}; get: {get_time:?}",
        times[100], times[198]
    )
}

#[test]
#[ignore = "measures; run by hand on a quiet machine"]
fn measure() {
    on_each_with(no_limits(), |bench| async move {
        let database = if bench.url.starts_with("sqlite:") {
            "SQLite"
        } else {
            "PostgreSQL"
        };
        flavor(&bench, "gold").await;
        for (callers, each) in [(1, 500), (8, 500), (32, 300)] {
            println!("{database}: {}", creates(&bench, callers, each).await);
        }
        let carol = requester("carol", "member");
        for count in [1_000, 9_000, 90_000] {
            let begun = Instant::now();
            fill(&bench, count).await;
            let rate = count as f64 / begun.elapsed().as_secs_f64();
            println!(
                "{database}: inserted {count} more at {rate:.0}/s; {}",
                lists(&bench, &carol).await
            );
        }
        println!(
            "{database}: with 100,000 rows: {}",
            creates(&bench, 32, 300).await
        );
    });
}
