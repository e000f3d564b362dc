//! Which processors do what, so that sender and exporter do not share one.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A list of processors as on the command line: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl FromStr for CpuList {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<CpuList> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                let cpu: Option<usize> = text.parse().ok();
                cpu.filter(|cpu| *cpu < CpuSet::MAX_CPU)
                    .with_context(|| format!("{text:?} is not a processor's number"))
            };
            cpus.extend(number(first)?..=number(last)?);
        }
        ensure!(!cpus.is_empty(), "{text} names no processor");
        Ok(CpuList(cpus))
    }
}

impl CpuList {
    /// The one for the `index`th thread.
    pub fn one(&self, index: usize) -> CpuList {
        CpuList(vec![self.0[index % self.0.len()]])
    }

    /// Keeps the calling thread, and the threads and processes it starts, on
    /// these.
    pub fn pin(&self) -> Result<()> {
        let mut set = CpuSet::new();
        for cpu in &self.0 {
            set.set(*cpu);
        }
        let pinned = sched_setaffinity(None, &set);
        pinned.with_context(|| format!("pinning to processors {:?}", self.0))
    }
}

/// Does something pinned, if there is a list; its child processes stay so.
pub fn pinned<T>(cpus: Option<&CpuList>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(cpus) = cpus else {
        return work();
    };
    let before = sched_getaffinity(None)?;
    cpus.pin()?;
    let done = work();
    sched_setaffinity(None, &before)?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list = |text: &str| text.parse::<CpuList>().map(|list| list.0);
        assert_eq!(list("0").expect("good"), [0]);
        assert_eq!(list("4,0-2").expect("good"), [4, 0, 1, 2]);
        for text in ["", "a", "1-", "3-1", "0,,1", "99999"] {
            assert!(list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pinning_ends_with_the_work() {
        let before = sched_getaffinity(None).expect("a set");
        let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu));
        let list = CpuList(vec![first.expect("a processor")]);
        let inside = pinned(Some(&list), || Ok(sched_getaffinity(None)?));
        assert_eq!(inside.expect("pinned").count(), 1);
        assert_eq!(sched_getaffinity(None).expect("a set"), before);
    }
}
