//! The composition root: build, start, drain.
//!
//! In: a configuration. Out: a running gateway: workers with their listeners, the telemetry thread, and the control plane with its admin
//! listener. Everything that can fail at start fails here, with a reason. Not here: what any of them does.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::draw::Draw;
use crate::base::ids::{TraceId, hex_text};
use crate::control::admin::Admin;
use crate::control::compile::TelemetrySettings;
use crate::control::profiling::{ProfileSettings, Profiling};
use crate::control::sockets::Inherited;
use crate::control::swap::{Control, Refused, Source};
use crate::control::watch::Watch;
use crate::control::{plane, tracing_setup};
use crate::proxy::listener::{Order, mount};
use crate::telemetry::export::ledger::{Ledger, Signal};
use crate::telemetry::export::log_sink::LogSink;
use crate::telemetry::export::otlp::Target;
use crate::telemetry::export::otlp::sender::{self, Outbox, Sender};
use crate::telemetry::export::standing::Standings;
use crate::telemetry::process::{Parts, Telemetry};
use crate::telemetry::profile::profiler::Profiler;
use crate::telemetry::record::instruments::{Feed, Recorder};
use crate::telemetry::record::polls::Polls;
use crate::telemetry::record::series::Budget;
use crate::telemetry::sampler;

mod crew;

/// A running gateway. Dropping it stops it at once; [`Gateway::shutdown`] drains first.
pub struct Gateway {
    control: Arc<Control>,
    admin: SocketAddr,
    service: mount::Service,
    /// The workers' threads; none once they have ended.
    workers: Vec<JoinHandle<()>>,
    plane: Option<plane::Plane>,
    ready: Arc<AtomicBool>,
    succeeded: Arc<AtomicBool>,
    telemetry: Telemetry,
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

impl Gateway {
    /// Starts a gateway from the text of a configuration.
    ///
    /// # Errors
    /// Mistakes in the text, and addresses or files that are not to be had.
    pub fn from_yaml(text: &str) -> Result<Self, StartError> {
        Self::start(Source::Text(text.to_owned()), None, Inherited::none())
    }

    /// For the binary, `lines` installs the process's `tracing` subscriber, which writes these by default. Only the binary has `inherited`
    /// sockets: those of a host application are its own.
    pub(crate) fn start(source: Source, lines: Option<&str>, mut inherited: Inherited) -> Result<Self, StartError> {
        let clock = Clock::system();
        let instance = hex_text(&TraceId::random(&mut Draw::from_system()).hex()).to_owned();
        let watch = source.path().map(Watch::new);
        let (control, acceptors) = Control::start(source, clock, instance, &mut inherited)?;
        let workers = control.workers;
        let (config, settings) = {
            let current = control.current();
            (current.config.clone(), current.telemetry.clone())
        };
        let ledger = Arc::new(Ledger::default());
        let runtime = plane::runtime().map_err(|error| StartError::Io(format!("the control plane has no runtime: {error}")))?;
        let entered = runtime.enter();
        let standings = Arc::new(standings(&settings, &control.clock, lines.is_some()));
        let exports = lines.map(|lines| tracing_setup::install(lines, &settings, &ledger, &standings)).unwrap_or_default();
        if lines.is_some() {
            hold_sigprof();
        }
        let start = tracing::info_span!("gateway.start", workers);
        let _entered = start.enter();
        let admin_socket = admin_socket(config.admin.bind.value, &mut inherited)?;
        inherited.give_up_rest();
        let no_copy = |error: io::Error| StartError::Io(format!("the admin plane's socket cannot be copied: {error}"));
        let admin = admin_socket.local_addr().map_err(no_copy)?;
        let admin_copy = admin_socket.try_clone().map_err(no_copy)?;

        let budget = Arc::new(Budget::new(settings.series_max));
        let (recorders, feeds): (Vec<Recorder>, Vec<Feed>) = (0..workers).map(|_| Recorder::new(Arc::clone(&budget))).unzip();
        let polls: Arc<[Arc<Polls>]> = recorders.iter().map(Recorder::polls).collect();
        let Exporters { telemetry, senders, metrics, profiles } = start_telemetry(&settings, &control, feeds, budget, &ledger, standings)?;
        let profiling = start_profiling(&control.clock, &polls, settings.profiles);
        let (parts, orders, jobs) = crew::deal(workers, acceptors, recorders);
        control.sockets().employ(orders, Some(admin_copy));
        let threads =
            crew::start_workers(parts, &control).map_err(|error| StartError::Io(format!("a worker thread cannot be started: {error}")))?;
        let ready = Arc::new(AtomicBool::new(true));
        drop(entered);
        let parts = plane::Parts {
            admin: Admin {
                control: Arc::clone(&control),
                telemetry: telemetry.clone(),
                ready: Arc::clone(&ready),
                profiling,
                polls,
                is_local: admin.ip().is_loopback(),
            },
            socket: admin_socket,
            senders,
            metrics: metrics.map(|outbox| (outbox, settings.resource.clone(), settings.push_interval)),
            profiles: profiles.map(|outbox| (outbox, settings.resource.clone())),
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
            workers: threads,
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
        self.control.sockets().tell(|| Order::Announce);
        std::thread::sleep(delay);
        self.drain(timeout);
    }

    fn drain(&mut self, timeout: Duration) {
        let mut sockets = self.control.sockets();
        sockets.let_go();
        sockets.tell(|| Order::Drain(timeout));
        drop(sockets);
        for thread in self.workers.drain(..) {
            let _ = thread.join();
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

/// Who sends SIGPROF from outside is not to end the process, as that signal does by itself. Without a handler there are no profiles either, and
/// whoever asks for one is told why.
fn hold_sigprof() {
    if let Err(why) = sampler::install() {
        tracing::debug!(%why, "there will be no profiles");
    }
}

/// Continuous profiles, and polls that are looked at.
fn start_profiling(clock: &Clock, polls: &[Arc<Polls>], settings: ProfileSettings) -> Arc<Profiling> {
    for polls in polls {
        Profiler::of_process().watch(clock.clone(), polls);
    }
    let profiling = Profiling::new(clock.clone());
    profiling.apply(settings);
    profiling
}

/// The ways out. Lines leave only where the process's subscriber is ours.
fn standings(settings: &TelemetrySettings, clock: &Clock, traced: bool) -> Standings {
    let logs = settings.logs.as_ref().filter(|_| traced);
    let targets = [settings.traces.as_ref(), settings.metrics.as_ref(), logs, settings.profiles_target.as_ref()];
    Standings::new(clock, targets, settings.access_log.as_ref().map(|(destination, _)| destination))
}

/// The telemetry thread, and the ways to the Collector.
struct Exporters {
    telemetry: Telemetry,
    senders: Vec<Sender>,
    metrics: Option<Outbox>,
    profiles: Option<Outbox>,
}

fn start_telemetry(
    settings: &TelemetrySettings,
    control: &Control,
    feeds: Vec<Feed>,
    budget: Arc<Budget>,
    ledger: &Arc<Ledger>,
    standings: Arc<Standings>,
) -> Result<Exporters, StartError> {
    let mut senders = Vec::new();
    let mut outbox = |signal, target: &Option<Target>| -> Result<Option<Outbox>, StartError> {
        let Some((target, standing)) = target.as_ref().zip(standings.otlp(signal)) else { return Ok(None) };
        let (outbox, sender) = sender::channel(target.clone(), Arc::clone(standing), Arc::clone(ledger))
            .map_err(|error| StartError::Io(format!("the OTLP client cannot be built: {error}")))?;
        senders.push(sender);
        Ok(Some(outbox))
    };
    let spans = outbox(Signal::Traces, &settings.traces)?;
    let metrics = outbox(Signal::Metrics, &settings.metrics)?;
    let profiles = outbox(Signal::Profiles, &settings.profiles_target)?;
    let log = match settings.access_log.as_ref().zip(standings.access_log()) {
        Some(((destination, format), standing)) => {
            let sink = LogSink::start(destination.clone(), Arc::clone(standing), Arc::clone(ledger))
                .map_err(|error| StartError::Io(format!("the access log {destination:?} cannot be opened: {error}")))?;
            Some((sink, *format))
        }
        None => None,
    };
    let parts = Parts {
        clock: control.clock.clone(),
        feeds,
        legends: Arc::clone(&control.legends),
        ledger: Arc::clone(ledger),
        budget,
        keep: settings.keep.clone(),
        spans: spans.map(|outbox| (outbox, settings.resource.encode())),
        log,
    };
    let telemetry =
        Telemetry::start(parts, standings).map_err(|error| StartError::Io(format!("the telemetry thread cannot be started: {error}")))?;
    Ok(Exporters { telemetry, senders, metrics, profiles })
}

#[cfg(test)]
mod tests;
