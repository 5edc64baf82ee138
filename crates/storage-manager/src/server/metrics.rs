//! What is measured, in the text format of Prometheus.

use std::fmt::Write;

use super::Server;
use super::health::HEALTH;
use crate::database::Objects;
use crate::gc::Status;
use crate::gc::store::PAUSE_BUCKETS_US;

/// Everything that is measured now.
pub fn text(server: &Server) -> String {
    let objects = server.database.read();
    let all: Vec<(String, Status)> = server
        .coalescing
        .all()
        .into_iter()
        .filter_map(|(sr, collector)| {
            Some((
                objects.find("SR", &sr)?.uuid().to_owned(),
                collector.status(),
            ))
        })
        .collect();
    let mut text = String::new();
    write_health(&mut text, &objects);
    drop(objects);
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Status) -> f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (sr, status) in &all {
            let _ = writeln!(text, "{name}{{sr=\"{sr}\"}} {}", value(status));
        }
    };
    family(
        "xensm_coalesce_backlog_images",
        "gauge",
        "Images that are to be merged or deleted.",
        &|status| status.backlog.len() as f64,
    );
    family(
        "xensm_coalesce_backlog_bytes",
        "gauge",
        "Bytes of the images that are to be merged or deleted.",
        &|status| status.backlog.values().sum::<u64>() as f64,
    );
    family(
        "xensm_coalesce_running",
        "gauge",
        "Steps under way.",
        &|status| status.running.len() as f64,
    );
    family(
        "xensm_coalesce_paused",
        "gauge",
        "1 while coalescing of the SR is paused.",
        &|status| f64::from(u8::from(status.paused)),
    );
    family(
        "xensm_coalesce_no_space",
        "gauge",
        "1 while a step waits for room on the medium.",
        &|status| f64::from(u8::from(status.no_space)),
    );
    family(
        "xensm_coalesce_steps_done_total",
        "counter",
        "Steps that came to their end.",
        &|status| status.totals.done as f64,
    );
    family(
        "xensm_coalesce_steps_failed_total",
        "counter",
        "Steps that failed.",
        &|status| status.totals.failed as f64,
    );
    family(
        "xensm_coalesce_steps_cancelled_total",
        "counter",
        "Steps that were cancelled.",
        &|status| status.totals.cancelled as f64,
    );
    family(
        "xensm_coalesce_copied_bytes_total",
        "counter",
        "Bytes written to parents.",
        &|status| status.totals.copied_bytes as f64,
    );
    write_pauses(&mut text, &all);
    text
}

fn write_health(text: &mut String, objects: &Objects) {
    let name = "xensm_sr_healthy";
    let help =
        "1 while the SR works as it should, 0 while other_config of it says why it does not.";
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for sr in objects.all("SR") {
        let is_healthy = sr.entry("other_config", HEALTH).is_none();
        let _ = writeln!(
            text,
            "{name}{{sr=\"{}\"}} {}",
            sr.uuid(),
            u8::from(is_healthy)
        );
    }
}

fn write_pauses(text: &mut String, all: &[(String, Status)]) {
    let name = "xensm_consumer_pause_seconds";
    let help =
        "How long consumers were held off while something behind their exports was exchanged.";
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
    for (sr, status) in all {
        let pauses = &status.pauses;
        for (limit, count) in PAUSE_BUCKETS_US.iter().zip(pauses.up_to) {
            let le = *limit as f64 / 1e6;
            let _ = writeln!(text, "{name}_bucket{{sr=\"{sr}\",le=\"{le}\"}} {count}");
        }
        let (count, sum) = (pauses.count, pauses.sum_us as f64 / 1e6);
        let _ = writeln!(text, "{name}_bucket{{sr=\"{sr}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{{sr=\"{sr}\"}} {sum}");
        let _ = writeln!(text, "{name}_count{{sr=\"{sr}\"}} {count}");
    }
}
