//! The worker threads: what each is dealt, its life, and its end.
//!
//! In: acceptors, recorders, orders. Out: threads that accept and serve until they are told to drain, and then until all they have is over.
//! Not here: what is served (`proxy`), and who gives the orders.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle as ThreadHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::base::limits::{MAILBOX_LEN_MAX, ORDERS_MAX};
use crate::control::sockets::ForWorker;
use crate::control::swap::Control;
use crate::proxy::http1::leg::Buffers;
use crate::proxy::listener::{self, Acceptor, Order, mount};
use crate::proxy::pipeline::Pipeline;
use crate::proxy::upstream::pool::Pools;
use crate::proxy::worker::Worker;
use crate::telemetry::record::instruments::Recorder;
use crate::telemetry::record::legend::EndpointId;
use crate::telemetry::sampler;

/// One thread's share of everything, before the thread runs.
pub(super) struct WorkerParts {
    index: usize,
    acceptors: Vec<Acceptor>,
    recorder: Recorder,
    neighbours: Vec<mpsc::Sender<EndpointId>>,
    wanted: mpsc::Receiver<EndpointId>,
    jobs: mpsc::Receiver<mount::Job>,
    orders: mpsc::Receiver<Order>,
}

/// The parts of each worker, and the other ends: for orders, and for mounted requests.
pub(super) type Dealt = (Vec<WorkerParts>, Vec<mpsc::Sender<Order>>, Vec<mpsc::Sender<mount::Job>>);

/// How often a worker that drains looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// Gives each worker its sockets and its ends of the channels.
pub(super) fn deal(workers: usize, bound: Vec<ForWorker>, recorders: Vec<Recorder>) -> Dealt {
    let mut acceptors: Vec<Vec<Acceptor>> = (0..workers).map(|_| Vec::new()).collect();
    for (worker, acceptor) in bound {
        acceptors[worker].push(acceptor);
    }
    let (wanted_senders, wanted): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(MAILBOX_LEN_MAX)).unzip();
    let (orders_senders, orders): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(ORDERS_MAX)).unzip();
    let (jobs_senders, jobs): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(MAILBOX_LEN_MAX)).unzip();
    let ends = acceptors.into_iter().zip(recorders).zip(wanted).zip(jobs).zip(orders).enumerate();
    let parts = ends
        .map(|(index, ((((acceptors, recorder), wanted), jobs), orders))| {
            let others = wanted_senders.iter().enumerate().filter(|(other, _)| *other != index);
            WorkerParts { index, acceptors, recorder, neighbours: others.map(|(_, sender)| sender.clone()).collect(), wanted, jobs, orders }
        })
        .collect();
    (parts, orders_senders, jobs_senders)
}

pub(super) fn start_workers(parts: Vec<WorkerParts>, control: &Arc<Control>) -> io::Result<Vec<ThreadHandle<()>>> {
    let start = |parts: WorkerParts| {
        let control = Arc::clone(control);
        std::thread::Builder::new().name(format!("pellucid-w{}", parts.index)).spawn(move || run_worker(parts, &control))
    };
    parts.into_iter().map(start).collect()
}

fn run_worker(parts: WorkerParts, control: &Control) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    match runtime {
        Ok(runtime) => runtime.block_on(work(parts, control)),
        Err(error) => tracing::error!(%error, "a worker has no runtime"),
    }
}

/// A worker's life: accept and serve until told to drain.
async fn work(mut parts: WorkerParts, control: &Control) {
    let buffers: Rc<Buffers> = Rc::default();
    let pools = Pools::new(control.clock.clone(), Rc::clone(&buffers), parts.neighbours);
    let worker = Worker::new(parts.index, control.clock.clone(), parts.recorder, Arc::clone(&control.published), pools, buffers);
    worker.is_on(sampler::current_thread());
    let pipeline = Rc::new(Pipeline { worker: Rc::clone(&worker) });
    let mut acceptors: Vec<JoinHandle<()>> = parts.acceptors.into_iter().map(|acceptor| listener::open(acceptor, &pipeline)).collect();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let timeout = loop {
        tokio::select! {
            _ = tick.tick() => worker.tick(),
            Some(endpoint) = parts.wanted.recv() => worker.pools.relinquish(endpoint),
            Some(job) = parts.jobs.recv() => drop(tokio::task::spawn_local(mount::serve(Rc::clone(&pipeline), job))),
            order = parts.orders.recv() => match order {
                Some(Order::Open(acceptor)) => {
                    acceptors.retain(|acceptor| !acceptor.is_finished());
                    acceptors.push(listener::open(acceptor, &pipeline));
                }
                Some(Order::Close(slot)) => listener::close(Some(slot), &pipeline),
                Some(Order::Announce) => listener::announce(&pipeline),
                // Who asked has room for an answer of each worker, or is gone.
                Some(Order::Inspect(answer)) => drop(answer.try_send(worker.activities.in_flight(worker.clock.now()))),
                Some(Order::Drain(timeout)) => break timeout,
                None => break Duration::ZERO,
            },
        }
    };
    listener::close(None, &pipeline);
    parts.jobs.close();
    while let Ok(job) = parts.jobs.try_recv() {
        tokio::task::spawn_local(mount::serve(Rc::clone(&pipeline), job));
    }
    for acceptor in acceptors {
        // One that broke down has nothing more to accept.
        let _ = acceptor.await;
    }
    // Each task that was spawned until now begins, so that it is seen to be busy.
    tokio::task::yield_now().await;
    let deadline = worker.clock.now().after(timeout);
    let mut look = tokio::time::interval(DRAIN_LOOK);
    while worker.is_busy() && worker.clock.now() < deadline {
        tokio::select! {
            _ = look.tick() => {}
            _ = tick.tick() => worker.tick(),
            Some(endpoint) = parts.wanted.recv() => worker.pools.relinquish(endpoint),
        }
    }
    worker.is_ending.set(true);
    worker.pools.clear();
}
