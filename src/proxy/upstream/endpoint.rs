//! One address of an upstream and what all workers share about it.
//!
//! In: the configuration. Out: a cap on connections that holds over all workers, and gauges. A request that finds a connection in its
//! worker's pool touches none of this. Not here: the connections themselves (`pool`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::Semaphore;

use crate::base::lock::{self, Lock};
use crate::telemetry::record::legend::{self, EndpointId};

/// The bounds of an upstream's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) connect_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) body_idle_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    /// Idle connections that one worker keeps to one endpoint.
    pub(crate) idle_per_worker: usize,
    pub(crate) connections_per_endpoint: usize,
    /// Requests of all workers that may wait for a connection of the upstream.
    pub(crate) pending: usize,
    /// Requests in flight of the whole upstream.
    pub(crate) in_flight: Option<u64>,
}

/// What the requests of an upstream share, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) pending: AtomicU64,
    /// Counted only where it has a cap.
    pub(crate) in_flight: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Both as a `Host` would name them.
    pub(crate) authority: HeaderValue,
    /// Known beforehand where the host is an address.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) limits: Limits,
    pub(crate) waiting: Arc<Waiting>,
    /// One permit an open connection, idle or not.
    pub(crate) slots: Arc<Semaphore>,
    /// Requests, of any worker, that wait for a slot; idle connections are given up for them.
    pub(crate) wanted: AtomicU32,
    pub(crate) connects: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    /// Idle connections of each worker.
    idle: Lock<Vec<Arc<AtomicU64>>>,
}

impl Endpoint {
    pub(crate) fn new(id: EndpointId, host: String, port: u16, limits: Limits, waiting: Arc<Waiting>) -> Self {
        let address = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let slots = Arc::new(Semaphore::new(limits.connections_per_endpoint));
        let authority = HeaderValue::try_from(legend::authority(&host, port)).unwrap_or_else(|_| HeaderValue::from_static("invalid"));
        Endpoint {
            id,
            host,
            port,
            authority,
            address,
            limits,
            waiting,
            slots,
            wanted: AtomicU32::new(0),
            connects: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            idle: Lock::new(&lock::IDLE_GAUGES, Vec::new()),
        }
    }

    /// Open connections over all workers.
    pub(crate) fn connections(&self) -> u64 {
        self.limits.connections_per_endpoint.saturating_sub(self.slots.available_permits()) as u64
    }

    pub(crate) fn idle(&self) -> u64 {
        let gauges = self.idle.lock();
        gauges.iter().map(|gauge| gauge.load(Ordering::Relaxed)).sum()
    }

    /// A worker's gauge of its idle connections.
    pub(crate) fn idle_gauge(&self) -> Arc<AtomicU64> {
        let gauge = Arc::new(AtomicU64::new(0));
        let mut gauges = self.idle.lock();
        // Those of pools that are gone.
        gauges.retain(|gauge| Arc::strong_count(gauge) > 1);
        gauges.push(Arc::clone(&gauge));
        gauge
    }
}
