//! URLs: the optional project in a request's path, and the links in answers.

use std::collections::HashSet;
use std::sync::LazyLock;

use axum::extract::Request;
use http::Uri;
use http::uri::PathAndQuery;
use serde::Serialize;

use crate::config::Endpoints;

/// The first path segments under `/v3` that name a resource; anything else there is a project.
static RESOURCES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    super::TABLES
        .iter()
        .flat_map(|table| table.iter())
        .filter_map(|route| route.path.split('/').nth(1))
        .filter(|segment| !segment.is_empty())
        .collect()
});

/// The project that a request's path named.
#[derive(Clone, Debug)]
pub(super) struct ProjectInPath(pub(super) String);

/// Rewrites `/v3/{project}/rest` to `/v3/rest` and remembers the project.
pub(super) fn take_project(mut request: Request) -> Request {
    let Some(rest) = request.uri().path().strip_prefix("/v3/") else {
        return request;
    };
    let (first, tail) = match rest.split_once('/') {
        Some((first, tail)) => (first, tail),
        None => (rest, ""),
    };
    // `/v3/{project}` alone is no resource: version discovery must not answer there.
    if first.is_empty() || RESOURCES.contains(first) || tail.is_empty() {
        return request;
    }
    let project = first.to_owned();
    let rewritten = match request.uri().query() {
        Some(query) => format!("/v3/{tail}?{query}"),
        None => format!("/v3/{tail}"),
    };
    let Ok(path_and_query) = PathAndQuery::from_maybe_shared(rewritten.into_bytes()) else {
        return request;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(ProjectInPath(project));
    }
    request
}

/// A link in an answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Link {
    rel: &'static str,
    href: String,
}

/// Makes the links of one request: they name the project when the request did.
#[derive(Clone, Debug)]
pub(super) struct Links {
    versioned: String,
    bookmark: String,
}

impl Links {
    pub(super) fn new(endpoints: &Endpoints, project: Option<&str>) -> Self {
        let base = endpoints.volume.trim_end_matches('/');
        let project = project.map(|id| format!("/{id}")).unwrap_or_default();
        Links {
            versioned: format!("{base}/v3{project}"),
            bookmark: format!("{base}{project}"),
        }
    }

    /// The two links of one item of a collection.
    pub(super) fn item(&self, collection: &str, id: &str) -> [Link; 2] {
        [
            Link {
                rel: "self",
                href: format!("{}/{collection}/{id}", self.versioned),
            },
            Link {
                rel: "bookmark",
                href: format!("{}/{collection}/{id}", self.bookmark),
            },
        ]
    }

    /// The link to the page behind the item `marker`.
    pub(super) fn next(&self, path: &str, query: &[(String, String)], marker: &str) -> [Link; 1] {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in query.iter().filter(|(name, _)| name != "marker") {
            text.append_pair(name, value);
        }
        text.append_pair("marker", marker);
        [Link {
            rel: "next",
            href: format!("{}/{path}?{}", self.versioned, text.finish()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn rewritten(uri: &str) -> (String, Option<String>) {
        let request = Request::builder()
            .uri(uri)
            .body(Body::empty())
            .expect("a request");
        let request = take_project(request);
        let project = request
            .extensions()
            .get::<ProjectInPath>()
            .map(|project| project.0.clone());
        (request.uri().to_string(), project)
    }

    #[test]
    fn takes_the_project_out_of_the_path() {
        assert_eq!(
            rewritten("/v3/abc/volumes/detail?limit=1"),
            ("/v3/volumes/detail?limit=1".into(), Some("abc".into()))
        );
        assert_eq!(
            rewritten("http://h:1/v3/abc/types/x"),
            ("http://h:1/v3/types/x".into(), Some("abc".into()))
        );
    }

    #[test]
    fn leaves_paths_without_a_project() {
        for uri in [
            "/",
            "/v3",
            "/v3/",
            "/v3/volumes",
            "/v3/volumes/x",
            "/v3/abc",
            "/v2/abc/volumes",
        ] {
            assert_eq!(rewritten(uri), (uri.to_owned(), None), "{uri}");
        }
    }
}
