//! What a test has go wrong.

use std::sync::{Mutex, PoisonError};

use super::http::Request;

/// Calls that are remembered.
const REMEMBERED: usize = 10_000;

/// Something that goes wrong with certain calls.
#[derive(Debug, Clone)]
pub struct Fault {
    what: Trouble,
    method: Option<String>,
    path: Option<String>,
    nth: usize,
    times: usize,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The connection is cut, and nothing was done.
    CutBefore,
    /// The connection is cut after all was done.
    CutAfter,
    /// The login is refused: 401.
    Unauthorized,
    /// The array is too busy: an error whose text says `Device busy`.
    Busy,
    /// Any error: status, code and text.
    Refused(u16, u32, String),
    /// The job that is begun takes so many more calls until it does its work, and the request does not wait for it.
    SlowJob(u32),
    /// The job that is begun does its work, and nobody knows of it afterwards.
    LostJob,
}

impl Fault {
    /// Something that goes wrong once, with the next call.
    pub fn new(what: Trouble) -> Self {
        Fault {
            what,
            method: None,
            path: None,
            nth: 1,
            times: 1,
        }
    }

    /// The connection is cut before the call is executed.
    pub fn cut_before() -> Self {
        Self::new(Trouble::CutBefore)
    }

    /// The connection is cut after the call was executed.
    pub fn cut_after() -> Self {
        Self::new(Trouble::CutAfter)
    }

    /// Only calls of this method, and whose path holds this text.
    #[must_use]
    pub fn on(mut self, method: &str, path: &str) -> Self {
        self.method = Some(method.to_owned());
        self.path = Some(path.to_owned());
        self
    }

    /// Only calls that may change something.
    #[must_use]
    pub fn on_changes(mut self) -> Self {
        self.method = Some("!GET".to_owned());
        self
    }

    /// The nth of the calls that match, from 1, counted from now.
    #[must_use]
    pub fn nth(mut self, nth: usize) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// So many of the calls that match, one after the other.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, request: &Request) -> bool {
        let method = match self.method.as_deref() {
            None => true,
            Some("!GET") => request.method != "GET",
            Some(method) => request.method == method,
        };
        method
            && self
                .path
                .as_ref()
                .is_none_or(|path| request.path.contains(path.as_str()))
    }
}

/// What is to go wrong, and what was called.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    ahead: Vec<Fault>,
    calls: Vec<String>,
}

impl Faults {
    /// Has something go wrong.
    pub fn add(&self, fault: Fault) {
        self.with(|record| record.ahead.push(fault));
    }

    /// Has nothing go wrong any more.
    pub fn clear(&self) {
        self.with(|record| record.ahead.clear());
    }

    /// Whether all that was to go wrong has.
    pub fn all_met(&self) -> bool {
        self.with(|record| record.ahead.is_empty())
    }

    /// The calls so far, oldest first: method and path with query, `POST /api/storage/luns`.
    pub fn calls(&self) -> Vec<String> {
        self.with(|record| record.calls.clone())
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.with(|record| record.calls.clear());
    }

    /// Notes a call, and says what goes wrong with it.
    pub fn meet(&self, request: &Request) -> Option<Trouble> {
        self.with(|record| {
            if record.calls.len() < REMEMBERED {
                let call = format!(
                    "{} {}{}",
                    request.method,
                    request.path,
                    request.query_mark()
                );
                record.calls.push(call);
            }
            let mut met = None;
            for fault in record
                .ahead
                .iter_mut()
                .filter(|fault| fault.matches(request))
            {
                fault.nth = fault.nth.saturating_sub(1);
                if fault.nth == 0 && met.is_none() {
                    met = Some(fault.what.clone());
                    fault.times = fault.times.saturating_sub(1);
                    fault.nth = 1;
                }
            }
            record.ahead.retain(|fault| fault.times > 0);
            met
        })
    }

    fn with<T>(&self, what: impl FnOnce(&mut Record) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
