//! A tunnel: what a connection is once both sides have switched protocols (RFC 9110, section 7.8).
//!
//! In: the client's leg, the upstream's, and what either had already sent. Out: bytes both ways as they come, each way with its own
//! back-pressure and its own end; how many there were. Not here: who may switch to what (`pipeline`).

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::base::alarm::Alarm;
use crate::base::clock::{Clock, Tick};
use crate::base::limits::READ_SMALL_BYTES;
use crate::proxy::http1::leg::Leg;
use crate::telemetry::record::reason::Reason;

/// Both ways of one tunnel.
pub(super) struct Tunnel<'t> {
    up: Flow<'t>,
    down: Flow<'t>,
    idle_timeout: Duration,
}

/// One way.
struct Flow<'t> {
    from: &'t Leg,
    to: &'t Leg,
    moved: u64,
    /// Nothing more comes.
    ended: bool,
    /// The receiver knows.
    closed: bool,
}

/// What went through a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) up: u64,
    pub(super) down: u64,
    /// Why it did not end by both sides' leave.
    pub(super) reason: Option<Reason>,
}

impl<'t> Tunnel<'t> {
    pub(super) fn new(client: &'t Leg, upstream: &'t Leg, idle_timeout: Duration) -> Self {
        Tunnel { up: Flow::new(client, upstream), down: Flow::new(upstream, client), idle_timeout }
    }

    /// Carries until both sides have ended, one breaks, or nothing moves for too long.
    pub(super) async fn run(mut self, clock: &Clock, alarm: &mut Alarm) -> Carried {
        let mut moved_at = clock.now();
        let reason = poll_fn(|context| self.poll(clock, &mut moved_at, alarm, context)).await;
        Carried { up: self.up.moved, down: self.down.moved, reason }
    }

    fn poll(&mut self, clock: &Clock, moved_at: &mut Tick, alarm: &mut Alarm, context: &mut Context<'_>) -> Poll<Option<Reason>> {
        let before = self.progress();
        let up = self.up.poll(context);
        let down = self.down.poll(context);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(None),
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => return Poll::Ready(Some(self.blame(broken))),
            _ => {}
        }
        if self.progress() != before {
            *moved_at = clock.now();
        }
        alarm.poll_at(moved_at.after(self.idle_timeout), context).map(|()| Some(Reason::UpgradeIdleTimeout))
    }

    /// Bytes read, bytes that wait to be written, and ends: whatever moves changes one of them.
    fn progress(&self) -> (u64, u64, usize, usize, bool, bool) {
        (self.up.moved, self.down.moved, self.up.to.unsent(), self.down.to.unsent(), self.up.closed, self.down.closed)
    }

    fn blame(&self, broken: Side) -> Reason {
        match broken {
            Side::Sender(leg) | Side::Receiver(leg) if std::ptr::eq(leg, self.up.from) => Reason::ClientGone,
            _ => Reason::UpstreamReset,
        }
    }
}

/// Which end of a flow broke.
enum Side<'t> {
    Sender(&'t Leg),
    Receiver(&'t Leg),
}

impl<'t> Flow<'t> {
    fn new(from: &'t Leg, to: &'t Leg) -> Self {
        Flow { from, to, moved: 0, ended: false, closed: false }
    }

    /// Reads only what the receiver has room for.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Side<'t>>> {
        let of_receiver = |_: io::Error| Side::Receiver(self.to);
        loop {
            ready!(self.to.poll_flush(context)).map_err(of_receiver)?;
            if self.ended {
                if !self.closed {
                    ready!(self.to.poll_shutdown(context)).map_err(of_receiver)?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            let data = self.from.with_input(|input| input.split().freeze());
            if !data.is_empty() {
                self.moved += data.len() as u64;
                self.to.with_output(|output| output.data = data);
                continue;
            }
            if self.from.is_closed() || ready!(self.from.poll_fill(context, READ_SMALL_BYTES)).map_err(|_| Side::Sender(self.from))? == 0 {
                self.ended = true;
            }
        }
    }
}
