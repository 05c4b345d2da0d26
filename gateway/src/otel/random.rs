//! Random numbers for ids and for sampling: fast, each thread its own, and no secrets.

use std::cell::Cell;

use crate::net::ids::random_bytes;

thread_local! {
    static STATE: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
}

/// xoshiro256++ of Blackman and Vigna, begun with numbers of the system.
fn next() -> u64 {
    let mut state = STATE.get();
    while state == [0; 4] {
        state = std::array::from_fn(|_| u64::from_ne_bytes(random_bytes()));
    }
    let [a, b, c, d] = state;
    let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
    let (c, d) = (c ^ a, d ^ b);
    STATE.set([a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)]);
    result
}

/// An id of eight or sixteen bytes, not all zero.
pub(super) fn id<const N: usize>() -> [u8; N] {
    let mut id = [0; N];
    while id == [0; N] {
        for part in id.chunks_mut(8) {
            part.copy_from_slice(&next().to_ne_bytes()[..part.len()]);
        }
    }
    id
}

/// Whether the next number is below a share of all.
pub(super) fn is_below(share: f64) -> bool {
    share >= 1.0 || (share > 0.0 && unit() < share)
}

/// A number between two others.
pub(super) fn between(least: f64, most: f64) -> f64 {
    least + unit() * (most - least)
}

/// A number from 0 on and below 1.
fn unit() -> f64 {
    (next() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_within_a_thread_and_between_threads() {
        let draw = || (0..10_000).map(|_| id::<8>()).collect::<Vec<_>>();
        let elsewhere = std::thread::spawn(draw);
        let mut all = draw();
        all.extend(elsewhere.join().unwrap());
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_ne!(id::<16>()[..8], id::<16>()[8..]);
    }

    #[test]
    fn a_share_of_all_is_sampled() {
        let count = |share| (0..100_000).filter(|_| is_below(share)).count();
        assert_eq!((count(0.0), count(1.0)), (0, 100_000));
        // Six times the deviation that is to be expected.
        let tenth = count(0.1);
        assert!((9_430..=10_570).contains(&tenth), "{tenth}");
    }
}
