//! What a thread is working for: the labels of its samples.
//!
//! In: a task's labels at every poll, and what changes within one. Out: a value that a signal handler on the same thread can read at any
//! instruction: plain cells of the thread, no lock, no allocation. Names are numbers here; [`name`] gives the text behind one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use super::names::FOLDED;
use crate::base::ids::{SpanId, TraceId};
use crate::base::limits::LEGENDS_MAX;

/// A name of a route or an upstream, over all gateways of the process. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LabelName(pub(crate) u32);

/// What a thread works at for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Work {
    /// Nothing that belongs to a request.
    #[default]
    None,
    /// Reading and understanding its head.
    Head,
    /// Finding its route.
    Route,
    /// Filters of its route.
    Filter,
    /// Awaiting a free connection to an endpoint.
    Queue,
    /// Resolving an endpoint's name.
    Dns,
    /// Choosing an endpoint, and getting a connection to it.
    Connect,
    /// Writing it to the upstream.
    Send,
    /// Awaiting the rest of the client's body.
    Upload,
    /// Awaiting and reading the answer's head.
    Wait,
    /// Passing the answer on, as it comes from the upstream.
    Body,
    /// Awaiting the client, which has not taken what there is of the answer.
    Deliver,
    /// Carrying the bytes of another protocol.
    Tunnel,
    /// The application that the gateway is mounted in, or a service beside it.
    Handler,
}

impl Work {
    pub(crate) const ALL: [Work; 14] = [
        Work::None,
        Work::Head,
        Work::Route,
        Work::Filter,
        Work::Queue,
        Work::Dns,
        Work::Connect,
        Work::Send,
        Work::Upload,
        Work::Wait,
        Work::Body,
        Work::Deliver,
        Work::Tunnel,
        Work::Handler,
    ];

    pub(crate) fn label(self) -> &'static str {
        ["", "head", "route", "filter", "queue", "dns", "connect", "send", "upload", "wait", "body", "deliver", "tunnel", "handler"]
            [self as usize]
    }

    fn of(number: u32) -> Self {
        Work::ALL.get(number as usize).copied().unwrap_or(Work::None)
    }
}

/// The labels of one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) work: Work,
    pub(crate) route: LabelName,
    pub(crate) upstream: LabelName,
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

impl Labels {
    pub(crate) const NONE: Labels =
        Labels { work: Work::None, route: LabelName(0), upstream: LabelName(0), trace_id: TraceId([0; 16]), span_id: SpanId([0; 8]) };
}

/// One thread's labels. Written and read by that thread alone; the reader may interrupt the writer anywhere.
struct Board {
    /// [`Work::None`] while the rest is being written.
    work: AtomicU32,
    route: AtomicU32,
    upstream: AtomicU32,
    trace: [AtomicU64; 2],
    span: AtomicU64,
}

thread_local! {
    static BOARD: Board = const {
        Board {
            work: AtomicU32::new(0),
            route: AtomicU32::new(0),
            upstream: AtomicU32::new(0),
            trace: [AtomicU64::new(0), AtomicU64::new(0)],
            span: AtomicU64::new(0),
        }
    };
}

/// From here on the thread works for what these labels say.
pub(crate) fn wear(labels: &Labels) {
    BOARD.with(|board| {
        let (high, low) = halves(labels.trace_id);
        board.work.store(Work::None as u32, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        board.route.store(labels.route.0, Ordering::Relaxed);
        board.upstream.store(labels.upstream.0, Ordering::Relaxed);
        board.trace[0].store(high, Ordering::Relaxed);
        board.trace[1].store(low, Ordering::Relaxed);
        board.span.store(u64::from_be_bytes(labels.span_id.0), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        board.work.store(labels.work as u32, Ordering::Relaxed);
    });
}

/// What the thread works for has not changed, only at what.
pub(crate) fn turn_to(work: Work) {
    BOARD.with(|board| board.work.store(work as u32, Ordering::Relaxed));
}

/// What the thread works at.
pub(crate) fn work() -> Work {
    BOARD.with(|board| Work::of(board.work.load(Ordering::Relaxed)))
}

/// The thread works for nothing in particular.
pub(crate) fn take_off() {
    turn_to(Work::None);
}

/// What the calling thread works for. Async-signal-safe: it only loads from memory of this thread.
pub(crate) fn worn() -> Labels {
    BOARD.with(|board| {
        let work = Work::of(board.work.load(Ordering::Relaxed));
        compiler_fence(Ordering::SeqCst);
        if work == Work::None {
            return Labels::NONE;
        }
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&board.trace[0].load(Ordering::Relaxed).to_be_bytes());
        trace[8..].copy_from_slice(&board.trace[1].load(Ordering::Relaxed).to_be_bytes());
        Labels {
            work,
            route: LabelName(board.route.load(Ordering::Relaxed)),
            upstream: LabelName(board.upstream.load(Ordering::Relaxed)),
            trace_id: TraceId(trace),
            span_id: SpanId(board.span.load(Ordering::Relaxed).to_be_bytes()),
        }
    })
}

fn halves(trace: TraceId) -> (u64, u64) {
    let both = u128::from_be_bytes(trace.0);
    ((both >> 64) as u64, both as u64)
}

#[derive(Default)]
struct Names {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(RwLock::default);

/// The number of a name, for the life of the process. Not for the request path: configurations are compiled with it. Past
/// [`LEGENDS_MAX`] names all new ones share one.
pub(crate) fn number(text: &str) -> LabelName {
    let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
    let text = if names.texts.len() < LEGENDS_MAX || names.numbers.contains_key(text) { text } else { FOLDED };
    if let Some(number) = names.numbers.get(text) {
        return LabelName(*number);
    }
    let text: Arc<str> = text.into();
    names.texts.push(Arc::clone(&text));
    let number = names.texts.len() as u32;
    names.numbers.insert(text, number);
    LabelName(number)
}

/// The number of a name that has one.
pub(crate) fn number_if_known(text: &str) -> Option<LabelName> {
    let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
    names.numbers.get(text).copied().map(LabelName)
}

/// The text behind a number; none for 0.
pub(crate) fn name(number: LabelName) -> Option<Arc<str>> {
    let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
    names.texts.get((number.0 as usize).checked_sub(1)?).map(Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_wears_what_it_was_given_and_no_other_thread_does() {
        let labels =
            Labels { work: Work::Send, route: LabelName(3), upstream: LabelName(4), trace_id: TraceId([7; 16]), span_id: SpanId([9; 8]) };
        wear(&labels);
        assert_eq!(worn(), labels);
        turn_to(Work::Body);
        assert_eq!(worn(), Labels { work: Work::Body, ..labels });
        std::thread::spawn(|| assert_eq!(worn(), Labels::NONE)).join().unwrap();
        take_off();
        assert_eq!(worn(), Labels::NONE);
    }

    #[test]
    fn a_name_keeps_its_number() {
        let users = number("labels-test-users");
        assert_ne!(users, number("labels-test-orders"));
        assert_eq!(users, number("labels-test-users"));
        assert_eq!(name(users).as_deref(), Some("labels-test-users"));
        assert_eq!(name(LabelName(0)), None);
    }
}
