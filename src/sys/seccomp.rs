//! For tests: a thread to which the kernel refuses io_uring, as it refuses it
//! to most containers.
#![allow(unsafe_code, reason = "seccomp has no safe wrapper in std")]

use std::io;

/// From now on, setting up a ring fails with `errno` on the calling thread and
/// on those that it starts.
pub(crate) fn deny_io_uring(errno: u16) -> io::Result<()> {
    const NUMBER_OFFSET: u32 = 0;
    let number = libc::SYS_io_uring_setup as u32;
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut unless_setup = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number);
    unless_setup.jf = 1;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER_OFFSET),
        unless_setup,
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | u32::from(errno),
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
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
