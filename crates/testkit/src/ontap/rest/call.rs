//! One call of the REST API: what it says, and how it is answered.

use serde_json::{Value, json};
use uuid::Uuid;

use super::body::Body;
use super::query::{Fields, Links, Query, values_at};
use crate::ontap::http::Response;
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::error::ApiError;
use crate::ontap::state::jobs::Change;

/// A call.
pub struct Call<'a> {
    /// The array.
    pub cluster: &'a mut Cluster,
    /// `GET` and the like.
    pub method: &'a str,
    /// The query.
    pub query: Query,
    /// The body.
    pub body: Body,
    /// Which links the answer has.
    pub links: Links,
    /// The SVM to which the call is confined: by the login, or by a header.
    pub svm: Option<String>,
    /// What goes wrong with the job, if one is begun.
    pub job: JobTrouble,
}

/// What goes wrong with a job.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobTrouble {
    /// How many calls it takes, if it is slow.
    pub slow: Option<u32>,
    /// Whether it is forgotten.
    pub is_lost: bool,
}

/// How a call is answered, or why it is not.
pub type Answered = Result<Response, ApiError>;

/// What a change is, for the answer to it.
pub struct Submission<'a> {
    /// What a job says of itself.
    pub description: &'a str,
    /// The change.
    pub change: Change,
    /// Whether a job may make it.
    pub may_be_job: bool,
    /// The record of the new or changed object, if that is asked for.
    pub record: fn(&Cluster, Uuid) -> Option<Value>,
    /// Where the object is found if it is new: the path of its collection, and the query that finds it by its name.
    pub created_at: Option<(String, String)>,
}

impl Call<'_> {
    /// Answers a GET of a collection.
    pub fn list(&self, path: &str, records: Vec<Value>, fields: &Fields) -> Answered {
        let records = self.in_sight(records);
        let value = self
            .query
            .collection(&format!("/api/{path}"), records, fields, self.links)?;
        Ok(Response::json(200, &value))
    }

    /// Answers a GET of one object, which is the record that fits.
    pub fn show(
        &self,
        path: &str,
        records: Vec<Value>,
        fields: &Fields,
        is_it: impl Fn(&Value) -> bool,
    ) -> Answered {
        let mut records = self.in_sight(records).into_iter();
        let record = records
            .find(is_it)
            .ok_or_else(|| ApiError::no_entry(path))?;
        let mut value = self.query.instance(record, fields)?;
        value["_links"] = json!({"self": {"href": format!("/api/{path}")}});
        Ok(Response::json(200, &value))
    }

    /// The ids of the records that fit the query, for a change of all of them.
    pub fn chosen(&self, records: Vec<Value>, fields: &Fields) -> Result<Vec<Uuid>, ApiError> {
        let chosen = self.query.select(self.in_sight(records), fields)?;
        Ok(chosen
            .iter()
            .filter_map(|record| id_of(record, "uuid"))
            .collect())
    }

    /// The records of the SVM to which the call is confined.
    pub fn in_sight(&self, records: Vec<Value>) -> Vec<Value> {
        let Some(svm) = &self.svm else {
            return records;
        };
        let is_seen = |record: &Value| {
            let owner = values_at(record, &["svm", "name"]);
            owner.is_empty() || owner.iter().any(|owner| owner.as_str() == Some(svm))
        };
        records.into_iter().filter(is_seen).collect()
    }

    /// The SVM for which something is to be made: named in the body or the query, or the one to which the call is confined.
    pub fn named_svm(&self) -> Result<Option<String>, ApiError> {
        if let Some(uuid) = self.body.uuid("svm.uuid")? {
            let found = self.cluster.svms.iter().find(|svm| svm.uuid == uuid);
            let found = found
                .ok_or_else(|| ApiError::missing(2_621_462, "The specified SVM does not exist."))?;
            return Ok(Some(found.name.clone()));
        }
        let named = self
            .body
            .text("svm.name")
            .or_else(|| self.query.get("svm.name").map(str::to_owned));
        Ok(named.or_else(|| self.svm.clone()))
    }

    /// As [`Call::named_svm`], when one is needed.
    pub fn required_svm(&self) -> Result<String, ApiError> {
        let named = self.named_svm()?;
        named.ok_or_else(|| {
            let text = "No SVM was specified. Either svm.name or svm.uuid must be supplied.";
            ApiError::bad(2_621_707, text).at("svm")
        })
    }

    /// Makes a change, or has a job make it, and answers.
    pub fn submit(&mut self, what: Submission<'_>) -> Answered {
        let waits = self.query.return_timeout()? > 0;
        let is_in_trouble = self.job.slow.is_some() || self.job.is_lost;
        if what.may_be_job && (!waits || is_in_trouble) {
            let calls = self.job.slow.unwrap_or(self.cluster.behaviour.job_calls);
            let job = self.cluster.begin(
                what.description.to_owned(),
                what.change,
                calls,
                self.job.is_lost,
            );
            let href = format!("/api/cluster/jobs/{job}");
            let value = json!({"job": {"uuid": job, "_links": {"self": {"href": href}}}});
            let mut response = Response::json(202, &value);
            // The id is not known yet.
            if let Some((path, query)) = what.created_at {
                response
                    .headers
                    .push(("Location", format!("/api/{path}?{query}")));
            }
            return Ok(response);
        }
        let uuid = self.cluster.make(what.change)?;
        let record = (what.record)(self.cluster, uuid);
        Ok(self.made(
            what.created_at.map(|(at, _)| format!("{at}/{uuid}")),
            record,
        ))
    }

    /// The answer to a change that was made; a place means that it made something.
    pub fn made(&self, place: Option<String>, record: Option<Value>) -> Response {
        let value = match record.filter(|_| self.query.flag("return_records", false)) {
            Some(record) => json!({"num_records": 1, "records": [record]}),
            None => json!({}),
        };
        let mut response = Response::json(if place.is_some() { 201 } else { 200 }, &value);
        if let Some(place) = place {
            response.headers.push(("Location", format!("/api/{place}")));
        }
        response
    }

    /// The refusal of a method.
    pub fn refuse_method(&self) -> Answered {
        let mut error = ApiError::bad(
            3,
            format!(
                "The method {} is not supported for this resource.",
                self.method
            ),
        );
        error.status = 405;
        Err(error)
    }
}

/// The id in a field of a record.
pub fn id_of(record: &Value, field: &str) -> Option<Uuid> {
    record
        .get(field)
        .and_then(Value::as_str)
        .and_then(|text| Uuid::parse_str(text).ok())
}

/// The id in a path.
pub fn id_in(segment: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(segment).map_err(|_| {
        ApiError::bad(
            262_247,
            format!("Invalid value \"{segment}\" for field \"uuid\" (<UUID>)"),
        )
        .at("uuid")
    })
}
