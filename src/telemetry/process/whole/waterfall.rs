//! Where the time of a request went, as bars under one another.
//!
//! In: the ticks of a record and the phases of its attempts. Out: rows in the order of time, attempts with their phases one deeper. Only
//! attempts have a place in time; their phases follow one another up to their end, and what is left at their beginning is the gateway's own work,
//! or a wait that nothing has measured, where it is longer than all of that. Not here: what is usual.

use serde_json::{Value, json};

use super::{Told, millis};
use crate::base::clock::Tick;
use crate::base::ids::hex_text;
use crate::telemetry::export::access_log::error_type;
use crate::telemetry::record::names::PHASE_LABELS;
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Attempt, Phase, Record};

/// What is shorter has no row: it would read as 0.
const SHOWN_NS_MIN: u64 = 500;

/// What fills a stretch of time.
#[derive(Clone, Copy)]
enum Kind {
    /// The gateway's own work.
    Own,
    Phase,
    Attempt,
    /// It is the client that is waited for.
    Client,
}

impl Kind {
    fn label(self) -> &'static str {
        ["self", "phase", "attempt", "client"][self as usize]
    }
}

#[derive(Clone, Copy)]
struct Stretch {
    begin: Tick,
    end: Tick,
    depth: u8,
}

struct Rows<'r> {
    record: &'r Record,
    rows: Vec<Value>,
}

pub(super) fn waterfall(told: &Told<'_>) -> Vec<Value> {
    let record = told.entry.record;
    let mut rows = Rows { record, rows: Vec::new() };
    rows.add("read head", Kind::Client, Stretch { begin: record.began, end: record.head_read, depth: 0 }, json!({}));
    let mut at = record.head_read.max(record.began);
    for (index, attempt) in record.attempts().iter().enumerate() {
        rows.own("gateway", Kind::Phase, Stretch { begin: at, end: attempt.began, depth: 0 });
        at = rows.attempt(told, attempt, index).max(at);
    }
    // Behind the last attempt only an answer of our own is left: an upstream's is part of its attempt.
    rows.own("answer", Kind::Client, Stretch { begin: at, end: record.ended, depth: 0 });
    rows.rows
}

impl Rows<'_> {
    fn add(&mut self, name: &str, kind: Kind, stretch: Stretch, detail: Value) {
        if stretch.end.since(stretch.begin) < SHOWN_NS_MIN && !matches!(kind, Kind::Attempt) {
            return;
        }
        self.rows.push(json!({
            "name": name,
            "kind": kind.label(),
            "begin_ms": millis(stretch.begin.since(self.record.began)),
            "end_ms": millis(stretch.end.since(self.record.began)),
            "depth": stretch.depth,
            "detail": detail,
        }));
    }

    /// A stretch that no phase accounts for: own work, unless it is longer than all the own work that there was.
    fn own(&mut self, name: &str, otherwise: Kind, stretch: Stretch) {
        let fits = stretch.end.since(stretch.begin) <= self.record.self_ns + SHOWN_NS_MIN;
        self.add(name, if fits { Kind::Own } else { otherwise }, stretch, json!({}));
    }

    /// The attempt and its phases. Returns where it ends.
    fn attempt(&mut self, told: &Told<'_>, attempt: &Attempt, index: usize) -> Tick {
        let cut_off = index + 1 == self.record.attempts().len() && is_cut_off(attempt);
        let end = if cut_off { self.record.ended } else { attempt.ended }.max(attempt.began);
        let endpoint = told.endpoints.get(attempt.endpoint.0 as usize);
        let name =
            endpoint.map_or_else(|| format!("attempt {}", index + 1), |legend| format!("attempt {} {}", index + 1, legend.authority));
        let (path, sent_path) = (self.record.text.str(self.record.path), self.record.text.str(self.record.sent_path));
        let detail = json!({
            "span_id": hex_text(&attempt.span_id.hex()),
            "upstream": endpoint.map(|legend| legend.upstream.as_str()),
            "endpoint": endpoint.map(|legend| legend.authority.as_str()),
            "status": Some(attempt.status).filter(|status| *status > 0),
            "error": attempt.reason.map(|reason| error_type(reason, attempt.status)),
            "reused": attempt.reused,
            "request_bytes": attempt.request_bytes,
            "response_bytes": attempt.response_bytes,
            "sent_path": Some(&sent_path).filter(|sent| !sent.is_empty() && **sent != path),
            "unfinished": cut_off.then_some(true),
        });
        self.add(&name, Kind::Attempt, Stretch { begin: attempt.began, end, depth: 0 }, detail);
        let phases = attempt.phases.spent.iter().sum::<u64>();
        let unknown = end.since(attempt.began).saturating_sub(phases);
        if cut_off {
            let known = self.phases(attempt, attempt.began, end);
            self.add("queue or connect", Kind::Phase, Stretch { begin: known, end, depth: 1 }, json!({}));
        } else {
            let begin = Tick(attempt.began.0 + unknown);
            let name = if index == 0 { "route and filters" } else { "gateway" };
            self.own(name, Kind::Phase, Stretch { begin: attempt.began, end: begin, depth: 1 });
            self.phases(attempt, begin, end);
        }
        end
    }

    /// The phases that took time, one behind the other. Returns where the last one ends.
    fn phases(&mut self, attempt: &Attempt, begin: Tick, end: Tick) -> Tick {
        let mut at = begin;
        for phase in Phase::ALL {
            let stretch = Stretch { begin: at, end: Tick(at.0.saturating_add(attempt.phases.of(phase))).min(end), depth: 1 };
            self.add(PHASE_LABELS[phase as usize], Kind::Phase, stretch, detail_of(phase, attempt));
            at = stretch.end;
        }
        at
    }
}

/// The exchange was dropped while it waited for a connection: nobody has written down when that was.
fn is_cut_off(attempt: &Attempt) -> bool {
    let dropped = matches!(attempt.reason, Some(Reason::ClientGone | Reason::Draining | Reason::Internal));
    dropped && attempt.status == 0 && attempt.ended <= attempt.began
}

fn detail_of(phase: Phase, attempt: &Attempt) -> Value {
    match phase {
        // On a kept connection nothing stands between an attempt's beginning and its sending.
        Phase::Send if attempt.reused => json!({ "bytes": attempt.request_bytes, "includes": "route and filters" }),
        Phase::Send => json!({ "bytes": attempt.request_bytes }),
        Phase::Body => json!({ "bytes": attempt.response_bytes }),
        _ => json!({}),
    }
}
