//! The control plane's thread: one small runtime for admin, exports and reloads.
//!
//! In: everything that must run off the request path. Out: a handle to stop it, after telemetry has been handed over. Not here: what the admin
//! plane answers (`admin`).

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::admin::{self, Admin};
use super::history::Trigger;
use super::tracing_setup::Exports;
use super::watch::Watch;
use crate::telemetry::export::ledger::{Drop, Ledger, Signal};
use crate::telemetry::export::metrics::Family;
use crate::telemetry::export::otlp::points::{self, Period};
use crate::telemetry::export::otlp::resource::Resource;
use crate::telemetry::export::otlp::sender::{Outbox, Request, Sender};

/// How long the last exports may take when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Orders that wait for the thread.
const PLANE_ORDERS_MAX: usize = 16;

/// What the thread is told; it ends when nobody can tell it anything any more.
enum Order {
    Reload,
    LeaveAdmin,
}

pub(crate) struct Parts {
    pub(crate) admin: Admin,
    pub(crate) socket: TcpListener,
    pub(crate) senders: Vec<Sender>,
    /// Where metrics are pushed to, as whom, and how often.
    pub(crate) metrics: Option<(Outbox, Resource, Duration)>,
    /// Where profiles are pushed to, and as whom.
    pub(crate) profiles: Option<(Outbox, Resource)>,
    pub(crate) exports: Exports,
    /// The configuration's file as it was before it was read.
    pub(crate) watch: Option<Watch>,
}

/// The running control plane.
pub(crate) struct Plane {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl Plane {
    /// The runtime is made before, because exporters are built in its context.
    pub(crate) fn start(runtime: Runtime, parts: Parts) -> std::io::Result<Self> {
        let (orders, received) = mpsc::channel(PLANE_ORDERS_MAX);
        let thread = std::thread::Builder::new().name("pellucid-ctl".to_owned()).spawn(move || runtime.block_on(run(parts, received)))?;
        Ok(Plane { orders, thread })
    }

    /// Reads the configuration again, on a signal. The outcome is logged, counted and remembered.
    pub(crate) fn reload(&self) {
        // A reload that is under way or a plane that has stopped makes this one needless.
        let _ = self.orders.try_send(Order::Reload);
    }

    /// Leaves the admin plane's address to a successor.
    pub(crate) fn leave_admin(&self) {
        // A plane that has stopped has left it.
        let _ = self.orders.try_send(Order::LeaveAdmin);
    }

    /// Hands over all telemetry and ends the thread. Blocks.
    pub(crate) fn stop(self) {
        drop(self.orders);
        // A thread that is gone has stopped.
        let _ = self.thread.join();
    }
}

/// The runtime that a control plane runs on.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn run(parts: Parts, mut orders: mpsc::Receiver<Order>) {
    parts.exports.spawn();
    let telemetry = parts.admin.telemetry.clone();
    let mut exporting = tokio::task::JoinSet::new();
    for sender in parts.senders {
        exporting.spawn(sender.run());
    }
    let admin = parts.admin.clone();
    let serving = tokio::spawn(serve_admin(parts.socket, parts.admin));
    let pushing = parts.metrics.map(|(outbox, resource, every)| tokio::spawn(push_metrics(admin.clone(), outbox, resource, every)));
    let watching = tokio::spawn(watch_file(parts.watch, admin.clone()));
    let profiling = &admin.profiling;
    let tending = tokio::spawn(Arc::clone(profiling).tend());
    let profiles = parts.profiles.map(|(outbox, resource)| {
        let ledger = Arc::clone(&telemetry.ledger);
        tokio::spawn(Arc::clone(profiling).push(outbox, resource, ledger))
    });
    while let Some(order) = orders.recv().await {
        match order {
            // It says itself how it went.
            Order::Reload => drop(admin.reload(Trigger::Signal).await),
            Order::LeaveAdmin => serving.abort(),
        }
    }
    watching.abort();
    tending.abort();
    telemetry.stop().await;
    for pushing in pushing.into_iter().chain(profiles) {
        pushing.abort();
    }
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, async { while exporting.join_next().await.is_some() {} }).await;
    serving.abort();
    close_books(&telemetry.ledger);
}

/// Whatever is still on its way when the process ends is dropped, and the last balance of each signal is logged.
fn close_books(ledger: &Ledger) {
    for signal in Signal::ALL {
        ledger.dropped(signal, Drop::Shutdown, ledger.balance(signal).queued);
        let balance = ledger.balance(signal);
        let dropped: u64 = balance.dropped.iter().sum();
        if balance.produced > 0 {
            tracing::info!(signal = signal.label(), balance.produced, balance.exported, balance.rejected, dropped, "telemetry has ended");
        }
    }
}

/// Until it is aborted, which ends all connections to the admin plane.
async fn serve_admin(socket: TcpListener, admin: Admin) {
    if let Err(error) = admin::serve(socket, admin::router(admin)).await {
        tracing::error!(%error, "the admin plane has stopped");
    }
}

/// Reloads whenever the configuration's file has changed, unless the configuration says otherwise.
async fn watch_file(watch: Option<Watch>, admin: Admin) {
    let Some(mut watch) = watch else { return };
    loop {
        watch.changed(|| admin.control.file_read()).await;
        let wanted = admin.control.current().config.runtime.watch;
        if wanted {
            // It says itself how it went.
            drop(admin.reload(Trigger::File).await);
        }
    }
}

/// Pushes what `/metrics` shows, over OTLP.
async fn push_metrics(admin: Admin, outbox: Outbox, resource: Resource, every: Duration) {
    if every.is_zero() {
        return;
    }
    let clock = admin.control.clock.clone();
    let start = clock.wall_offset();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let families = admin.families().await;
        let items: u64 = families.iter().map(Family::points).sum();
        let period = Period { start, now: clock.wall_offset() + clock.now().0 };
        let bytes = points::encode(&families, &resource, period);
        admin.telemetry.ledger.produced(Signal::Metrics, items);
        outbox.send(Request { bytes, items });
    }
}
