//! The configuration in force, and its replacement.
//!
//! In: the text of a configuration. Out: a snapshot that is published whole, or every mistake while the old one keeps serving. Not here: what
//! starts a reload (signals and the admin plane do).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::compile::{self, Compiled, RouteInfo, TelemetrySettings, UpstreamInfo};
use super::config;
use super::config::problem::Problems;
use super::config::schema::Config;
use super::explain::ListenerInfo;
use super::history::{Diff, History, Outcome, Reload, Trigger};
use super::sockets::{ForWorker, Inherited, Sockets};
use super::watch::{Stamp, stamp_of};
use crate::base::clock::{self, Clock};
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::proxy::snapshot::{ListenerPolicy, Snapshot};
use crate::telemetry::record::legend::Legends;

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    /// Made by the command line; `reload` finds nothing new.
    Text(String),
}

/// What is in force, for the admin plane: all of one configuration.
pub(crate) struct Current {
    pub(crate) config: Config,
    /// What is published, so that nobody who looks at the rest has to ask for it apart, and gets the next one.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) listeners: Vec<ListenerInfo>,
    pub(crate) routes: Vec<RouteInfo>,
    pub(crate) upstreams: Vec<UpstreamInfo>,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) generation: u64,
    pub(crate) loaded_unix_nanos: u64,
}

pub(crate) struct Control {
    pub(crate) source: Source,
    pub(crate) legends: Arc<Legends>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) clock: Clock,
    pub(crate) workers: usize,
    pub(crate) instance: String,
    counts: [AtomicU64; 3],
    current: Mutex<Current>,
    sockets: Mutex<Sockets>,
    history: Mutex<History>,
    /// One reload at a time.
    turn: Mutex<()>,
    /// The state of the file that the last one found.
    file_read: Mutex<Option<Stamp>>,
}

/// What a reload did.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) generation: u64,
    pub(crate) diff: Diff,
    pub(crate) telemetry: TelemetrySettings,
}

/// Why a configuration is not in force.
#[derive(Debug)]
pub(crate) enum Refused {
    Unreadable(String),
    Mistakes {
        file: String,
        problems: Problems,
    },
    /// What only a restart can change.
    NeedsRestart(Vec<&'static str>),
    /// An address that is not to be had.
    Unavailable(String),
}

impl Refused {
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Refused::Unreadable(why) | Refused::Unavailable(why) => vec![why.clone()],
            Refused::Mistakes { file, problems } => problems.lines(file),
            Refused::NeedsRestart(all) => {
                all.iter().map(|what| format!("found a change of {what}, which takes a restart in this version")).collect()
            }
        }
    }
}

impl Source {
    pub(crate) fn name(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Text(_) => "(command line)".to_owned(),
        }
    }

    /// The file to be watched.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Source::File(path) => Some(path.clone()),
            Source::Text(_) => None,
        }
    }

    /// Reads and compiles, and reports the mistakes of both steps at once.
    pub(crate) fn load(&self, context: &compile::Context<'_>) -> Result<(Config, Compiled), Refused> {
        let text = match self {
            Source::File(path) => read_file(path)?,
            Source::Text(text) => text.clone(),
        };
        let (config, mut problems) = config::read(&text, &environment);
        let compiled = config.as_ref().map(|config| compile::compile(config, context));
        match (config, compiled) {
            (Some(config), Some(Ok(compiled))) if problems.is_empty() => return Ok((config, compiled)),
            (_, Some(Err(more))) => problems.join(more),
            _ => {}
        }
        Err(Refused::Mistakes { file: self.name(), problems })
    }
}

pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read_file(path: &Path) -> Result<String, Refused> {
    let unreadable = |why: String| Refused::Unreadable(format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?.len();
    if size > CONFIG_BYTES_MAX as u64 {
        return Err(unreadable(format!("found {size} bytes, expected at most {CONFIG_BYTES_MAX}")));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes)
        .map_err(|error| unreadable(format!("found bytes that are no UTF-8 at offset {}, expected text", error.utf8_error().valid_up_to())))
}

/// Reads and compiles without putting anything in force.
pub(crate) fn check(source: &Source) -> Result<(Config, Compiled), Refused> {
    source.load(&compile::Context { legends: &Legends::new(), environment: &environment, instance: "check", former: &[] })
}

impl Control {
    /// Compiles the first configuration and opens its listeners. Gives what each worker has to take up.
    pub(crate) fn start(
        source: Source,
        clock: Clock,
        instance: String,
        inherited: &mut Inherited,
    ) -> Result<(Arc<Self>, Vec<ForWorker>), Refused> {
        let legends = Arc::new(Legends::new());
        let context = compile::Context { legends: &legends, environment: &environment, instance: &instance, former: &[] };
        let (config, compiled) = source.load(&context)?;
        let mut sockets = Sockets::new(compiled.workers);
        let moves = sockets.plan(&config.listeners, inherited).map_err(Refused::Unavailable)?;
        let acceptors = sockets.settle(moves);
        let snapshot = Arc::new(compiled.snapshot);
        let current = Current {
            listeners: ListenerInfo::all(&config, &snapshot.listeners),
            config,
            snapshot: Arc::clone(&snapshot),
            routes: compiled.routes,
            upstreams: compiled.upstreams,
            telemetry: compiled.telemetry,
            generation: 1,
            loaded_unix_nanos: clock.wall_offset() + clock.now().0,
        };
        let control = Control {
            source,
            legends,
            published: Arc::new(ArcSwap::new(snapshot)),
            clock,
            workers: compiled.workers,
            instance,
            counts: Default::default(),
            current: Mutex::new(current),
            sockets: Mutex::new(sockets),
            history: Mutex::default(),
            turn: Mutex::default(),
            file_read: Mutex::default(),
        };
        Ok((Arc::new(control), acceptors))
    }

    pub(crate) fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of the file that the last reload found; none before the first.
    pub(crate) fn file_read(&self) -> Option<Stamp> {
        *self.file_read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last reloads, the newest first.
    pub(crate) fn history(&self) -> Vec<Reload> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).newest_first().cloned().collect()
    }

    /// Reloads so far, by outcome.
    pub(crate) fn reloads(&self) -> [(Outcome, u64); 3] {
        [Outcome::Applied, Outcome::Unchanged, Outcome::Refused]
            .map(|outcome| (outcome, self.counts[outcome as usize].load(Ordering::Relaxed)))
    }

    /// Reads the source again and puts it in force, or says why not. Either way it is counted, logged and remembered. Blocks.
    #[tracing::instrument(skip_all, name = "config.reload", fields(trigger = trigger.label(), outcome, generation, changes, errors))]
    pub(crate) fn reload(&self, trigger: Trigger) -> Result<Applied, Refused> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *self.file_read.lock().unwrap_or_else(PoisonError::into_inner) = self.source.path().and_then(|path| stamp_of(&path));
        let began = self.clock.now();
        let result = self.try_reload();
        let (outcome, generation, diff, errors) = match &result {
            Ok(applied) if applied.diff.is_empty() => (Outcome::Unchanged, applied.generation, Diff::default(), Vec::new()),
            Ok(applied) => (Outcome::Applied, applied.generation, applied.diff.clone(), Vec::new()),
            Err(refused) => (Outcome::Refused, self.current().generation, Diff::default(), refused.lines()),
        };
        let duration_ms = self.clock.now().since(began) as f64 / 1e6;
        let span = tracing::Span::current();
        let changes = diff.summary();
        span.record("outcome", outcome.label()).record("generation", generation).record("changes", &changes).record("errors", errors.len());
        for line in &errors {
            tracing::error!(mistake = %line, "the configuration was refused; the old one stays in force");
        }
        if errors.is_empty() {
            tracing::info!(generation, source = %self.source.name(), outcome = outcome.label(), changes, duration_ms, "the configuration was reloaded");
        }
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
        let at = clock::rfc3339(self.clock.wall_offset() + self.clock.now().0);
        let reload = Reload { at, trigger, result: outcome, generation, duration_ms, diff, errors };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).add(reload);
        result
    }

    fn try_reload(&self) -> Result<Applied, Refused> {
        let former = self.current().upstreams.clone();
        let context = compile::Context { legends: &self.legends, environment: &environment, instance: &self.instance, former: &former };
        let (config, mut compiled) = self.source.load(&context)?;
        let mut current = self.current();
        let diff = Diff::between(&current.config, &config);
        if diff.is_empty() {
            return Ok(Applied { generation: current.generation, diff, telemetry: current.telemetry.clone() });
        }
        let restart = needs_restart(&current, &config, &compiled.telemetry);
        if !restart.is_empty() {
            return Err(Refused::NeedsRestart(restart));
        }
        let mut sockets = self.sockets();
        let moves = sockets.plan(&config.listeners, &mut Inherited::none()).map_err(Refused::Unavailable)?;
        let listeners = ListenerInfo::all(&config, &compiled.snapshot.listeners);
        compiled.snapshot.listeners = by_slot(compiled.snapshot.listeners, &moves.slots, &self.published.load().listeners);
        let snapshot = Arc::new(compiled.snapshot);
        self.published.store(Arc::clone(&snapshot));
        sockets.settle_running(moves);
        current.generation += 1;
        current.loaded_unix_nanos = self.clock.wall_offset() + self.clock.now().0;
        current.config = config;
        (current.snapshot, current.listeners) = (snapshot, listeners);
        current.routes = compiled.routes;
        current.upstreams = compiled.upstreams;
        current.telemetry = compiled.telemetry;
        Ok(Applied { generation: current.generation, diff, telemetry: current.telemetry.clone() })
    }
}

/// Puts each policy into its slot. The slots of listeners that are gone keep theirs for the connections that are left.
fn by_slot(policies: Vec<ListenerPolicy>, slots: &[usize], former: &[ListenerPolicy]) -> Vec<ListenerPolicy> {
    let mut all = former.to_vec();
    for (policy, slot) in policies.into_iter().zip(slots) {
        match all.get_mut(*slot) {
            Some(place) => *place = policy,
            None => all.push(policy),
        }
    }
    all
}

/// What a new configuration changes that only a restart can put in force.
fn needs_restart(current: &Current, config: &Config, telemetry: &TelemetrySettings) -> Vec<&'static str> {
    let (keep, profiles) = (current.telemetry.keep.clone(), current.telemetry.profiles);
    let same_but_these = TelemetrySettings { keep, profiles, ..telemetry.clone() };
    let changes = [
        (config.admin.bind.value != current.config.admin.bind.value, "`admin`"),
        (config.runtime.workers != current.config.runtime.workers, "`runtime.workers`"),
        (same_but_these != current.telemetry, "`telemetry` beside `traces` and `profiles`"),
    ];
    changes.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests;
