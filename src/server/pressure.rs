//! Memory that runs out. Where a container or service manager has set a limit, it ends the process that
//! goes beyond, with all its streams. So before that newcomers are refused for a moment, and then those
//! who are still sending what they ask; whoever is being answered is not disturbed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::server::Shared;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Hundredths of the limit from which on newcomers are refused.
const TIGHT: u64 = 85;

/// Hundredths of the limit from which on nobody may go on sending.
const CRITICAL: u64 = 95;

/// By so many hundredths it must get better before it counts as better.
const RELIEF: u64 = 5;

/// A limit beyond this is none: the kernel has a large number for that.
const UNLIMITED: u64 = 1 << 50;

/// How much memory is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[default]
    Fine,
    Tight,
    Critical,
}

/// Whether memory is short; without a limit it never is.
#[derive(Debug, Default)]
pub struct Pressure(watch::Sender<Level>);

impl Pressure {
    /// `true` while newcomers are to be refused.
    pub fn is_tight(&self) -> bool {
        *self.0.borrow() >= Level::Tight
    }

    /// Returns when nobody may go on sending.
    pub async fn critical(&self) {
        let mut level = self.0.subscribe();
        // Its sender is ours, and so it does not fail.
        let _ = level.wait_for(|level| *level == Level::Critical).await;
    }

    /// What those are told whom it concerns.
    pub fn refusal() -> ErrorReply {
        let message = "the server is short of memory; try again in a moment";
        let error = ErrorReply::new(503, ErrorKind::Overloaded, "server_overloaded", message);
        ErrorReply {
            retry_after: Some(1),
            ..error
        }
    }

    fn note(&self, used: u64, limit: u64) {
        let before = *self.0.borrow();
        let level = level(used.saturating_mul(100) / limit.max(1), before);
        if level == before {
            return;
        }
        self.0.send_replace(level);
        let (used, limit) = (used >> 20, limit >> 20);
        match level {
            Level::Fine => tracing::info!("memory is no longer short: {used} of {limit} MiB"),
            Level::Tight | Level::Critical => tracing::warn!(
                "memory is short ({used} of {limit} MiB): new requests are refused for a moment"
            ),
        }
    }
}

fn level(percent: u64, before: Level) -> Level {
    let reached = |bound: u64, level| {
        let bound = if before >= level {
            bound - RELIEF
        } else {
            bound
        };
        percent >= bound
    };
    if reached(CRITICAL, Level::Critical) {
        Level::Critical
    } else if reached(TIGHT, Level::Tight) {
        Level::Tight
    } else {
        Level::Fine
    }
}

/// Looks after the memory for as long as the server runs; ends at once where there is no limit.
pub async fn watch(shared: Arc<Shared>) {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let Some(limit) = read("/proc/self/cgroup").and_then(|groups| limit(&groups, &read)) else {
        return;
    };
    tracing::debug!("memory is limited to {} MiB", limit >> 20);
    loop {
        tokio::time::sleep(PAUSE).await;
        // What the kernel keeps for the group besides (files that were read) it takes back by itself.
        if let Some(used) = read("/proc/self/status").and_then(|status| resident(&status)) {
            shared.pressure.note(used, limit);
        }
    }
}

/// The tightest limit of the control groups that the process is in, in bytes. Both layouts of the
/// kernel's: `memory.max` in the one hierarchy, `memory.limit_in_bytes` in one of its own (Linux'
/// admin-guide, cgroup-v2 and cgroup-v1/memory, read 2026-11-26).
fn limit(groups: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let mut tightest = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        // In a container the path may be the host's: the root is then the container's own.
        for group in Path::new(path).ancestors() {
            let group = group.to_string_lossy();
            let group = group.trim_end_matches('/');
            let limit = read(&format!("{root}{group}/{file}"));
            let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
            tightest = tightest
                .into_iter()
                .chain(limit.filter(|limit| *limit < UNLIMITED))
                .min();
        }
    }
    tightest
}

/// The process's resident memory in bytes, of its `/proc/self/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l16_newcomers_are_refused_first_and_relief_must_be_plain() {
        let mut now = Level::default();
        for (percent, expected) in [
            (84, Level::Fine),
            (85, Level::Tight),
            (81, Level::Tight),
            (79, Level::Fine),
            (96, Level::Critical),
            (91, Level::Critical),
            (89, Level::Tight),
            (0, Level::Fine),
        ] {
            now = level(percent, now);
            assert_eq!(now, expected, "{percent}");
        }
    }

    #[test]
    fn the_tightest_limit_of_all_groups_counts_in_both_layouts() {
        let files = |path: &str| {
            let text = match path {
                "/sys/fs/cgroup/a/b/memory.max" => "max\n",
                "/sys/fs/cgroup/a/memory.max" => "1000000\n",
                "/sys/fs/cgroup/memory.max" => "3000000\n",
                "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes" => "9223372036854771712\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "2000000\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        for (groups, expected) in [
            ("0::/a/b\n", Some(1_000_000)),
            ("0::/\n", Some(3_000_000)),
            ("5:cpu,cpuacct:/x\n4:memory:/docker/x\n", Some(2_000_000)),
            ("4:memory:/docker/elsewhere\n", Some(2_000_000)),
            ("7:pids:/a\n", None),
            ("nonsense\n::\n", Some(3_000_000)),
            ("", None),
        ] {
            assert_eq!(limit(groups, &files), expected, "{groups}");
        }
    }

    #[test]
    fn what_a_process_holds_is_read_from_its_status() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n"),
            Some(2 << 20)
        );
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
