//! For tests, here and of the whole program: threads, and the processes that
//! they start, to which the kernel refuses what it refuses to many containers.
#![allow(unsafe_code, reason = "seccomp has no safe wrapper in std")]

use std::io;

/// From now on, all calls of io_uring fail with `errno` on the calling thread
/// and on the threads and processes that it starts.
pub fn deny_io_uring(errno: i32) -> io::Result<()> {
    let calls = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ];
    calls
        .iter()
        .try_for_each(|call| deny(&[(NUMBER, *call as u32)], errno))
}

/// From now on, the calling thread and those that it starts have no IPv6.
#[cfg(test)]
pub(crate) fn deny_ipv6() -> io::Result<()> {
    let conditions = [
        (NUMBER, libc::SYS_socket as u32),
        (FIRST_ARGUMENT, libc::AF_INET6 as u32),
    ];
    deny(&conditions, libc::EAFNOSUPPORT)
}

/// Where a filter finds these in `struct seccomp_data`; of the argument the
/// lower half, on little-endian machines.
const NUMBER: u32 = 0;
#[cfg(test)]
const FIRST_ARGUMENT: u32 = 16;

/// Denies the system calls of which each condition holds: the word at an offset
/// has a value.
fn deny(conditions: &[(u32, u32)], errno: i32) -> io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut filter = Vec::new();
    for (index, &(offset, value)) in conditions.iter().enumerate() {
        filter.push(statement(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            offset,
        ));
        let mut compare = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value);
        // Over the other conditions and the refusal, to the permission.
        compare.jf = (2 * (conditions.len() - index - 1) + 1) as u8;
        filter.push(compare);
    }
    for answer in [
        libc::SECCOMP_RET_ERRNO | errno as u32,
        libc::SECCOMP_RET_ALLOW,
    ] {
        filter.push(statement(libc::BPF_RET | libc::BPF_K, answer));
    }
    install(&mut filter)
}

fn install(filter: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes no pointers.
    let privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the kernel copies the program, which lives through the call.
    let installed = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match (privileges, installed) {
        (0, 0) => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
