//! The composition root: build, start, drain.
//!
//! In: a configuration. Out: a running gateway: workers with their listeners, the telemetry thread, and the control plane with its admin
//! listener. Everything that can fail at start fails here, with a reason. Not here: what any of them does.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::base::clock::Clock;
use crate::base::draw::Draw;
use crate::base::ids::{TraceId, hex_text};
use crate::base::limits::{MAILBOX_LEN_MAX, ORDERS_MAX};
use crate::control::admin::Admin;
use crate::control::compile::TelemetrySettings;
use crate::control::sockets::{ForWorker, Inherited};
use crate::control::swap::{Control, Refused, Source};
use crate::control::watch::Watch;
use crate::control::{plane, tracing_setup};
use crate::proxy::drain::Step;
use crate::proxy::http1::leg::Buffers;
use crate::proxy::listener::{self, Acceptor, Order, mount};
use crate::proxy::pipeline::Pipeline;
use crate::proxy::upstream::pool::Pools;
use crate::proxy::worker::Worker;
use crate::telemetry::export::ledger::{Ledger, Signal};
use crate::telemetry::export::log_sink::LogSink;
use crate::telemetry::export::otlp::sender::{self, Outbox, Sender};
use crate::telemetry::process::{Parts, Telemetry};
use crate::telemetry::record::instruments::{Feed, Recorder};
use crate::telemetry::record::legend::EndpointId;
use crate::telemetry::record::series::Budget;

/// A running gateway. Dropping it stops it at once; [`Gateway::shutdown`] drains first.
pub struct Gateway {
    control: Arc<Control>,
    admin: SocketAddr,
    service: mount::Service,
    workers: Vec<WorkerHandle>,
    plane: Option<plane::Plane>,
    ready: Arc<AtomicBool>,
    succeeded: Arc<AtomicBool>,
    telemetry: Telemetry,
}

struct WorkerHandle {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration holds mistakes, one a line.
    Config(Vec<String>),
    /// An address, a file or a thread was not to be had.
    Io(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Config(lines) => f.write_str(&lines.join("\n")),
            StartError::Io(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

impl From<Refused> for StartError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unavailable(why) => StartError::Io(why),
            refused => StartError::Config(refused.lines()),
        }
    }
}

/// One thread's share of everything, before the thread runs.
struct WorkerParts {
    index: usize,
    acceptors: Vec<Acceptor>,
    recorder: Recorder,
    neighbours: Vec<mpsc::Sender<EndpointId>>,
    wanted: mpsc::Receiver<EndpointId>,
    jobs: mpsc::Receiver<mount::Job>,
    orders: mpsc::Receiver<Order>,
}

impl Gateway {
    /// Starts a gateway from the text of a configuration.
    ///
    /// # Errors
    /// Mistakes in the text, and addresses or files that are not to be had.
    pub fn from_yaml(text: &str) -> Result<Self, StartError> {
        Self::start(Source::Text(text.to_owned()), false)
    }

    /// `traced` installs the process's `tracing` subscriber, for the binary.
    pub(crate) fn start(source: Source, traced: bool) -> Result<Self, StartError> {
        let clock = Clock::system();
        let instance = hex_text(&TraceId::random(&mut Draw::from_system()).hex()).to_owned();
        let watch = source.path().map(Watch::new);
        let mut inherited = Inherited::from_environment();
        let (control, acceptors) = Control::start(source, clock, instance, &mut inherited)?;
        let workers = control.workers;
        let (config, settings) = {
            let current = control.current();
            (current.config.clone(), current.telemetry.clone())
        };
        let ledger = Arc::new(Ledger::default());
        let runtime = plane::runtime().map_err(|error| StartError::Io(format!("the control plane has no runtime: {error}")))?;
        let entered = runtime.enter();
        let exports = if traced { tracing_setup::install(&settings, &ledger) } else { tracing_setup::Exports::default() };
        let start = tracing::info_span!("gateway.start", workers);
        let _entered = start.enter();
        let admin_socket = admin_socket(config.admin.bind.value, &mut inherited)?;
        inherited.give_up_rest();
        let no_copy = |error: io::Error| StartError::Io(format!("the admin plane's socket cannot be copied: {error}"));
        let admin = admin_socket.local_addr().map_err(no_copy)?;
        let admin_copy = admin_socket.try_clone().map_err(no_copy)?;

        let budget = Arc::new(Budget::new(settings.series_max));
        let (recorders, feeds): (Vec<Recorder>, Vec<Feed>) = (0..workers).map(|_| Recorder::new(Arc::clone(&budget))).unzip();
        let (telemetry, senders, metrics_outbox) = start_telemetry(&settings, &control, feeds, budget, &ledger)?;
        let (parts, orders, jobs) = deal(workers, acceptors, recorders);
        control.sockets().employ(orders.clone(), Some(admin_copy));
        let threads =
            start_workers(parts, &control).map_err(|error| StartError::Io(format!("a worker thread cannot be started: {error}")))?;
        let ready = Arc::new(AtomicBool::new(true));
        drop(entered);
        let parts = plane::Parts {
            admin: Admin { control: Arc::clone(&control), telemetry: telemetry.clone(), ready: Arc::clone(&ready) },
            socket: admin_socket,
            senders,
            metrics: metrics_outbox.map(|outbox| (outbox, settings.resource.clone(), settings.push_interval)),
            exports,
            watch,
        };
        let plane =
            plane::Plane::start(runtime, parts).map_err(|error| StartError::Io(format!("the control plane cannot be started: {error}")))?;
        for (listener, address) in config.listeners.iter().zip(control.sockets().addresses()) {
            tracing::info!(listener = %listener.name.value, %address, "listening");
        }
        tracing::info!(%admin, workers, service = settings.resource.service_name(), "the admin plane is up");
        Ok(Gateway {
            control: Arc::clone(&control),
            admin,
            service: mount::Service::new(jobs),
            workers: orders.into_iter().zip(threads).map(|(orders, thread)| WorkerHandle { orders, thread: Some(thread) }).collect(),
            plane: Some(plane),
            ready,
            succeeded: Arc::default(),
            telemetry,
        })
    }

    /// Addresses of the listeners: at first in the order of the configuration; those that a reload adds come last.
    #[must_use]
    pub fn listeners(&self) -> Vec<SocketAddr> {
        self.control.sockets().addresses()
    }

    /// Address of the admin plane.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The gateway as a service, for `axum::Router::fallback_service`.
    #[must_use]
    pub fn service(&self) -> mount::Service {
        self.service.clone()
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Reads the configuration again, as SIGHUP does. The outcome is logged and counted.
    pub(crate) fn reload(&self) {
        if let Some(plane) = &self.plane {
            plane.reload();
        }
    }

    /// Opens the access log's file anew, as SIGUSR1 does.
    pub(crate) fn reopen_log(&self) {
        self.telemetry.reopen_log();
    }

    /// Copies of all listening sockets, for a successor.
    pub(crate) fn hand_over(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.control.sockets().hand_over()
    }

    /// To be set while a successor has all sockets: then it answers for the admin plane once this gateway ends.
    pub(crate) fn succeeded(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.succeeded)
    }

    /// Says that it is not ready any more, and for the drain delay still accepts; then stops accepting, lets what is in flight end within the
    /// drain timeout, and hands over all telemetry. Blocks.
    pub fn shutdown(mut self) {
        let (delay, timeout) = {
            let runtime = &self.control.current().config.runtime;
            (runtime.drain_delay.0, runtime.drain_timeout.0)
        };
        self.ready.store(false, Ordering::Relaxed);
        if let Some(plane) = self.plane.as_ref().filter(|_| self.succeeded.load(Ordering::Relaxed)) {
            plane.leave_admin();
        }
        self.tell(|| Order::Announce);
        std::thread::sleep(delay);
        self.drain(timeout);
    }

    fn tell(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            // A worker that is gone needs no order.
            let _ = worker.orders.try_send(order());
        }
    }

    fn drain(&mut self, timeout: Duration) {
        self.control.sockets().let_go();
        self.tell(|| Order::Drain(timeout));
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
        if let Some(plane) = self.plane.take() {
            plane.stop();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
    }
}

fn admin_socket(address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener, StartError> {
    let unavailable = |error: io::Error| StartError::Io(format!("the admin plane cannot listen on {address}: {error}"));
    let socket = match inherited.take_admin(address) {
        Some(socket) => socket,
        None => TcpListener::bind(address).map_err(unavailable)?,
    };
    socket.set_nonblocking(true).map_err(unavailable)?;
    Ok(socket)
}

type Started = (Telemetry, Vec<Sender>, Option<Outbox>);

fn start_telemetry(
    settings: &TelemetrySettings,
    control: &Control,
    feeds: Vec<Feed>,
    budget: Arc<Budget>,
    ledger: &Arc<Ledger>,
) -> Result<Started, StartError> {
    let mut senders = Vec::new();
    let mut outbox = |signal, target: &Option<_>| -> Result<Option<Outbox>, StartError> {
        let Some(target) = target else { return Ok(None) };
        let (outbox, sender) = sender::channel(signal, Clone::clone(target), Arc::clone(ledger))
            .map_err(|error| StartError::Io(format!("the OTLP client cannot be built: {error}")))?;
        senders.push(sender);
        Ok(Some(outbox))
    };
    let spans = outbox(Signal::Traces, &settings.traces)?;
    let metrics = outbox(Signal::Metrics, &settings.metrics)?;
    let log = match &settings.access_log {
        Some((destination, format)) => {
            let sink = LogSink::start(destination.clone(), Arc::clone(ledger))
                .map_err(|error| StartError::Io(format!("the access log {destination:?} cannot be opened: {error}")))?;
            Some((sink, *format))
        }
        None => None,
    };
    let telemetry = Telemetry::start(Parts {
        clock: control.clock.clone(),
        feeds,
        legends: Arc::clone(&control.legends),
        ledger: Arc::clone(ledger),
        budget,
        keep: settings.keep.clone(),
        spans: spans.map(|outbox| (outbox, settings.resource.encode())),
        log,
    })
    .map_err(|error| StartError::Io(format!("the telemetry thread cannot be started: {error}")))?;
    Ok((telemetry, senders, metrics))
}

type Dealt = (Vec<WorkerParts>, Vec<mpsc::Sender<Order>>, Vec<mpsc::Sender<mount::Job>>);

/// Gives each worker its sockets and its ends of the channels.
fn deal(workers: usize, bound: Vec<ForWorker>, recorders: Vec<Recorder>) -> Dealt {
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

fn start_workers(parts: Vec<WorkerParts>, control: &Arc<Control>) -> io::Result<Vec<JoinHandle<()>>> {
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
    let pipeline = Rc::new(Pipeline { worker: Rc::clone(&worker) });
    for acceptor in parts.acceptors {
        listener::open(acceptor, &pipeline);
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let timeout = loop {
        tokio::select! {
            _ = tick.tick() => worker.tick(),
            Some(endpoint) = parts.wanted.recv() => worker.pools.relinquish(endpoint),
            Some(job) = parts.jobs.recv() => drop(tokio::task::spawn_local(mount::serve(Rc::clone(&pipeline), job))),
            order = parts.orders.recv() => match order {
                Some(Order::Open(acceptor)) => listener::open(acceptor, &pipeline),
                Some(Order::Close(slot)) => listener::close(Some(slot), &pipeline),
                Some(Order::Announce) => worker.drain(None, Step::Announced),
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
    let deadline = worker.clock.now().after(timeout);
    while worker.is_busy() && worker.clock.now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.pools.clear();
}

#[cfg(test)]
mod tests;
