//! The older API, ZAPI: XML over HTTP.

use super::http::{Request, Response};
use super::state::cluster::Cluster;

/// Answers a request whose login is good.
pub fn handle(_cluster: &mut Cluster, _request: &Request, _svm: Option<&str>) -> Response {
    Response::xml(
        "<?xml version='1.0' encoding='UTF-8' ?>\n<netapp version='1.211' xmlns='http://www.netapp.com/filer/admin'>\
         <results status=\"failed\" errno=\"13005\" reason=\"Unable to find API\"/></netapp>\n"
            .to_owned(),
    )
}
