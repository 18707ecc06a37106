//! Listening sockets: which are open, in which slot, and who has them.
//!
//! In: the listeners of a configuration, sockets that a service manager or a predecessor left us. Out: an acceptor for each worker, orders when
//! a reload opens or closes a listener, and all sockets for a successor. A listener keeps its slot, and with it its connections, as long as its
//! address stays. Not here: accepting (`proxy::listener`), and policies (`compile`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use listenfd::ListenFd;
use tokio::sync::mpsc;

use super::config::schema::Listener;
use crate::proxy::listener::{Acceptor, Order, Shared, bind};

/// Separates names in LISTEN_FDNAMES.
const NAME_SEPARATOR: char = ':';
/// What the admin plane's socket is called among those that are handed over. A listener must not be called so.
pub(crate) const ADMIN_NAME: &str = "pellucid-admin";

/// Sockets that came with the process: systemd's LISTEN_FDS, or those of a predecessor.
pub(crate) struct Inherited {
    sockets: Vec<(Option<String>, TcpListener)>,
}

/// One listener's place.
struct Door {
    name: String,
    /// As the configuration has it; the port may be 0.
    bind: SocketAddr,
    address: SocketAddr,
    /// Ours beside those of the workers, to be handed over.
    sockets: Vec<TcpListener>,
    shared: Arc<Shared>,
    is_open: bool,
}

/// All listeners, by slot.
pub(crate) struct Sockets {
    doors: Vec<Door>,
    workers: usize,
    orders: Vec<mpsc::Sender<Order>>,
    admin: Option<TcpListener>,
}

/// Copies of a listener's sockets, each with the number of its worker.
type Shares = Vec<(usize, TcpListener)>;

/// A worker's number, and what it has to take up.
pub(crate) type ForWorker = (usize, Acceptor);

/// What a new configuration means for the listeners.
pub(crate) struct Moves {
    /// The slot of each listener of the configuration.
    pub(crate) slots: Vec<usize>,
    /// With a copy of a socket for each worker.
    opened: Vec<(usize, Door, Shares)>,
    closed: Vec<usize>,
}

impl Inherited {
    pub(crate) fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(NAME_SEPARATOR).map(|name| (!name.is_empty()).then(|| name.to_owned()));
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..given.len() {
            let name = names.next().flatten();
            match given.take_tcp_listener(index) {
                Ok(Some(socket)) => sockets.push((name, socket)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, index, "an inherited descriptor is no TCP socket and is left alone"),
            }
        }
        Inherited { sockets }
    }

    /// A reload brings no sockets along.
    pub(crate) fn none() -> Self {
        Inherited { sockets: Vec::new() }
    }

    /// The sockets of one listener: those of its name, else those of its address.
    fn take(&mut self, name: &str, address: SocketAddr) -> Vec<TcpListener> {
        let is_named = |given: &Option<String>| given.as_deref() == Some(&plain(name));
        let serves = |socket: &TcpListener| socket.local_addr().is_ok_and(|bound| serves(bound, address));
        // Of the same name but elsewhere: the configuration has moved the listener.
        let by_name = self.sockets.iter().any(|(given, socket)| is_named(given) && (address.port() == 0 || serves(socket)));
        let fits = |(given, socket): &mut (Option<String>, TcpListener)| match by_name {
            true => is_named(given) && (address.port() == 0 || serves(socket)),
            false => serves(socket),
        };
        self.sockets.extract_if(.., fits).map(|(_, socket)| socket).collect()
    }

    /// Closes what nobody took, and says so: whoever passed it expects that it is served.
    pub(crate) fn give_up_rest(self) {
        for (name, socket) in self.sockets {
            tracing::warn!(?name, address = ?socket.local_addr().ok(), "an inherited socket belongs to no listener and is closed");
        }
    }

    /// The admin plane's socket.
    pub(crate) fn take_admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.take(ADMIN_NAME, address).pop()
    }
}

/// A socket that is bound to `bound` takes what one of `wanted` would: service managers bind `[::]` where a port alone is named.
fn serves(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let everywhere = bound.ip().is_unspecified() && wanted.ip().is_unspecified();
    wanted.port() != 0 && bound.port() == wanted.port() && (bound.ip() == wanted.ip() || everywhere)
}

fn plain(name: &str) -> String {
    name.replace(NAME_SEPARATOR, "_")
}

impl Sockets {
    pub(crate) fn new(workers: usize) -> Self {
        Sockets { doors: Vec::new(), workers, orders: Vec::new(), admin: None }
    }

    /// Whom to tell of listeners that open and close.
    pub(crate) fn employ(&mut self, orders: Vec<mpsc::Sender<Order>>, admin: Option<TcpListener>) {
        self.orders = orders;
        self.admin = admin;
    }

    /// Where clients connect, by slot.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter(|door| door.is_open).map(|door| door.address).collect()
    }

    /// Finds out what changes, and binds what is new. Nothing is in force yet.
    pub(crate) fn plan(&self, listeners: &[Listener], inherited: &mut Inherited) -> Result<Moves, String> {
        let mut moves = Moves { slots: Vec::new(), opened: Vec::new(), closed: Vec::new() };
        for listener in listeners {
            let slot = match self.slot_of(listener) {
                Some(slot) => slot,
                None => {
                    let slot = self.free_slot(&moves);
                    let door = self.open(listener, inherited)?;
                    let shares = self.share_out(&door).map_err(|error| format!("a socket of `{}` cannot be copied: {error}", door.name))?;
                    moves.opened.push((slot, door, shares));
                    slot
                }
            };
            moves.slots.push(slot);
        }
        let kept = |slot: usize| moves.slots.contains(&slot);
        moves.closed = (0..self.doors.len()).filter(|slot| self.doors[*slot].is_open && !kept(*slot)).collect();
        Ok(moves)
    }

    /// Puts a plan in force and gives what each worker has to take up. Nothing here can fail.
    pub(crate) fn settle(&mut self, moves: Moves) -> Vec<ForWorker> {
        for slot in moves.closed {
            let door = &mut self.doors[slot];
            door.is_open = false;
            door.sockets.clear();
            self.tell(|| Order::Close(slot));
        }
        let mut acceptors = Vec::new();
        for (slot, door, shares) in moves.opened {
            let shared = Arc::clone(&door.shared);
            let share = |(worker, socket)| (worker, Acceptor { socket, slot, shared: Arc::clone(&shared) });
            acceptors.extend(shares.into_iter().map(share));
            match self.doors.get_mut(slot) {
                Some(former) => *former = door,
                None => self.doors.push(door),
            }
        }
        acceptors
    }

    /// The same for workers that run already.
    pub(crate) fn settle_running(&mut self, moves: Moves) {
        for (_, door, _) in &moves.opened {
            tracing::info!(listener = %door.name, address = %door.address, "listening");
        }
        for (worker, acceptor) in self.settle(moves) {
            if self.orders[worker].try_send(Order::Open(acceptor)).is_err() {
                tracing::error!(worker, "a worker takes no orders; it does not serve the new listener");
            }
        }
    }

    /// All sockets, with their names, for a successor. They stay open here as well.
    pub(crate) fn hand_over(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let doors = self.doors.iter().flat_map(|door| door.sockets.iter().map(|socket| (plain(&door.name), socket)));
        let admin = self.admin.iter().map(|socket| (ADMIN_NAME.to_owned(), socket));
        doors.chain(admin).map(|(name, socket)| Ok((name, socket.try_clone()?.into()))).collect()
    }

    /// Gives up our copies: the workers' are the last ones.
    pub(crate) fn let_go(&mut self) {
        for door in &mut self.doors {
            door.sockets.clear();
        }
        self.admin = None;
    }

    /// Gives an order to every worker.
    pub(crate) fn tell(&self, order: impl Fn() -> Order) {
        for worker in &self.orders {
            // A worker that is gone has closed its sockets.
            let _ = worker.try_send(order());
        }
    }

    fn slot_of(&self, listener: &Listener) -> Option<usize> {
        let same = |door: &Door| door.bind == listener.bind.value && (door.bind.port() != 0 || door.name == listener.name.value);
        self.doors.iter().position(|door| door.is_open && same(door))
    }

    /// A slot that nobody uses any more, neither an acceptor nor a connection; or a new one.
    fn free_slot(&self, moves: &Moves) -> usize {
        let taken = |slot: usize| moves.opened.iter().any(|(other, ..)| *other == slot);
        let is_free = |slot: usize| self.doors.get(slot).is_none_or(|door| !door.is_open && Arc::strong_count(&door.shared) == 1);
        (0..).find(|slot| is_free(*slot) && !taken(*slot)).unwrap_or_default()
    }

    /// As many as there are workers, and every socket at least once: each has a queue of its own in the kernel.
    fn share_out(&self, door: &Door) -> io::Result<Shares> {
        let turns = 0..self.workers.max(door.sockets.len());
        turns.map(|turn| Ok((turn % self.workers, door.sockets[turn % door.sockets.len()].try_clone()?))).collect()
    }

    fn open(&self, listener: &Listener, inherited: &mut Inherited) -> Result<Door, String> {
        let bind_to = listener.bind.value;
        let unavailable = |error: io::Error| format!("the listener `{}` cannot listen on {bind_to}: {error}", listener.name.value);
        let mut sockets = inherited.take(&listener.name.value, bind_to);
        if sockets.is_empty() {
            // Asked without SO_REUSEPORT first: another process that has the address must not share it with us unnoticed. A listener of
            // ours with the same port would be in the way of that.
            let in_use = |door: &Door| door.is_open || Arc::strong_count(&door.shared) > 1;
            let ours = self.doors.iter().any(|door| in_use(door) && door.address.port() == bind_to.port());
            if bind_to.port() != 0 && !ours {
                drop(bind::probe(bind_to).map_err(unavailable)?);
            }
            sockets = bind::bind(bind_to, self.workers).map_err(unavailable)?;
        }
        for socket in &sockets {
            socket.set_nonblocking(true).map_err(unavailable)?;
        }
        let address = sockets[0].local_addr().map_err(unavailable)?;
        Ok(Door { name: listener.name.value.clone(), bind: bind_to, address, sockets, shared: Arc::default(), is_open: true })
    }
}
