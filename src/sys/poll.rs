//! Blocking until one of a few descriptors has something to read.
#![allow(unsafe_code, reason = "poll has no safe wrapper in std")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Waits until a descriptor is readable (or broken, which reading it will
/// tell), at most for `timeout`. Says which are; none when the time is over. A
/// signal handler cuts it short with [`io::ErrorKind::Interrupted`].
pub fn readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    timeout: Duration,
) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|descriptor| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the pointer and the length are those of `polled`, which outlives
    // the call, as does `timeout`; the kernel writes nothing but `revents`. No
    // signal mask is given.
    let ready = unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            N as libc::nfds_t,
            &raw const timeout,
            std::ptr::null(),
        )
    };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(polled.map(|descriptor| descriptor.revents != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn says_which_descriptor_is_readable() {
        let (a, a_peer) = UnixDatagram::pair().unwrap();
        let (b, b_peer) = UnixDatagram::pair().unwrap();
        let both = || readable([a.as_fd(), b.as_fd()], Duration::ZERO).unwrap();
        assert_eq!(both(), [false, false]);
        b_peer.send(b"x").unwrap();
        assert_eq!(both(), [false, true]);
        a_peer.send(b"").unwrap();
        assert_eq!(both(), [true, true]);
    }
}
