//! How much memory the process may use.

use std::fs;
use std::path::Path;

/// A quarter of the memory that the process may use: of the machine's, of its control group's and its
/// parents', or of its address space, whichever is least. 256 MiB if none of them tells.
pub(super) fn quarter() -> usize {
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&group)
        .filter_map(|file| fs::read_to_string(file).ok())
        .filter_map(|limit| limit.trim().parse().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|info| machine_bytes(&info));
    let space = rlimit::Resource::AS.get_soft().ok();
    let least = limits.chain(machine).chain(space).min();
    let least = least.filter(|least| *least != u64::MAX).unwrap_or(1 << 30);
    usize::try_from(least / 4).unwrap_or(usize::MAX)
}

/// The files that may hold the limit of a control group, of version 2 and 1, for `/proc/self/cgroup`. In
/// a container the group's own path often does not exist, and its limit is at the root.
fn group_files(group: &str) -> impl Iterator<Item = std::path::PathBuf> {
    group.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let found = match controllers {
            "" => Some(("/sys/fs/cgroup", "memory.max")),
            names if names.split(',').any(|name| name == "memory") => {
                Some(("/sys/fs/cgroup/memory", "memory.limit_in_bytes"))
            }
            _ => None,
        };
        let path = Path::new(path.trim_start_matches('/'));
        let folders: Vec<_> = path.ancestors().collect();
        found.into_iter().flat_map(move |(root, file)| {
            let folders = folders.clone().into_iter();
            folders
                .map(|folder| Path::new(root).join(folder).join(file))
                .collect::<Vec<_>>()
        })
    })
}

/// `MemTotal` of `/proc/meminfo`.
fn machine_bytes(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_group_and_its_parents_count() {
        let files: Vec<_> = group_files("0::/pods/one\n").collect();
        let expected =
            ["pods/one/", "pods/", ""].map(|it| format!("/sys/fs/cgroup/{it}memory.max"));
        assert_eq!(files, expected.map(std::path::PathBuf::from));
        let files: Vec<_> = group_files("5:cpu,cpuacct:/a\n3:memory:/\n").collect();
        assert_eq!(
            files,
            [Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
        );
    }

    #[test]
    fn the_machine_tells_in_kibibytes() {
        let info = "MemTotal:       24576000 kB\nMemFree:  1 kB\n";
        assert_eq!(machine_bytes(info), Some(24_576_000 << 10));
        assert_eq!(machine_bytes("MemTotal: much\n"), None);
    }

    #[test]
    fn this_machine_tells_something() {
        assert!(quarter() >= 1 << 20);
    }
}
