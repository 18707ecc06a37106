//! How many connections each client address has.
//!
//! In: an address that connects. Out: a place under the cap, or none. All workers of a listener share the counts, which are touched when a
//! connection opens and closes, never by a request. An IPv6 client is its /64 network: it has all addresses of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::base::lock::{self, Lock};

/// The counts of one listener. It holds as many as there are connections, at most.
#[derive(Debug)]
pub(crate) struct Clients {
    counts: Lock<HashMap<IpAddr, u64, RandomState>>,
}

impl Default for Clients {
    fn default() -> Self {
        Clients { counts: Lock::new(&lock::CLIENTS, HashMap::default()) }
    }
}

/// A place under the cap, given up when dropped.
#[derive(Debug)]
pub(super) struct ClientPlace {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// A place for one more connection of `address`; none where it has `most` already.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, most: u64) -> Option<ClientPlace> {
        let client = network_of(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(client).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ClientPlace { clients: Arc::clone(self), client })
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut counts = self.clients.counts.lock();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_places_and_gives_them_back() {
        let clients = Arc::new(Clients::default());
        let enter = |text: &str| clients.enter(text.parse().unwrap(), 2);
        let (first, _second) = (enter("10.0.0.1").unwrap(), enter("::ffff:10.0.0.1").unwrap());
        assert!(enter("10.0.0.1").is_none());
        let _other = enter("10.0.0.2").unwrap();
        drop(first);
        drop(enter("10.0.0.1").unwrap());
        let _six = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
        assert!(enter("2001:db8::3").is_none() && enter("2001:db8:0:1::3").is_some());
        assert_eq!(clients.counts.lock().len(), 3);
    }
}
