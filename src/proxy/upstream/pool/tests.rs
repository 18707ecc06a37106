//! The pools of two workers that share endpoints, driven by schedules that are drawn from a seed.
//!
//! In: seeds. Each one draws limits, then steps: leases that hold a connection for a while, some of them cancelled, origins that close, reloads,
//! sweeps, time that passes. Out: what must hold after every step and when all is over. The clock stands still unless a step moves it, so nothing
//! may end by its timeout that could end otherwise. `PELLUCID_SEED=n` runs one schedule. Not here: what is said over a connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::{Lease, Pools};
use crate::base::alarm::Alarm;
use crate::base::clock::{Clock, Tick};
use crate::base::draw::Draw;
use crate::base::ids::SpanId;
use crate::base::limits::MAILBOX_LEN_MAX;
use crate::proxy::http1::leg::Leg;
use crate::proxy::upstream::Failure;
use crate::proxy::upstream::endpoint::{Endpoint, Limits, Waiting};
use crate::telemetry::record::Record;
use crate::telemetry::record::legend::EndpointId;

/// Schedules of a run, and steps of a schedule.
const SCHEDULES: u64 = 2000;
const STEPS: u32 = 32;
/// A lease that has not ended by then waits for ever. Real time, of one schedule.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn no_schedule_of_two_workers_breaks_the_bounds_of_what_they_share() {
    let only: Option<u64> = std::env::var("PELLUCID_SEED").ok().map(|text| text.parse().unwrap());
    let seeds = only.map_or(0..SCHEDULES, |seed| seed..seed + 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    let total = runtime.block_on(async {
        // A port that is taken, so that nobody else listens there, and refuses.
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed_port = closed.local_addr().unwrap().port();
        let mut total = Tally::default();
        for seed in seeds {
            match spawn_local(tokio::time::timeout(PATIENCE, schedule(seed, closed_port))).await {
                Ok(Ok(tally)) => total.add(&tally),
                Ok(Err(_late)) => panic!("PELLUCID_SEED={seed}: a lease waits for ever"),
                Err(broken) => panic!("PELLUCID_SEED={seed}: {broken}"),
            }
        }
        total
    });
    assert!(only.is_some() || total.counts.iter().all(|count| *count > 0), "something that can happen never did: {total:?}");
}

/// One schedule, from its first step to the end of its last lease.
async fn schedule(seed: u64, closed_port: u16) -> Tally {
    let mut draw = Draw::seeded(seed);
    let (world, attendants) = World::new(&mut draw, closed_port).await;
    let mut borrowers = Vec::new();
    for _ in 0..STEPS {
        step(&world, &mut draw, &mut borrowers).await;
        for _ in 0..draw.below(4) {
            yield_now().await;
        }
        world.check(&borrowers);
        if draw.below(4) == 0 {
            world.settle().await;
            world.check(&borrowers);
            world.check_nobody_is_forgotten();
        }
    }
    for borrower in borrowers {
        match borrower.task.await {
            Err(broken) if broken.is_panic() => panic!("{broken}"),
            _ => {}
        }
    }
    world.check(&[]);
    for pools in &world.pools {
        pools.clear();
    }
    world.check_all_is_given_back();
    for attendant in &attendants {
        attendant.abort();
    }
    world.tally.take()
}

async fn step(world: &Rc<World>, draw: &mut Draw, borrowers: &mut Vec<Borrower>) {
    match draw.below(24) {
        0..=10 => borrowers.push(world.spawn_borrower(draw)),
        11 | 12 => world.cancel_one(draw, borrowers),
        13 | 14 => world.close_one_at_the_origin(draw),
        15 => world.reload(draw),
        16 => world.sweep(draw),
        17 => world.pools[draw.below(2) as usize].relinquish(EndpointId(draw.below(2))),
        18 => {
            world.hand.fetch_add(1_000_000 * u64::from(1 + draw.below(3)), Ordering::Relaxed);
            // Whoever has waited for too long must hear of it. The timers behind are real ones.
            let now = world.clock.now();
            while borrowers.iter().any(|borrower| matches!(borrower.stage.get(), Stage::Queued { until } if until <= now)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        _ => {}
    }
}

fn limits(draw: &mut Draw) -> Limits {
    Limits {
        connect_timeout: Duration::from_millis(1),
        first_byte_timeout: Duration::from_secs(1),
        body_idle_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_millis(1 + u64::from(draw.below(4))),
        idle_per_worker: draw.below(4) as usize,
        connections_per_endpoint: 1 + draw.below(4) as usize,
        pending: draw.below(5) as usize,
        in_flight: (draw.below(4) == 0).then(|| u64::from(1 + draw.below(6))),
    }
}

/// How often each way of a lease to end was taken.
#[derive(Debug, Default)]
struct Tally {
    counts: [u64; End::COUNT],
}

#[derive(Clone, Copy)]
enum End {
    Fresh,
    Reused,
    PendingFull,
    InFlightFull,
    TimedOut,
    Refused,
    Cancelled,
}

impl End {
    const COUNT: usize = 7;
}

impl Tally {
    fn note(&mut self, end: End) {
        self.counts[end as usize] += 1;
    }

    fn add(&mut self, other: &Tally) {
        for (total, count) in self.counts.iter_mut().zip(other.counts) {
            *total += count;
        }
    }
}

/// Two workers' pools, their endpoints, and the origin behind them.
struct World {
    clock: Clock,
    hand: Arc<AtomicU64>,
    pools: [Rc<Pools>; 2],
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

/// A task that leases, holds and gives back.
struct Borrower {
    task: JoinHandle<()>,
    stage: Rc<Cell<Stage>>,
    endpoint: Arc<Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not polled yet.
    Begun,
    /// Waits for a slot or a connection.
    Queued {
        until: Tick,
    },
    Connecting,
    Holding,
    Over,
}

/// What a borrower is to do.
struct Wish {
    worker: usize,
    endpoint: Arc<Endpoint>,
    latest: Tick,
    hold: u32,
    reusable: bool,
}

/// What the requests of an endpoint have taken of its bounds.
struct Load {
    pending: u64,
    in_flight: u64,
    free: usize,
}

impl Load {
    fn of(endpoint: &Endpoint) -> Self {
        Load {
            pending: endpoint.waiting.pending.load(Ordering::Relaxed),
            in_flight: endpoint.waiting.in_flight.load(Ordering::Relaxed),
            free: endpoint.slots.available_permits(),
        }
    }
}

impl Wish {
    /// What one poll of a lease made of it must follow from what there was before. Nothing else runs meanwhile.
    fn judge(&self, stage: &Cell<Stage>, before: &Load, polled: &Poll<Result<Lease, Failure>>, now: Tick) {
        let (limits, after) = (&self.endpoint.limits, Load::of(&self.endpoint));
        let may_wait = before.pending < limits.pending as u64;
        let may_fly = limits.in_flight.is_none_or(|most| before.in_flight < most);
        match (stage.get(), polled) {
            (Stage::Begun, Poll::Ready(Err(Failure::InFlightFull))) => assert!(!may_fly, "refused below the cap on requests in flight"),
            (Stage::Begun, _) if !may_fly => panic!("more requests are in flight than may be"),
            (Stage::Begun, Poll::Ready(Err(Failure::PendingFull))) => {
                assert!(!may_wait && before.free == 0, "refused though there was a slot, or room to wait for one");
            }
            (Stage::Begun, Poll::Pending) if after.pending > before.pending => {
                assert!(may_wait && before.free == 0, "waits though there was a slot, or no room to wait for one");
                stage.set(Stage::Queued { until: now.after(limits.connect_timeout).min(self.latest) });
            }
            (Stage::Begun, _) => stage.set(Stage::Connecting),
            (_, Poll::Ready(Err(Failure::InFlightFull | Failure::PendingFull))) => panic!("refused after it had been let in"),
            (Stage::Queued { .. }, Poll::Pending) if after.pending < before.pending => stage.set(Stage::Connecting),
            _ => {}
        }
    }

    /// How a lease may fail. `began` is when it was asked for.
    fn judge_failure(&self, failure: &Failure, began: Tick, now: Tick) -> End {
        match failure {
            Failure::PendingFull => End::PendingFull,
            Failure::InFlightFull => End::InFlightFull,
            Failure::QueueTimeout | Failure::ConnectTimeout => {
                assert!(now >= began.after(self.endpoint.limits.connect_timeout), "timed out too early");
                End::TimedOut
            }
            Failure::ExchangeTimeout => {
                assert!(now >= self.latest, "the exchange timed out too early");
                End::TimedOut
            }
            Failure::Connect(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => End::Refused,
            other => panic!("a lease cannot fail like this: {other:?}"),
        }
    }
}

/// However a borrower ends, it says so.
struct SaysOver(Rc<Cell<Stage>>);

impl Drop for SaysOver {
    fn drop(&mut self) {
        self.0.set(Stage::Over);
    }
}

async fn borrow(world: Rc<World>, wish: Wish, stage: Rc<Cell<Stage>>) {
    let _over = SaysOver(Rc::clone(&stage));
    let (pools, began) = (&world.pools[wish.worker], world.clock.now());
    let mut alarm = Alarm::new(world.clock.clone());
    let mut attempt = *Record::empty().open_attempt(SpanId([1; 8]), began);
    let leased = {
        let mut leasing = pin!(pools.lease(&wish.endpoint, &mut alarm, &mut attempt, wish.latest));
        poll_fn(|context| {
            pools.woken.set(world.clock.now());
            let before = Load::of(&wish.endpoint);
            let polled = leasing.as_mut().poll(context);
            wish.judge(&stage, &before, &polled, world.clock.now());
            polled
        })
        .await
    };
    let lease = match leased {
        Ok(lease) => lease,
        Err(failure) => {
            let end = wish.judge_failure(&failure, began, world.clock.now());
            return world.tally.borrow_mut().note(end);
        }
    };
    let loan = Loan::open(&world, &lease, &wish.endpoint);
    stage.set(Stage::Holding);
    for _ in 0..wish.hold {
        yield_now().await;
    }
    pools.woken.set(world.clock.now());
    if wish.reusable {
        lease.mark_reusable();
    }
    drop(loan);
    drop(lease);
}

/// The time in which a connection belongs to one lease only.
struct Loan {
    world: Rc<World>,
    leg: *const Leg,
}

impl Loan {
    fn open(world: &Rc<World>, lease: &Lease, endpoint: &Arc<Endpoint>) -> Self {
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
        world.tally.borrow_mut().note(if lease.is_reused() { End::Reused } else { End::Fresh });
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

impl World {
    /// The world, and the tasks that serve it until they are aborted.
    async fn new(draw: &mut Draw, closed_port: u16) -> (Rc<Self>, [JoinHandle<()>; 3]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin_port = listener.local_addr().unwrap().port();
        let (clock, hand) = Clock::manual(Tick(1));
        let (to_first, first_mail) = mpsc::channel(MAILBOX_LEN_MAX);
        let (to_second, second_mail) = mpsc::channel(MAILBOX_LEN_MAX);
        let first = Pools::new(clock.clone(), Rc::default(), vec![to_second.clone()]);
        let second = Pools::new(clock.clone(), Rc::default(), vec![to_first.clone()]);
        let accepted = Rc::default();
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

    fn spawn_borrower(self: &Rc<Self>, draw: &mut Draw) -> Borrower {
        let endpoint = self.choose_endpoint(draw);
        let soon = Duration::from_millis(u64::from(1 + draw.below(3)));
        let wish = Wish {
            worker: draw.below(2) as usize,
            endpoint: Arc::clone(&endpoint),
            latest: if draw.below(4) == 0 { self.clock.now().after(soon) } else { Tick::NEVER },
            hold: draw.below(24),
            reusable: draw.below(4) > 0,
        };
        let stage = Rc::new(Cell::new(Stage::Begun));
        Borrower { task: spawn_local(borrow(Rc::clone(self), wish, Rc::clone(&stage))), stage, endpoint }
    }

    /// Rather one that waits than another.
    fn cancel_one(&self, draw: &mut Draw, borrowers: &[Borrower]) {
        let of = |wanted: fn(Stage) -> bool| -> Vec<&Borrower> {
            borrowers.iter().filter(|borrower| !borrower.task.is_finished() && wanted(borrower.stage.get())).collect()
        };
        let queued = of(|stage| matches!(stage, Stage::Queued { .. }));
        let chosen = if queued.is_empty() { of(|stage| stage != Stage::Over) } else { queued };
        if let Some(borrower) = chosen.get(draw.below(chosen.len() as u32) as usize) {
            borrower.task.abort();
            self.tally.borrow_mut().note(End::Cancelled);
        }
    }

    fn close_one_at_the_origin(&self, draw: &mut Draw) {
        let mut accepted = self.accepted.borrow_mut();
        accepted.retain(|stream| matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
        if !accepted.is_empty() {
            let at = draw.below(accepted.len() as u32) as usize;
            let stream = accepted.swap_remove(at);
            if draw.below(2) == 0 {
                stream.set_zero_linger().unwrap();
            }
        }
    }

    /// The same endpoint with other limits, perhaps at an origin that is down.
    fn reload(&self, draw: &mut Draw) {
        let port = if draw.below(6) == 0 { self.closed_port } else { self.origin_port };
        self.add_endpoint(EndpointId(draw.below(2)), port, limits(draw));
    }

    fn sweep(&self, draw: &mut Draw) {
        let pools = &self.pools[draw.below(2) as usize];
        pools.sweep();
        let now = self.clock.now();
        assert!(pools.pools.borrow().values().all(|pool| pool.idle.iter().all(|idle| now < idle.timeout_at)), "swept, and still too old");
    }

    /// Lets everything run that can run without time.
    async fn settle(&self) {
        for _ in 0..8 {
            yield_now().await;
        }
        while self.mail.iter().any(|mail| mail.capacity() < mail.max_capacity()) {
            yield_now().await;
        }
        for _ in 0..8 {
            yield_now().await;
        }
    }

    /// Idle connections to this very endpoint.
    fn idle(&self, endpoint: &Arc<Endpoint>) -> u64 {
        let of = |pools: &Pools| -> usize {
            pools.pools.borrow().values().filter(|pool| Arc::ptr_eq(&pool.endpoint, endpoint)).map(|pool| pool.idle.len()).sum()
        };
        self.pools.iter().map(|pools| of(pools) as u64).sum()
    }

    /// What holds at every moment.
    fn check(&self, borrowers: &[Borrower]) {
        let count = |wanted: &dyn Fn(&Borrower) -> bool| borrowers.iter().filter(|borrower| wanted(borrower)).count() as u64;
        let is_queued = |borrower: &Borrower| matches!(borrower.stage.get(), Stage::Queued { .. });
        let is_let_in = |borrower: &Borrower| !matches!(borrower.stage.get(), Stage::Begun | Stage::Over);
        for endpoint in self.endpoints.borrow().iter() {
            let (cap, free) = (endpoint.limits.connections_per_endpoint, endpoint.slots.available_permits());
            let open = self.known.borrow().values().filter(|known| known.is_open_to(endpoint)).count();
            assert!(open + free <= cap, "{open} connections are open and {free} slots free under a cap of {cap}");
            assert!(endpoint.connections() <= cap as u64);
            let wanted = u64::from(endpoint.wanted.load(Ordering::Relaxed));
            assert_eq!(wanted, count(&|borrower| is_queued(borrower) && Arc::ptr_eq(&borrower.endpoint, endpoint)), "wanted");
            assert!(wanted == 0 || free == 0, "{wanted} requests wait while {free} slots are free");
            assert_eq!(endpoint.idle(), self.idle(endpoint), "the gauge of idle connections");
        }
        let flying = count(&|borrower| is_let_in(borrower) && borrower.endpoint.limits.in_flight.is_some());
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

    /// Once all have run: nobody waits for what another worker keeps for later.
    fn check_nobody_is_forgotten(&self) {
        for endpoint in self.endpoints.borrow().iter() {
            let (wanted, idle) = (endpoint.wanted.load(Ordering::Relaxed), self.idle(endpoint));
            assert!(wanted == 0 || idle == 0, "{wanted} requests wait while {idle} connections are idle");
        }
    }

    fn check_all_is_given_back(&self) {
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
