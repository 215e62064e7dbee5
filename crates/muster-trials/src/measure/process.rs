//! What the system knows of a process.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The unit in which Linux tells CPU time to programs, on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// Memory and CPU time of a process so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Memory in use at present, in bytes.
    pub(crate) resident_bytes: u64,
    /// The most that was in use since the process began, in bytes.
    pub(crate) resident_peak_bytes: u64,
    /// Time on a CPU, over all threads.
    pub(crate) cpu: Duration,
}

impl Usage {
    /// Reads it from the system. Linux only.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("read {path}: it needs Linux, and a process that lives"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let kib = |key: &str| field_kib(&status, key).with_context(|| format!("no {key} in the status of {pid}"));
        Ok(Self {
            resident_bytes: kib("VmRSS:")? * 1024,
            resident_peak_bytes: kib("VmHWM:")? * 1024,
            cpu: cpu(&stat).with_context(|| format!("no CPU time in the stat of {pid}"))?,
        })
    }
}

fn field_kib(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

fn cpu(stat: &str) -> Option<Duration> {
    // The second field is the program's name, which may contain anything; the fields after it are counted from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

/// Raises the number of open files to what the system allows. Processes that are started later inherit it.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_awkward_name_is_read() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 1 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(field_kib("Name:\tx\nVmRSS:\t  1024 kB\n", "VmRSS:"), Some(1024));
        assert_eq!(field_kib("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_peak_bytes >= usage.resident_bytes && usage.resident_bytes > 0);
    }
}
