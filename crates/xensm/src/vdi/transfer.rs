//! Bytes between the handlers of a pool and a file.

use std::io::Read;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::image_file::{ImageFormat, Output};
use super::progress::Progress;
use crate::failure::{Exit, Failure, Result};
use crate::pool_client::Pool;

/// Bytes read from a file at once, and how many such pieces wait for the network.
const PIECE: usize = 1 << 20;
const PIECES: usize = 4;

/// How often a task is looked at that has not ended with its stream.
const POLL: Duration = Duration::from_millis(200);

/// How long after the end of its stream a task may take: the server puts everything on stable storage.
const AFTER_STREAM: Duration = Duration::from_secs(600);

/// What a transfer moved.
pub struct Moved {
    /// Bytes of the stream.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Reads a VDI into `output`. `raw_size` is what a raw image must have in the end.
pub async fn export(
    pool: &Pool,
    vdi: &str,
    uuid: &str,
    format: ImageFormat,
    base: Option<&str>,
    raw_size: u64,
    output: &mut Output,
) -> Result<Moved> {
    let attempt = format!("export of VDI {uuid}");
    let task = begin_task(pool, &attempt).await?;
    let mut query = format!("?vdi={vdi}&format={}&task_id={task}", format.name());
    if let Some(base) = base {
        query.push_str(&format!("&base={base}"));
    }
    let response = pool.download("/export_raw_vdi", &query).await?;
    if response.status() != StatusCode::OK {
        return end_task(pool, &task, &attempt).await.and_then(|()| {
            let status = response.status();
            Err(Failure::new(
                Exit::Failed,
                format!("{attempt}: the server answered {status}"),
            ))
        });
    }
    let total = (format == ImageFormat::Raw).then_some(raw_size);
    let mut progress = Progress::new(total);
    let mut body = response.into_body();
    // A stream that broke is told by the task, which knows why.
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.into_data().unwrap_or_default();
        let written = output.write(&bytes);
        written.map_err(|cause| Failure::failed(format!("{attempt}: write the image"), &cause))?;
        progress.add(bytes.len() as u64);
    }
    let seconds = progress.finish();
    end_task(pool, &task, &attempt).await?;
    if format == ImageFormat::Raw && progress.done != raw_size {
        return Err(Failure::new(
            Exit::Failed,
            format!("{attempt}: {} of {raw_size} bytes came", progress.done),
        ));
    }
    let synced = output.finish();
    synced.map_err(|cause| Failure::failed(format!("{attempt}: put the image on disk"), &cause))?;
    Ok(Moved {
        bytes: progress.done,
        seconds,
    })
}

/// Writes a VDI from `input`, whose length is given where it is known.
pub async fn import(
    pool: &Pool,
    vdi: &str,
    uuid: &str,
    format: ImageFormat,
    input: Box<dyn Read + Send>,
    length: Option<u64>,
) -> Result<Moved> {
    let attempt = format!("import into VDI {uuid}");
    let task = begin_task(pool, &attempt).await?;
    let query = format!("?vdi={vdi}&format={}&task_id={task}", format.name());
    let (send, mut pieces) = mpsc::channel(PIECES);
    let reader = tokio::task::spawn_blocking(move || read_all(input, &send));
    let mut progress = Progress::new(length);
    let upload = pool.upload(
        "/import_raw_vdi",
        &query,
        length,
        &mut pieces,
        &mut progress,
    );
    let status = match upload.await {
        Ok(status) => status,
        Err(failure) => {
            // A server that refuses may close before it was heard; its task says why.
            let refused = pool.task_outcome(&task, &attempt).await;
            let _ = pool.call("task.destroy", &[json!(task)]).await;
            return Err(refused.err().unwrap_or(failure));
        }
    };
    let moved = Moved {
        bytes: progress.done,
        seconds: progress.finish(),
    };
    // The reader ends when nobody takes its pieces.
    drop(pieces);
    let ended = end_task(pool, &task, &attempt).await;
    // A file that could not be read explains a stream that ended early.
    if let Ok(Err(cause)) = reader.await {
        return Err(Failure::failed(
            format!("{attempt}: read the image"),
            &cause,
        ));
    }
    ended?;
    if status != StatusCode::OK {
        return Err(Failure::new(
            Exit::Failed,
            format!("{attempt}: the server answered {status}"),
        ));
    }
    Ok(moved)
}

fn read_all(mut input: Box<dyn Read + Send>, send: &mpsc::Sender<Bytes>) -> std::io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let mut filled = 0;
        while filled < piece.len() {
            match input.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        piece.truncate(filled);
        if filled == 0 || send.blocking_send(piece.into()).is_err() {
            return Ok(());
        }
    }
}

async fn begin_task(pool: &Pool, attempt: &str) -> Result<String> {
    let params = [json!(attempt), json!("xensm vdi")];
    let task = pool.call("task.create", &params).await?;
    Ok(task.as_str().unwrap_or_default().to_owned())
}

/// Waits until a task has ended, removes it and says how it went.
async fn end_task(pool: &Pool, task: &str, attempt: &str) -> Result<()> {
    let wait = async {
        loop {
            match pool.task_outcome(task, attempt).await {
                Ok(None) => tokio::time::sleep(POLL).await,
                Ok(Some(())) => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    };
    let ended = tokio::time::timeout(AFTER_STREAM, wait).await;
    // One that stays is removed by the server after a day.
    let _ = pool.call("task.destroy", &[json!(task)]).await;
    ended.unwrap_or_else(|_| {
        Err(Failure::new(
            Exit::Unavailable,
            format!("{attempt}: the server did not say how it ended"),
        )
        .hint("look at the task in the server, and export the VDI to compare"))
    })
}
