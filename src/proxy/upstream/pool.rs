//! One worker's connections to endpoints.
//!
//! In: an endpoint. Out: a [`Lease`] on a connection: an idle one of this worker, or a new one under the endpoint's cap; else the
//! request waits, in a queue with a bound, until either turns up. Dropping a lease gives the connection back or closes it.
//! Not here: what is said over a connection (`call`).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use foldhash::fast::FixedState;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Failure;
use super::connect::connect;
use super::endpoint::Endpoint;
use crate::base::alarm::Alarm;
use crate::base::clock::{Clock, Tick};
use crate::proxy::http1::leg::{Buffers, Leg};
use crate::telemetry::record::labels::{Work, turn_to};
use crate::telemetry::record::legend::EndpointId;
use crate::telemetry::record::{Attempt, Phase};

/// All pools of a worker.
pub(crate) struct Pools {
    clock: Clock,
    /// When the worker's current task was woken: good enough for idle times.
    pub(crate) woken: Cell<Tick>,
    buffers: Rc<Buffers>,
    pools: RefCell<HashMap<EndpointId, Pool, FixedState>>,
    /// Where the other workers hear that a connection of theirs is wanted.
    neighbours: Vec<mpsc::Sender<EndpointId>>,
}

struct Pool {
    /// Whose connections these are. A reload that changes its limits makes another one of the same id.
    endpoint: Arc<Endpoint>,
    idle: Vec<Idle>,
    gauge: Arc<AtomicU64>,
    waiters: VecDeque<Rc<Waiter>>,
}

struct Idle {
    connection: Connection,
    timeout_at: Tick,
}

struct Connection {
    leg: Rc<Leg>,
    /// Its place under the cap, given up when it closes.
    _slot: OwnedSemaphorePermit,
}

/// A request of this worker that waits for a connection.
#[derive(Default)]
struct Waiter {
    handed: RefCell<Option<Connection>>,
    waker: RefCell<Option<Waker>>,
    gone: Cell<bool>,
}

/// A connection in use.
pub(crate) struct Lease {
    pools: Rc<Pools>,
    endpoint: Arc<Endpoint>,
    connection: Option<Connection>,
    reused: bool,
    reusable: Cell<bool>,
    /// Its place among the requests in flight.
    _flight: Option<Flight>,
}

impl Lease {
    pub(crate) fn leg(&self) -> &Rc<Leg> {
        &self.connection.as_ref().expect("a lease has its connection until it is dropped").leg
    }

    /// The connection served another request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// The exchange on it ended cleanly: the next one may have it.
    pub(crate) fn mark_reusable(&self) {
        self.reusable.set(true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.reusable.get()) {
            self.pools.give_back(&self.endpoint, connection);
        }
    }
}

impl Pools {
    pub(crate) fn new(clock: Clock, buffers: Rc<Buffers>, neighbours: Vec<mpsc::Sender<EndpointId>>) -> Rc<Self> {
        Rc::new(Pools { woken: Cell::new(clock.now()), clock, buffers, pools: RefCell::default(), neighbours })
    }

    /// A connection to `endpoint`, by `latest` at the latest: queueing and connecting may take the connect timeout each. A `fresh` one has not
    /// served before, unless it comes straight from another request.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        endpoint: &Arc<Endpoint>,
        alarm: &mut Alarm,
        attempt: &mut Attempt,
        latest: Tick,
        fresh: bool,
    ) -> Result<Lease, Failure> {
        let flight = Flight::enter(endpoint)?;
        if fresh {
            self.forget_idle(endpoint);
        } else if let Some(connection) = self.take_idle(endpoint) {
            return Ok(self.lend(endpoint, connection, true, flight));
        }
        let slot = match Arc::clone(&endpoint.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                let began = self.clock.now();
                turn_to(Work::Queue);
                let granted = self.wait(endpoint, alarm, latest).await;
                attempt.phases.add(Phase::Queue, self.clock.now().since(began));
                match granted? {
                    Grant::Slot(slot) => slot,
                    Grant::Connection(connection) => return Ok(self.lend(endpoint, connection, true, flight)),
                }
            }
        };
        endpoint.connects.fetch_add(1, Ordering::Relaxed);
        let stream = connect(endpoint, &self.clock, alarm, attempt, latest).await.inspect_err(|_| {
            endpoint.connect_failures.fetch_add(1, Ordering::Relaxed);
        })?;
        let leg = Rc::new(Leg::new(stream, Rc::clone(&self.buffers)));
        Ok(self.lend(endpoint, Connection { leg, _slot: slot }, false, flight))
    }

    /// Closes idle connections that are too old or were closed by their peer.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        for pool in self.pools.borrow_mut().values_mut() {
            pool.idle.retain(|idle| now < idle.timeout_at && idle.connection.leg.is_quiet());
            pool.set_gauge();
        }
    }

    /// Gives up one idle connection, because another worker waits for a slot.
    pub(crate) fn relinquish(&self, endpoint: EndpointId) {
        if let Some(pool) = self.pools.borrow_mut().get_mut(&endpoint) {
            pool.idle.pop();
            pool.set_gauge();
        }
    }

    /// Closes all idle connections.
    pub(crate) fn clear(&self) {
        self.pools.borrow_mut().clear();
    }

    fn lend(self: &Rc<Self>, endpoint: &Arc<Endpoint>, connection: Connection, reused: bool, flight: Option<Flight>) -> Lease {
        Lease {
            pools: Rc::clone(self),
            endpoint: Arc::clone(endpoint),
            connection: Some(connection),
            reused,
            reusable: Cell::new(false),
            _flight: flight,
        }
    }

    fn take_idle(&self, endpoint: &Arc<Endpoint>) -> Option<Connection> {
        let mut pools = self.pools.borrow_mut();
        let pool = pool_of(&mut pools, endpoint);
        let now = self.woken.get();
        while let Some(idle) = pool.idle.pop() {
            if now < idle.timeout_at && idle.connection.leg.is_quiet() {
                pool.set_gauge();
                return Some(idle.connection);
            }
        }
        pool.set_gauge();
        None
    }

    /// Closes the idle connections to an endpoint that has just closed one: the others were closed with it, or would have to be tried.
    fn forget_idle(&self, endpoint: &Arc<Endpoint>) {
        let mut pools = self.pools.borrow_mut();
        let pool = pool_of(&mut pools, endpoint);
        pool.idle.clear();
        pool.set_gauge();
    }

    fn give_back(&self, endpoint: &Arc<Endpoint>, connection: Connection) {
        if self.pools.borrow().get(&endpoint.id).is_some_and(|pool| !Arc::ptr_eq(&pool.endpoint, endpoint)) {
            return;
        }
        let mut pools = self.pools.borrow_mut();
        let pool = pool_of(&mut pools, endpoint);
        while let Some(waiter) = pool.waiters.pop_front() {
            if !waiter.gone.get() {
                *waiter.handed.borrow_mut() = Some(connection);
                waiter.wake();
                return;
            }
        }
        if endpoint.wanted.load(Ordering::Relaxed) > 0 || pool.idle.len() >= endpoint.limits.idle_per_worker {
            return;
        }
        connection.leg.rest();
        pool.idle.push(Idle { connection, timeout_at: self.woken.get().after(endpoint.limits.idle_timeout) });
        pool.set_gauge();
    }

    async fn wait(&self, endpoint: &Arc<Endpoint>, alarm: &mut Alarm, latest: Tick) -> Result<Grant, Failure> {
        let _pending = Pending::enter(endpoint)?;
        let waiter = Rc::new(Waiter::default());
        let _leave = Leave { waiter: &waiter, pools: self, endpoint };
        pool_of(&mut self.pools.borrow_mut(), endpoint).waiters.push_back(Rc::clone(&waiter));
        for neighbour in &self.neighbours {
            // A full mailbox only delays: the neighbour also looks at `wanted` whenever it gives a connection back.
            let _ = neighbour.try_send(endpoint.id);
        }
        let mut slot = pin!(Arc::clone(&endpoint.slots).acquire_owned());
        let granted = poll_fn(|context| {
            if let Some(connection) = waiter.handed.borrow_mut().take() {
                return Poll::Ready(Grant::Connection(connection));
            }
            *waiter.waker.borrow_mut() = Some(context.waker().clone());
            slot.as_mut().poll(context).map(|slot| Grant::Slot(slot.expect("the semaphore is never closed")))
        });
        let deadline = self.clock.now().after(endpoint.limits.connect_timeout).min(latest);
        let late = if deadline == latest { Failure::ExchangeTimeout } else { Failure::QueueTimeout };
        alarm.guard(deadline, granted).await.map_err(|_late| late)
    }
}

/// The pool of this very endpoint; one of a former configuration makes room for it.
fn pool_of<'p>(pools: &'p mut HashMap<EndpointId, Pool, FixedState>, endpoint: &Arc<Endpoint>) -> &'p mut Pool {
    let pool = pools.entry(endpoint.id).or_insert_with(|| Pool::new(endpoint));
    if !Arc::ptr_eq(&pool.endpoint, endpoint) {
        *pool = Pool::new(endpoint);
    }
    pool
}

enum Grant {
    Slot(OwnedSemaphorePermit),
    Connection(Connection),
}

impl Pool {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        Pool { endpoint: Arc::clone(endpoint), idle: Vec::new(), gauge: endpoint.idle_gauge(), waiters: VecDeque::new() }
    }

    fn set_gauge(&self) {
        self.gauge.store(self.idle.len() as u64, Ordering::Relaxed);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.gauge.store(0, Ordering::Relaxed);
    }
}

impl Waiter {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A place among the requests that wait for a connection.
struct Pending<'e> {
    endpoint: &'e Endpoint,
}

impl<'e> Pending<'e> {
    fn enter(endpoint: &'e Endpoint) -> Result<Self, Failure> {
        let before = endpoint.waiting.pending.fetch_add(1, Ordering::Relaxed);
        endpoint.wanted.fetch_add(1, Ordering::Relaxed);
        let pending = Pending { endpoint };
        if before >= endpoint.limits.pending as u64 { Err(Failure::PendingFull) } else { Ok(pending) }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.endpoint.waiting.pending.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the requests in flight of an upstream that bounds them.
struct Flight {
    endpoint: Arc<Endpoint>,
}

impl Flight {
    fn enter(endpoint: &Arc<Endpoint>) -> Result<Option<Self>, Failure> {
        let Some(most) = endpoint.limits.in_flight else { return Ok(None) };
        let before = endpoint.waiting.in_flight.fetch_add(1, Ordering::Relaxed);
        let flight = Flight { endpoint: Arc::clone(endpoint) };
        if before >= most { Err(Failure::InFlightFull) } else { Ok(Some(flight)) }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.endpoint.waiting.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a waiter out of the queue however its wait ends, and passes on what it was handed but did not take.
struct Leave<'w> {
    waiter: &'w Rc<Waiter>,
    pools: &'w Pools,
    endpoint: &'w Arc<Endpoint>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.waiter.gone.set(true);
        if let Some(pool) = self.pools.pools.borrow_mut().get_mut(&self.endpoint.id) {
            pool.waiters.retain(|waiter| !waiter.gone.get());
        }
        if let Some(connection) = self.waiter.handed.borrow_mut().take() {
            self.pools.give_back(self.endpoint, connection);
        }
    }
}

#[cfg(test)]
mod tests;
