//! The pools of two workers that share endpoints, driven by schedules that are drawn from a seed.
//!
//! In: seeds. Each one draws limits, then steps: leases that hold a connection for a while, some of them cancelled, origins that close,
//! reloads, sweeps, time that passes. Out: what must hold after every step and when all is over. The clock stands still unless a step
//! moves it, so nothing may end by its timeout that could end otherwise. `PELLUCID_SEED=n` runs one schedule.
//! Not here: what is said over a connection.

mod world;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::Lease;
use crate::base::alarm::Alarm;
use crate::base::clock::Tick;
use crate::base::draw::Draw;
use crate::base::ids::SpanId;
use crate::proxy::upstream::Failure;
use crate::proxy::upstream::endpoint::{Endpoint, Limits};
use crate::telemetry::record::Record;
use crate::telemetry::record::legend::EndpointId;
use world::{Loan, World};

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
    let (world, attendants) = World::begin(&mut draw, closed_port).await;
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
            world.check_nobody_is_forgotten().await;
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
    world.take_tally()
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
    /// Wants a connection that was not idle.
    fresh: bool,
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
        let mut leasing = pin!(pools.lease(&wish.endpoint, &mut alarm, &mut attempt, wish.latest, wish.fresh));
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
            world.note(wish.judge_failure(&failure, began, world.clock.now()));
            return;
        }
    };
    let loan = Loan::open(&world, &lease, &wish.endpoint);
    stage.set(Stage::Holding);
    for _ in 0..wish.hold {
        yield_now().await;
    }
    if wish.hold == 0 {
        // Longer than others are willing to wait.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    pools.woken.set(world.clock.now());
    if wish.reusable {
        lease.mark_reusable();
    }
    drop(loan);
    drop(lease);
}
