//! What the ids in a record stand for.
//!
//! In: routes and endpoints, once, when a configuration is compiled. Out: small ids for the request path, and for
//! telemetry the names behind them with their attributes already encoded. An id means the same thing for the life of
//! the process, also across reloads. Not here: how a route matches or an endpoint is reached.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::base::limits::{HEADER_LEGENDS_MAX, LEGENDS_MAX};
use crate::telemetry::record::names;
use crate::telemetry::record::wire;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RouteId(pub(crate) u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EndpointId(pub(crate) u32);

/// A captured request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderId(pub(crate) u8);

impl RouteId {
    /// No route matched, or the request never got that far.
    pub(crate) const NONE: RouteId = RouteId(0);
}

/// A route as telemetry sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RouteLegend {
    pub(crate) name: String,
    /// The path pattern: `http.route`. Empty where no route matched.
    pub(crate) template: String,
    /// `http.route` and `pellucid.route` as encoded OTLP span attributes.
    pub(crate) attributes: Vec<u8>,
}

/// An endpoint as telemetry sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EndpointLegend {
    pub(crate) upstream: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host:port`, with brackets around IPv6 addresses.
    pub(crate) authority: String,
    /// `server.address`, `server.port` and `pellucid.upstream` as encoded OTLP span attributes.
    pub(crate) attributes: Vec<u8>,
}

/// A captured request header as telemetry sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HeaderLegend {
    /// In lower case.
    pub(crate) name: String,
    /// `http.request.header.<name>`.
    pub(crate) attribute: String,
    /// Its values were not kept.
    pub(crate) is_secret: bool,
}

/// All ids handed out so far.
#[derive(Debug)]
pub(crate) struct Legends {
    inner: RwLock<Inner>,
    /// Routes, and endpoints, that have an id of their own.
    len_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    routes: Vec<Arc<RouteLegend>>,
    route_ids: HashMap<(String, String), RouteId>,
    endpoints: Vec<Arc<EndpointLegend>>,
    endpoint_ids: HashMap<(String, String, u16), EndpointId>,
    headers: Vec<Arc<HeaderLegend>>,
}

impl Legends {
    pub(crate) fn new() -> Self {
        Legends::with_room(LEGENDS_MAX)
    }

    fn with_room(len_max: usize) -> Self {
        let legends = Legends { inner: RwLock::default(), len_max };
        legends.route("", "");
        legends
    }

    /// The id of the route of this name and path pattern; of `_other`, where all are taken.
    pub(crate) fn route(&self, name: &str, template: &str) -> RouteId {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = inner.route_ids.get(&(name.to_owned(), template.to_owned())) {
            return *id;
        }
        let full = inner.routes.len() >= self.len_max;
        if full && let Some(id) = inner.route_ids.get(&(names::FOLDED.to_owned(), String::new())) {
            return *id;
        }
        let (name, template) = if full { (names::FOLDED, "") } else { (name, template) };
        let id = RouteId(inner.routes.len() as u32);
        inner.routes.push(Arc::new(RouteLegend::new(name, template)));
        inner.route_ids.insert((name.to_owned(), template.to_owned()), id);
        id
    }

    /// The id of the endpoint `host:port` of an upstream; of `_other`, where all are taken.
    pub(crate) fn endpoint(&self, upstream: &str, host: &str, port: u16) -> EndpointId {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let key = (upstream.to_owned(), host.to_owned(), port);
        if let Some(id) = inner.endpoint_ids.get(&key) {
            return *id;
        }
        let full = inner.endpoints.len() >= self.len_max;
        // No port is 0, so no endpoint of a configuration has this key.
        let key = if full { (names::FOLDED.to_owned(), names::FOLDED.to_owned(), 0) } else { key };
        if let Some(id) = inner.endpoint_ids.get(&key).filter(|_| full) {
            return *id;
        }
        let id = EndpointId(inner.endpoints.len() as u32);
        inner.endpoints.push(Arc::new(if full { EndpointLegend::folded() } else { EndpointLegend::new(upstream, host, port) }));
        inner.endpoint_ids.insert(key, id);
        id
    }

    /// The id of a request header that is captured.
    pub(crate) fn header(&self, name: &str, is_secret: bool) -> HeaderId {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let full = inner.headers.len() >= HEADER_LEGENDS_MAX;
        let name = if full { names::FOLDED } else { name };
        let known = inner.headers.iter().position(|known| known.name == name);
        let index = known.unwrap_or_else(|| {
            inner.headers.push(Arc::new(HeaderLegend::new(name, is_secret || full)));
            inner.headers.len() - 1
        });
        HeaderId(index as u8)
    }

    /// A copy of the table of captured headers.
    pub(crate) fn headers(&self) -> Vec<Arc<HeaderLegend>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).headers.clone()
    }

    /// A copy of the tables, cheap by reference counts, for a reader that looks up many ids.
    pub(crate) fn tables(&self) -> (Vec<Arc<RouteLegend>>, Vec<Arc<EndpointLegend>>) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        (inner.routes.clone(), inner.endpoints.clone())
    }

    /// How many routes, endpoints and headers there are; a reader compares it to know whether its copy is old.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        (inner.routes.len(), inner.endpoints.len(), inner.headers.len())
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl RouteLegend {
    fn new(name: &str, template: &str) -> Self {
        let mut attributes = Vec::new();
        if !template.is_empty() {
            wire::string_attribute(&mut attributes, wire::SPAN_ATTRIBUTES, names::HTTP_ROUTE, template);
        }
        if !name.is_empty() {
            wire::string_attribute(&mut attributes, wire::SPAN_ATTRIBUTES, names::PELLUCID_ROUTE, name);
        }
        RouteLegend { name: name.to_owned(), template: template.to_owned(), attributes }
    }
}

impl EndpointLegend {
    fn new(upstream: &str, host: &str, port: u16) -> Self {
        let mut attributes = Vec::new();
        wire::string_attribute(&mut attributes, wire::SPAN_ATTRIBUTES, names::SERVER_ADDRESS, host);
        wire::int_attribute(&mut attributes, wire::SPAN_ATTRIBUTES, names::SERVER_PORT, i64::from(port));
        wire::string_attribute(&mut attributes, wire::SPAN_ATTRIBUTES, names::PELLUCID_UPSTREAM, upstream);
        EndpointLegend { upstream: upstream.to_owned(), host: host.to_owned(), port, authority: authority(host, port), attributes }
    }

    /// All that have no legend of their own. Their addresses differ, so that no span names one.
    fn folded() -> Self {
        let mut attributes = Vec::new();
        wire::string_attribute(&mut attributes, wire::SPAN_ATTRIBUTES, names::PELLUCID_UPSTREAM, names::FOLDED);
        let name = || names::FOLDED.to_owned();
        EndpointLegend { upstream: name(), host: name(), port: 0, authority: name(), attributes }
    }
}

impl HeaderLegend {
    fn new(name: &str, is_secret: bool) -> Self {
        HeaderLegend { name: name.to_owned(), attribute: format!("{}{name}", names::HTTP_REQUEST_HEADER), is_secret }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_the_same_after_a_reload() {
        let legends = Legends::new();
        let first = legends.route("users", "/users/{id}");
        let endpoint = legends.endpoint("users", "127.0.0.1", 9001);
        assert_ne!(first, RouteId::NONE);
        assert_eq!(legends.route("users", "/users/{id}"), first);
        assert_ne!(legends.route("users", "/people/{id}"), first);
        assert_eq!(legends.endpoint("users", "127.0.0.1", 9001), endpoint);
        assert_ne!(legends.endpoint("others", "127.0.0.1", 9001), endpoint);
    }

    #[test]
    fn what_finds_no_room_shares_one_id_and_what_has_one_keeps_it() {
        let legends = Legends::with_room(3);
        let ids: Vec<EndpointId> = (1..7).map(|port| legends.endpoint("users", "10.0.0.1", port)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 3, 3].map(EndpointId));
        assert_eq!(legends.endpoint("users", "10.0.0.1", 2), EndpointId(1));
        assert_eq!(["a", "b", "c", "d"].map(|name| legends.route(name, "/")), [1, 2, 3, 3].map(RouteId));
        let (routes, endpoints) = legends.tables();
        assert_eq!((routes.len(), routes[3].name.as_str()), (4, names::FOLDED));
        let folded = &endpoints[3];
        assert_eq!((endpoints.len(), folded.upstream.as_str(), folded.authority.as_str()), (4, names::FOLDED, names::FOLDED));
    }
}
