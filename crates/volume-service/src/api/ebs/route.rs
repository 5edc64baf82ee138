//! The table of operations: it is the dispatcher and the policy.

use std::future::Future;
use std::pin::Pin;

use axum::response::Response;
use axum::routing::MethodFilter;

use super::asked::Asked;
use super::fault::Result;
use super::{blocks, uploads};
use crate::app::Service;
use crate::auth::rule::Rule;
use crate::context::RequestContext;

/// Every operation of the model.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "ListSnapshotBlocks",
        method: Verb::Get,
        path: "/snapshots/{snapshot}/blocks",
        rule: Rule::VolumeGetSnapshot,
        may_be_unsigned: false,
        moves_block: false,
        run: |service, context, asked| Box::pin(blocks::list(service, context, asked)),
    },
    Operation {
        name: "ListChangedBlocks",
        method: Verb::Get,
        path: "/snapshots/{snapshot}/changedblocks",
        rule: Rule::VolumeGetSnapshot,
        may_be_unsigned: false,
        moves_block: false,
        run: |service, context, asked| Box::pin(blocks::list_changed(service, context, asked)),
    },
    Operation {
        name: "GetSnapshotBlock",
        method: Verb::Get,
        path: "/snapshots/{snapshot}/blocks/{block}",
        // Who may make a volume from it may read it.
        rule: Rule::VolumeCreate,
        may_be_unsigned: false,
        moves_block: true,
        run: |service, context, asked| Box::pin(blocks::get(service, context, asked)),
    },
    Operation {
        name: "StartSnapshot",
        method: Verb::Post,
        path: "/snapshots",
        rule: Rule::VolumeCreateSnapshot,
        may_be_unsigned: false,
        moves_block: false,
        run: |service, context, asked| Box::pin(uploads::start(service, context, asked)),
    },
    Operation {
        name: "PutSnapshotBlock",
        method: Verb::Put,
        path: "/snapshots/{snapshot}/blocks/{block}",
        rule: Rule::VolumeCreateSnapshot,
        may_be_unsigned: true,
        moves_block: true,
        run: |service, context, asked| Box::pin(uploads::put(service, context, asked)),
    },
    Operation {
        name: "CompleteSnapshot",
        method: Verb::Post,
        path: "/snapshots/completion/{snapshot}",
        rule: Rule::VolumeCreateSnapshot,
        may_be_unsigned: false,
        moves_block: false,
        run: |service, context, asked| Box::pin(uploads::complete(service, context, asked)),
    },
];

/// An operation.
pub(super) struct Operation {
    /// Its name in the model, which tests compare.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "the name is for readers and tests")
    )]
    pub(super) name: &'static str,
    pub(super) method: Verb,
    pub(super) path: &'static str,
    /// What the requester must pass.
    pub(super) rule: Rule,
    /// True when its body need not be signed.
    pub(super) may_be_unsigned: bool,
    /// True when a block comes or goes with it.
    pub(super) moves_block: bool,
    pub(super) run: Run,
}

type Run = for<'a> fn(&'a Service, &'a RequestContext, Asked<'a>) -> Running<'a>;

/// An operation at work.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<Response>> + Send + 'a>>;

/// The methods that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Put,
    Post,
}

impl Verb {
    pub(super) fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Put => MethodFilter::PUT,
            Verb::Post => MethodFilter::POST,
        }
    }
}

/// True for the paths of this API, whether or not something is there.
pub(in crate::api) fn owns(path: &str) -> bool {
    path == "/snapshots" || path.starts_with("/snapshots/")
}
