//! Opening a connection: the name, then the handshake.
//!
//! In: an endpoint. Out: a socket, and the time that each step took. Addresses of a name are tried in the resolver's order.
//! Not here: caps and reuse (`pool`).

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::Failure;
use super::endpoint::Endpoint;
use crate::base::alarm::Alarm;
use crate::base::clock::{Clock, Tick};
use crate::telemetry::record::labels::{Work, turn_to};
use crate::telemetry::record::{Attempt, Phase};

/// Opens a connection within the endpoint's connect timeout, name included, and before `latest`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    clock: &Clock,
    alarm: &mut Alarm,
    attempt: &mut Attempt,
    latest: Tick,
) -> Result<TcpStream, Failure> {
    let began = clock.now();
    let deadline = began.after(endpoint.limits.connect_timeout).min(latest);
    let addresses = match endpoint.address {
        Some(address) => Addresses::One(address),
        None => {
            turn_to(Work::Dns);
            let looked_up = alarm.guard(deadline, tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))).await;
            attempt.phases.add(Phase::Dns, clock.now().since(began));
            match looked_up {
                Ok(Ok(found)) => Addresses::Many(found.collect()),
                Ok(Err(error)) => return Err(Failure::Dns(error)),
                Err(_late) if deadline == latest => return Err(Failure::ExchangeTimeout),
                Err(_late) => return Err(Failure::ConnectTimeout),
            }
        }
    };
    let resolved = clock.now();
    turn_to(Work::Connect);
    let connected = alarm.guard(deadline, connect_any(addresses)).await;
    attempt.phases.add(Phase::Connect, clock.now().since(resolved));
    match connected {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(Failure::ConnectTimeout),
        Ok(Err(error)) => Err(Failure::Connect(error)),
        Err(_late) if deadline == latest => Err(Failure::ExchangeTimeout),
        Err(_late) => Err(Failure::ConnectTimeout),
    }
}

enum Addresses {
    One(SocketAddr),
    Many(Vec<SocketAddr>),
}

async fn connect_any(addresses: Addresses) -> io::Result<TcpStream> {
    let addresses = match addresses {
        Addresses::One(address) => return connect_one(address).await,
        Addresses::Many(addresses) => addresses,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match connect_one(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
