//! `PUT /import_raw_vdi`: new content for a VDI, or a new VDI.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use nbd::Export;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use xenapi::{Failure, Value, schema};

use super::feed::{self, Feed};
use super::request::{self, Format, Parameters, Vdi};
use super::sink::{self, Coding, UNKNOWN_LENGTH};
use super::transfers::{Job, shutting_down};
use super::{answer, body};
use crate::server::call::{Args, Call};
use crate::server::classes;
use crate::server::connection::Connection;
use crate::server::http::Body;
use crate::server::operations::{self, Operation, Sharing};
use crate::server::{Server, allowed, storage, vdi_records};
use crate::sr::OpenMode;

/// What a real pool calls the task of an import, and the realm.
const LABEL: &str = "Importing raw VDI";
const REALM: &str = "put_import_raw_vdi";

/// The name of a VDI that an import makes.
const NEW_LABEL: &str = "Imported VDI";

/// Answers the request. The transfer runs to its end in a task of its own, whether somebody waits for the answer or not.
pub async fn handle(
    server: &Arc<Server>,
    connection: &Connection,
    parts: Parts,
    body: Incoming,
) -> Response<Body> {
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
    let wanted = match wanted(&parts, &parameters, &body) {
        Ok(wanted) => wanted,
        Err((status, failure)) => {
            job.finish(&Err(failure));
            return answer::bare(status);
        }
    };
    let (tell, told) = oneshot::channel();
    let (owner, connection) = (server.clone(), connection.clone());
    server.running.spawn(async move {
        run(&owner, &connection, job, &wanted, body, tell).await;
    });
    told.await.unwrap_or_else(|_| {
        answer::failed(&Failure::internal_error("the import failed; see the log"))
    })
}

/// What a request asks for.
struct Wanted {
    coding: Coding,
    target: Target,
    /// Bytes of the body; none when the client does not know.
    length: Option<u64>,
}

enum Target {
    /// A VDI by reference or uuid.
    Existing(String),
    /// A new VDI of so many bytes in this SR, by reference or uuid.
    New { sr: String, size: u64 },
}

fn wanted(
    parts: &Parts,
    parameters: &Parameters,
    body: &Incoming,
) -> Result<Wanted, (StatusCode, Failure)> {
    let not_found = |failure| (StatusCode::NOT_FOUND, failure);
    if let Some(encoding) = parts.headers.get(TRANSFER_ENCODING) {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let text = format!("Cannot handle encoding: {encoding}");
        return Err(not_found(Failure::internal_error(&text)));
    }
    let format = parameters.format().map_err(not_found)?;
    let coding = match (format, parameters.get("chunked")) {
        (Format::Raw, None) => Coding::Raw,
        (Format::Raw, Some(_)) => Coding::Chunked,
        (Format::Vhd, _) => Coding::Vhd,
    };
    // Without the header there is no body in HTTP/1.1, which is a body of length 0.
    let declared = body.size_hint().exact().unwrap_or(0);
    let length = Some(declared).filter(|length| *length < UNKNOWN_LENGTH);
    let sr = parameters.get("sr_id").or(parameters.get("sr_uuid"));
    let target = match (parameters.get("vdi"), sr, length) {
        (Some(vdi), _, _) => Target::Existing(vdi.to_owned()),
        (None, Some(sr), Some(size @ 1..)) if coding == Coding::Raw => Target::New {
            sr: sr.to_owned(),
            size,
        },
        _ => {
            let text = "name a VDI; only a raw body of known length makes one, in the SR that sr_id or sr_uuid names";
            return Err((StatusCode::BAD_REQUEST, Failure::internal_error(text)));
        }
    };
    Ok(Wanted {
        coding,
        target,
        length,
    })
}

async fn run(
    server: &Arc<Server>,
    connection: &Connection,
    mut job: Job,
    wanted: &Wanted,
    body: Incoming,
    tell: oneshot::Sender<Response<Body>>,
) {
    let call = job.call(connection);
    let opened = match open(&call, wanted).await {
        Ok(opened) => opened,
        Err(failure) => {
            let page = answer::failed(&failure);
            job.finish(&Err(failure));
            // Nobody waits for it any more when the client is gone.
            let _ = tell.send(page);
            return;
        }
    };
    let (end_of_answer, empty) = body::channel();
    let head = answer::begun(&job.task, "application/octet-stream", empty);
    let _ = tell.send(head);
    let result = match opened {
        Some(opened) => {
            let vdi = opened.vdi.clone();
            let transferred = transfer(server, &mut job, opened, wanted, body).await;
            match (&transferred, &wanted.target) {
                (Err(_), Target::New { .. }) => discard(&call, &vdi.reference).await,
                _ => refresh(server, &vdi).await,
            }
            transferred.map(|()| Value::from(vdi.reference))
        }
        None => Err(Failure::new(
            "VDI_IO_ERROR",
            ["the request has no body; nothing was written"],
        )),
    };
    // First the task, then the end of the connection: whoever has seen the end finds the task ended.
    job.finish(&result);
    drop(end_of_answer);
}

struct Opened {
    vdi: Vdi,
    export: Arc<dyn Export>,
    place: OwnedSemaphorePermit,
    /// Keeps every other operation off the VDI until its new content is whole.
    operation: Operation,
}

/// Opens the VDI for writing, unless there is nothing to write: the empty request that Xen Orchestra sends to look for a
/// redirection must not keep the real one out.
async fn open(call: &Call, wanted: &Wanted) -> Result<Option<Opened>, Failure> {
    let server = &call.server;
    if let Target::Existing(name) = &wanted.target
        && wanted.length == Some(0)
    {
        let objects = server.database.read();
        let vdi = request::find_vdi(&objects, name)?;
        request::check_content(objects.get("VDI", &vdi.reference)?)?;
        return Ok(None);
    }
    let vdi = match &wanted.target {
        Target::Existing(name) => request::find_vdi(&server.database.read(), name)?,
        Target::New { sr, size } => make(call, sr, *size).await?,
    };
    let opened = open_vdi(call, &vdi).await;
    if opened.is_err() && matches!(wanted.target, Target::New { .. }) {
        discard(call, &vdi.reference).await;
    }
    let (export, place, operation) = opened?;
    Ok(Some(Opened {
        vdi,
        export,
        place,
        operation,
    }))
}

async fn open_vdi(
    call: &Call,
    vdi: &Vdi,
) -> Result<(Arc<dyn Export>, OwnedSemaphorePermit, Operation), Failure> {
    let server = &call.server;
    let place = server.transfers.place(&vdi.sr).await?;
    let operation =
        operations::begin(call, "VDI", &vdi.reference, "copy", Sharing::Exclusive).await?;
    {
        let objects = server.database.read();
        let record = objects.get("VDI", &vdi.reference)?;
        request::check_content(record)?;
        if record.flag("read_only") {
            return Err(Failure::new("VDI_READONLY", [&vdi.reference]));
        }
        if allowed::is_plugged(&objects, &vdi.reference) {
            return Err(Failure::new("VDI_IN_USE", [&vdi.reference, "copy"]));
        }
    }
    let uuid = vdi.uuid;
    let export = storage::on_sr(server, &vdi.sr, move |driver| {
        driver.open_vdi(uuid, OpenMode::ReadWrite)
    });
    Ok((export.await?, place, operation))
}

/// Makes the VDI of an import that names none.
async fn make(call: &Call, sr: &str, size: u64) -> Result<Vdi, Failure> {
    let sr = {
        let objects = call.server.database.read();
        let found = objects.find("SR", sr).or(objects.find_by_uuid("SR", sr));
        let found = found.ok_or_else(|| Failure::new("UUID_INVALID", ["SR", sr]))?;
        found.reference.to_string()
    };
    let fields = [
        ("name_label", NEW_LABEL.into()),
        ("SR", sr.into()),
        (
            "virtual_size",
            Value::Int(i64::try_from(size).unwrap_or(i64::MAX)),
        ),
        ("type", "user".into()),
        ("sharable", false.into()),
        ("read_only", false.into()),
        ("other_config", Value::Struct(Default::default())),
    ];
    let record = fields.map(|(name, value)| (name.to_owned(), value));
    let class = schema::class("VDI").expect("the schema has VDIs");
    let record = schema::coerce_constructor(Value::Struct(record.into()), class)?;
    let made = classes::vdi::run(call, "create", Args(vec![Value::Struct(record)])).await?;
    let reference = made.as_str().unwrap_or_default();
    request::find_vdi(&call.server.database.read(), reference)
}

/// Records how much space the VDI takes now. Should that fail, the next scan does it.
async fn refresh(server: &Arc<Server>, vdi: &Vdi) {
    let uuid = vdi.uuid;
    let found = storage::on_sr(server, &vdi.sr, move |driver| driver.stat_vdi(uuid)).await;
    let refreshed = match found {
        Ok(found) => {
            let written = server
                .database
                .write(|transaction| vdi_records::refresh(transaction, &vdi.reference, &found));
            written.await
        }
        Err(failure) => Err(failure),
    };
    if let Err(failure) = refreshed {
        tracing::debug!(%failure, vdi.uuid = %uuid, "the size of an imported VDI could not be noted");
    }
}

/// Removes a VDI that was made for an import which failed: nobody knows of it.
async fn discard(call: &Call, vdi: &str) {
    let destroyed = classes::vdi::run(call, "destroy", Args(vec![vdi.into()])).await;
    if let Err(failure) = destroyed {
        tracing::warn!(%failure, vdi.reference = vdi, "the VDI of a failed import could not be removed; destroy it");
    }
}

/// Runs the thread that writes and feeds it with what comes.
async fn transfer(
    server: &Server,
    job: &mut Job,
    opened: Opened,
    wanted: &Wanted,
    mut body: Incoming,
) -> Result<(), Failure> {
    let Opened {
        export,
        place,
        operation: _operation,
        ..
    } = opened;
    let total = wanted.length.unwrap_or_else(|| export.size());
    let (pieces, feed) = feed::channel();
    let mut ended = start_thread(export, place, feed, wanted)?;
    let patience = server.transfers.patience;
    let mut done: u64 = 0;
    let stopped = loop {
        let frame = tokio::select! {
            // A VHD is whole with its footer, though its client may not have closed yet.
            result = &mut ended => return told(result),
            frame = tokio::time::timeout(patience, body.frame()) => frame,
            () = job.stop.cancelled() => break Some(job.cancelled()),
            () = server.shutdown.cancelled() => break Some(shutting_down()),
        };
        let piece = match frame {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            // A connection that broke ends the feed; what was read knows whether that is too early.
            Ok(Some(Err(_)) | None) => break None,
            Err(_) => break Some(stalled(patience)),
        };
        done += piece.len() as u64;
        tokio::select! {
            sent = pieces.send(piece) => match sent {
                Ok(()) => job.note_progress(done, total),
                // The thread has ended, and says why.
                Err(_) => break None,
            },
            () = job.stop.cancelled() => break Some(job.cancelled()),
            () = server.shutdown.cancelled() => break Some(shutting_down()),
        }
    };
    drop(pieces);
    // Also when it was stopped: the VDI is closed when the thread has ended, and free for others then.
    let result = told(ended.await);
    match stopped {
        Some(failure) => Err(failure),
        None => result,
    }
}

fn told(result: Result<Result<(), Failure>, oneshot::error::RecvError>) -> Result<(), Failure> {
    result.unwrap_or_else(|_| Err(Failure::internal_error("the import failed; see the log")))
}

fn stalled(patience: Duration) -> Failure {
    let text = format!("the client sent nothing for {} s", patience.as_secs());
    Failure::new("VDI_IO_ERROR", [text])
}

fn start_thread(
    export: Arc<dyn Export>,
    place: OwnedSemaphorePermit,
    mut feed: Feed,
    wanted: &Wanted,
) -> Result<oneshot::Receiver<Result<(), Failure>>, Failure> {
    let (tell, told) = oneshot::channel();
    let (coding, length) = (wanted.coding, wanted.length);
    let work = move || {
        let received = catch_unwind(AssertUnwindSafe(|| {
            sink::receive(&mut feed, coding, length, &*export)
        }));
        let result = match received {
            Ok(received) => received.map_err(Failure::from),
            Err(_) => Err(Failure::internal_error("the import failed; see the log")),
        };
        // Closed before anybody is told, so that whoever comes next finds it free. After a failure the content is part old
        // and part new, and a failure of closing adds nothing to that.
        let _ = export.close();
        drop((export, feed, place));
        let _ = tell.send(result);
    };
    let started = std::thread::Builder::new()
        .name("import".to_owned())
        .spawn(work);
    match started {
        Ok(_) => Ok(told),
        Err(error) => Err(Failure::internal_error(&format!(
            "no thread could be started: {error}"
        ))),
    }
}
