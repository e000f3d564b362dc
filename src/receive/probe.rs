//! Which way of receiving this machine allows.
//!
//! The kernel cannot be asked: it may be too old, built without io_uring, or
//! have it switched off; and the seccomp profile of a container refuses it with
//! whatever error its author chose. So the probe does the real thing once, a
//! multishot receive from a socket pair. Any failure means `recvmmsg`, which
//! every kernel has.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::sys::Datagram;
use crate::sys::event::Event;
use crate::sys::uring::{self, MultishotRecv};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// io_uring where it works, else `recvmmsg`.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// `recvmmsg`, without a look at io_uring.
    Recvmmsg,
}

/// A way to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Datagrams by multishot receives, connections by tokio-uring.
    IoUring,
    /// Datagrams by `recvmmsg`, connections by tokio's epoll.
    Recvmmsg,
}

impl Backend {
    /// Its name in logs, flags and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::IoUring => "io_uring",
            Backend::Recvmmsg => "recvmmsg",
        }
    }
}

/// The backend to use, and why: for a log line and a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What to receive with.
    pub backend: Backend,
    /// A sentence without its full stop.
    pub reason: String,
}

/// The operator insisted on io_uring and cannot have it. Displays as a sentence
/// that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("io_uring was asked for but does not work here: {0}")]
pub struct Unavailable(Obstacle);

/// Chooses how to receive. `Auto` and `Recvmmsg` never fail.
pub fn probe(choice: BackendChoice) -> Result<Chosen, Unavailable> {
    let chosen = |backend, reason: String| Ok(Chosen { backend, reason });
    if choice == BackendChoice::Recvmmsg {
        return chosen(Backend::Recvmmsg, "asked for".to_owned());
    }
    match (receive_once(), choice) {
        (Ok(()), _) => chosen(Backend::IoUring, "a test receive worked".to_owned()),
        (Err(error), BackendChoice::IoUring) => Err(Unavailable(Obstacle(error))),
        (Err(error), _) => chosen(Backend::Recvmmsg, Obstacle(error).to_string()),
    }
}

/// Receives one datagram as `multishot` does.
fn receive_once() -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (sender, receiver) = UnixDatagram::pair()?;
    sender.send(b"probe")?;
    let nothing = Event::new()?;
    let watched = [nothing.as_fd(), nothing.as_fd()];
    let mut receive = MultishotRecv::new(receiver.as_fd(), watched, 1)?;
    let mut outcome = Err(io::ErrorKind::TimedOut.into());
    if receive.wait(Duration::ZERO, PATIENCE)? {
        receive.visit(|event| {
            outcome = match event {
                uring::Event::Datagram(Datagram::Whole(b"probe")) => Ok(()),
                uring::Event::Datagram(_) => Err(io::ErrorKind::InvalidData.into()),
                uring::Event::Failed(error) => Err(error),
            }
        });
    }
    outcome
}

/// Why io_uring does not work, with the remedy.
#[derive(Debug)]
struct Obstacle(io::Error);

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = &self.0;
        match (error.raw_os_error(), sysctl_io_uring_disabled()) {
            (Some(libc::EPERM), Some(level @ 1..)) => write!(
                f,
                "{error}: the sysctl kernel.io_uring_disabled is {level}; set it to 0 on the node"
            ),
            (Some(libc::EPERM | libc::EACCES), _) => write!(
                f,
                "{error}: most likely a seccomp profile forbids it; \
                 allow io_uring_setup, io_uring_enter and io_uring_register"
            ),
            (Some(libc::ENOSYS), _) => write!(
                f,
                "{error}: the kernel was built without io_uring or a seccomp profile hides it; \
                 allow io_uring_setup, io_uring_enter and io_uring_register"
            ),
            (Some(libc::EINVAL | libc::EOPNOTSUPP), _) => {
                write!(f, "{error}: Linux 6.1 or newer is needed")
            }
            (Some(libc::ENOMEM), _) => write!(
                f,
                "{error}: raise the limit of locked memory (ulimit -l) or of the container's memory"
            ),
            (Some(libc::EMFILE | libc::ENFILE), _) => {
                write!(f, "{error}: raise the limit of open files (ulimit -n)")
            }
            _ => write!(f, "{error}"),
        }
    }
}

/// 0: allowed, 1: to the privileged and one group, 2: to nobody. Absent before
/// Linux 6.6.
fn sysctl_io_uring_disabled() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::seccomp;

    #[test]
    fn recvmmsg_needs_no_probe() {
        let chosen = probe(BackendChoice::Recvmmsg).unwrap();
        assert_eq!(chosen.backend, Backend::Recvmmsg);
    }

    #[test]
    fn auto_and_io_uring_agree() {
        let auto = probe(BackendChoice::Auto).unwrap();
        let forced = probe(BackendChoice::IoUring);
        assert_eq!(auto.backend == Backend::IoUring, forced.is_ok());
    }

    /// What a thread sees to which setting up a ring fails with `errno`.
    fn check(errno: i32, remedy: &str) {
        let probes = std::thread::spawn(move || {
            seccomp::deny_io_uring(errno).unwrap();
            (probe(BackendChoice::Auto), probe(BackendChoice::IoUring))
        });
        let (auto, forced) = probes.join().unwrap();
        let auto = auto.unwrap();
        assert_eq!(auto.backend, Backend::Recvmmsg);
        assert!(auto.reason.contains(remedy), "{}", auto.reason);
        let forced = forced.unwrap_err().to_string();
        assert!(forced.contains(remedy), "{forced}");
    }

    #[test]
    fn a_refusal_falls_back_and_names_the_remedy() {
        let forbidden = match sysctl_io_uring_disabled() {
            Some(1..) => "kernel.io_uring_disabled",
            _ => "seccomp",
        };
        check(libc::EPERM, forbidden);
        check(libc::EACCES, "seccomp");
        check(libc::ENOSYS, "seccomp");
        check(libc::EINVAL, "6.1");
        check(libc::ENOMEM, "ulimit -l");
        check(libc::EMFILE, "ulimit -n");
        check(libc::EIO, "error 5");
    }
}
