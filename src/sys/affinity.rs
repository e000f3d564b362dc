//! Which cores a thread may run on.
#![allow(unsafe_code, reason = "std has no affinity")]

use std::io;

/// The cores that the calling thread may use, ascending.
pub fn usable_cores() -> io::Result<Vec<usize>> {
    let mut set = empty();
    // SAFETY: the kernel writes no more than the size given, that of `set`. 0 is
    // the calling thread.
    let outcome = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    let cores = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: every index is below the size of a set.
    Ok(cores
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect())
}

/// Keeps the calling thread on one core, one of [`usable_cores`].
pub fn pin_to(core: usize) -> io::Result<()> {
    assert!(core < libc::CPU_SETSIZE as usize);
    let mut set = empty();
    // SAFETY: the index is below the size of a set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads `set`, which lives through the call.
    let outcome = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: all zeros are the set without a core.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        let cores = usable_cores().unwrap();
        for core in cores {
            let pinned = std::thread::spawn(move || {
                pin_to(core).unwrap();
                usable_cores().unwrap()
            });
            assert_eq!(pinned.join().unwrap(), [core]);
        }
    }
}
