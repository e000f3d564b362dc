//! What a running process has used of the machine.
//!
//! The total of its CPU time comes from its CPU clock, which counts nanoseconds
//! and includes threads that have ended. The split into user and system time is
//! sampled by the kernel at its ticks, so it needs long runs, or many, to mean
//! something.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: i32,
    clock: ClockId,
}

/// The CPU time of a process since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    total: Duration,
    user_ticks: u64,
    system_ticks: u64,
}

/// CPU time between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuSpent {
    /// In user and system mode together, exact.
    pub total: Duration,
    /// The kernel's ticks that met it in user mode.
    pub user_ticks: u64,
    /// The kernel's ticks that met it in system mode.
    pub system_ticks: u64,
}

impl Process {
    /// The process with that number; an error if there is none.
    pub fn of(pid: i32) -> Result<Process> {
        let clock = clock_getcpuclockid(Pid::from_raw(pid));
        let clock = clock.with_context(|| format!("process {pid}"))?;
        let process = Process { pid, clock };
        // Some libraries make a clock of any number.
        process.cpu()?;
        Ok(process)
    }

    /// This program.
    pub fn own() -> Result<Process> {
        Process::of(std::process::id().try_into()?)
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The CPU time of all its threads.
    pub fn cpu(&self) -> Result<CpuTime> {
        let total = self.clock.now();
        let total = total.with_context(|| format!("process {} has ended", self.pid))?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let stat = stat.with_context(|| format!("process {}", self.pid))?;
        let (user_ticks, system_ticks) = ticks(&stat).context("/proc/PID/stat is strange")?;
        Ok(CpuTime {
            total: total.into(),
            user_ticks,
            system_ticks,
        })
    }

    /// Memory that is resident now, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("no VmRSS in /proc/PID/status")?.parse()?;
        Ok(kib * 1024)
    }
}

impl CpuTime {
    /// What was spent since `earlier`.
    pub fn since(&self, earlier: &CpuTime) -> CpuSpent {
        CpuSpent {
            total: self.total.saturating_sub(earlier.total),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// The total so far.
    pub fn total(&self) -> Duration {
        self.total
    }
}

impl CpuSpent {
    /// The part spent in user mode, from 0 to 1; `None` if no tick met it.
    pub fn user_part(&self) -> Option<f64> {
        let all = self.user_ticks + self.system_ticks;
        (all > 0).then(|| self.user_ticks as f64 / all as f64)
    }
}

/// User and system ticks of a line of `/proc/PID/stat`. The name of the program,
/// in parentheses, may hold blanks and parentheses itself.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 111 222 13 14";
        assert_eq!(ticks(stat), Some((111, 222)));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn own_time_passes_with_work() {
        let own = Process::own().expect("this process");
        let begin = own.cpu().expect("its time");
        let mut spent = CpuSpent::default();
        while spent.total < Duration::from_millis(5) {
            spent = own.cpu().expect("its time").since(&begin);
        }
        assert!(own.resident_bytes().expect("its memory") > 1 << 20);
        assert!(Process::of(i32::MAX).is_err());
    }
}
