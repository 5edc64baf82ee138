//! The envelope of ZAPI, and lists that come in pages. Source: reference arrays 4.1.

use std::time::{Duration, Instant};

use http::Method;

use super::super::error::{FilerError, plain_words};
use super::super::http::{Media, Place};
use super::super::retry::repeated;
use super::super::transport::Svm;
use super::element::Element;

/// Where the filer listens.
const TARGET: &str = "/servlets/netapp.servlets.admin.XMLrequest_filer";

/// The namespace of requests.
const NAMESPACE: &str = "http://www.netapp.com/filer/admin";

/// The version that requests are written for: that of ONTAP 9.1.
pub const VERSION: (u64, u64) = (1, 110);

/// Records of a page.
const PAGE: usize = 500;

/// Most pages of one question.
const MAX_PAGES: usize = 128;

/// Most records of one question, whatever the pages are like.
const MAX_RECORDS: usize = MAX_PAGES * PAGE;

/// After this long no further page is asked for.
const PAGES_PATIENCE: Duration = Duration::from_secs(60);

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

    /// Asks a question: again when its answer is lost.
    pub fn ask(&self, svm: Option<&Svm>, call: &Element) -> Result<Element, FilerError> {
        repeated(|| self.send(svm, call))
    }

    /// Sends a change, once.
    ///
    /// # Errors
    /// `FilerError::is_lost` when it may have been carried out.
    pub fn change(&self, svm: &Svm, call: &Element) -> Result<(), FilerError> {
        self.send(Some(svm), call).map(drop)
    }

    /// Asks for all records that fit a query: what a record of them must have.
    ///
    /// # Errors
    /// Also for an answer that does not have as many as it says: what is not listed counts as gone.
    pub fn records(
        &self,
        svm: Option<&Svm>,
        name: &str,
        query: Option<Element>,
    ) -> Result<Vec<Element>, FilerError> {
        let (mut records, begun) = (Vec::new(), Instant::now());
        let query = query.map(|query| Element::new("query", [query]));
        let mut tag: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = Element::leaf("max-records", PAGE);
            let from = tag.take().map(|tag| Element::leaf("tag", tag));
            let children = [page].into_iter().chain(from).chain(query.clone());
            let mut answer = self.ask(svm, &Element::new(name, children))?;
            let next = answer.text("next-tag").map(str::to_owned);
            let told = answer.number("num-records");
            let mut lists = answer.children.iter_mut();
            let list = lists.find(|child| child.name == "attributes-list");
            let found = list.map(|list| std::mem::take(&mut list.children));
            let found = found.unwrap_or_default();
            if told != Some(found.len() as u64) {
                return Err(FilerError::Incomplete {
                    what: "list what there is",
                    field: "num-records that fits its list",
                });
            }
            records.extend(found);
            let path = name.to_owned();
            match next {
                _ if records.len() > MAX_RECORDS => break,
                None => return Ok(records),
                Some(_) if begun.elapsed() >= PAGES_PATIENCE => {
                    return Err(FilerError::Endless { path });
                }
                Some(next) => tag = Some(next),
            }
        }
        Err(FilerError::TooMany {
            path: name.to_owned(),
            limit: MAX_RECORDS,
        })
    }

    fn send(&self, svm: Option<&Svm>, call: &Element) -> Result<Element, FilerError> {
        let what = || call.name.clone();
        let mut request = Element::new("netapp", [call.clone()]);
        let version = format!("{}.{}", VERSION.0, VERSION.1);
        request.attributes = vec![
            ("xmlns".to_owned(), NAMESPACE.to_owned()),
            ("version".to_owned(), version),
        ];
        if let Some(svm) = svm {
            let tunnel = ("vfiler".to_owned(), svm.name.clone());
            request.attributes.push(tunnel);
        }
        let mut body = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n".to_owned();
        request.print(&mut body);
        let body = Some(body.into_bytes());
        let answer = self.place.exchange(&Method::POST, TARGET, Media::Xml, body);
        let answer = answer.map_err(|source| FilerError::Http {
            what: what(),
            source,
        })?;
        if !answer.status.is_success() {
            return Err(FilerError::Status {
                what: what(),
                status: answer.status.as_u16(),
            });
        }
        let netapp = Element::parse(&answer.body).filter(|root| root.name == "netapp");
        let mut children = netapp.into_iter().flat_map(|root| root.children);
        let results = children.find(|child| child.name == "results");
        let results = results.ok_or_else(|| FilerError::Malformed { what: what() })?;
        match results.attribute("status") {
            Some("passed") => Ok(results),
            Some("failed") => {
                let number = results.attribute("errno").and_then(|it| it.parse().ok());
                Err(FilerError::Zapi {
                    what: what(),
                    number: number.unwrap_or(0),
                    reason: plain_words(results.attribute("reason")),
                })
            }
            _ => Err(FilerError::Malformed { what: what() }),
        }
    }
}

/// A call with texts as its parameters.
pub fn call(name: &str, parameters: &[(&str, &str)]) -> Element {
    let leaves = parameters.iter();
    Element::new(name, leaves.map(|(name, text)| Element::leaf(name, text)))
}

/// A query: a record that has these texts.
pub fn query(record: &str, texts: &[(&str, &str)]) -> Option<Element> {
    Some(call(record, texts))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
