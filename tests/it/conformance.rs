//! Recorded behaviour of statsd_exporter, case by case.
//!
//! Each file below `tests/data/conformance` is one case; its format is
//! [`pitot_loadgen::case`]. All expectations outside `differs/` were recorded
//! from statsd_exporter 0.30.0; those inside say why Pitot's way is right.
//!
//! `PITOT_CASES` selects cases by a regular expression on their path, for
//! example `PITOT_CASES='^(line|mapping)/'`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use pitot::sys::seccomp;
use pitot_loadgen::case::Case;
use regex::Regex;

use crate::harness;
use crate::player;

/// Cases played at a time. They wait more than they work, so more than cores;
/// but some have explicit times, which a crowded machine would upset.
const JOBS: usize = 6;

/// Differences shown of one case.
const SHOWN: usize = 8;

#[test]
fn cases_pass_with_io_uring() {
    if let Err(error) = io_uring::IoUring::new(2) {
        eprintln!("skipped: this kernel forbids io_uring: {error}");
    } else if harness::reference().is_none() {
        play_all(&["--receive.backend=io_uring"]);
    }
}

#[test]
fn cases_pass_with_recvmmsg() {
    if harness::reference().is_none() {
        play_all(&["--receive.backend=recvmmsg"]);
    }
}

/// Containers refuse io_uring in either of these ways; then all goes on by
/// `recvmmsg`, without a flag.
#[test]
fn cases_pass_where_io_uring_is_refused() {
    if harness::reference().is_some() {
        return;
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        let refused = std::thread::spawn(move || {
            seccomp::deny_io_uring(errno).expect("a filter");
            let exporter = harness::start(&[], None);
            harness::page_when(&exporter, |page| {
                let info = page.family("pitot_receive_backend_info").expect("a family");
                let labels = &info.samples[0].key.labels;
                labels.contains(&("backend".to_owned(), "recvmmsg".to_owned()))
            });
            play_all(&[]);
        });
        if let Err(panic) = refused.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The harness must agree with the exporter that the cases were recorded from.
#[test]
fn cases_pass_with_the_reference() {
    match harness::reference() {
        Some(_) => play_all(&[]),
        None => eprintln!("skipped: PITOT_BIN names no statsd_exporter"),
    }
}

/// Plays every selected case with further flags, and panics with all that
/// failed.
fn play_all(flags: &[&str]) {
    // One after the other, for the sake of the explicit times.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);

    let root = harness::data().join("conformance");
    let paths = selected(&root).expect("the cases are found");
    assert!(!paths.is_empty(), "no case is selected");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = play(&root.join(path), flags);
                    if let Some(report) = report(path, found) {
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push(report);
                    }
                }
            });
        }
    });
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    let (failed, all) = (failures.len(), paths.len());
    assert!(
        failed == 0,
        "{failed} of {all} cases failed:\n{}",
        failures.concat()
    );
    eprintln!("{all} cases passed with {flags:?}");
}

/// The paths of all cases below `root`, relative to it, in order.
fn selected(root: &Path) -> Result<Vec<PathBuf>> {
    let pattern = std::env::var("PITOT_CASES").unwrap_or_default();
    let pattern = Regex::new(&pattern).context("PITOT_CASES")?;
    let mut paths = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                pending.push(entry?.path());
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let name = path.strip_prefix(root)?.to_owned();
            if pattern.is_match(&name.to_string_lossy()) {
                paths.push(name);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// What a case is about, and the differences it found.
fn play(path: &Path, flags: &[&str]) -> Result<(Case, Vec<String>)> {
    let text = std::fs::read_to_string(path)?;
    player::play(&text, flags)
}

fn report(path: &Path, found: Result<(Case, Vec<String>)>) -> Option<String> {
    let (about, differences) = match found {
        Ok((_, differences)) if differences.is_empty() => return None,
        Ok((case, differences)) => (case.about, differences),
        Err(error) => (String::new(), vec![format!("{error:#}")]),
    };
    let mut text = format!("{}: {about}\n", path.display());
    for difference in differences.iter().take(SHOWN) {
        let _ = writeln!(text, "    {difference}");
    }
    if differences.len() > SHOWN {
        let _ = writeln!(text, "    and {} more", differences.len() - SHOWN);
    }
    Some(text)
}
