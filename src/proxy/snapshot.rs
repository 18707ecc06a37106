//! The plan: everything the data path obeys, immutable, built whole by `control::compile`.
//!
//! In: nothing; it is data. Out: routes, upstreams and listener policies by index. A request loads it once and cannot see two of them.
//! Not here: how a configuration is read or checked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::capture::Capture;
use super::filter::Filters;
use super::http1::head::HeadLimits;
use super::resilience::Retry;
use super::route::Table;
use super::route::split::Split;
use super::upstream::endpoint::Endpoint;
use super::upstream::head::{ForwardedPolicy, HostPolicy};
use crate::telemetry::record::labels::LabelName;
use crate::telemetry::record::legend::RouteId;

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) table: Table,
    pub(crate) routes: Vec<Route>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) listeners: Vec<ListenerPolicy>,
    pub(crate) sampling: Sampling,
    pub(crate) capture: Capture,
}

#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: RouteId,
    /// Its name, on samples.
    pub(crate) label: LabelName,
    pub(crate) filters: Filters,
    /// Absent where the filters always answer.
    pub(crate) split: Option<Split>,
    /// The whole exchange, attempts included.
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Retry,
    /// Protocols that a client may switch to.
    pub(crate) upgrades: Vec<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    /// Its name, on samples.
    pub(crate) label: LabelName,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) weights: Vec<u32>,
    pub(crate) host: HostPolicy,
}

/// What a listener makes of its clients.
#[derive(Clone, Debug)]
pub(crate) struct ListenerPolicy {
    pub(crate) trace: TracePolicy,
    pub(crate) baggage: bool,
    /// Trace context is written to upstreams.
    pub(crate) inject_trace: bool,
    pub(crate) forwarded: ForwardedPolicy,
    pub(crate) trust: Vec<Network>,
    /// Answers carry the trace id.
    pub(crate) tell_trace_id: bool,
    pub(crate) limits: ListenerLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenerLimits {
    pub(crate) connections: u64,
    pub(crate) connections_per_client: Option<u64>,
    pub(crate) head: HeadLimits,
    pub(crate) body_bytes: Option<u64>,
    pub(crate) requests_per_connection: Option<u64>,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    /// How long a client that has closed its sending side is served.
    pub(crate) half_close_timeout: Duration,
    pub(crate) upgrade_idle_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TracePolicy {
    /// The caller's trace goes on.
    Continue,
    /// A new trace, linked to the caller's.
    Restart,
    Ignore,
}

/// Which share of new traces is sampled at the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// Traces whose 56 random bits are below this are sampled.
    threshold: u64,
}

impl Sampling {
    /// `share` lies between 0 and 1.
    pub(crate) fn new(share: f64) -> Self {
        Sampling { threshold: (share.clamp(0.0, 1.0) * (1u64 << 56) as f64) as u64 }
    }

    pub(crate) fn takes(self, randomness: u64) -> bool {
        randomness < self.threshold
    }
}

/// A range of addresses: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let widest = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let bits = bits.unwrap_or(widest);
        (bits <= widest).then_some(Network { address, bits })
    }

    pub(crate) fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                prefix_matches(u128::from(mine.to_bits()) << 96, u128::from(theirs.to_bits()) << 96, self.bits)
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => prefix_matches(mine.to_bits(), theirs.to_bits(), self.bits),
            _ => false,
        }
    }
}

fn prefix_matches(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let contains = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("127.0.0.1", "127.0.0.1") && contains("127.0.0.0/8", "::ffff:127.0.0.9"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "1.2.3.4"));
        assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("x").is_none());
    }

    #[test]
    fn a_share_of_all_traces_takes_all_and_of_none_none() {
        assert!(Sampling::new(1.0).takes((1 << 56) - 1));
        assert!(!Sampling::new(0.0).takes(0));
        assert!(Sampling::new(0.5).takes(1 << 54) && !Sampling::new(0.5).takes(3 << 54));
    }
}
