//! Wake-up signals: an operation is there to be taken, or one has ended.
//!
//! A signal is raised after the commit. In this process it is a counter that changes; other processes on a PostgreSQL database
//! learn of it by a notification on a connection that does nothing else: inside the transactions themselves PostgreSQL would take
//! a lock on the whole database from each commit's beginning to the end of its flush. One that is lost is made up for by
//! whoever waits: all look again after a time.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

/// The shortest time between two notifications of one process. The first goes out at once.
const INTERVAL: Duration = Duration::from_millis(5);
/// Pause before a lost connection is made again.
const RECONNECT_WAIT: Duration = Duration::from_secs(1);
/// What others are told, and what is listened to.
const ADDED: &str = "xensm_operations";
const ENDED: &str = "xensm_finished";
/// Nothing of this connection's needs to survive a crash.
const LISTEN: &str = "SET synchronous_commit = off; LISTEN xensm_operations; LISTEN xensm_finished";

/// What a transaction wants to be known once it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wake {
    /// An operation was added or became due.
    pub(super) added: bool,
    /// An operation ended.
    pub(super) ended: bool,
}

impl Wake {
    pub(super) const ALL: Wake = Wake {
        added: true,
        ended: true,
    };

    pub(super) fn and(self, other: Wake) -> Wake {
        Wake {
            added: self.added || other.added,
            ended: self.ended || other.ended,
        }
    }
}

/// The signals of one database in this process.
pub(super) struct Signals {
    added: watch::Sender<u64>,
    ended: watch::Sender<u64>,
    /// How often each was raised by this process, for the others.
    outgoing: watch::Sender<(u64, u64)>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Signals {
            added: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            outgoing: watch::Sender::new((0, 0)),
        }
    }

    /// After a commit of this process.
    pub(super) fn raise(&self, wake: Wake) {
        if wake == Wake::default() {
            return;
        }
        self.raise_here(wake);
        self.outgoing.send_modify(|(added, ended)| {
            *added += u64::from(wake.added);
            *ended += u64::from(wake.ended);
        });
    }

    /// After a commit of another process.
    pub(super) fn raise_here(&self, wake: Wake) {
        if wake.added {
            self.added.send_modify(|version| *version += 1);
        }
        if wake.ended {
            self.ended.send_modify(|version| *version += 1);
        }
    }

    pub(super) fn added(&self) -> watch::Receiver<u64> {
        self.added.subscribe()
    }

    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    pub(super) fn outgoing(&self) -> watch::Receiver<(u64, u64)> {
        self.outgoing.subscribe()
    }
}

/// Exchanges notifications with other processes until the last handle is gone; after a break it connects again and raises
/// both signals, since a notification may have been missed.
pub(super) async fn exchange(
    config: Config,
    signals: Weak<Signals>,
    mut outgoing: watch::Receiver<(u64, u64)>,
) {
    let mut told = *outgoing.borrow_and_update();
    loop {
        match listen(&config, &signals).await {
            Ok((client, connection)) => {
                tell(&client, connection, &mut outgoing, &mut told).await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot listen for operations of other processes");
            }
        }
        if outgoing.has_changed().is_err() {
            return;
        }
        tokio::time::sleep(RECONNECT_WAIT).await;
    }
}

/// Tells the others what was raised here, until the connection is lost or nobody is left. What is not told yet, for the
/// connection before was lost, is told first.
async fn tell(
    client: &Client,
    mut connection: tokio::task::JoinHandle<()>,
    outgoing: &mut watch::Receiver<(u64, u64)>,
    told: &mut (u64, u64),
) {
    loop {
        let now = *outgoing.borrow_and_update();
        let sql = match (now.0 != told.0, now.1 != told.1) {
            (true, true) => "NOTIFY xensm_operations; NOTIFY xensm_finished",
            (true, false) => "NOTIFY xensm_operations",
            (false, true) => "NOTIFY xensm_finished",
            (false, false) => {
                tokio::select! {
                    biased;
                    _ = &mut connection => return,
                    alive = outgoing.changed() => if alive.is_err() {
                        return;
                    },
                }
                continue;
            }
        };
        if let Err(error) = client.batch_execute(sql).await {
            tracing::warn!(%error, "cannot tell other processes of operations");
            return;
        }
        *told = now;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Connects and listens. What this process itself told is passed over.
async fn listen(
    config: &Config,
    signals: &Weak<Signals>,
) -> Result<(Client, tokio::task::JoinHandle<()>), tokio_postgres::Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let (own, own_seen) = watch::channel(None);
    let raised = Weak::clone(signals);
    let task = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            let AsyncMessage::Notification(notification) = message else {
                continue;
            };
            if *own_seen.borrow() == Some(notification.process_id()) {
                continue;
            }
            if let Some(signals) = raised.upgrade() {
                signals.raise_here(Wake {
                    added: notification.channel() == ADDED,
                    ended: notification.channel() == ENDED,
                });
            }
        }
    });
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
    own.send_replace(row.try_get(0).ok());
    client.batch_execute(LISTEN).await?;
    if let Some(signals) = signals.upgrade() {
        signals.raise_here(Wake::ALL);
    }
    Ok((client, task))
}

/// Runs [`exchange`] on a thread of its own.
pub(super) fn serve(config: Config, signals: &Arc<Signals>) -> impl FnOnce() + Send + 'static {
    let (weak, outgoing) = (Arc::downgrade(signals), signals.outgoing());
    move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(exchange(config, weak, outgoing)),
            Err(error) => {
                tracing::error!(%error, "cannot listen for operations of other processes");
            }
        }
    }
}
