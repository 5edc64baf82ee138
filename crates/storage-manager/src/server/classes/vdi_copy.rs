//! `VDI.copy`: to a new VDI of any SR, or into one that is there. Source: reference 2.6; golden 05 (scenario copy) and 09.
//!
//! ```text
//! into a new VDI:  uuid of a stored intent -> empty image -> content, flushed -> record, intent dropped -> answer
//! into another:    content, flushed -> record refreshed -> answer
//! ```
//!
//! A new VDI has no record until it is complete: whoever looks sees all of it or nothing. When the copy fails, is cancelled
//! or is cut off by a crash, the image goes, at once or at the next start. A VDI that was copied into stays as far as the copy
//! came.
//!
//! A cancelled copy ends as `failure` with `VDI_COPY_FAILED`, whose parameter names `TASK_CANCELLED`: so does a real pool.

use std::sync::Arc;
use std::time::Duration;

use nbd::Export;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;
use xenapi::{Failure, NULL_REF, Value};

use super::vdi::{begun, check_creation, for_clients};
use crate::copy::{Copy, Error, Progress, TargetContent};
use crate::database::{Object, Objects};
use crate::server::call::Call;
use crate::server::images::{self, Made};
use crate::server::operations::{self, Operation, Sharing};
use crate::server::sr_threads::NoAnswer;
use crate::server::storage::COPIES_WAITING;
use crate::server::vdi_records::{self, CONTENT_ID};
use crate::server::{Server, allowed, attachments, labels, storage, tasks};
use crate::sr::{FoundVdi, NewVdi, OpenMode};

/// How often the progress of the task is noted.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// A copy is given up when nothing moved for this many times the deadline of a driver call: one step may be a flush.
const STALLED_DEADLINES: u32 = 4;

/// A copy that waits for a thread is not given up.
const UNTIL_IT_ENDS: Duration = Duration::from_secs(u32::MAX as u64);

/// What a caller asks for; references may be empty or null.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The VDI that is copied.
    pub source: &'a str,
    /// The SR of a new VDI, when no VDI is given.
    pub sr: &'a str,
    /// A VDI whose content the target has already.
    pub base: &'a str,
    /// The VDI that is copied into.
    pub into: &'a str,
}

/// A VDI that takes part.
#[derive(Clone, Debug)]
struct Part {
    vdi: String,
    sr: String,
    uuid: Uuid,
}

/// What is read.
struct Plan {
    source: Part,
    record: Arc<Object>,
    base: Option<Part>,
}

/// Runs the message; answers the reference of the copy.
pub async fn run(call: &Call, wish: &Wish<'_>) -> Result<Value, Failure> {
    let server = &call.server;
    let into = check(&server.database.read(), wish)?;
    match into {
        None => copy_to_new(call, wish).await,
        Some(into) => copy_into(call, wish, &into).await,
    }
}

fn given(reference: &str) -> Option<&str> {
    Some(reference).filter(|reference| !reference.is_empty() && *reference != NULL_REF)
}

fn part(objects: &Objects, vdi: &str) -> Result<Part, Failure> {
    let (sr, uuid) = begun(objects, vdi, "copy")?;
    Ok(Part {
        vdi: vdi.to_owned(),
        sr,
        uuid,
    })
}

/// Checks everything as things are; answers the VDI that is copied into, if there is to be one.
fn check(objects: &Objects, wish: &Wish<'_>) -> Result<Option<Part>, Failure> {
    let plan = plan(objects, wish)?;
    let Some(into) = given(wish.into) else {
        return check_creation(objects, wish.sr).map(|()| None);
    };
    let part = part(objects, into)?;
    check_into(objects, objects.get("VDI", into)?, &plan.record)?;
    Ok(Some(part))
}

fn plan(objects: &Objects, wish: &Wish<'_>) -> Result<Plan, Failure> {
    Ok(Plan {
        source: part(objects, wish.source)?,
        record: objects.get("VDI", wish.source)?.clone(),
        base: given(wish.base)
            .map(|base| part(objects, base))
            .transpose()?,
    })
}

fn check_into(objects: &Objects, into: &Object, source: &Object) -> Result<(), Failure> {
    let vdi = &*into.reference;
    // Nothing else may be under way on what is written to, not even another copy.
    allowed::refuse_used(objects, vdi, "copy")?;
    if into.flag("read_only") {
        return Err(Failure::new("VDI_READONLY", [vdi]));
    }
    if into.reference == source.reference {
        return Err(Failure::new("VDI_IN_USE", [vdi, "copy"]));
    }
    let size = source.int("virtual_size");
    if into.int("virtual_size") < size {
        return Err(Failure::new(
            "VDI_TOO_SMALL",
            [vdi.to_owned(), size.to_string()],
        ));
    }
    Ok(())
}

async fn copy_to_new(call: &Call, wish: &Wish<'_>) -> Result<Value, Failure> {
    let server = &call.server;
    let on_sr = operations::begin(call, "SR", wish.sr, "vdi_create", Sharing::Shared).await?;
    // A VDI that is taken into use holds what somebody left on it: the caller makes it, then copies into it.
    if storage::attached(server, wish.sr)?.takes_vdis() {
        return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [wish.sr]));
    }
    let mut on_source =
        operations::begin(call, "VDI", wish.source, "copy", Sharing::Shared).await?;
    // The base is for a target that has its content; a new one has none, and gets everything.
    let plan = plan(&server.database.read(), wish)?;
    let source = open(server, &plan.source, OpenMode::ReadOnly).await?;
    on_source.stand_aside();
    let size = source.size();
    let made = images::make(server, wish.sr, move |driver, uuid| {
        driver.create_vdi(&NewVdi {
            uuid,
            virtual_size: size,
            sm_config: Default::default(),
        })
    });
    let made = made.await?;
    // From here on nobody can delete the new image, or the source, which is held open.
    drop(on_sr);
    let target = Part {
        vdi: NULL_REF.to_owned(),
        sr: wish.sr.to_owned(),
        uuid: made.uuid(),
    };
    let opened = match open(server, &target, OpenMode::ReadWrite).await {
        Ok(opened) => opened,
        Err(failure) => {
            made.discard().await;
            return Err(failure);
        }
    };
    let copy = Copy {
        source,
        target: opened,
        content: TargetContent::Blank,
    };
    let record = plan.record;
    let job = Job {
        copy,
        source: plan.source,
        target: target.clone(),
        operations: vec![on_source],
    };
    let finish = move |server: Arc<Server>, copied: Result<FoundVdi, Failure>| async move {
        record_new(server, made, copied, &target, &record).await
    };
    work(call, job, finish).await
}

/// Records a complete copy, or deletes what there is of it.
async fn record_new(
    server: Arc<Server>,
    made: Made<FoundVdi>,
    copied: Result<FoundVdi, Failure>,
    target: &Part,
    source: &Object,
) -> Result<String, Failure> {
    let found = match copied {
        Ok(found) => found,
        Err(failure) => {
            made.discard().await;
            return Err(failure);
        }
    };
    let content_id = content_id_of(source);
    let recorded = made.record(|transaction, _| {
        transaction.get("SR", &target.sr)?;
        Ok(vdi_records::insert_copy(
            transaction,
            &target.sr,
            source,
            &found,
            &content_id,
        ))
    });
    let vdi = recorded.await?;
    labels::push(&server, &target.sr, &[&vdi]).await;
    tracing::info!(vdi.uuid = %target.uuid, source = source.uuid(), "a VDI was copied");
    Ok(vdi)
}

async fn copy_into(call: &Call, wish: &Wish<'_>, into: &Part) -> Result<Value, Failure> {
    let server = &call.server;
    // In the order of the references, so that no two calls wait for each other.
    let mut both = [
        (wish.source, Sharing::Shared),
        (into.vdi.as_str(), Sharing::Exclusive),
    ];
    both.sort_unstable_by_key(|(vdi, _)| *vdi);
    let mut operations: Vec<Operation> = Vec::with_capacity(both.len());
    for (vdi, sharing) in both {
        operations.push(operations::begin(call, "VDI", vdi, "copy", sharing).await?);
    }
    let plan = plan(&server.database.read(), wish)?;
    storage::attached(server, &into.sr)?;
    attachments::withdraw_unplugged(server, &into.sr, vec![into.uuid.to_string()]).await?;
    let source = open(server, &plan.source, OpenMode::ReadOnly).await?;
    let content = match &plan.base {
        None => TargetContent::Unknown,
        Some(base) => TargetContent::Base(open(server, base, OpenMode::ReadOnly).await?),
    };
    let target = open(server, into, OpenMode::ReadWrite).await?;
    operations.iter_mut().for_each(Operation::stand_aside);
    let copy = Copy {
        source,
        target,
        content,
    };
    let (record, target) = (plan.record, into.clone());
    let job = Job {
        copy,
        source: plan.source,
        target: target.clone(),
        operations,
    };
    let finish = move |server: Arc<Server>, copied: Result<FoundVdi, Failure>| async move {
        let content_id = copied.is_ok().then(|| content_id_of(&record));
        let written = server.database.write(|transaction| {
            if let Ok(found) = &copied {
                vdi_records::refresh(transaction, &target.vdi, found)?;
            }
            // Of a copy that did not end nobody knows the content.
            transaction.set_entry(
                "VDI",
                &target.vdi,
                "other_config",
                CONTENT_ID,
                content_id.as_deref(),
            )
        });
        written.await?;
        copied.map(|_| target.vdi)
    };
    work(call, job, finish).await
}

/// Two VDIs of one content have one id of it.
fn content_id_of(source: &Object) -> String {
    source
        .entry("other_config", CONTENT_ID)
        .map_or_else(vdi_records::fresh_content_id, str::to_owned)
}

async fn open(
    server: &Arc<Server>,
    part: &Part,
    mode: OpenMode,
) -> Result<Arc<dyn Export>, Failure> {
    let uuid = part.uuid;
    let opened = storage::on_sr(server, &part.sr, move |driver| driver.open_vdi(uuid, mode)).await;
    opened.map_err(|failure| for_clients(failure, &part.sr, &part.vdi, uuid))
}

/// What the copy threads are given, and what is held meanwhile.
struct Job {
    copy: Copy,
    source: Part,
    target: Part,
    operations: Vec<Operation>,
}

/// Copies on the copy threads of the source's SR and hands the outcome to `finish`, which runs whether anybody waits or not.
///
/// # Errors
/// What `finish` fails with, and `SR_UNHEALTHY` when nothing moves: then the copy is cancelled, and finished when it stops.
async fn work<F>(
    call: &Call,
    job: Job,
    finish: impl FnOnce(Arc<Server>, Result<FoundVdi, Failure>) -> F + Send + 'static,
) -> Result<Value, Failure>
where
    F: Future<Output = Result<String, Failure>> + Send + 'static,
{
    let progress = Arc::new(Progress::new(call.cancel.child_token()));
    let (send, ended) = oneshot::channel();
    let (server, task, moved) = (call.server.clone(), call.task.clone(), progress.clone());
    let source_sr = job.source.sr.clone();
    call.server.running.spawn(async move {
        let copied = copy_bytes(&server, job.copy, &job.source, &task, moved).await;
        let found = match copied {
            Ok(()) => {
                let uuid = job.target.uuid;
                storage::on_sr(&server, &job.target.sr, move |driver| driver.stat_vdi(uuid)).await
            }
            Err(failure) => Err(failure),
        };
        let finished = finish(server.clone(), found).await;
        drop(job.operations);
        let _ = send.send(finished);
    });
    watch(call, &source_sr, &progress, ended).await
}

async fn copy_bytes(
    server: &Server,
    copy: Copy,
    source: &Part,
    task: &str,
    progress: Arc<Progress>,
) -> Result<(), Failure> {
    let threads = server.storage.state(&source.sr).copy_threads().clone();
    let moved = progress.clone();
    let copied = threads.run(UNTIL_IT_ENDS, move || {
        let copied = copy.run(&moved);
        let closed = copy.close();
        copied.and(closed)
    });
    match copied.await {
        // Whoever gave up was told that there is no copy.
        Ok(Ok(())) if progress.is_cancelled() => Err(cancelled(task)),
        Ok(Ok(())) => {
            tracing::debug!(
                size_bytes = progress.done_bytes(),
                written_bytes = progress.written_bytes(),
                "the bytes of a VDI were copied"
            );
            Ok(())
        }
        Ok(Err(Error::Cancelled { .. })) => Err(cancelled(task)),
        Ok(Err(error)) => {
            tracing::warn!(error = error.chain_text(), "a copy failed");
            Err(if error.is_full() {
                Failure::backend(44, "There is insufficient space", &error.chain_text(), "")
            } else {
                Failure::new("VDI_COPY_FAILED", [error.chain_text()])
            })
        }
        Err(NoAnswer::QueueFull) => Err(Failure::new(
            "VDI_COPY_FAILED",
            [format!("{COPIES_WAITING} copies wait already")],
        )),
        Err(reason) => Err(Failure::new("VDI_COPY_FAILED", [format!("{reason:?}")])),
    }
}

/// The words of a real pool (golden 09, scenario async-cancel).
fn cancelled(task: &str) -> Failure {
    let reason = format!("Server_error(TASK_CANCELLED, [ {task} ])");
    Failure::new("VDI_COPY_FAILED", [reason])
}

/// Waits for the end of a copy; notes its progress, and tells it when it is to stop.
async fn watch(
    call: &Call,
    source_sr: &str,
    progress: &Progress,
    mut ended: oneshot::Receiver<Result<String, Failure>>,
) -> Result<Value, Failure> {
    let server = &call.server;
    let patience = server.driver_deadline * STALLED_DEADLINES;
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut done, mut moved_at) = (0, Instant::now());
    loop {
        tokio::select! {
            biased;
            result = &mut ended => {
                let result = result
                    .unwrap_or_else(|_| Err(Failure::internal_error("the copy failed; see the log")));
                return result.map(Value::from);
            }
            () = server.shutdown.cancelled(), if !progress.is_cancelled() => progress.cancel(),
            _ = ticks.tick() => {}
        }
        let now_done = progress.done_bytes();
        if now_done != done || !progress.has_begun() {
            (done, moved_at) = (now_done, Instant::now());
            tasks::progress(server, &call.task, progress.fraction());
        } else if moved_at.elapsed() > patience {
            progress.cancel();
            let health = "a copy does not move on";
            let fix = "Check the media that the SRs lie on, then try again.";
            return Err(Failure::new(storage::UNHEALTHY, [source_sr, health, fix]));
        }
    }
}
