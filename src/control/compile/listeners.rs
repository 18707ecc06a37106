//! Listeners: addresses, and what each makes of its clients.
//!
//! In: the `listeners` of a configuration. Out: a policy each, or the mistakes. Not here: sockets (`control::sockets`).

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::control::config::problem::{Mark, Problems};
use crate::control::config::schema::{self, Config, TraceContext};
use crate::control::config::telemetry::{Propagation, Propagator};
use crate::control::sockets::ADMIN_NAME;
use crate::proxy::http1::head::HeadLimits;
use crate::proxy::snapshot::{ListenerLimits, ListenerPolicy, Network, TracePolicy};
use crate::proxy::upstream::head::ForwardedPolicy;

/// What a listener may allow for the head of a request, and for its target.
const HEADER_BYTES: RangeInclusive<u64> = 256..=16 * 1024 * 1024;
const TARGET_BYTES: RangeInclusive<u64> = 64..=1024 * 1024;

pub(super) fn compile(config: &Config, problems: &mut Problems) -> Vec<ListenerPolicy> {
    super::unique(config.listeners.iter().map(|listener| (listener.name.value.as_str(), listener.name.mark)), "listener", problems);
    if config.listeners.is_empty() {
        problems.add(Mark { line: 1, column: 1 }, "found no listener, expected at least one in `listeners`");
    }
    for listener in config.listeners.iter().filter(|listener| listener.name.value == ADMIN_NAME) {
        problems.add(listener.name.mark, format!("found the name `{ADMIN_NAME}`, which is the admin plane's, expected another"));
    }
    let mut bound: Vec<(SocketAddr, &str)> = Vec::new();
    for listener in &config.listeners {
        let address = listener.bind.value;
        if let Some((_, other)) = bound.iter().find(|(taken, _)| overlap(*taken, address)) {
            problems.add(listener.bind.mark, format!("found the address {address} a second time, the listener `{other}` has it"));
        }
        bound.push((address, &listener.name.value));
        if overlap(address, config.admin.bind.value) {
            problems.add(listener.bind.mark, format!("found the address {address}, which the admin plane has"));
        }
    }
    config.listeners.iter().map(|listener| listener_policy(listener, &config.telemetry.propagation, problems)).collect()
}

/// One port, and addresses of which one is or includes the other.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let includes =
        |wide: SocketAddr, narrow: SocketAddr| wide.ip() == narrow.ip() || wide.ip().is_unspecified() && wide.is_ipv4() == narrow.is_ipv4();
    a.port() != 0 && a.port() == b.port() && (includes(a, b) || includes(b, a))
}

fn listener_policy(listener: &schema::Listener, propagation: &Propagation, problems: &mut Problems) -> ListenerPolicy {
    let default = if listener.bind.value.ip().is_loopback() { TraceContext::Continue } else { TraceContext::Restart };
    let trace = match listener.trace_context.unwrap_or(default) {
        _ if !propagation.extract.contains(&Propagator::TraceContext) => TracePolicy::Ignore,
        TraceContext::Continue => TracePolicy::Continue,
        TraceContext::Restart => TracePolicy::Restart,
        TraceContext::Ignore => TracePolicy::Ignore,
    };
    let mut trust = Vec::new();
    for network in &listener.forwarded.trust {
        match Network::parse(&network.value) {
            Some(network) => trust.push(network),
            None => problems.add(network.mark, format!("found `{}`, expected an address or a network such as 10.0.0.0/8", network.value)),
        }
    }
    let limits = &listener.limits;
    for (size, range) in [(&limits.header_bytes, HEADER_BYTES), (&limits.target_bytes, TARGET_BYTES)] {
        if !range.contains(&size.value.0) {
            problems.add(size.mark, format!("found {} bytes, expected {} to {}", size.value.0, range.start(), range.end()));
        }
    }
    ListenerPolicy {
        trace,
        baggage: propagation.extract.contains(&Propagator::Baggage) && propagation.inject.contains(&Propagator::Baggage),
        inject_trace: propagation.inject.contains(&Propagator::TraceContext),
        forwarded: ForwardedPolicy {
            x_forwarded: listener.forwarded.x_forwarded,
            forwarded: listener.forwarded.rfc7239,
            via: listener.forwarded.via,
        },
        trust,
        tell_trace_id: listener.response_trace_id,
        limits: ListenerLimits {
            connections: limits.connections.0,
            connections_per_client: limits.connections_per_client.map(|most| most.0),
            head: HeadLimits {
                bytes: limits.header_bytes.value.0 as usize,
                fields: limits.header_count.0 as usize,
                target_bytes: limits.target_bytes.value.0 as usize,
            },
            body_bytes: limits.body_bytes.map(|size| size.0),
            requests_per_connection: limits.requests_per_connection.map(|most| most.0),
            header_timeout: limits.header_timeout.0,
            body_timeout: limits.body_timeout.0,
            write_timeout: limits.write_timeout.0,
            idle_timeout: limits.idle_timeout.0,
            half_close_timeout: limits.half_close_timeout.0,
            upgrade_idle_timeout: limits.upgrade_idle_timeout.0,
        },
    }
}
