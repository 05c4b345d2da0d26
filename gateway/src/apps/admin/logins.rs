//! Passwords that are tried: how many, and where they are looked at.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::config::PasswordHash;

/// Passwords that one address may try within [`WINDOW`].
const MAX_ATTEMPTS: u32 = 10;

const WINDOW: Duration = Duration::from_secs(60);

/// Most addresses that are remembered; who came first is forgotten first.
const MAX_ADDRESSES: usize = 1024;

/// Passwords that wait for their turn. Each takes about a tenth of a second.
const MAX_WAITING: usize = 8;

/// What came of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Right,
    Wrong,
    /// The address tried too many.
    TooMany,
    /// Too many wait.
    Busy,
}

/// A password that waits for its turn.
struct Waiting {
    hash: PasswordHash,
    password: Vec<u8>,
    verdict: oneshot::Sender<bool>,
}

/// Passwords are looked at one after another, on a thread of their own: a shard has better things to do.
pub(super) struct Logins {
    waiting: mpsc::Sender<Waiting>,
    attempts: Arc<Mutex<Attempts>>,
}

impl Logins {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn start() -> std::io::Result<Self> {
        let (waiting, mut next) = mpsc::channel::<Waiting>(MAX_WAITING);
        let thread = std::thread::Builder::new().name("admin-login".to_owned());
        thread.spawn(move || {
            while let Some(it) = next.blocking_recv() {
                // Whoever went away needs no answer, and costs nothing.
                if !it.verdict.is_closed() {
                    let _gone = it.verdict.send(it.hash.verify(&it.password));
                }
            }
        })?;
        Ok(Self {
            waiting,
            attempts: Arc::default(),
        })
    }

    /// Has a password looked at.
    pub(super) fn attempt(
        &self,
        address: IpAddr,
        hash: &PasswordHash,
        password: &str,
    ) -> impl Future<Output = Attempt> + use<> {
        let attempts = self.attempts.lock();
        let mut attempts = attempts.unwrap_or_else(PoisonError::into_inner);
        let may = attempts.take(address, Instant::now());
        drop(attempts);
        let (verdict, decided) = oneshot::channel();
        let waiting = Waiting {
            hash: hash.clone(),
            password: password.as_bytes().to_vec(),
            verdict,
        };
        let begun = match may {
            false => Err(Attempt::TooMany),
            true => self.waiting.try_send(waiting).map_err(|_| Attempt::Busy),
        };
        async move {
            match begun {
                Ok(()) => match decided.await {
                    Ok(true) => Attempt::Right,
                    Ok(false) => Attempt::Wrong,
                    Err(_) => Attempt::Busy,
                },
                Err(attempt) => attempt,
            }
        }
    }
}

/// How many passwords addresses tried lately.
#[derive(Debug, Default)]
struct Attempts(HashMap<IpAddr, (Instant, u32)>);

impl Attempts {
    /// Whether an address may try one more.
    fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let is_over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if self.0.len() >= MAX_ADDRESSES && !self.0.contains_key(&address) {
            self.0.retain(|_, (since, _)| !is_over(*since));
            let first = self.0.iter().min_by_key(|(_, (since, _))| *since);
            if self.0.len() >= MAX_ADDRESSES
                && let Some((first, _)) = first
            {
                let first = *first;
                self.0.remove(&first);
            }
        }
        let (since, count) = self.0.entry(address).or_insert((now, 0));
        if is_over(*since) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_ATTEMPTS
    }
}

/// A client has as many addresses of IPv6 as it likes, all of one network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn an_address_may_try_so_often_in_a_minute() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        for _ in 0..3 {
            for _ in 0..MAX_ATTEMPTS {
                assert!(attempts.take(address(1), now));
                now += Duration::from_millis(10);
            }
            assert!(!attempts.take(address(1), now));
            assert!(!attempts.take(address(1), now + WINDOW / 2));
            now += WINDOW;
        }
        assert!(attempts.take(address(2), now));
    }

    #[test]
    fn addresses_of_one_network_are_one_and_few_are_remembered() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for last in 0..MAX_ATTEMPTS + 1 {
            let address = format!("2001:db8::{last:x}").parse().unwrap();
            assert_eq!(attempts.take(address, now), last < MAX_ATTEMPTS);
        }
        for number in 0..5000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            assert!(attempts.take(address, now + Duration::from_nanos(number.into())));
        }
        assert!(attempts.0.len() <= MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn few_passwords_wait_and_the_others_are_told_so() {
        let config = Config::from_toml(
            "admin.user = \"ann\"\nadmin.password = \
             \"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"",
        );
        let hash = config.unwrap().admin.unwrap().password;
        let logins = Logins::start().unwrap();
        let many = (0..50).map(|last| logins.attempt(address(last), &hash, "wrong"));
        let all: Vec<_> = many.collect();
        let all = futures_util::future::join_all(all).await;
        let wrong = all.iter().filter(|it| **it == Attempt::Wrong).count();
        let busy = all.iter().filter(|it| **it == Attempt::Busy).count();
        assert_eq!(wrong + busy, 50);
        // The first may have been taken at once.
        assert!((MAX_WAITING..50).contains(&wrong), "{wrong}");
        let mut last = Attempt::Wrong;
        for _ in 0..=MAX_ATTEMPTS {
            last = logins.attempt(address(0), &hash, "wrong").await;
        }
        assert_eq!(last, Attempt::TooMany);
    }
}
