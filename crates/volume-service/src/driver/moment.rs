//! Snapshots of several VDIs at one moment.
//!
//! Our storage manager holds back what is written to the VDIs while their snapshots are taken, and says in
//! `host.software_version` that it does; a pool that does not say so would pass over what it is asked for and take snapshots of
//! different moments, so it is not asked. See `docs/decisions/2026-11-22-snapshots-at-one-moment.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::error::{PoolError, Trouble};
use super::xenapi_pool::{PoolResult, XenApiPool};

/// Most VDIs whose snapshots are taken at one moment.
pub const MOMENT_MEMBERS: usize = 128;

/// Key in `driver_params`, and in `host.software_version` of a pool that knows it, where its value is the most members.
pub const BARRIER_KEY: &str = "xensm:barrier";

/// What errors name as the call when the pool cannot do it at all.
pub(super) const AT_ONE_MOMENT: &str = "VDI.snapshot at one moment";

/// How long others that are taken at one moment are waited for: whoever waits keeps its operation's place among those at work, so it
/// rather comes again.
const TURN_DEADLINE: Duration = Duration::from_secs(5);

/// What became of each VDI's snapshot, in the order in which they were asked for.
pub type MomentOutcomes = Vec<Result<Uuid, PoolError>>;

/// The snapshots, if all were made; else the error that tells most of why not.
///
/// # Errors
/// The first one that is not about the others: a VDI whose snapshot could have been taken fails as `Busy`, because it was not
/// alone. It says that its outcome is unknown when any snapshot was made or may have been.
pub fn all_made(outcomes: MomentOutcomes) -> Result<Vec<Uuid>, PoolError> {
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(snapshot) => made.push(snapshot),
            Err(error) => failed.push(error),
        }
    }
    let may_be_there = !made.is_empty() || failed.iter().any(|error| error.outcome_unknown);
    let own = failed
        .iter()
        .position(|error| error.trouble != Trouble::Busy);
    let told = own.unwrap_or(0);
    if failed.is_empty() {
        return Ok(made);
    }
    let error = failed.swap_remove(told);
    Err(match may_be_there {
        true => error.with_unknown_outcome(),
        false => error,
    })
}

impl XenApiPool {
    /// As many calls at once as there are VDIs: each is answered when all are done.
    pub(super) async fn make_snapshots(
        &self,
        sources: &[Uuid],
        moment: &str,
    ) -> PoolResult<MomentOutcomes> {
        match sources {
            [] => return Ok(Vec::new()),
            [alone] => return Ok(vec![self.make_snapshot(*alone).await]),
            _ => {}
        }
        let (_, host) = self.master().await?;
        require_barrier(&host.software_version, sources.len())?;
        let mut vdis = Vec::with_capacity(sources.len());
        for source in sources {
            vdis.push(self.vdi(*source).await?);
        }
        // The calls of two moments together would be more than the client makes at once, and each would wait for its own.
        let _turn = take_turn(&self.moment_turn).await?;
        // A try that was given up may still be waiting in the pool: each has a name of its own.
        let barrier = format!("{moment}.{}/{}", Uuid::new_v4().simple(), sources.len());
        let params = BTreeMap::from([(BARRIER_KEY.to_owned(), barrier)]);
        let mut calls = JoinSet::new();
        for (index, vdi) in vdis.into_iter().enumerate() {
            let (client, params) = (self.moments.clone(), params.clone());
            calls.spawn(async move { (index, client.vdi().snapshot(&vdi, &params).await) });
        }
        let lost = || {
            let text = "the call was lost";
            Err(PoolError::new("VDI.snapshot", Trouble::Unreachable, text).with_unknown_outcome())
        };
        let mut answers: Vec<_> = sources.iter().map(|_| None).collect();
        while let Some(answered) = calls.join_next().await {
            if let Ok((index, answer)) = answered {
                answers[index] = Some(answer);
            }
        }
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(match answer {
                Some(made) => self.uuid_of_new("VDI.snapshot", made).await,
                None => lost(),
            });
        }
        Ok(outcomes)
    }
}

/// Waits for those that are ahead.
///
/// # Errors
/// `Marked`, not merely `Busy`, when it takes too long: each of those ahead takes its time, and all are waited for.
async fn take_turn(turn: &Mutex<()>) -> PoolResult<MutexGuard<'_, ()>> {
    let taken = tokio::time::timeout(TURN_DEADLINE, turn.lock()).await;
    taken.map_err(|_| {
        let text = "other snapshots at one moment are being taken";
        PoolError::new(AT_ONE_MOMENT, Trouble::Marked, text)
    })
}

/// Makes sure that a pool whose host says this of itself keeps a moment for so many VDIs.
fn require_barrier(host: &BTreeMap<String, String>, members: usize) -> PoolResult<()> {
    let most = host.get(BARRIER_KEY).map(|most| most.parse::<usize>());
    let Some(Ok(most)) = most else {
        let text = "the pool's storage manager does not hold back writes to several VDIs";
        return Err(PoolError::new(AT_ONE_MOMENT, Trouble::Unsupported, text));
    };
    let most = most.min(MOMENT_MEMBERS);
    if members > most {
        let text = format!("{members} VDIs are more than the {most} that can be held back");
        return Err(PoolError::new(AT_ONE_MOMENT, Trouble::Unsupported, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(trouble: Trouble) -> Result<Uuid, PoolError> {
        Err(PoolError::new("VDI.snapshot", trouble, "x"))
    }

    #[test]
    fn the_error_that_explains_is_told() {
        let all = vec![Ok(Uuid::from_u128(1)), Ok(Uuid::from_u128(2))];
        let made = all_made(all).unwrap();
        assert_eq!(made, [Uuid::from_u128(1), Uuid::from_u128(2)]);
        assert!(all_made(Vec::new()).unwrap().is_empty());
        let error = all_made(vec![failed(Trouble::Busy), failed(Trouble::Full)]).unwrap_err();
        assert_eq!(error.trouble, Trouble::Full);
        assert!(!error.outcome_unknown);
        let error = all_made(vec![Ok(Uuid::from_u128(1)), failed(Trouble::Busy)]).unwrap_err();
        assert_eq!(error.trouble, Trouble::Busy);
        assert!(error.outcome_unknown, "one is there");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_those_ahead_comes_again() {
        let turn = Mutex::new(());
        let ahead = turn.lock().await;
        let late = take_turn(&turn).await.unwrap_err();
        assert!(late.is_slow() && !late.outcome_unknown, "{late}");
        assert_eq!(
            late.on_zone("nova").public,
            "the storage is taking other snapshots at one moment"
        );
        drop(ahead);
        assert!(take_turn(&turn).await.is_ok());
    }

    #[test]
    fn a_pool_is_asked_only_for_what_it_says_that_it_can() {
        let says = |most: &str| BTreeMap::from([(BARRIER_KEY.to_owned(), most.to_owned())]);
        let trouble = |host: &BTreeMap<String, String>, members| {
            require_barrier(host, members)
                .err()
                .map(|error| error.trouble)
        };
        assert_eq!(trouble(&says("128"), 128), None);
        assert_eq!(trouble(&says("1000"), 128), None);
        for (host, members) in [
            (BTreeMap::new(), 2),
            (says("yes"), 2),
            (says("10"), 11),
            (says("1000"), 129),
        ] {
            assert_eq!(
                trouble(&host, members),
                Some(Trouble::Unsupported),
                "{host:?}"
            );
        }
        let refused = require_barrier(&BTreeMap::new(), 2).unwrap_err();
        assert_eq!(
            refused.on_zone("nova").public,
            "the storage cannot take so many snapshots at one moment"
        );
    }
}
