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
use crate::base::clock::Clock;
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::record::legend::Legends;

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    /// Made by the command line; `reload` finds nothing new.
    Text(String),
}

/// What is in force, for the admin plane.
pub(crate) struct Current {
    pub(crate) config: Config,
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
    pub(crate) reloads_done: AtomicU64,
    pub(crate) reloads_refused: AtomicU64,
    current: Mutex<Current>,
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
    NeedsRestart(&'static str),
}

impl Refused {
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Refused::Unreadable(why) => vec![why.clone()],
            Refused::Mistakes { file, problems } => problems.lines(file),
            Refused::NeedsRestart(what) => vec![format!("found a change of {what}, which takes a restart in this version")],
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
    /// Compiles the first configuration.
    pub(crate) fn start(source: Source, clock: Clock, instance: String) -> Result<Arc<Self>, Refused> {
        let legends = Arc::new(Legends::new());
        let context = compile::Context { legends: &legends, environment: &environment, instance: &instance, former: &[] };
        let (config, compiled) = source.load(&context)?;
        let current = Current {
            config,
            routes: compiled.routes,
            upstreams: compiled.upstreams,
            telemetry: compiled.telemetry,
            generation: 1,
            loaded_unix_nanos: clock.wall_offset() + clock.now().0,
        };
        let control = Control {
            source,
            legends,
            published: Arc::new(ArcSwap::from_pointee(compiled.snapshot)),
            clock,
            workers: compiled.workers,
            instance,
            reloads_done: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            current: Mutex::new(current),
        };
        Ok(Arc::new(control))
    }

    pub(crate) fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the source again and puts it in force, or says why not. Returns the new generation and settings.
    pub(crate) fn reload(&self) -> Result<(u64, TelemetrySettings), Refused> {
        let result = self.try_reload();
        match &result {
            Ok((generation, _)) => {
                self.reloads_done.fetch_add(1, Ordering::Relaxed);
                tracing::info!(generation, source = %self.source.name(), "the configuration was reloaded");
            }
            Err(refused) => {
                self.reloads_refused.fetch_add(1, Ordering::Relaxed);
                for line in refused.lines() {
                    tracing::error!(mistake = %line, "the configuration was refused; the old one stays in force");
                }
            }
        }
        result
    }

    #[tracing::instrument(skip_all, name = "config.reload")]
    fn try_reload(&self) -> Result<(u64, TelemetrySettings), Refused> {
        let mut current = self.current();
        let context =
            compile::Context { legends: &self.legends, environment: &environment, instance: &self.instance, former: &current.upstreams };
        let (config, compiled) = self.source.load(&context)?;
        if let Some(what) = needs_restart(&current, &config, &compiled.telemetry) {
            return Err(Refused::NeedsRestart(what));
        }
        self.published.store(Arc::new(compiled.snapshot));
        let generation = current.generation + 1;
        *current = Current {
            config,
            routes: compiled.routes,
            upstreams: compiled.upstreams,
            telemetry: compiled.telemetry.clone(),
            generation,
            loaded_unix_nanos: self.clock.wall_offset() + self.clock.now().0,
        };
        Ok((generation, compiled.telemetry))
    }
}

/// What a new configuration changes that only a restart can put in force.
fn needs_restart(current: &Current, config: &Config, telemetry: &TelemetrySettings) -> Option<&'static str> {
    let addresses = |config: &Config| config.listeners.iter().map(|listener| listener.bind.value).collect::<Vec<_>>();
    let same_but_kept = TelemetrySettings { keep: current.telemetry.keep.clone(), ..telemetry.clone() };
    if addresses(config) != addresses(&current.config) {
        Some("the addresses of `listeners`")
    } else if config.admin.bind.value != current.config.admin.bind.value {
        Some("`admin`")
    } else if config.runtime != current.config.runtime {
        Some("`runtime`")
    } else if same_but_kept != current.telemetry {
        Some("`telemetry` beside `traces`")
    } else {
        None
    }
}
