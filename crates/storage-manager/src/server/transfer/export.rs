//! `GET /export_raw_vdi`: the content of a VDI, front to back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use nbd::Export;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use vhd::size::{BLOCK_SIZE, MAX_VIRTUAL_SIZE};
use vhd::stream::{NewStream, StreamParent};
use xenapi::{Failure, Value};

use super::request::{self, Format, Parameters, Vdi};
use super::source::{self, Content, RelativeTo};
use super::transfers::{Job, shutting_down};
use super::{answer, body};
use crate::database::Objects;
use crate::server::call::Call;
use crate::server::connection::Connection;
use crate::server::http::Body;
use crate::server::operations::{self, Sharing};
use crate::server::{Server, storage};
use crate::sr::OpenMode;

/// What a real pool calls the task of an export, and the realm.
const LABEL: &str = "Exporting raw VDI";
const REALM: &str = "get_export_raw_vdi";

/// Bytes of the blocks in which changes are tracked.
const CBT_BLOCK: u64 = 64 << 10;

/// Answers the request. The transfer runs on in a task of its own and ends when its peer goes.
pub async fn handle(server: &Arc<Server>, connection: &Connection, parts: Parts) -> Response<Body> {
    let parameters = Parameters::of(&parts);
    if !parameters.is_authorised(server, connection, &parts) {
        return answer::unauthorised(REALM);
    }
    let begun = parameters
        .task(server, LABEL)
        .and_then(|task| Job::begin(server, &task));
    let job = match begun {
        Ok(job) => job,
        Err(failure) => return answer::failed(&failure),
    };
    let format = match parameters.format() {
        Ok(format) => format,
        Err(failure) => {
            job.finish(&Err(failure));
            return answer::bare(StatusCode::NOT_FOUND);
        }
    };
    let (tell, told) = oneshot::channel();
    let (owner, connection) = (server.clone(), connection.clone());
    server.running.spawn(async move {
        run(owner, connection, job, parameters, format, tell).await;
    });
    told.await.unwrap_or_else(|_| {
        answer::failed(&Failure::internal_error("the export failed; see the log"))
    })
}

async fn run(
    server: Arc<Server>,
    connection: Connection,
    job: Job,
    parameters: Parameters,
    format: Format,
    tell: oneshot::Sender<Response<Body>>,
) {
    let call = job.call(&connection);
    let opened = match open(&call, &parameters, format).await {
        Ok(opened) => opened,
        Err(failure) => {
            let page = answer::failed(&failure);
            job.finish(&Err(failure));
            // Nobody waits for it any more when the client is gone.
            let _ = tell.send(page);
            return;
        }
    };
    let (to_body, body) = body::channel();
    let head = answer::begun(&job.task, format.content_type(), body);
    let head = answer::named(head, &opened.vdi.uuid.to_string(), format.suffix());
    let _ = tell.send(head);
    let mut job = job;
    let result = transfer(&server, &mut job, opened, &to_body).await;
    if result.is_err() {
        // What came so far must not pass for the whole.
        connection.cut.cancel();
    }
    // First the task, then the end of the stream: whoever has seen the end finds the task ended.
    job.finish(&result);
    drop(to_body);
}

struct Opened {
    vdi: Vdi,
    export: Arc<dyn Export>,
    content: Content,
    place: OwnedSemaphorePermit,
}

async fn open(call: &Call, parameters: &Parameters, format: Format) -> Result<Opened, Failure> {
    let server = &call.server;
    let name = parameters
        .get("vdi")
        .ok_or_else(|| Failure::internal_error("Missing vdi query parameter"))?;
    let vdi = readable(&server.database.read(), name)?;
    if format == Format::Vhd && vdi.virtual_size > MAX_VIRTUAL_SIZE {
        return Err(Failure::new(
            "VDI_TOO_LARGE",
            [vdi.reference, MAX_VIRTUAL_SIZE.to_string()],
        ));
    }
    let base = match parameters.get("base").filter(|_| format == Format::Vhd) {
        Some(base) => Some(known_base(&server.database.read(), base)?),
        None => None,
    };
    let place = server.transfers.place(&vdi.sr).await?;
    let export = open_vdi(call, &vdi).await?;
    let content = match format {
        Format::Raw => Content::Raw,
        Format::Vhd => Content::Vhd {
            stream: NewStream {
                virtual_size: vdi.virtual_size,
                uuid: vdi.uuid,
                parent: base.as_ref().map(|base| StreamParent {
                    uuid: base.uuid,
                    file_name: format!("{}.vhd", base.uuid),
                }),
            },
            relative_to: match &base {
                Some(base) => relative_to(call, &vdi, base).await?,
                None => RelativeTo::Nothing,
            },
        },
    };
    Ok(Opened {
        vdi,
        export,
        content,
        place,
    })
}

/// A VDI that can be read as things are.
fn readable(objects: &Objects, name: &str) -> Result<Vdi, Failure> {
    let vdi = request::find_vdi(objects, name)?;
    request::check_content(objects.get("VDI", &vdi.reference)?)?;
    refuse_written(objects, &vdi)?;
    Ok(vdi)
}

/// # Errors
/// `VDI_IN_USE` while the VDI is plugged for writing: what was read would be of no one time.
fn refuse_written(objects: &Objects, vdi: &Vdi) -> Result<(), Failure> {
    let mut vbds = objects.pointing_at("VBD", "VDI", &vdi.reference);
    if vbds.any(|vbd| vbd.flag("currently_attached") && vbd.text("mode") == "RW") {
        return Err(Failure::new("VDI_IN_USE", [&vdi.reference, "copy"]));
    }
    Ok(())
}

/// A VDI that another can be compared with; one that has nothing but its tracked changes will do.
fn known_base(objects: &Objects, name: &str) -> Result<Vdi, Failure> {
    let base = request::find_vdi(objects, name)?;
    refuse_written(objects, &base)?;
    Ok(base)
}

/// Opens a VDI for reading. While it is open the driver keeps writers off, and nothing else.
async fn open_vdi(call: &Call, vdi: &Vdi) -> Result<Arc<dyn Export>, Failure> {
    let server = &call.server;
    let _operation =
        operations::begin(call, "VDI", &vdi.reference, "copy", Sharing::Shared).await?;
    refuse_written(&server.database.read(), vdi)?;
    let uuid = vdi.uuid;
    storage::on_sr(server, &vdi.sr, move |driver| {
        driver.open_vdi(uuid, OpenMode::ReadOnly)
    })
    .await
}

/// Finds out which blocks of a VDI differ from a base: by what was tracked, else by the images that only one of both has,
/// else every block that either has counts as different.
async fn relative_to(call: &Call, vdi: &Vdi, base: &Vdi) -> Result<RelativeTo, Failure> {
    let server = &call.server;
    if base.uuid == vdi.uuid {
        return Ok(RelativeTo::Known(Vec::new()));
    }
    let (from, to) = (base.uuid, vdi.uuid);
    if base.sr == vdi.sr && base.cbt_enabled && vdi.cbt_enabled {
        let tracked = storage::on_sr(server, &vdi.sr, move |driver| {
            driver.changed_blocks(from, to)
        });
        match tracked.await {
            Ok(bitmap) => return Ok(RelativeTo::Known(coarsened(&bitmap))),
            Err(failure) => {
                tracing::debug!(%failure, vdi.uuid = %to, base.uuid = %from, "no changes were tracked between both")
            }
        }
    }
    if base.is_cbt_metadata {
        return Err(Failure::new(
            "VDI_INCOMPATIBLE_TYPE",
            [&base.reference, "cbt_metadata"],
        ));
    }
    if base.sr == vdi.sr {
        let differing = storage::on_sr(server, &vdi.sr, move |driver| {
            driver.differing_blocks(from, to)
        });
        match differing.await {
            Ok(map) => return Ok(RelativeTo::Known(map)),
            Err(failure) => {
                tracing::debug!(%failure, vdi.uuid = %to, base.uuid = %from, "the images of both could not be compared")
            }
        }
    }
    request::check_content(server.database.read().get("VDI", &base.reference)?)?;
    open_vdi(call, base).await.map(RelativeTo::Opened)
}

/// From a bitmap of tracked blocks to one of the blocks of a VHD.
fn coarsened(tracked: &[u8]) -> Vec<u8> {
    const BYTES: usize = (BLOCK_SIZE / CBT_BLOCK / 8) as usize;
    let blocks = tracked.len().div_ceil(BYTES);
    let mut map = vec![0; blocks.div_ceil(8)];
    for (block, bits) in tracked.chunks(BYTES).enumerate() {
        if bits.iter().any(|bits| *bits != 0) {
            map[block / 8] |= 0x80 >> (block % 8);
        }
    }
    map
}

/// Runs the thread that reads and passes on what it sends.
async fn transfer(
    server: &Server,
    job: &mut Job,
    opened: Opened,
    to_body: &mpsc::Sender<Bytes>,
) -> Result<Value, Failure> {
    let total = opened.export.size();
    let (sender, mut chunks) = mpsc::channel(body::BODY_CHUNKS);
    let ended = start_thread(opened, sender)?;
    let patience = server.transfers.patience;
    let mut done = 0;
    let stopped = loop {
        let next = tokio::select! {
            chunk = chunks.recv() => chunk,
            () = job.stop.cancelled() => break Some(job.cancelled()),
            () = server.shutdown.cancelled() => break Some(shutting_down()),
        };
        let Some(chunk) = next else {
            break None;
        };
        done += chunk.len() as u64;
        tokio::select! {
            sent = tokio::time::timeout(patience, to_body.send(chunk)) => match sent {
                Ok(Ok(())) => job.note_progress(done, total),
                Ok(Err(_)) => break Some(peer_gone(done)),
                Err(_) => break Some(stalled(patience)),
            },
            () = job.stop.cancelled() => break Some(job.cancelled()),
            () = server.shutdown.cancelled() => break Some(shutting_down()),
        }
    };
    // The thread's next chunk finds nobody.
    drop(chunks);
    let read = ended
        .await
        .unwrap_or_else(|_| Err(Failure::internal_error("the export failed; see the log")));
    match stopped {
        Some(failure) => return Err(failure),
        None => read?,
    }
    // Every place in the channel is free when the socket has taken everything.
    match tokio::time::timeout(patience, to_body.reserve_many(body::BODY_CHUNKS)).await {
        Ok(Ok(_)) => Ok(Value::Nil),
        Ok(Err(_)) => Err(peer_gone(done)),
        Err(_) => Err(stalled(patience)),
    }
}

fn peer_gone(done: u64) -> Failure {
    let text = format!("the client closed the connection after {done} bytes");
    Failure::new("VDI_IO_ERROR", [text])
}

fn stalled(patience: Duration) -> Failure {
    let text = format!("the client took nothing for {} s", patience.as_secs());
    Failure::new("VDI_IO_ERROR", [text])
}

fn start_thread(
    opened: Opened,
    chunks: mpsc::Sender<Bytes>,
) -> Result<oneshot::Receiver<Result<(), Failure>>, Failure> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        let Opened {
            export,
            content,
            place,
            ..
        } = opened;
        let mut send = |chunk| {
            let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            chunks.blocking_send(chunk).map_err(gone)
        };
        let sent = catch_unwind(AssertUnwindSafe(|| {
            source::send(&*export, content, &mut send)
        }));
        let result = match sent {
            Ok(sent) => sent.map_err(|error| Failure::new("VDI_IO_ERROR", [told_of(&error)])),
            Err(_) => Err(Failure::internal_error("the export failed; see the log")),
        };
        // Closed before anybody is told, so that a writer can follow at once.
        let _ = export.close();
        drop((export, chunks, place));
        let _ = tell.send(result);
    };
    let started = std::thread::Builder::new()
        .name("export".to_owned())
        .spawn(work);
    match started {
        Ok(_) => Ok(told),
        Err(error) => Err(Failure::internal_error(&format!(
            "no thread could be started: {error}"
        ))),
    }
}

fn told_of(error: &std::io::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
