//! Where clients come in.
//!
//! In: bound sockets, one a worker and listener (SO_REUSEPORT). Out: requests for the pipeline, answers on the wire. Caps on connections
//! are kept here. Not here: what happens between head and answer (`pipeline`).

pub(crate) mod bind;
pub(crate) mod connection;
mod client;
pub(crate) mod mount;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::exchange::Peer;
use super::pipeline::Pipeline;
use crate::base::stopwatch::Stopwatch;
use crate::telemetry::record::instruments::{lower, raise};
use connection::Connection;

/// A listener as one worker holds it.
pub(crate) struct Acceptor {
    pub(crate) socket: std::net::TcpListener,
    /// Index of its policy in the plan.
    pub(crate) listener: usize,
    /// Connections of all workers.
    pub(crate) open: Arc<AtomicU64>,
}

/// How long accepting pauses when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Acceptor {
    /// Accepts until the worker drains.
    pub(crate) async fn run(self, pipeline: Rc<Pipeline>) {
        let port = self.socket.local_addr().map_or(0, |address| address.port());
        let Ok(socket) = TcpListener::from_std(self.socket) else { return };
        let worker = Rc::clone(&pipeline.worker);
        loop {
            let accepted = tokio::select! {
                biased;
                () = worker.drain.wait() => return,
                accepted = socket.accept() => accepted,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let limit = worker.plan().snapshot.listeners[self.listener].limits.connections;
            let recorder = worker.recorder.borrow();
            if self.open.fetch_add(1, Ordering::Relaxed) >= limit {
                self.open.fetch_sub(1, Ordering::Relaxed);
                raise(&recorder.gauges().connections_refused);
                continue;
            }
            raise(&recorder.gauges().connections_accepted);
            drop(recorder);
            let place = Place::take(&pipeline, &self.open);
            let address_text = address.ip().to_canonical().to_string().into();
            let peer = Peer { address, address_text, listener: self.listener, port, watch: Rc::new(Stopwatch::default()) };
            tokio::task::spawn_local(serve(Rc::clone(&pipeline), stream, peer, place));
        }
    }
}

async fn serve(pipeline: Rc<Pipeline>, stream: TcpStream, peer: Peer, place: Place) {
    let _ = stream.set_nodelay(true);
    Connection::new(pipeline, stream, peer).run().await;
    drop(place);
}

/// A connection's place under the caps, given up however it ends.
struct Place {
    pipeline: Rc<Pipeline>,
    open: Arc<AtomicU64>,
}

impl Place {
    fn take(pipeline: &Rc<Pipeline>, open: &Arc<AtomicU64>) -> Self {
        raise(&pipeline.worker.recorder.borrow().gauges().connections);
        Place { pipeline: Rc::clone(pipeline), open: Arc::clone(open) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        lower(&self.pipeline.worker.recorder.borrow().gauges().connections);
    }
}
