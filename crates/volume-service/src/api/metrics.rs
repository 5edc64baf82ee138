//! What this process has counted, for Prometheus.
//!
//! One registry per process: the routers and the worker count into it, and `/metrics` of the volume listener shows it.
//! Labels hold routes and kinds, never ids, names or anything else of a tenant.

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BUCKETS_S: [f64; 12] = [
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 60.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    api: &'static str,
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    api: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcilerLabels {
    reconciler: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

type LatencyFamily = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// The counters of this process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: LatencyFamily,
    operations: Family<OperationLabels, Counter>,
    passes: Family<ReconcilerLabels, Counter>,
    repairs: Family<ReconcilerLabels, Counter>,
    failures: Family<ReconcilerLabels, Counter>,
    refusals: Family<LimitLabels, Counter>,
}

/// The one registry of this process.
pub fn global() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("xensm");
        let requests = Family::default();
        let latency: LatencyFamily =
            Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS_S));
        let operations = Family::default();
        let (passes, repairs, failures) = (Family::default(), Family::default(), Family::default());
        let refusals = Family::default();
        registry.register(
            "http_requests",
            "Requests answered, by route and status",
            requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from the request's head to the answer's head",
            Unit::Seconds,
            latency.clone(),
        );
        registry.register(
            "operations",
            "Durable operations finished by this process",
            operations.clone(),
        );
        for (name, help, counter) in [
            (
                "reconcile_passes",
                "Passes of each reconciler of this process",
                &passes,
            ),
            (
                "reconcile_repairs",
                "Things that each reconciler changed",
                &repairs,
            ),
            (
                "reconcile_failures",
                "Things that each reconciler could not compare or change",
                &failures,
            ),
        ] {
            registry.register(name, help, Family::clone(counter));
        }
        registry.register(
            "limit_refusals",
            "Requests refused because a stated limit was reached",
            refusals.clone(),
        );
        Metrics {
            registry,
            requests,
            latency,
            operations,
            passes,
            repairs,
            failures,
            refusals,
        }
    }

    /// Counts an answered request.
    pub(super) fn count_request(
        &self,
        api: &'static str,
        route: &str,
        method: &Method,
        status: u16,
        elapsed: Duration,
    ) {
        let method = match *method {
            Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD => {
                method.as_str()
            }
            _ => "other",
        };
        self.requests
            .get_or_create(&RequestLabels {
                api,
                method: method.to_owned(),
                route: route.to_owned(),
                status,
            })
            .inc();
        self.latency
            .get_or_create(&RouteLabels {
                api,
                route: route.to_owned(),
            })
            .observe(elapsed.as_secs_f64());
    }

    /// Counts a request that a stated limit refused.
    pub(super) fn count_refusal(&self, limit: &'static str) {
        self.refusals.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Counts a finished operation: its kind (`create_volume`) and outcome (`succeeded`, `failed`).
    pub fn count_operation(&self, kind: &'static str, outcome: &'static str) {
        self.operations
            .get_or_create(&OperationLabels { kind, outcome })
            .inc();
    }

    /// Counts a reconciler's pass and what came of it.
    pub(crate) fn count_pass(&self, reconciler: &'static str, repaired: u64, failed: u64) {
        let labels = ReconcilerLabels { reconciler };
        self.passes.get_or_create(&labels).inc();
        self.repairs.get_or_create(&labels).inc_by(repaired);
        self.failures.get_or_create(&labels).inc_by(failed);
    }

    /// The registry in OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}
