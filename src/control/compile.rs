//! Configuration to snapshot: every section is checked against the others, and every mistake is reported, not the first.
//!
//! In: a configuration that was read. Out: what the data path obeys and what telemetry is set to, or the mistakes. Endpoints that a
//! former snapshot has unchanged are taken over with their counters. Not here: sockets and threads (`gateway`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderName;

use super::config::decode::{Placed, is_secret};
use super::config::environment::{self, BadVariable, Lookup};
use super::config::problem::{Mark, Problems};
use super::config::schema::{self, Config};
use super::config::telemetry::LogFormat;
use super::config::values::LogPlace;
use super::profiling::ProfileSettings;
use crate::base::limits::{CAPTURED_NAMES_MAX, HOST_BYTES_MAX, ROUTES_MAX};
use crate::base::spelling::meant;
use crate::proxy::capture::{Capture, Wanted};
use crate::proxy::snapshot::{Sampling, Snapshot, Upstream};
use crate::proxy::upstream::endpoint::{Endpoint, Limits, Waiting};
use crate::proxy::upstream::head::HostPolicy;
use crate::telemetry::export::access_log::Format;
use crate::telemetry::export::ledger::Signal;
use crate::telemetry::export::log_sink::Destination;
use crate::telemetry::export::otlp::Target;
use crate::telemetry::export::otlp::resource::Resource;
use crate::telemetry::process::keep::Policy;
use crate::telemetry::record::labels;
use crate::telemetry::record::legend::Legends;

mod listeners;
mod routes;

/// Everything that a configuration says, ready for use.
pub(crate) struct Compiled {
    pub(crate) snapshot: Snapshot,
    pub(crate) routes: Vec<RouteInfo>,
    pub(crate) upstreams: Vec<UpstreamInfo>,
    pub(crate) telemetry: TelemetrySettings,
    /// Threads of the data path.
    pub(crate) workers: usize,
}

/// A route as the admin plane and `explain` show it.
#[derive(Clone, Debug)]
pub(crate) struct RouteInfo {
    pub(crate) name: String,
    pub(crate) source: schema::Route,
}

#[derive(Clone, Debug)]
pub(crate) struct UpstreamInfo {
    pub(crate) name: String,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) weights: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TelemetrySettings {
    pub(crate) resource: Resource,
    pub(crate) keep: Policy,
    pub(crate) traces: Option<Target>,
    pub(crate) metrics: Option<Target>,
    pub(crate) logs: Option<Target>,
    pub(crate) profiles_target: Option<Target>,
    pub(crate) profiles: ProfileSettings,
    pub(crate) push_interval: Duration,
    pub(crate) access_log: Option<(Destination, Format)>,
    pub(crate) series_max: usize,
}

impl UpstreamInfo {
    /// Requests that wait for a connection.
    pub(crate) fn pending(&self) -> u64 {
        self.endpoints.first().map_or(0, |endpoint| endpoint.waiting.pending.load(Ordering::Relaxed))
    }
}

/// What a compilation needs beside the configuration.
pub(crate) struct Context<'c> {
    pub(crate) legends: &'c Legends,
    pub(crate) environment: Lookup<'c>,
    pub(crate) instance: &'c str,
    pub(crate) former: &'c [UpstreamInfo],
}

pub(crate) fn compile(config: &Config, context: &Context<'_>) -> Result<Compiled, Problems> {
    let mut problems = Problems::default();
    let listeners = listeners::compile(config, &mut problems);
    let workers = match config.runtime.workers.0 as usize {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let upstreams = upstreams(config, context, workers, &mut problems);
    let names: HashMap<&str, usize> =
        config.upstreams.iter().enumerate().map(|(index, upstream)| (upstream.name.value.as_str(), index)).collect();
    let routes = routes::compile(&config.routes, &names, context.legends, &mut problems);
    let telemetry = telemetry(config, context, &mut problems);
    let capture = capture(&config.telemetry.capture_headers, context.legends, &mut problems);
    let (Some(routes), Some(telemetry)) = (routes, telemetry) else { return Err(problems) };
    if !problems.is_empty() {
        return Err(problems);
    }
    let infos = config.upstreams.iter().zip(&upstreams).map(|(source, upstream)| UpstreamInfo {
        name: source.name.value.clone(),
        endpoints: upstream.endpoints.clone(),
        weights: upstream.weights.clone(),
    });
    Ok(Compiled {
        routes: config.routes.iter().map(|route| RouteInfo { name: route.name.value.clone(), source: route.clone() }).collect(),
        upstreams: infos.collect(),
        snapshot: Snapshot {
            table: routes.table,
            routes: routes.routes,
            upstreams,
            listeners,
            sampling: Sampling::new(config.telemetry.traces.sample.0),
            capture,
        },
        telemetry,
        workers,
    })
}

/// Says where a name stands for a second time.
fn unique<'n>(names: impl Iterator<Item = (&'n str, Mark)>, what: &str, problems: &mut Problems) {
    let mut seen: HashMap<&str, Mark> = HashMap::new();
    for (name, mark) in names {
        if name.is_empty() {
            problems.add(mark, format!("found an empty name, expected a name for this {what}"));
        } else if let Some(first) = seen.insert(name, mark) {
            problems.add(mark, format!("found the {what} `{name}` a second time, first on line {}", first.line));
        }
    }
}

fn upstreams(config: &Config, context: &Context<'_>, workers: usize, problems: &mut Problems) -> Vec<Upstream> {
    unique(config.upstreams.iter().map(|upstream| (upstream.name.value.as_str(), upstream.name.mark)), "upstream", problems);
    config.upstreams.iter().map(|upstream| compile_upstream(upstream, context, workers, problems)).collect()
}

fn compile_upstream(upstream: &schema::Upstream, context: &Context<'_>, workers: usize, problems: &mut Problems) -> Upstream {
    let name = &upstream.name.value;
    if upstream.endpoints.is_empty() {
        problems.add(upstream.name.mark, format!("the upstream `{name}` has no endpoint, expected at least one"));
    }
    let limits = Limits {
        connect_timeout: upstream.connect_timeout.0,
        first_byte_timeout: upstream.first_byte_timeout.0,
        body_idle_timeout: upstream.body_timeout.0,
        idle_timeout: upstream.pool.idle_timeout.0,
        idle_per_worker: (upstream.pool.idle_per_endpoint.0 as usize).div_ceil(workers),
        connections_per_endpoint: upstream.pool.connections_per_endpoint.0 as usize,
        pending: upstream.pool.pending.0 as usize,
        in_flight: upstream.pool.in_flight.map(|most| most.0),
    };
    let former: Vec<&Arc<Endpoint>> = context.former.iter().filter(|info| info.name == *name).flat_map(|info| &info.endpoints).collect();
    let waiting = former.first().map_or_else(Arc::default, |endpoint| Arc::clone(&endpoint.waiting));
    let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
    let mut weights = Vec::new();
    for endpoint in &upstream.endpoints {
        let address = &endpoint.0.address;
        let Some((host, port)) = split_address(&address.value) else {
            problems.add(
                address.mark,
                format!("found `{}`, expected host:port such as 127.0.0.1:9001 (https is not available in this version)", address.value),
            );
            continue;
        };
        if endpoints.iter().any(|known| known.host == host && known.port == port) {
            problems.add(address.mark, format!("found the endpoint `{}` a second time in `{name}`", address.value));
            continue;
        }
        let kept = former.iter().find(|known| known.host == host && known.port == port && known.limits == limits);
        endpoints.push(kept.map_or_else(
            || {
                Arc::new(Endpoint::new(
                    context.legends.endpoint(name, &host, port),
                    host.clone(),
                    port,
                    limits.clone(),
                    Arc::<Waiting>::clone(&waiting),
                ))
            },
            |kept| Arc::clone(kept),
        ));
        weights.push(endpoint.0.weight.0 as u32);
    }
    if !weights.is_empty() && weights.iter().all(|weight| *weight == 0) {
        problems.add(upstream.name.mark, format!("all endpoints of `{name}` have the weight 0, expected one above it"));
    }
    Upstream { label: labels::number(name), endpoints, weights, host: host_policy(&upstream.host, problems) }
}

fn host_policy(host: &Placed<String>, problems: &mut Problems) -> HostPolicy {
    match host.value.as_str() {
        "preserve" => HostPolicy::Preserve,
        "endpoint" => HostPolicy::Endpoint,
        literal if is_authority(literal) => {
            HostPolicy::Literal(http::HeaderValue::from_str(literal).expect("an authority is visible ASCII"))
        }
        other => {
            problems.add(
                host.mark,
                format!("found `{other}`, expected preserve, endpoint, or a host name{}", meant(other, ["preserve", "endpoint"])),
            );
            HostPolicy::Preserve
        }
    }
}

fn is_authority(text: &str) -> bool {
    crate::proxy::http1::host::check_authority(text.as_bytes()).is_ok()
}

/// `host:port`, with `http://` allowed before it and brackets around IPv6 addresses.
pub(crate) fn split_address(text: &str) -> Option<(String, u16)> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => host,
    };
    let name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let fits = !host.is_empty() && host.len() <= HOST_BYTES_MAX && (name || host.parse::<std::net::Ipv6Addr>().is_ok());
    fits.then(|| (host.to_ascii_lowercase(), port))
}

fn telemetry(config: &Config, context: &Context<'_>, problems: &mut Problems) -> Option<TelemetrySettings> {
    let telemetry = &config.telemetry;
    let profiles = &telemetry.profiles;
    if profiles.push.value && !profiles.continuous {
        problems
            .add(profiles.push.mark, "found `true`, expected `false` or `continuous: true` beside it: only continuous profiles are pushed");
    }
    if let Some(otlp) = &telemetry.otlp {
        // Only for its mistakes: exports take the headers as text.
        routes::header_pairs(&otlp.headers, false, problems);
    }
    let place = telemetry.otlp.as_ref().map_or(Mark { line: 1, column: 1 }, |otlp| otlp.endpoint.mark);
    let mut report = |BadVariable(message)| problems.add(place, message);
    let resource = environment::resource(telemetry, context.environment).map_err(&mut report).ok();
    let mut target = |signal| environment::otlp_target(signal, telemetry.otlp.as_ref(), context.environment).map_err(&mut report).ok();
    let (traces, metrics, logs) = (target(Signal::Traces)?, target(Signal::Metrics)?, target(Signal::Logs)?);
    let profiles_target = target(Signal::Profiles)?;
    let (service_name, attributes) = resource?;
    let keep = &telemetry.traces.keep;
    Some(TelemetrySettings {
        resource: Resource::new(&service_name, context.instance, &attributes),
        keep: Policy {
            errors: keep.errors,
            retries: keep.retries,
            slower_than: keep.slower_than.map(|span| span.0),
            per_second: keep.per_second.0 as u32,
        },
        traces,
        metrics,
        logs,
        profiles_target,
        profiles: ProfileSettings {
            hz: profiles.continuous.then_some(profiles.hz.0 as u32),
            push: profiles.push.value,
            heap: profiles.heap,
        },
        push_interval: telemetry.metrics.push_interval.0,
        access_log: telemetry.access_log.as_ref().map(|log| {
            let destination = match &log.to.value {
                LogPlace::Stdout => Destination::Stdout,
                LogPlace::Stderr => Destination::Stderr,
                LogPlace::File(path) => Destination::File(path.clone()),
            };
            (destination, if log.format == LogFormat::Json { Format::Json } else { Format::Text })
        }),
        series_max: telemetry.metrics.series_max.0 as usize,
    })
}

/// The request headers that records remember.
fn capture(names: &[Placed<String>], legends: &Legends, problems: &mut Problems) -> Capture {
    let named = || names.iter().filter_map(|name| Some((HeaderName::from_bytes(name.value.as_bytes()).ok()?, name.mark)));
    if let Some(beyond) = names.get(CAPTURED_NAMES_MAX) {
        problems.add(beyond.mark, format!("found {} headers to capture, expected at most {CAPTURED_NAMES_MAX}", names.len()));
        return Capture::default();
    }
    for name in names.iter().filter(|name| HeaderName::from_bytes(name.value.as_bytes()).is_err()) {
        problems.add(name.mark, format!("found `{}`, expected the name of a header field", name.value));
    }
    let lower: Vec<(HeaderName, Mark)> = named().collect();
    unique(lower.iter().map(|(name, mark)| (name.as_str(), *mark)), "captured header", problems);
    let wanted = lower.iter().map(|(name, _)| {
        let is_secret = is_secret(name.as_str());
        Wanted { name: name.to_string(), id: legends.header(name.as_str(), is_secret), is_secret }
    });
    Capture::new(wanted.collect())
}

/// Refuses more routes than the house is built for.
fn check_route_count(count: usize, problems: &mut Problems) {
    if count > ROUTES_MAX {
        problems.add(Mark { line: 1, column: 1 }, format!("found {count} routes, expected at most {ROUTES_MAX}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_as_long_as_a_name_can_be() {
        let address = |length| format!("{}:80", "a".repeat(length));
        assert_eq!(split_address(&address(HOST_BYTES_MAX)).map(|(host, port)| (host.len(), port)), Some((HOST_BYTES_MAX, 80)));
        assert_eq!(split_address(&address(HOST_BYTES_MAX + 1)), None);
    }
}
