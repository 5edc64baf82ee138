//! The REST interface of ONTAP: questions, changes, jobs. Source: reference arrays 3.1.
//!
//! A question is asked again when its answer was lost, a change is sent once.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::Value;

use super::super::error::{FilerError, JobState, plain_words};
use super::super::http::{Media, Place, RETURN_TIMEOUT_S};
use super::super::retry::{CHANGE_PATIENCE, repeated};
use super::json::{id, number, text};

/// Pauses between two looks at a job: the first, and the longest.
const JOB_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Records of a page.
const PAGE: usize = 500;

/// Most pages of one question.
const MAX_PAGES: usize = 128;

/// Most records of one question, whatever the pages are like.
const MAX_RECORDS: usize = MAX_PAGES * PAGE;

/// After this long no further page is asked for.
const PAGES_PATIENCE: Duration = Duration::from_secs(60);

/// A query: keys and values, not yet encoded.
pub type Query<'a> = &'a [(&'a str, &'a str)];

/// A filer that is talked to.
#[derive(Debug)]
pub struct Client {
    place: Place,
}

impl Client {
    /// For a filer; nothing is asked yet.
    pub fn new(place: Place) -> Self {
        Client { place }
    }

    /// Where the filer is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The same filer, by another interface.
    pub fn into_place(self) -> Place {
        self.place
    }

    /// Asks for one object.
    pub fn get(&self, path: &str, query: Query<'_>) -> Result<Value, FilerError> {
        let target = target(path, query);
        self.ask(&target)
    }

    /// Asks for all records of a collection.
    ///
    /// # Errors
    /// Also for an answer without records, or that goes on where it cannot be followed: what is not listed counts as gone.
    pub fn records(&self, path: &str, query: Query<'_>) -> Result<Vec<Value>, FilerError> {
        let page = PAGE.to_string();
        let mut query = query.to_vec();
        query.push(("max_records", &page));
        let mut target = target(path, &query);
        let mut records = Vec::new();
        let begun = Instant::now();
        for _ in 0..MAX_PAGES {
            let mut answer = self.ask(&target)?;
            let found = answer.get_mut("records").map(Value::take);
            let Some(Value::Array(found)) = found else {
                return Err(FilerError::Incomplete {
                    what: "list what there is",
                    field: "records",
                });
            };
            records.extend(found);
            let next = answer.pointer("/_links/next");
            let is_last = next.is_none_or(Value::is_null);
            if is_last && records.len() <= MAX_RECORDS {
                return Ok(records);
            }
            // Only within the interface: an answer must not send the password elsewhere.
            match text(&answer, "_links.next.href") {
                _ if records.len() >= MAX_RECORDS => break,
                Some(next) if next.starts_with("/api/") => target = next.to_owned(),
                _ => {
                    return Err(FilerError::Elsewhere {
                        path: path.to_owned(),
                    });
                }
            }
            if begun.elapsed() >= PAGES_PATIENCE {
                let path = path.to_owned();
                return Err(FilerError::Endless { path });
            }
        }
        Err(FilerError::TooMany {
            path: path.to_owned(),
            limit: MAX_RECORDS,
        })
    }

    /// Asks for the only record of a collection that a query fits.
    pub fn record(&self, path: &str, query: Query<'_>) -> Result<Option<Value>, FilerError> {
        Ok(self.records(path, query)?.into_iter().next())
    }

    /// Sends a change and waits for its job, if it becomes one.
    ///
    /// # Errors
    /// `FilerError::is_lost` when it may have been carried out.
    pub fn change(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Option<&Value>,
    ) -> Result<(), FilerError> {
        let timeout = RETURN_TIMEOUT_S.to_string();
        let mut query = query.to_vec();
        query.push(("return_timeout", &timeout));
        let target = target(path, &query);
        let answer = self.send(&method, &target, body)?;
        let what = format!("{method} {path}");
        match (text(&answer, "job.uuid"), id(&answer, "job.uuid")) {
            (_, Some(job)) => self.follow(job, &what),
            (None, _) => Ok(()),
            (Some(_), None) => Err(FilerError::Malformed { what }),
        }
    }

    /// Waits for the end of a job.
    fn follow(&self, job: &str, what: &str) -> Result<(), FilerError> {
        let begun = Instant::now();
        let mut pause = JOB_PAUSES.0;
        let path = format!("/cluster/jobs/{job}");
        let failed = |state, code: Option<&str>, message: Option<&str>| FilerError::Job {
            what: what.to_owned(),
            state,
            code: code.unwrap_or_default().to_owned(),
            message: plain_words(message),
        };
        loop {
            let fields = [("fields", "state,message,code,error")];
            let found = match self.get(&path, &fields) {
                // Jobs that ended are forgotten after a while, and all of them when a node takes over.
                Err(error) if error.is_missing() => {
                    return Err(failed(JobState::Gone, None, None));
                }
                found => found?,
            };
            match text(&found, "state") {
                Some("success") => return Ok(()),
                Some("failure" | "error" | "stopped" | "stopping" | "unknown") => {
                    let plain = number(&found, "code").filter(|code| *code != 0);
                    let plain = plain.map(|code| code.to_string());
                    let code = text(&found, "error.code").or(plain.as_deref());
                    let message = text(&found, "error.message").or(text(&found, "message"));
                    return Err(failed(JobState::Failed, code, message));
                }
                _ => {}
            }
            if begun.elapsed() >= CHANGE_PATIENCE {
                return Err(failed(JobState::Running, None, text(&found, "message")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(JOB_PAUSES.1);
        }
    }

    fn ask(&self, target: &str) -> Result<Value, FilerError> {
        repeated(|| self.send(&Method::GET, target, None))
    }

    fn send(
        &self,
        method: &Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Value, FilerError> {
        let what = || {
            let path = target.split('?').next().unwrap_or(target);
            format!("{method} {path}")
        };
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = self.place.exchange(method, target, Media::Json, body);
        let answer = answer.map_err(|source| FilerError::Http {
            what: what(),
            source,
        })?;
        let is_empty = answer.body.iter().all(u8::is_ascii_whitespace);
        let parsed: Option<Value> = match is_empty {
            true => Some(Value::Null),
            false => serde_json::from_slice(&answer.body).ok(),
        };
        if answer.status.is_success() {
            return match parsed {
                Some(parsed) => Ok(parsed),
                // Carried out for certain, or at least not for certain not.
                None => Err(FilerError::Malformed { what: what() }),
            };
        }
        let parsed = parsed.unwrap_or_default();
        Err(refusal(what(), answer.status, &parsed))
    }
}

/// What an answer says that is none of success.
fn refusal(what: String, status: StatusCode, answer: &Value) -> FilerError {
    let number = number(answer, "error.code").map(|code| code.to_string());
    let code = text(answer, "error.code").map(str::to_owned).or(number);
    FilerError::Refused {
        what,
        status: status.as_u16(),
        code: code.unwrap_or_default(),
        message: plain_words(text(answer, "error.message")),
    }
}

/// The target of a request: path below `/api` and encoded query.
fn target(path: &str, query: Query<'_>) -> String {
    let mut target = format!("/api{path}");
    if !query.is_empty() {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(query);
        // A form has `+` for a blank, a query of ONTAP %20.
        target.push('?');
        target.push_str(&pairs.finish().replace('+', "%20"));
    }
    target
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
