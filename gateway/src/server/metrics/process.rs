//! Metrics of the process, under the names that every library of Prometheus has for them, as Linux tells them.

use std::fs;
use std::sync::LazyLock;

use prometheus::proto::{Counter, Metric, MetricFamily, MetricType};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::count::families::{NANOSECONDS, gauge, metric_family};

/// Those that can be read.
pub(super) fn families() -> Vec<MetricFamily> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = rlimit::Resource::NOFILE.get().ok();
    let gauges = [
        (
            "process_open_fds",
            "Number of open file descriptors.",
            open_descriptors(),
        ),
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            limits.map(|(soft, _)| soft),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            field(&status, "VmSize").map(|kilobytes| kilobytes * 1024),
        ),
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            field(&status, "VmRSS").map(|kilobytes| kilobytes * 1024),
        ),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            *START,
        ),
        (
            "process_threads",
            "Number of OS threads in the process.",
            field(&status, "Threads"),
        ),
    ];
    let read = gauges.into_iter();
    read.filter_map(|(name, help, value)| Some(gauge(name, help, value?)))
        .chain([cpu_seconds()])
        .collect()
}

fn cpu_seconds() -> MetricFamily {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let mut counter = Counter::default();
    counter.set_value(used.tv_sec as f64 + used.tv_nsec as f64 / NANOSECONDS);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric_family(
        "process_cpu_seconds_total",
        "Time that the process has spent on processors.",
        MetricType::COUNTER,
        vec![metric],
    )
}

/// Linux before 6.2 has to count them one by one.
fn open_descriptors() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.len() {
        0 => Some(fs::read_dir(DIRECTORY).ok()?.count() as u64),
        count => Some(count),
    }
}

/// A number in a line of `/proc/self/status`, as in `Threads: 3`.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// When the process began, in seconds since 1970. Read once, since the start of the system moves when its clock is set.
static START: LazyLock<Option<u64>> = LazyLock::new(|| {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let ticks = clock_ticks_per_second();
    Some(boot_time(&system)? + started(&stat)?.checked_div(ticks)?)
});

/// Ticks from the start of the system to that of the process: field 22, counted behind the name, which may have blanks
/// and brackets.
fn started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// In seconds since 1970.
fn boot_time(stat: &str) -> Option<u64> {
    let time = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    time.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let status = "Name:\tThreads: 9\nVmSize:\t  123456 kB\nVmRSS:\t    5120 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmSize"), Some(123_456));
        assert_eq!(field(status, "VmRSS"), Some(5120));
        assert_eq!(field(status, "Threads"), Some(3));
        assert_eq!(field(status, "Vm"), None);
        assert_eq!(field("Threads:\tmany\n", "Threads"), None);
        let stat = "77 (a ) name) S 1 77 77 0 -1 4194560 100 0 0 0 5 6 0 0 20 0 3 0 98765 126418944 1280 18446744073709551615";
        assert_eq!(started(stat), Some(98_765));
        assert_eq!(started("77 (name) S 1"), None);
        let system = "cpu  1 2 3\nctxt 5\nbtime 1700000000\nprocesses 9\n";
        assert_eq!(boot_time(system), Some(1_700_000_000));
        assert_eq!(boot_time("cpu  1 2 3\n"), None);
    }

    #[test]
    fn all_are_there_and_likely() {
        let families = families();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            let metric = &family.expect(name).get_metric()[0];
            metric.get_gauge().get_value()
        };
        let open = value("process_open_fds");
        assert!((3.0..1e6).contains(&open), "{open}");
        let (soft, _) = rlimit::Resource::NOFILE.get().unwrap();
        assert_eq!(value("process_max_fds"), soft as f64);
        let resident = value("process_resident_memory_bytes");
        assert!((1e6..1e11).contains(&resident), "{resident}");
        assert!(value("process_virtual_memory_bytes") > resident);
        assert!(value("process_threads") >= 1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ago = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-5.0..86_400.0).contains(&ago), "{ago}");
        assert_eq!(families.len(), 7);
    }
}
