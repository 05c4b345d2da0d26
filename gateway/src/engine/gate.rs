//! Who may open a session: limits by number, by address and by rate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;

use crate::config::Limits;
use crate::net::rate::{Due, Rate};

/// How many parts the table of addresses has, so that shards seldom wait for each other.
const PARTS: usize = 16;

/// What all shards of a node know about those who came in. A limit that is not set costs nothing.
#[derive(Debug)]
pub(crate) struct Gate {
    addresses: Option<Addresses>,
    handshakes: Option<(Rate, AtomicU64)>,
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barred {
    /// Its address has as many sessions as it may.
    Address,
    /// The node opens no more sessions within this second.
    Rate,
}

/// Sessions by address.
#[derive(Debug)]
struct Addresses {
    most: NonZeroUsize,
    parts: [Mutex<HashMap<IpAddr, usize, FxBuildHasher>>; PARTS],
}

/// The permission to open one session. Dropped, it is given back.
pub(crate) struct Permit<'a> {
    gate: &'a Gate,
    address: IpAddr,
}

impl Permit<'_> {
    /// The session is there, and [`Gate::leave`] is called when it ends.
    pub(crate) fn used(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.address);
    }
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            addresses: limits.connections_per_ip.map(|most| Addresses {
                most,
                parts: Default::default(),
            }),
            handshakes: limits
                .handshakes_per_second
                .map(|per_second| (Rate::new(per_second), AtomicU64::new(Due::default()))),
        }
    }

    /// Lets a client in, or says why not.
    pub(crate) fn enter(&self, address: IpAddr) -> Result<Permit<'_>, Barred> {
        if let Some(addresses) = &self.addresses
            && !addresses.add(address)
        {
            return Err(Barred::Address);
        }
        let permit = Permit {
            gate: self,
            address,
        };
        if let Some((rate, due)) = &self.handshakes {
            let take = |due| rate.take(due, rate.now());
            due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .map_err(|_| Barred::Rate)?;
        }
        Ok(permit)
    }

    /// A session of this address ended.
    pub(crate) fn leave(&self, address: IpAddr) {
        if let Some(addresses) = &self.addresses {
            addresses.remove(address);
        }
    }
}

impl Addresses {
    fn add(&self, address: IpAddr) -> bool {
        let client = client(address);
        let mut part = self.part(client);
        let count = part.entry(client).or_default();
        let fits = *count < self.most.get();
        *count += usize::from(fits);
        fits
    }

    fn remove(&self, address: IpAddr) {
        let client = client(address);
        let mut part = self.part(client);
        if let Some(count) = part.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                part.remove(&client);
            }
        }
    }

    fn part(&self, client: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize, FxBuildHasher>> {
        let last = match client {
            IpAddr::V4(address) => address.octets()[3],
            // Of the network, which is all there is of it.
            IpAddr::V6(address) => address.octets()[7],
        };
        self.parts[usize::from(last) % PARTS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, since a host that has
/// one address of it has them all.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn gate(toml: &str) -> Gate {
        Gate::new(&Config::from_toml(toml).unwrap().limits)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_limits_everybody_comes_in() {
        let gate = gate("");
        for _ in 0..100_000 {
            gate.enter(address("10.0.0.1")).unwrap().used();
        }
    }

    #[test]
    fn an_address_has_as_many_sessions_as_it_may() {
        let gate = gate("limits.connections_per_ip = 2");
        let (one, other) = (address("10.0.0.1"), address("10.0.0.17"));
        gate.enter(one).unwrap().used();
        gate.enter(one).unwrap().used();
        assert_eq!(gate.enter(one).err(), Some(Barred::Address));
        assert_eq!(
            gate.enter(address("::ffff:10.0.0.1")).err(),
            Some(Barred::Address)
        );
        gate.enter(other).unwrap().used();
        gate.leave(one);
        drop(gate.enter(one).unwrap());
        gate.enter(one).unwrap().used();
        assert_eq!(gate.enter(one).err(), Some(Barred::Address));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let gate = gate("limits.connections_per_ip = 1");
        gate.enter(address("2001:db8::1")).unwrap().used();
        assert!(gate.enter(address("2001:db8::ffff:1")).is_err());
        assert!(gate.enter(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn nothing_is_kept_of_clients_that_left() {
        let gate = gate("limits.connections_per_ip = 1");
        for number in 0..1000 {
            let address = IpAddr::from([10, 0, (number / 256) as u8, number as u8]);
            gate.enter(address).unwrap().used();
            gate.leave(address);
        }
        let addresses = gate.addresses.unwrap();
        assert!(
            addresses
                .parts
                .iter()
                .all(|part| part.lock().unwrap().is_empty())
        );
    }

    #[test]
    fn a_refusal_for_the_rate_gives_the_address_its_place_back() {
        let gate = gate("limits.connections_per_ip = 2\nlimits.handshakes_per_second = 1");
        let one = address("10.0.0.1");
        gate.enter(one).unwrap().used();
        for _ in 0..3 {
            assert_eq!(gate.enter(one).err(), Some(Barred::Rate));
        }
    }
}
