//! Enough file descriptors for every connection, whatever the system's limit.

use std::io;

/// How the run gets its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Generator threads that the run needs at least.
    pub(crate) threads: usize,
    /// Each thread has a table of its own, since one table is not allowed to hold all.
    pub(crate) split: bool,
}

/// Raises the limit for `needed` descriptors, or says on how many threads they have to be spread.
pub(crate) fn secure(needed: u64) -> io::Result<Descriptors> {
    let needed = needed + RESERVE;
    let (_, hard) = rlimit::Resource::NOFILE.get()?;
    // Raising the hard limit takes a privilege; without it this fails and the limit stays.
    let raised = needed > hard && rlimit::Resource::NOFILE.set(needed, needed).is_ok();
    let limit = if raised {
        needed
    } else {
        rlimit::increase_nofile_limit(needed)?
    };
    Ok(spread(needed, limit))
}

fn spread(needed: u64, limit: u64) -> Descriptors {
    let usable = limit.saturating_sub(RESERVE).max(1);
    Descriptors {
        threads: needed.saturating_sub(RESERVE).div_ceil(usable).max(1) as usize,
        split: needed > limit,
    }
}

/// For everything that is not a client's connection.
const RESERVE: u64 = 200;

/// Gives the calling thread a descriptor table of its own, as a process of its own would have: the limit counts per table.
pub(crate) fn own_table() -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_only_when_one_table_is_too_small() {
        let fits = Descriptors {
            threads: 1,
            split: false,
        };
        assert_eq!(spread(10_200, 20_000), fits);
        assert_eq!(spread(20_000, 20_000), fits);
        let split = Descriptors {
            threads: 3,
            split: true,
        };
        assert_eq!(spread(50_200, 20_000), split);
    }
}
