//! The control plane's thread: one small runtime for admin, exports and reloads.
//!
//! In: everything that must run off the request path. Out: a handle to stop it, after telemetry has been handed over. Not here: what the admin
//! plane answers (`admin`).

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::admin::{self, Admin};
use super::swap::Control;
use super::tracing_setup::Exports;
use crate::telemetry::export::ledger::{Drop, Ledger, Signal};
use crate::telemetry::export::metrics::Family;
use crate::telemetry::export::otlp::points::{self, Period};
use crate::telemetry::export::otlp::resource::Resource;
use crate::telemetry::export::otlp::sender::{Outbox, Request, Sender};
use crate::telemetry::process::Telemetry;

/// How long the last exports may take when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Parts {
    pub(crate) admin: Admin,
    pub(crate) socket: TcpListener,
    pub(crate) senders: Vec<Sender>,
    /// Where metrics are pushed to, as whom, and how often.
    pub(crate) metrics: Option<(Outbox, Resource, Duration)>,
    pub(crate) exports: Exports,
}

/// The running control plane.
pub(crate) struct Plane {
    control: Arc<Control>,
    telemetry: Telemetry,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Plane {
    /// The runtime is made before, because exporters are built in its context.
    pub(crate) fn start(runtime: Runtime, parts: Parts) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let control = Arc::clone(&parts.admin.control);
        let telemetry = parts.admin.telemetry.clone();
        let thread = std::thread::Builder::new().name("pellucid-ctl".to_owned()).spawn(move || runtime.block_on(run(parts, stopped)))?;
        Ok(Plane { control, telemetry, stop, thread })
    }

    /// Reads the configuration again; the outcome is logged and counted.
    pub(crate) fn reload(&self) {
        if let Ok((_, settings)) = self.control.reload() {
            self.telemetry.set_keep(settings.keep);
        }
    }

    /// Hands over all telemetry and ends the thread. Blocks.
    pub(crate) fn stop(self) {
        // A thread that is gone has stopped.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// The runtime that a control plane runs on.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn run(parts: Parts, stopped: oneshot::Receiver<()>) {
    parts.exports.spawn();
    let telemetry = parts.admin.telemetry.clone();
    let mut exporting = tokio::task::JoinSet::new();
    for sender in parts.senders {
        exporting.spawn(sender.run());
    }
    let admin = parts.admin.clone();
    let serving = tokio::spawn(serve_admin(parts.socket, parts.admin));
    let pushing = parts.metrics.map(|(outbox, resource, every)| tokio::spawn(push_metrics(admin, outbox, resource, every)));
    // The sender gone means the same as its message.
    let _ = stopped.await;
    telemetry.stop().await;
    if let Some(pushing) = pushing {
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

async fn serve_admin(socket: TcpListener, admin: Admin) {
    let served = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => axum::serve(listener, admin::router(admin)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the admin plane has stopped");
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
