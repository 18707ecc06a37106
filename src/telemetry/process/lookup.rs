//! What the ids in records stand for, as the telemetry thread knows it.
//!
//! In: the legends, looked at again when ids appear that are not known. Out: names, and a record with all that formats need beside it. Not
//! here: the legends themselves (`record::legend`).

use std::sync::Arc;

use super::verdict::Verdict;
use crate::telemetry::export::access_log::Entry;
use crate::telemetry::profile::profiler::is_continuous;
use crate::telemetry::record::Record;
use crate::telemetry::record::legend::{EndpointLegend, HeaderLegend, Legends, RouteLegend};

/// A copy of the legends that is renewed when ids appear that it does not know.
pub(super) struct Names {
    legends: Arc<Legends>,
    pub(super) routes: Vec<Arc<RouteLegend>>,
    pub(super) endpoints: Vec<Arc<EndpointLegend>>,
    pub(super) headers: Vec<Arc<HeaderLegend>>,
}

impl Names {
    pub(super) fn new(legends: Arc<Legends>) -> Self {
        let (routes, endpoints) = legends.tables();
        let headers = legends.headers();
        Names { legends, routes, endpoints, headers }
    }

    pub(super) fn renew(&mut self) {
        if self.legends.counts() != (self.routes.len(), self.endpoints.len(), self.headers.len()) {
            (self.routes, self.endpoints) = self.legends.tables();
            self.headers = self.legends.headers();
        }
    }

    pub(super) fn route(&self, record: &Record) -> &RouteLegend {
        self.routes.get(record.route.0 as usize).unwrap_or(&self.routes[0])
    }

    pub(super) fn entry<'e>(&'e self, record: &'e Record, wall_offset: u64, verdict: Option<&'e Verdict>) -> Entry<'e> {
        let endpoint = record.attempts().last().and_then(|attempt| self.endpoints.get(attempt.endpoint.0 as usize));
        Entry {
            record,
            route: self.route(record),
            endpoint: endpoint.map(|arc| &**arc),
            headers: &self.headers,
            wall_offset,
            profiled: is_continuous(),
            verdict: verdict.map(|verdict| (verdict.code.label(), &*verdict.text)),
        }
    }
}
