//! What a server's process costs, read from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// One reading of a set of processes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads so far, by the scheduler's nanoseconds.
    scheduled: Duration,
    /// The same by the process's accounting, in ticks of 10 ms; it also holds threads that have ended.
    accounted: Duration,
    /// Resident bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// Reads all `pids`; their figures are added up.
    pub(crate) fn read(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for &pid in pids {
            sum.scheduled += scheduled(pid)?;
            sum.accounted += accounted(pid)?;
            sum.resident += resident(pid)?;
        }
        Ok(sum)
    }

    /// User and system time since an `earlier` reading of the same processes.
    pub(crate) fn cpu_since(&self, earlier: &Self) -> Duration {
        let precise = self.scheduled.saturating_sub(earlier.scheduled);
        let coarse = self.accounted.saturating_sub(earlier.accounted);
        // A thread that ended takes its nanoseconds with it; only then the coarse figure is the better one.
        if coarse > precise + ENDED_THREADS {
            coarse
        } else {
            precise
        }
    }
}

/// More than two ticks per reading cannot be rounding.
const ENDED_THREADS: Duration = Duration::from_millis(40);

/// Resident bytes of all `pids` from the page tables themselves: exact where the running counters lag, but slow.
pub(crate) fn resident_exactly(pids: &[u32]) -> Result<u64> {
    pids.iter()
        .map(|&pid| kilobytes(pid, "smaps_rollup", "Rss:"))
        .sum()
}

/// This process, for the generator's own cost.
pub(crate) fn own_pid() -> u32 {
    std::process::id()
}

/// Bytes that the kernel holds in slab caches, for all processes together.
pub(crate) fn kernel_slab() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    field(&text, "Slab:").context("no Slab in /proc/meminfo")
}

fn scheduled(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("no process {pid} to read the cost of"))?;
    for task in tasks {
        // A thread may end between the two calls.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let ran = text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        nanoseconds += ran.unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn accounted(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("no process {pid} to read the cost of"))?;
    let ticks = ticks(&text).with_context(|| format!("unreadable /proc/{pid}/stat"))?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Fields 14 and 15; the name in field 2 may hold spaces and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident(pid: u32) -> Result<u64> {
    kilobytes(pid, "status", "VmRSS:")
}

fn kilobytes(pid: u32, file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))
        .with_context(|| format!("reading /proc/{pid}/{file}"))?;
    field(&text, name).with_context(|| format!("no {name} in /proc/{pid}/{file}"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 31 12 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(43));
    }

    #[test]
    fn own_work_is_seen() {
        let before = Usage::read(&[own_pid()]).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {}
        let after = Usage::read(&[own_pid()]).unwrap();
        assert!(after.cpu_since(&before) > Duration::from_millis(5));
        assert!(after.resident > 100_000);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Usage::read(&[u32::MAX - 1]).is_err());
    }
}
