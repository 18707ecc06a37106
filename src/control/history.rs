//! The last reloads: what asked for each, what became of it, and what it changed.
//!
//! In: two configurations, or mistakes. Out: a bounded list for the admin plane. Not here: the reload itself (`swap`).

mod details;

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use super::config::schema::Config;
use crate::base::limits::{RELOAD_ERRORS_MAX, RELOADS_MAX};
use details::Details;

/// What asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trigger {
    File,
    Signal,
    Api,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Applied,
    Unchanged,
    Refused,
}

/// Names of what differs between two configurations, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Diff {
    pub(crate) listeners: Change,
    pub(crate) routes: Change,
    pub(crate) upstreams: Change,
    /// Other sections.
    pub(crate) other: Vec<&'static str>,
    /// Old and new values of what changed, a line each; bounded.
    pub(crate) details: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// One reload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reload {
    pub(crate) at: String,
    pub(crate) trigger: Trigger,
    pub(crate) result: Outcome,
    /// The one in force afterwards.
    pub(crate) generation: u64,
    pub(crate) duration_ms: f64,
    pub(crate) diff: Diff,
    pub(crate) errors: Vec<String>,
}

/// The newest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    reloads: VecDeque<Reload>,
}

impl History {
    pub(crate) fn add(&mut self, mut reload: Reload) {
        reload.errors.truncate(RELOAD_ERRORS_MAX);
        reload.diff.shorten();
        self.reloads.push_front(reload);
        self.reloads.truncate(RELOADS_MAX);
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Reload> {
        self.reloads.iter()
    }
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Unchanged => "unchanged",
            Outcome::Refused => "refused",
        }
    }
}

impl Trigger {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Trigger::File => "file",
            Trigger::Signal => "signal",
            Trigger::Api => "api",
        }
    }
}

impl Diff {
    pub(crate) fn between(old: &Config, new: &Config) -> Self {
        let (mut other, mut details) = (Vec::new(), Details::default());
        let listeners = Change::between("listener", &old.listeners, &new.listeners, |listener| &listener.name.value, &mut details);
        let routes = Change::between("route", &old.routes, &new.routes, |route| &route.name.value, &mut details);
        let upstreams = Change::between("upstream", &old.upstreams, &new.upstreams, |upstream| &upstream.name.value, &mut details);
        if old.admin != new.admin {
            other.push("admin");
            details.tell("admin", &old.admin, &new.admin);
        }
        if old.telemetry != new.telemetry {
            other.push("telemetry");
            details.tell("telemetry", &old.telemetry, &new.telemetry);
        }
        if old.runtime != new.runtime {
            other.push("runtime");
            details.tell("runtime", &old.runtime, &new.runtime);
        }
        Diff { listeners, routes, upstreams, other, details: details.into_lines() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Diff::default()
    }

    /// How much of what differs: `routes +1 -0 ~2, telemetry`.
    pub(crate) fn summary(&self) -> String {
        let sections = [("listeners", &self.listeners), ("routes", &self.routes), ("upstreams", &self.upstreams)];
        let counted = sections
            .iter()
            .filter(|(_, change)| **change != Change::default())
            .map(|(name, change)| format!("{name} +{} -{} ~{}", change.added.len(), change.removed.len(), change.changed.len()));
        counted.chain(self.other.iter().map(|name| (*name).to_owned())).collect::<Vec<_>>().join(", ")
    }

    /// Keeps what is kept for long within bounds.
    fn shorten(&mut self) {
        for change in [&mut self.listeners, &mut self.routes, &mut self.upstreams] {
            for names in [&mut change.added, &mut change.removed, &mut change.changed] {
                let more = names.len().saturating_sub(RELOAD_ERRORS_MAX);
                if more > 0 {
                    names.truncate(RELOAD_ERRORS_MAX);
                    names.push(format!("and {more} more"));
                }
            }
        }
    }
}

impl Change {
    fn between<T: PartialEq + Serialize>(kind: &str, old: &[T], new: &[T], name: fn(&T) -> &str, details: &mut Details) -> Self {
        let before: HashMap<&str, &T> = old.iter().map(|each| (name(each), each)).collect();
        let after: HashMap<&str, &T> = new.iter().map(|each| (name(each), each)).collect();
        let mut change = Change::default();
        for each in new {
            match before.get(name(each)) {
                None => change.added.push(name(each).to_owned()),
                Some(former) if *former != each => {
                    change.changed.push(name(each).to_owned());
                    details.tell(&format!("{kind} {}", name(each)), former, each);
                }
                Some(_) => {}
            }
        }
        change.removed = old.iter().map(name).filter(|name| !after.contains_key(*name)).map(str::to_owned).collect();
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config;

    fn config(routes: &str) -> Config {
        let text = format!("listeners: [{{ name: l, bind: 127.0.0.1:0 }}]\nroutes: {routes}\nupstreams: []\n");
        config::read(&text, &|_| None).0.expect("a configuration")
    }

    #[test]
    fn a_diff_names_what_came_went_and_changed_wherever_it_stands() {
        let old = config("[{ name: a, upstream: x }, { name: b, upstream: x }, { name: c, upstream: x }]");
        let new = config("[{ name: d, upstream: x },\n  { name: c, upstream: y }, { name: a, upstream: x }]");
        let diff = Diff::between(&old, &new);
        assert_eq!(
            (&diff.routes.added[..], &diff.routes.removed[..], &diff.routes.changed[..]),
            (&["d".to_owned()][..], &["b".to_owned()][..], &["c".to_owned()][..])
        );
        assert!(Diff::between(&old, &old).is_empty() && !diff.is_empty());
        assert_eq!(diff.summary(), "routes +1 -1 ~1");
        assert_eq!(diff.details, ["~ route c: upstream x -> y"]);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut history = History::default();
        for generation in 0..RELOADS_MAX as u64 + 5 {
            let added = (0..RELOAD_ERRORS_MAX + 3).map(|n| n.to_string()).collect();
            let diff = Diff { routes: Change { added, ..Change::default() }, ..Diff::default() };
            let errors = vec!["x".to_owned(); RELOAD_ERRORS_MAX + 1];
            let (trigger, result) = (Trigger::File, Outcome::Applied);
            history.add(Reload { at: String::new(), trigger, result, generation, duration_ms: 1.0, diff, errors });
        }
        assert_eq!(history.newest_first().count(), RELOADS_MAX);
        let newest = history.newest_first().next().unwrap();
        assert_eq!((newest.generation, newest.errors.len()), (RELOADS_MAX as u64 + 4, RELOAD_ERRORS_MAX));
        assert_eq!(newest.diff.routes.added.last().unwrap(), "and 3 more");
    }
}
