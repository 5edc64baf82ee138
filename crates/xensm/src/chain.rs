//! `xensm chain`: the chains of images on this machine's Storage Manager, and what merges them.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::config::{self, CommonFlags, ServeFlags};
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};
use crate::pool_client::Pool;
use crate::ui::{self, Format};

/// The plugin of the Storage Manager that answers.
const PLUGIN: &str = "xensm-chain";

/// What `chain` does.
#[derive(Subcommand)]
pub enum ChainCommand {
    /// Shows the chains of an SR, or how every SR stands.
    #[command(after_help = "Examples:
  xensm chain show                     every SR: backlog, what runs, the last error
  xensm chain show 5c1ae9...           the images of one SR, root first, and why each is still there
  xensm chain show my-sr --format json")]
    Show {
        /// The SR, by uuid or name; without it every SR is summed up.
        sr: Option<String>,
    },
    /// Checks the image of a VDI and every image below it; changes nothing.
    #[command(after_help = "Examples:
  xensm chain check 8b9f6b2e-...       exit code 1 when something is wrong
  xensm chain check my-volume --format json")]
    Check {
        /// The VDI, by uuid or name.
        vdi: String,
    },
    /// Merges what can be merged now, also what failed before; ends pauses.
    #[command(after_help = "Examples:
  xensm chain coalesce my-sr
  xensm chain coalesce my-sr --vdi 8b9f6b2e-...")]
    Coalesce(Target),
    /// Lets merging stand still, until it is resumed or the SR is attached anew.
    #[command(after_help = "Examples:
  xensm chain pause my-sr              everything on the SR
  xensm chain pause my-sr --vdi 8b9f6b2e-...")]
    Pause(Target),
    /// Goes on after a pause; without --vdi every pause on the SR ends.
    #[command(after_help = "Example:
  xensm chain resume my-sr")]
    Resume(Target),
    /// Cancels what is being merged; it is begun again later, unless it is paused.
    #[command(after_help = "Example:
  xensm chain cancel my-sr --vdi 8b9f6b2e-...")]
    Cancel(Target),
}

/// An SR, or one image on it.
#[derive(clap::Args)]
pub struct Target {
    /// The SR, by uuid or name.
    sr: String,
    /// Only this image, by the uuid that `chain show` shows.
    #[arg(long)]
    vdi: Option<String>,
}

/// Runs a command.
pub fn run(common: &CommonFlags, command: ChainCommand, format: Format) -> Result<()> {
    let file = config::load(common, &ServeFlags::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?;
    let pool = runtime.block_on(Pool::login_here(&DataDir::new(&file.data_dir)?))?;
    let manager = Manager { runtime, pool };
    match command {
        ChainCommand::Show { sr: None } => show_all(&manager, format),
        ChainCommand::Show { sr: Some(sr) } => show(&manager, &sr, format),
        ChainCommand::Check { vdi } => check(&manager, &vdi, format),
        ChainCommand::Coalesce(target) => act(&manager, "coalesce", &target, format),
        ChainCommand::Pause(target) => act(&manager, "pause", &target, format),
        ChainCommand::Resume(target) => act(&manager, "resume", &target, format),
        ChainCommand::Cancel(target) => act(&manager, "cancel", &target, format),
    }
}

/// The storage manager, one call at a time.
struct Manager {
    runtime: tokio::runtime::Runtime,
    pool: Pool,
}

impl Manager {
    fn call(&self, method: &str, params: &[Value]) -> Result<Value> {
        self.runtime.block_on(self.pool.call(method, params))
    }

    fn plugin(&self, function: &str, arguments: Value) -> Result<Value> {
        let hosts = self.call("host.get_all", &[])?;
        let host = hosts[0].clone();
        let answer = self.call(
            "host.call_plugin",
            &[host, json!(PLUGIN), json!(function), arguments],
        )?;
        serde_json::from_str(answer.as_str().unwrap_or_default()).map_err(|cause| {
            Failure::failed(format!("read what the plugin {PLUGIN} answered"), &cause)
        })
    }

    /// The uuid of the one object of a class with this uuid or name, and its record.
    fn find(&self, class: &str, wanted: &str) -> Result<(String, Value)> {
        let records = self.call(&format!("{class}.get_all_records"), &[])?;
        let records = records.as_object().cloned().unwrap_or_default();
        let matching: Vec<&Value> = records
            .values()
            .filter(|record| record["uuid"] == wanted || record["name_label"] == wanted)
            .collect();
        match matching[..] {
            [record] => Ok((text(&record["uuid"]), record.clone())),
            [] => Err(
                Failure::new(Exit::NotFound, format!("there is no {class} {wanted}"))
                    .hint("`xensm chain show` lists the SRs, `xensm chain show SR` their images"),
            ),
            _ => {
                let uuids: Vec<String> = matching.iter().map(|it| text(&it["uuid"])).collect();
                Err(Failure::new(
                    Exit::Usage,
                    format!("there are {} {class}s named {wanted}", matching.len()),
                )
                .hint(format!("name it by its uuid: {}", uuids.join(", "))))
            }
        }
    }

    fn sr_of(&self, vdi: &Value) -> Result<String> {
        let sr = self.call("SR.get_uuid", &[vdi["SR"].clone()])?;
        Ok(text(&sr))
    }
}

fn show_all(manager: &Manager, format: Format) -> Result<()> {
    let all = manager.plugin("status", json!({}))?;
    if format == Format::Json {
        ui::json(&all);
        return Ok(());
    }
    let rows = all.as_array().into_iter().flatten().map(|sr| {
        vec![
            text(&sr["sr"]),
            text(&sr["name"]),
            text(&sr["backlog_images"]),
            bytes(&sr["backlog_bytes"]),
            state(sr),
            text(&sr["last_error"]),
        ]
    });
    let header = ["SR", "name", "backlog", "bytes", "state", "last error"];
    ui::table(&header, rows.collect());
    Ok(())
}

fn show(manager: &Manager, sr: &str, format: Format) -> Result<()> {
    let (uuid, _) = manager.find("SR", sr)?;
    let shown = manager.plugin("show", json!({"sr": uuid}))?;
    if format == Format::Json {
        ui::json(&shown);
        return Ok(());
    }
    let rows = shown["images"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|image| {
            let depth = image["depth"].as_u64().unwrap_or(1) as usize;
            let kind = match (image["hidden"].as_bool(), image["raw"].as_bool()) {
                (Some(true), Some(true)) => "hidden raw",
                (Some(true), _) => "hidden",
                (_, Some(true)) => "VDI raw",
                _ => "VDI",
            };
            vec![
                format!("{}{}", "  ".repeat(depth - 1), text(&image["vdi"])),
                text(&image["name"]),
                depth.to_string(),
                kind.to_owned(),
                bytes(&image["virtual_size"]),
                bytes(&image["physical_size"]),
                text(&image["consumers"]).replace("none", ""),
                match text(&image["coalesce"]) {
                    waits if waits == "waits" && is_paused(&shown, &image["vdi"]) => {
                        "paused".to_owned()
                    }
                    other => other,
                },
            ]
        });
    let header = [
        "image", "name", "depth", "kind", "size", "used", "open for", "coalesce",
    ];
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        ui::talk("no image of this SR has a parent: there is no chain");
    }
    ui::table(&header, rows);
    let backlog = match shown["backlog_images"].as_u64().unwrap_or(0) {
        0 => "nothing to merge".to_owned(),
        images => format!(
            "{} to go with {}",
            count(images, "image"),
            bytes(&shown["backlog_bytes"])
        ),
    };
    ui::talk(format!("{backlog}; {}", state(&shown)));
    if let Some(error) = shown["last_error"].as_str() {
        ui::talk(format!("last error: {error}"));
    }
    Ok(())
}

fn check(manager: &Manager, vdi: &str, format: Format) -> Result<()> {
    let (uuid, record) = manager.find("VDI", vdi)?;
    let sr = manager.sr_of(&record)?;
    let checked = manager.plugin("check", json!({"sr": sr, "vdi": uuid}))?;
    match format {
        Format::Json => ui::json(&checked),
        Format::Table => {
            let rows = checked["images"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|image| {
                    let defects: Vec<String> = image["defects"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(text)
                        .collect();
                    let verdict = match defects.is_empty() {
                        true => "sound".to_owned(),
                        false => defects.join("\n"),
                    };
                    vec![text(&image["image"]), verdict]
                });
            ui::table(&["image, from the VDI down", "verdict"], rows.collect());
        }
    }
    if checked["sound"] == true {
        return Ok(());
    }
    Err(
        Failure::new(Exit::Failed, format!("the chain of VDI {uuid} is damaged")).hint(
            "detach the VDI and copy what can be read; `docs/operate/coalescing.md` says more",
        ),
    )
}

fn act(manager: &Manager, function: &str, target: &Target, format: Format) -> Result<()> {
    let (uuid, _) = manager.find("SR", &target.sr)?;
    let mut arguments = json!({"sr": uuid});
    if let Some(vdi) = &target.vdi {
        let shown = manager.plugin("show", arguments.clone())?;
        let mut images = shown["images"].as_array().into_iter().flatten();
        if !images.any(|image| image["vdi"] == vdi.as_str()) {
            return Err(Failure::new(
                Exit::NotFound,
                format!("there is no image {vdi} in a chain of SR {}", target.sr),
            )
            .hint(format!(
                "`xensm chain show {}` lists them; name it by its uuid",
                target.sr
            )));
        }
        arguments["vdi"] = json!(vdi);
    }
    let answer = manager.plugin(function, arguments)?;
    match format {
        Format::Json => ui::json(&answer),
        Format::Table if function == "cancel" => {
            ui::result(match answer["cancelled"].as_u64().unwrap_or(0) {
                0 => "nothing was being merged".to_owned(),
                steps => format!(
                    "{} cancelled; begun again in a few seconds, unless it is paused",
                    count(steps, "merge")
                ),
            });
        }
        Format::Table => ui::result(state(&answer)),
    }
    Ok(())
}

/// What an SR is doing, on one line.
fn state(status: &Value) -> String {
    let running: Vec<String> = status["running"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            let (done, total) = (
                step["done_bytes"].as_f64().unwrap_or(0.0),
                step["total_bytes"].as_f64().unwrap_or(0.0),
            );
            let percent = if total > 0.0 {
                done / total * 100.0
            } else {
                0.0
            };
            match step["left_s"].as_f64() {
                Some(left) => format!("{} ({percent:.0} %, {left:.0} s left)", text(&step["work"])),
                None => format!("{} ({percent:.0} %)", text(&step["work"])),
            }
        })
        .collect();
    let backlog = status["backlog_images"].as_u64().unwrap_or(0);
    if status["paused"] == true {
        return "paused".to_owned();
    }
    if !running.is_empty() {
        return running.join("; ");
    }
    if status["no_space"] == true {
        return "waits for room on the medium".to_owned();
    }
    let paused = status["paused_vdis"].as_array().map_or(0, Vec::len) as u64;
    match (backlog, paused) {
        (0, _) => "idle".to_owned(),
        (_, 0) => "waits".to_owned(),
        _ => format!("waits; {} paused", count(paused, "image")),
    }
}

fn is_paused(status: &Value, vdi: &Value) -> bool {
    let paused = status["paused_vdis"].as_array();
    status["paused"] == true || paused.is_some_and(|paused| paused.contains(vdi))
}

fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn bytes(value: &Value) -> String {
    ui::bytes(value.as_u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_on_a_line() {
        let mut status =
            json!({"paused": false, "running": [], "backlog_images": 0, "no_space": false});
        assert_eq!(state(&status), "idle");
        status["backlog_images"] = json!(2);
        assert_eq!(state(&status), "waits");
        status["paused_vdis"] = json!(["a"]);
        assert_eq!(state(&status), "waits; 1 image paused");
        assert!(is_paused(&status, &json!("a")) && !is_paused(&status, &json!("b")));
        status["running"] = json!([{"work": "merge a into b", "done_bytes": 50, "total_bytes": 200, "left_s": 3.4}]);
        assert_eq!(state(&status), "merge a into b (25 %, 3 s left)");
        assert_eq!(bytes(&json!(5 << 20)), "5.0 MiB");
        assert_eq!(bytes(&json!(12)), "12 B");
    }
}
