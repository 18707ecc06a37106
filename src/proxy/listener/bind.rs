//! Listening sockets.
//!
//! In: an address and a number of workers. Out: that many sockets on the same address (SO_REUSEPORT), among which the kernel spreads
//! connections. Port 0 takes one free port for all of them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds until they are accepted. It cuts this to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

pub(crate) fn bind(address: SocketAddr, sockets: usize) -> io::Result<Vec<TcpListener>> {
    let first = open(address)?;
    let bound = first.local_addr()?;
    let mut all = vec![first];
    while all.len() < sockets {
        all.push(open(bound)?);
    }
    Ok(all)
}

/// A socket that shares its address with nobody: fails where another process has it.
pub(crate) fn probe(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
