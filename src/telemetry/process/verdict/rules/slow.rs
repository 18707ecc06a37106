//! The rules of requests that succeeded and took long.
//!
//! In: a case of one attempt at most. Out: the verdict: whose time it was, how that compares, and how the other endpoints were meanwhile.
//! What counts is the part that grew most beyond what is typical for its route. Not here: failures.

use super::{Case, certain, likely, unknown};
use crate::telemetry::process::verdict::baseline::{BUFFERED_BYTES, ENDPOINT_FACTOR, Part, RouteBaseline, Trait, speed};
use crate::telemetry::process::verdict::words::{Line, Name, Of, Size, Time, Versus, about};
use crate::telemetry::process::verdict::{Code, Verdict};
use crate::telemetry::record::names::PHASE_LABELS;
use crate::telemetry::record::{Attempt, Phase, Record};

/// Longer than this many halves of the typical time is more than typical.
const UNUSUAL_HALVES: u64 = 3;
/// A slow transfer: so many times slower than what others have with the same endpoint; a normal one is at least half as fast.
const TRANSFER_FACTOR: u64 = 4;
/// Nobody calls a transfer slow from here on, whatever others have.
const FAST_BYTES_PER_SECOND: u64 = 10_000_000;
/// From here on it is said how much the gateway carried.
const CARRIED_BYTES_MIN: u64 = 1_000_000;
/// Parts that are listed where none stands out.
const LISTED_PARTS_MAX: usize = 3;

/// The part that made a request slow: half of what it took, beyond what is typical where it took more than that.
pub(super) fn lead(record: &Record, baseline: Option<&RouteBaseline>) -> Option<Part> {
    let duration = record.duration_ns();
    let unusual = baseline.filter(|baseline| duration / UNUSUAL_HALVES > baseline.duration(500) / 2);
    let excess = |part: Part| part.spent(record).saturating_sub(unusual.map_or(0, |baseline| baseline.quantile(part, 500)));
    let enough = (duration - unusual.map_or(0, |baseline| baseline.duration(500)).min(duration)) / 2;
    if excess(Part::Own) > enough {
        return Some(Part::Own);
    }
    let waits = Part::ALL.into_iter().filter(|part| *part != Part::Own);
    waits.max_by_key(|part| excess(*part)).filter(|part| excess(*part) > enough)
}

pub(super) fn gateway(case: &Case<'_>) -> Option<Verdict> {
    let mut line = case.led_by(Part::Own)?;
    line.add(" in the gateway itself");
    let carried = case.record.request_bytes.saturating_add(case.record.response_bytes);
    if carried >= CARRIED_BYTES_MIN {
        line.say(format_args!(", which carried {}", Size(carried)));
    }
    case.compare(&mut line, Part::Own, case.record.self_ns);
    certain(Code::SlowGateway, line)
}

pub(super) fn client_head(case: &Case<'_>) -> Option<Verdict> {
    let mut line = case.led_by(Part::Head)?;
    line.add(" until the client had sent its request's head");
    case.compare(&mut line, Part::Head, Part::Head.spent(case.record));
    certain(Code::SlowClientUpload, line)
}

pub(super) fn queue(case: &Case<'_>) -> Option<Verdict> {
    let (mut line, attempt, spent) = case.led_by_phase(Phase::Queue)?;
    line.say(format_args!(" in the queue for a connection to {}", case.name(attempt)));
    case.compare(&mut line, Part::Of(Phase::Queue), spent);
    certain(Code::SlowQueue, line)
}

pub(super) fn dns(case: &Case<'_>) -> Option<Verdict> {
    let (mut line, attempt, spent) = case.led_by_phase(Phase::Dns)?;
    line.say(format_args!(" resolving the name of {}", case.name(attempt)));
    case.compare(&mut line, Part::Of(Phase::Dns), spent);
    certain(Code::SlowDns, line)
}

/// Most requests take a connection that is there, so that the endpoint's own handshakes tell more than the route does.
pub(super) fn connect(case: &Case<'_>) -> Option<Verdict> {
    let (mut line, attempt, spent) = case.led_by_phase(Phase::Connect)?;
    line.say(format_args!(" connecting to {}", case.name(attempt)));
    match case.lately(attempt, Trait::Connect) {
        Some(typical) => line.say(format_args!(", {} for it", Versus { spent, typical })),
        None => case.compare(&mut line, Part::Of(Phase::Connect), spent),
    }
    certain(Code::SlowConnect, line)
}

/// A body that fits into a buffer waits for nobody but the client; with a larger one it can be either, and other clients tell.
pub(super) fn upload(case: &Case<'_>) -> Option<Verdict> {
    let (mut line, attempt, spent) = case.led_by_phase(Phase::Send)?;
    let bytes = attempt.request_bytes;
    if (1..=BUFFERED_BYTES).contains(&bytes) {
        line.say(format_args!(" until the client had sent its body of {}", Size(bytes)));
        case.compare(&mut line, Part::Of(Phase::Send), spent);
        return likely(Code::SlowClientUpload, line);
    }
    if bytes == 0 {
        line.say(format_args!(" sending the request to {}; what it waited for is not recorded", case.name(attempt)));
        return Some(unknown(line));
    }
    line.say(format_args!(" sending {} of body to {}", Size(bytes), case.name(attempt)));
    case.judge_transfer(line, Code::SlowClientUpload, Phase::Send, bytes, case.lately(attempt, Trait::Upload))
}

pub(super) fn endpoint(case: &Case<'_>) -> Option<Verdict> {
    let (mut line, attempt, wait) = case.led_by_phase(Phase::Wait)?;
    let lately = case.lately(attempt, Trait::Wait)?;
    let (normal, slow) = case.others(attempt, Some(wait));
    let stands_out = normal.count > 0 && slow.count == 0 && lately / ENDPOINT_FACTOR >= normal.lately && lately >= wait / ENDPOINT_FACTOR;
    stands_out.then_some(())?;
    case.tell_wait(&mut line, attempt, wait);
    line.say(format_args!("; lately it takes about {}, ", Time(about(lately))));
    let others = Time(about(normal.lately));
    match normal.count {
        1 => line.say(format_args!("{} about {others}", Name(normal.first))),
        count => line.say(format_args!("{count} other endpoints at most {others}")),
    }
    likely(Code::SlowEndpoint, line)
}

pub(super) fn upstream(case: &Case<'_>) -> Option<Verdict> {
    let (mut line, attempt, wait) = case.led_by_phase(Phase::Wait)?;
    case.tell_wait(&mut line, attempt, wait);
    case.tell_others(&mut line, attempt, Some(wait));
    certain(Code::SlowUpstream, line)
}

/// An answer that fits into a buffer waits for nobody but the upstream; with a larger one it can be either, and other clients tell.
pub(super) fn download(case: &Case<'_>) -> Option<Verdict> {
    let (mut line, attempt, spent) = case.led_by_phase(Phase::Body)?;
    let bytes = attempt.response_bytes;
    if bytes <= BUFFERED_BYTES {
        line.say(format_args!(" until {} had sent its body of {}", case.name(attempt), Size(bytes)));
        case.compare(&mut line, Part::Of(Phase::Body), spent);
        return likely(Code::SlowUpstream, line);
    }
    line.say(format_args!(" passing on {} of body from {}", Size(bytes), case.name(attempt)));
    case.judge_transfer(line, Code::SlowClientDownload, Phase::Body, bytes, case.lately(attempt, Trait::Download))
}

/// No part stands out, or none that the record tells of.
pub(super) fn nothing_stands_out(case: &Case<'_>) -> Verdict {
    let duration = case.record.duration_ns();
    let mut parts: Vec<(Part, u64)> = Part::ALL.map(|part| (part, part.spent(case.record))).to_vec();
    parts.sort_by_key(|(_, spent)| std::cmp::Reverse(*spent));
    parts.retain(|(_, spent)| *spent > duration / 20);
    let recorded = parts.iter().filter(|(part, _)| *part != Part::Own).fold(0, |sum: u64, (_, spent)| sum.saturating_add(*spent));
    let unrecorded = duration.saturating_sub(recorded);
    if unrecorded > duration / 2 {
        return unknown(Line::of(format_args!("{} in none of the recorded phases", Of(unrecorded, duration))));
    }
    let mut line = Line::of(format_args!("no part of the {} stands out: ", Time(duration)));
    for (index, (part, spent)) in parts.iter().take(LISTED_PARTS_MAX).enumerate() {
        line.say(format_args!("{}{} {}", if index > 0 { ", " } else { "" }, label_of(*part), Time(*spent)));
    }
    unknown(line)
}

fn label_of(part: Part) -> &'static str {
    match part {
        Part::Own => "gateway",
        Part::Head => "head",
        Part::Of(phase) => PHASE_LABELS[phase as usize],
    }
}

impl<'c> Case<'c> {
    /// The beginning of the sentence, where this part made it slow.
    fn led_by(&self, part: Part) -> Option<Line> {
        let of = Of(part.spent(self.record), self.record.duration_ns());
        (self.lead == Some(part)).then(|| Line::of(format_args!("{of}")))
    }

    fn led_by_phase(&self, phase: Phase) -> Option<(Line, &'c Attempt, u64)> {
        Some((self.led_by(Part::Of(phase))?, self.last()?, Part::Of(phase).spent(self.record)))
    }

    fn lately(&self, attempt: &Attempt, of: Trait) -> Option<u64> {
        self.pasts.get(attempt.endpoint.0)?.lately(of, self.record.ended)
    }

    fn tell_wait(&self, line: &mut Line, attempt: &Attempt, wait: u64) {
        line.say(format_args!(" waiting for {}", self.name(attempt)));
        self.compare(line, Part::Of(Phase::Wait), wait);
    }

    /// A body larger than buffers: it was large, or the client was slow, or it is not known who was.
    fn judge_transfer(&self, mut line: Line, slow: Code, phase: Phase, bytes: u64, others: Option<u64>) -> Option<Verdict> {
        let spent = Part::Of(phase).spent(self.record);
        let own = speed(bytes, spent);
        self.compare(&mut line, Part::Of(phase), spent);
        line.say(format_args!(", at {}/s", Size(own)));
        if let Some(others) = others {
            line.say(format_args!("; lately others have about {}/s", Size(about(others))));
        }
        // Other routes of the endpoint may carry quite other bodies, so that the route's own past has to be known as well.
        let typical = self.typical(Part::Of(phase));
        match others {
            _ if own >= FAST_BYTES_PER_SECOND || typical.is_some_and(|typical| spent / UNUSUAL_HALVES <= typical / 2) => {
                likely(Code::LongTransfer, line)
            }
            Some(others) if own < others / TRANSFER_FACTOR && typical.is_some() => likely(slow, line),
            Some(others) if own >= others / 2 => likely(Code::LongTransfer, line),
            _ => {
                line.add("; which side was slow is not recorded");
                Some(unknown(line))
            }
        }
    }
}
