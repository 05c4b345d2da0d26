//! Who may open a session: limits by number, by address and by rate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
#[cfg(feature = "webtransport")]
use std::num::NonZeroUsize;
#[cfg(feature = "webtransport")]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustc_hash::FxBuildHasher;

use crate::config::Limits;
use crate::net::rate::{Due, Rate};

/// How many parts the table of addresses has, so that shards seldom wait for each other.
const PARTS: usize = 16;

/// What all shards of a node know about those who came in. A limit that is not set costs nothing.
///
/// The limits are the shards' own, which a reload changes. Sessions that came while addresses did not
/// count are counted when they do ([`Gate::count`]); each session knows whether it is.
#[derive(Debug)]
pub(crate) struct Gate {
    addresses: Addresses,
    since: Instant,
    /// When the next session is due if they come evenly.
    due: AtomicU64,
    /// Connections of WebTransport.
    #[cfg(feature = "webtransport")]
    seats: AtomicUsize,
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
#[derive(Debug, Default)]
struct Addresses {
    parts: [Mutex<HashMap<IpAddr, usize, FxBuildHasher>>; PARTS],
}

/// The permission to open one session. Dropped, it is given back.
pub(crate) struct Permit<'a> {
    gate: &'a Gate,
    address: IpAddr,
    is_counted: bool,
}

impl Permit<'_> {
    /// The session is there. Returns whether it is counted: [`Gate::leave`] is called when one ends that is.
    #[must_use]
    pub(crate) fn used(mut self, limits: &Limits) -> bool {
        let is_counted = std::mem::take(&mut self.is_counted);
        // The limit may be a younger one than the permit.
        if !is_counted && limits.connections_per_ip.is_some() {
            self.gate.count(self.address);
            return true;
        }
        is_counted
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_counted {
            self.gate.leave(self.address);
        }
    }
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            addresses: Addresses::default(),
            since: Instant::now(),
            due: AtomicU64::new(Due::default()),
            #[cfg(feature = "webtransport")]
            seats: AtomicUsize::new(0),
        }
    }

    /// Whether a connection of WebTransport has a place among `most`; then [`leave_seat`](Self::leave_seat) is called
    /// when it ends.
    #[cfg(feature = "webtransport")]
    pub(crate) fn take_seat(&self, most: NonZeroUsize) -> bool {
        let add = |taken| (taken < most.get()).then_some(taken + 1);
        self.seats
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    /// A connection of WebTransport ended.
    #[cfg(feature = "webtransport")]
    pub(crate) fn leave_seat(&self) {
        self.seats.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lets a client in, or says why not.
    pub(crate) fn enter(&self, address: IpAddr, limits: &Limits) -> Result<Permit<'_>, Barred> {
        if let Some(most) = limits.connections_per_ip
            && !self.addresses.add(address, most.get())
        {
            return Err(Barred::Address);
        }
        let permit = Permit {
            gate: self,
            address,
            is_counted: limits.connections_per_ip.is_some(),
        };
        if let Some(per_second) = limits.handshakes_per_second {
            let rate = Rate::begun(self.since, per_second);
            let take = |due| rate.take(due, rate.now());
            self.due
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .map_err(|_| Barred::Rate)?;
        }
        Ok(permit)
    }

    /// A session that is there already counts from now on, whether its address has too many or not.
    pub(crate) fn count(&self, address: IpAddr) {
        self.addresses.add(address, usize::MAX);
    }

    /// A session that is counted ended.
    pub(crate) fn leave(&self, address: IpAddr) {
        self.addresses.remove(address);
    }
}

impl Addresses {
    fn add(&self, address: IpAddr, most: usize) -> bool {
        let client = client(address);
        let mut part = self.part(client);
        let count = part.entry(client).or_default();
        let fits = *count < most;
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

    fn limits(toml: &str) -> Limits {
        Config::from_toml(toml).unwrap().limits
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Lets a session in that stays.
    fn open(gate: &Gate, address: IpAddr, limits: &Limits) -> bool {
        gate.enter(address, limits).unwrap().used(limits)
    }

    #[test]
    fn without_limits_everybody_comes_in() {
        let (gate, limits) = (Gate::new(), limits(""));
        for _ in 0..100_000 {
            assert!(!open(&gate, address("10.0.0.1"), &limits));
        }
    }

    #[test]
    fn an_address_has_as_many_sessions_as_it_may() {
        let (gate, limits) = (Gate::new(), limits("limits.connections_per_ip = 2"));
        let (one, other) = (address("10.0.0.1"), address("10.0.0.17"));
        let barred = |address| gate.enter(address, &limits).err();
        open(&gate, one, &limits);
        open(&gate, one, &limits);
        assert_eq!(barred(one), Some(Barred::Address));
        assert_eq!(barred(address("::ffff:10.0.0.1")), Some(Barred::Address));
        open(&gate, other, &limits);
        gate.leave(one);
        drop(gate.enter(one, &limits).unwrap());
        open(&gate, one, &limits);
        assert_eq!(barred(one), Some(Barred::Address));
    }

    #[test]
    fn sessions_of_the_time_before_the_limit_count_as_well() {
        let (gate, none) = (Gate::new(), limits(""));
        let one = address("10.0.0.1");
        assert!(!open(&gate, one, &none));
        let early = gate.enter(one, &none).unwrap();
        let two = limits("limits.connections_per_ip = 2");
        gate.count(one);
        // The permit is older than the limit, and its session is not.
        assert!(early.used(&two));
        assert_eq!(gate.enter(one, &two).err(), Some(Barred::Address));
        gate.leave(one);
        let late = gate.enter(one, &two).unwrap();
        // The limit goes, and what is counted goes with its session.
        assert!(late.used(&none));
        gate.leave(one);
        gate.leave(one);
        assert!(is_empty(&gate));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let (gate, limits) = (Gate::new(), limits("limits.connections_per_ip = 1"));
        open(&gate, address("2001:db8::1"), &limits);
        assert!(gate.enter(address("2001:db8::ffff:1"), &limits).is_err());
        assert!(gate.enter(address("2001:db8:0:1::1"), &limits).is_ok());
    }

    fn is_empty(gate: &Gate) -> bool {
        let mut parts = gate.addresses.parts.iter();
        parts.all(|part| part.lock().unwrap().is_empty())
    }

    #[test]
    fn nothing_is_kept_of_clients_that_left() {
        let (gate, limits) = (Gate::new(), limits("limits.connections_per_ip = 1"));
        for number in 0..1000 {
            let address = IpAddr::from([10, 0, (number / 256) as u8, number as u8]);
            assert!(open(&gate, address, &limits));
            gate.leave(address);
        }
        assert!(is_empty(&gate));
    }

    #[test]
    fn a_refusal_for_the_rate_gives_the_address_its_place_back() {
        let limits = limits("limits.connections_per_ip = 2\nlimits.handshakes_per_second = 1");
        let (gate, one) = (Gate::new(), address("10.0.0.1"));
        open(&gate, one, &limits);
        for _ in 0..3 {
            assert_eq!(gate.enter(one, &limits).err(), Some(Barred::Rate));
        }
    }
}
