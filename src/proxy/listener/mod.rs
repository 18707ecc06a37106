//! Sockets: accepting clients, under the listener's caps.
//!
//! In: listening sockets, orders, the pipeline. Out: served connections; those over a cap are closed at once and counted.
//! Not here: what happens to a request (`pipeline`), and which listeners there are (`control`).

pub(crate) mod bind;
mod client;
pub(crate) mod clients;
mod streaming;
mod tunnel;
mod connection;
pub(crate) mod mount;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::activity::{Activity, InFlight};
use super::drain::{Drain, Step};
use super::exchange::Peer;
use super::pipeline::Pipeline;
use crate::base::limits::IDLE_GRACE;
use crate::telemetry::record::instruments::{lower, raise};
use clients::{ClientPlace, Clients};
use connection::Connection;

/// What a worker is told about its listeners and its end.
pub(crate) enum Order {
    Open(Acceptor),
    /// Stop accepting by the listener of this slot, and let its connections end.
    Close(usize),
    /// Every answer from now on says that its connection ends.
    Announce,
    /// Tell what is in flight.
    Inspect(mpsc::Sender<Vec<InFlight>>),
    /// Stop accepting; end when all connections have, but after this time at the latest.
    Drain(Duration),
}

/// A listener as one worker holds it.
pub(crate) struct Acceptor {
    pub(crate) socket: std::net::TcpListener,
    /// Slot of its policy in the plan.
    pub(crate) slot: usize,
    pub(crate) shared: Arc<Shared>,
}

/// What the workers of one listener share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) open: AtomicU64,
    pub(crate) clients: Arc<Clients>,
}

/// How long accepting pauses when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes a listener up. The task ends once the listener is let go and has accepted what was there for it.
pub(crate) fn open(acceptor: Acceptor, pipeline: &Rc<Pipeline>) -> JoinHandle<()> {
    let drain = pipeline.worker.open_door(acceptor.slot);
    tokio::task::spawn_local(acceptor.run(Rc::clone(pipeline), drain))
}

/// Every answer of all listeners says from now on that its connection ends.
pub(crate) fn announce(pipeline: &Rc<Pipeline>) {
    reach(&pipeline.worker.drains(None), Step::Announced);
}

/// Lets a listener go: nothing is accepted any more, and idle connections end a little later.
pub(crate) fn close(slot: Option<usize>, pipeline: &Rc<Pipeline>) {
    let drains = pipeline.worker.drains(slot);
    reach(&drains, Step::Begun);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(IDLE_GRACE).await;
        reach(&drains, Step::IdleOver);
    });
}

fn reach(drains: &[Rc<Drain>], step: Step) {
    for drain in drains {
        drain.reach(step);
    }
}

impl Acceptor {
    /// Accepts until the listener is let go.
    async fn run(self, pipeline: Rc<Pipeline>, drain: Rc<Drain>) {
        let port = self.socket.local_addr().map_or(0, |address| address.port());
        let welcome = Welcome { pipeline, shared: self.shared, slot: self.slot, port, drain };
        let socket = match TcpListener::from_std(self.socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(%error, port, "a worker cannot take up a listening socket"),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = welcome.drain.wait(Step::Begun) => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => welcome.admit(stream, address),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
        // What the kernel has accepted for us is served: to close the socket would reset it.
        let Ok(socket) = socket.into_std() else { return };
        for _ in 0..bind::BACKLOG {
            let Ok((stream, address)) = socket.accept() else { return };
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                welcome.admit(stream, address);
            }
        }
    }
}

/// What a connection gets on its way in.
struct Welcome {
    pipeline: Rc<Pipeline>,
    shared: Arc<Shared>,
    slot: usize,
    port: u16,
    drain: Rc<Drain>,
}

impl Welcome {
    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let Some(place) = Place::take(&self.pipeline, &self.shared, self.slot, address.ip()) else { return };
        let peer = Peer {
            address,
            address_text: address.ip().to_canonical().to_string().into(),
            listener: self.slot,
            port: self.port,
            activity: Activity::new(address),
            drain: Rc::clone(&self.drain),
        };
        self.pipeline.worker.activities.enter(&peer.activity);
        tokio::task::spawn_local(serve(Rc::clone(&self.pipeline), stream, peer, place));
    }
}

async fn serve(pipeline: Rc<Pipeline>, stream: TcpStream, peer: Peer, place: Place) {
    // Without it answers are late, but right.
    let _ = stream.set_nodelay(true);
    Connection::new(pipeline, stream, peer).run().await;
    drop(place);
}

/// A connection's place under the caps, given up however it ends.
struct Place {
    pipeline: Rc<Pipeline>,
    shared: Arc<Shared>,
    _client: Option<ClientPlace>,
}

impl Place {
    /// Counts the connection, or the refusal.
    fn take(pipeline: &Rc<Pipeline>, shared: &Arc<Shared>, slot: usize, client: std::net::IpAddr) -> Option<Self> {
        let limits = pipeline.worker.plan().snapshot.listeners[slot].limits;
        let recorder = pipeline.worker.recorder.borrow();
        let gauges = recorder.gauges();
        if shared.open.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            raise(&gauges.connections_refused);
            return None;
        }
        let place = match limits.connections_per_client {
            None => None,
            Some(most) => match shared.clients.enter(client, most) {
                Some(place) => Some(place),
                None => {
                    shared.open.fetch_sub(1, Ordering::Relaxed);
                    raise(&gauges.connections_refused_client);
                    return None;
                }
            },
        };
        raise(&gauges.connections_accepted);
        raise(&gauges.connections);
        Some(Place { pipeline: Rc::clone(pipeline), shared: Arc::clone(shared), _client: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        lower(&self.pipeline.worker.recorder.borrow().gauges().connections);
    }
}
