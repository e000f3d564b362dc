//! Socket options that no library offers: what the kernel keeps of a socket's
//! receive buffer, and how to get a larger one.
#![allow(unsafe_code, reason = "getsockopt and setsockopt take raw memory")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The receive side of a socket, as the kernel has it at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveMemory {
    /// Bytes that waiting datagrams occupy, the kernel's own overhead included.
    pub used: u32,
    /// Bytes that they may occupy: `SO_RCVBUF`, which is twice what was asked
    /// for.
    pub granted: u32,
    /// Datagrams refused since the socket was made, nearly always because the
    /// buffer was full. It wraps around.
    pub drops: u32,
}

/// Reads the receive side of a socket. One quick system call that takes no lock
/// of the socket; nothing is paid per datagram. Fails before Linux 4.12.
pub fn receive_memory(socket: BorrowedFd<'_>) -> io::Result<ReceiveMemory> {
    const FIELDS: usize = libc::SK_MEMINFO_DROPS as usize + 1;
    let mut fields = [0u32; FIELDS];
    let mut len = size_of_val(&fields) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `fields`, and `len`
    // itself; both live through the call.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            fields.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ReceiveMemory {
        used: fields[libc::SK_MEMINFO_RMEM_ALLOC as usize],
        granted: fields[libc::SK_MEMINFO_RCVBUF as usize],
        drops: fields[libc::SK_MEMINFO_DROPS as usize],
    })
}

/// Asks for a receive buffer without the cap of `net.core.rmem_max`. Needs
/// `CAP_NET_ADMIN` on the machine itself; fails with
/// [`io::ErrorKind::PermissionDenied`] otherwise.
pub fn force_receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set(socket, libc::SO_RCVBUFFORCE, &bytes)
}

/// Sets an option of the socket level to a plain C value.
fn set<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes of `value` as it has, which lives
    // through the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::fd::AsFd;

    #[test]
    fn what_does_not_fit_is_counted_and_what_fits_is_seen() {
        const SENT: u32 = 1000;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let asked = socket2::SockRef::from(&socket);
        asked.set_recv_buffer_size(10_000).unwrap();
        let before = receive_memory(socket.as_fd()).unwrap();
        assert_eq!((before.used, before.drops), (0, 0));
        assert_eq!(before.granted, 20_000);
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        for _ in 0..SENT {
            sender.send(b"a:1|c").unwrap();
        }
        let full = receive_memory(socket.as_fd()).unwrap();
        assert!(full.used > 10_000, "{full:?}");
        socket.set_nonblocking(true).unwrap();
        let mut received = 0;
        while socket.recv(&mut [0; 8]).is_ok() {
            received += 1;
        }
        let empty = receive_memory(socket.as_fd()).unwrap();
        assert_eq!(received + empty.drops, SENT);
        assert_eq!(empty.used, 0);
    }
}
