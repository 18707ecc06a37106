//! Two workers, the endpoints that they share, and the origin behind them.
//!
//! In: steps, each of which draws what it needs. Out: checks of what holds at every moment, once all has run that can, and at the end.
//! Not here: the order of the steps, and what a lease may answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::{Borrower, End, Stage, Tally, Wish, borrow, limits};
use crate::base::clock::{Clock, Tick};
use crate::base::draw::Draw;
use crate::base::limits::MAILBOX_LEN_MAX;
use crate::proxy::http1::leg::Leg;
use crate::proxy::upstream::endpoint::{Endpoint, Limits, Waiting};
use crate::proxy::upstream::pool::{Lease, Pools};
use crate::telemetry::record::legend::EndpointId;

/// Two workers' pools, their endpoints, and the origin behind them.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) hand: Arc<AtomicU64>,
    pub(super) pools: [Rc<Pools>; 2],
    /// Into the mailbox of each worker.
    mail: [mpsc::Sender<EndpointId>; 2],
    /// All that ever were. The last one of an id is in force.
    endpoints: RefCell<Vec<Arc<Endpoint>>>,
    waiting: Arc<Waiting>,
    origin_port: u16,
    closed_port: u16,
    /// The origin's ends.
    accepted: Rc<RefCell<Vec<TcpStream>>>,
    /// Every connection that was ever lent. A weak reference keeps its place in memory from being used again.
    known: RefCell<HashMap<*const Leg, Known>>,
    tally: RefCell<Tally>,
}

struct Known {
    leg: Weak<Leg>,
    endpoint: *const Endpoint,
    lent: bool,
}

/// The time in which a connection belongs to one lease only.
pub(super) struct Loan {
    world: Rc<World>,
    leg: *const Leg,
}

impl Loan {
    pub(super) fn open(world: &Rc<World>, lease: &Lease, endpoint: &Arc<Endpoint>) -> Self {
        let leg = Rc::as_ptr(lease.leg());
        let mut known = world.known.borrow_mut();
        if lease.is_reused() {
            let known = known.get_mut(&leg).expect("a reused connection was lent before");
            assert!(std::ptr::eq(known.endpoint, Arc::as_ptr(endpoint)), "a connection is lent to a lease of another endpoint");
            assert!(!std::mem::replace(&mut known.lent, true), "a connection is lent twice at once");
        } else {
            // Thousands of schedules must not leave their ports behind in TIME_WAIT.
            lease.leg().reset_on_close();
            let new = Known { leg: Rc::downgrade(lease.leg()), endpoint: Arc::as_ptr(endpoint), lent: true };
            assert!(known.insert(leg, new).is_none(), "a connection that was lent before is called a new one");
        }
        world.note(if lease.is_reused() { End::Reused } else { End::Fresh });
        Loan { world: Rc::clone(world), leg }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(known) = self.world.known.borrow_mut().get_mut(&self.leg) {
            known.lent = false;
        }
    }
}

async fn accept(listener: TcpListener, accepted: Rc<RefCell<Vec<TcpStream>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        accepted.borrow_mut().push(stream);
    }
}

/// A worker's ear for its neighbour.
async fn listen(pools: Rc<Pools>, mut mail: mpsc::Receiver<EndpointId>) {
    while let Some(endpoint) = mail.recv().await {
        pools.relinquish(endpoint);
    }
}

/// How often a request that seems forgotten is looked at again.
const LOOKS: u32 = 32;

impl World {
    /// The world, and the tasks that serve it until they are aborted.
    pub(super) async fn begin(draw: &mut Draw, closed_port: u16) -> (Rc<Self>, [JoinHandle<()>; 3]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let origin_port = listener.local_addr().expect("it is bound").port();
        let (clock, hand) = Clock::manual(Tick(1));
        let (to_first, first_mail) = mpsc::channel(MAILBOX_LEN_MAX);
        let (to_second, second_mail) = mpsc::channel(MAILBOX_LEN_MAX);
        let first = Pools::new(clock.clone(), Rc::default(), vec![to_second.clone()]);
        let second = Pools::new(clock.clone(), Rc::default(), vec![to_first.clone()]);
        let accepted: Rc<RefCell<Vec<TcpStream>>> = Rc::default();
        let attendants = [
            spawn_local(accept(listener, Rc::clone(&accepted))),
            spawn_local(listen(Rc::clone(&first), first_mail)),
            spawn_local(listen(Rc::clone(&second), second_mail)),
        ];
        let world = World {
            clock,
            hand,
            pools: [first, second],
            mail: [to_first, to_second],
            endpoints: RefCell::default(),
            waiting: Arc::default(),
            origin_port,
            closed_port,
            accepted,
            known: RefCell::default(),
            tally: RefCell::default(),
        };
        for id in [EndpointId(0), EndpointId(1)] {
            world.add_endpoint(id, origin_port, limits(draw));
        }
        (Rc::new(world), attendants)
    }

    fn add_endpoint(&self, id: EndpointId, port: u16, limits: Limits) {
        let endpoint = Endpoint::new(id, "127.0.0.1".to_owned(), port, limits, Arc::clone(&self.waiting));
        self.endpoints.borrow_mut().push(Arc::new(endpoint));
    }

    /// Mostly the first id, which so becomes scarce; mostly the one in force, but exchanges of a former plan may try again.
    fn choose_endpoint(&self, draw: &mut Draw) -> Arc<Endpoint> {
        let id = EndpointId(u32::from(draw.below(4) == 0));
        let endpoints = self.endpoints.borrow();
        let same: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.id == id).collect();
        let at = if draw.below(6) == 0 { draw.below(same.len() as u32) as usize } else { same.len() - 1 };
        Arc::clone(same[at])
    }

    pub(super) fn spawn_borrower(self: &Rc<Self>, draw: &mut Draw) -> Borrower {
        let endpoint = self.choose_endpoint(draw);
        let soon = Duration::from_millis(u64::from(1 + draw.below(3)));
        let wish = Wish {
            worker: draw.below(2) as usize,
            endpoint: Arc::clone(&endpoint),
            latest: if draw.below(4) == 0 { self.clock.now().after(soon) } else { Tick::NEVER },
            hold: draw.below(24),
            reusable: draw.below(4) > 0,
            fresh: draw.below(8) == 0,
        };
        let stage = Rc::new(Cell::new(Stage::Begun));
        Borrower { task: spawn_local(borrow(Rc::clone(self), wish, Rc::clone(&stage))), stage, endpoint }
    }

    /// Rather one that waits than another.
    pub(super) fn cancel_one(&self, draw: &mut Draw, borrowers: &[Borrower]) {
        let of = |wanted: fn(Stage) -> bool| -> Vec<&Borrower> {
            borrowers.iter().filter(|borrower| !borrower.task.is_finished() && wanted(borrower.stage.get())).collect()
        };
        let queued = of(|stage: Stage| matches!(stage, Stage::Queued { .. }));
        let chosen = if queued.is_empty() { of(|stage: Stage| stage != Stage::Over) } else { queued };
        if let Some(borrower) = chosen.get(draw.below(chosen.len() as u32) as usize) {
            borrower.task.abort();
            self.note(End::Cancelled);
        }
    }

    pub(super) fn close_one_at_the_origin(&self, draw: &mut Draw) {
        let mut accepted = self.accepted.borrow_mut();
        accepted.retain(|stream| matches!(stream.try_read(&mut [0u8]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
        if !accepted.is_empty() {
            let at = draw.below(accepted.len() as u32) as usize;
            let stream = accepted.swap_remove(at);
            if draw.below(2) == 0 {
                stream.set_zero_linger().expect("the socket is open");
            }
        }
    }

    /// The same endpoint with other limits, perhaps at an origin that is down.
    pub(super) fn reload(&self, draw: &mut Draw) {
        let port = if draw.below(6) == 0 { self.closed_port } else { self.origin_port };
        self.add_endpoint(EndpointId(draw.below(2)), port, limits(draw));
    }

    pub(super) fn sweep(&self, draw: &mut Draw) {
        let pools = &self.pools[draw.below(2) as usize];
        pools.sweep();
        let now = self.clock.now();
        assert!(pools.pools.borrow().values().all(|pool| pool.idle.iter().all(|idle| now < idle.timeout_at)), "swept, and still too old");
    }

    pub(super) fn note(&self, end: End) {
        self.tally.borrow_mut().note(end);
    }

    pub(super) fn take_tally(&self) -> Tally {
        self.tally.take()
    }

    /// Lets everything run that can run without time.
    pub(super) async fn settle(&self) {
        for _ in 0..4 {
            yield_now().await;
        }
        while self.mail.iter().any(|mail| mail.capacity() < mail.max_capacity()) {
            yield_now().await;
        }
        for _ in 0..4 {
            yield_now().await;
        }
    }

    /// Idle connections to this very endpoint.
    fn idle(&self, endpoint: &Arc<Endpoint>) -> u64 {
        let mut idle = 0;
        for pools in &self.pools {
            let pools = pools.pools.borrow();
            idle += pools.values().filter(|pool| Arc::ptr_eq(&pool.endpoint, endpoint)).map(|pool| pool.idle.len()).sum::<usize>();
        }
        idle as u64
    }

    /// What holds at every moment.
    pub(super) fn check(&self, borrowers: &[Borrower]) {
        let count = |wanted: &dyn Fn(&Borrower) -> bool| borrowers.iter().filter(|borrower| wanted(borrower)).count() as u64;
        let is_queued = |borrower: &Borrower| matches!(borrower.stage.get(), Stage::Queued { .. });
        let is_let_in = |borrower: &Borrower| !matches!(borrower.stage.get(), Stage::Begun | Stage::Over);
        for endpoint in self.endpoints.borrow().iter() {
            let (cap, free) = (endpoint.limits.connections_per_endpoint, endpoint.slots.available_permits());
            let open = self.known.borrow().values().filter(|known| known.is_open_to(endpoint)).count();
            assert!(open + free <= cap, "{open} connections are open and {free} slots free under a cap of {cap}");
            assert!(endpoint.connections() <= cap as u64);
            let wanted = u64::from(endpoint.wanted.load(Ordering::Relaxed));
            assert_eq!(wanted, count(&|borrower: &Borrower| is_queued(borrower) && Arc::ptr_eq(&borrower.endpoint, endpoint)), "wanted");
            assert_eq!(endpoint.idle(), self.idle(endpoint), "the gauge of idle connections");
        }
        let flying = count(&|borrower: &Borrower| is_let_in(borrower) && borrower.endpoint.limits.in_flight.is_some());
        assert_eq!(self.waiting.pending.load(Ordering::Relaxed), count(&is_queued), "pending");
        assert_eq!(self.waiting.in_flight.load(Ordering::Relaxed), flying, "in flight");
        for pools in &self.pools {
            self.check_idle(pools);
        }
    }

    fn check_idle(&self, pools: &Pools) {
        let known = self.known.borrow();
        for (id, pool) in pools.pools.borrow().iter() {
            assert_eq!(*id, pool.endpoint.id);
            assert!(pool.idle.len() <= pool.endpoint.limits.idle_per_worker, "more idle connections than may be");
            for idle in &pool.idle {
                let known = &known[&Rc::as_ptr(&idle.connection.leg)];
                assert!(!known.lent, "a connection is idle and lent");
                assert!(known.is_open_to(&pool.endpoint), "an idle connection leads to another endpoint");
            }
        }
    }

    /// Once all have run: nobody waits while a slot is free, or for what another worker keeps for later. One that waits may have its slot already
    /// and not know it yet, so only what lasts counts.
    pub(super) async fn check_nobody_is_forgotten(&self) {
        for _ in 0..LOOKS {
            if self.forgotten().is_none() {
                return;
            }
            yield_now().await;
        }
        panic!("{}", self.forgotten().unwrap_or_default());
    }

    fn forgotten(&self) -> Option<String> {
        let waits_beside = |endpoint: &Arc<Endpoint>| {
            let (wanted, idle) = (endpoint.wanted.load(Ordering::Relaxed), self.idle(endpoint));
            let free = endpoint.slots.available_permits();
            (wanted > 0 && (idle > 0 || free > 0))
                .then(|| format!("{wanted} requests wait beside {idle} idle connections and {free} free slots"))
        };
        self.endpoints.borrow().iter().find_map(waits_beside)
    }

    pub(super) fn check_all_is_given_back(&self) {
        for endpoint in self.endpoints.borrow().iter() {
            assert_eq!(endpoint.slots.available_permits(), endpoint.limits.connections_per_endpoint, "a slot is lost");
            assert_eq!((endpoint.connections(), endpoint.idle()), (0, 0));
        }
        assert!(self.known.borrow().values().all(|known| known.leg.strong_count() == 0), "a connection outlives its pool");
    }
}

impl Known {
    fn is_open_to(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.leg.strong_count() > 0 && std::ptr::eq(self.endpoint, Arc::as_ptr(endpoint))
    }
}
