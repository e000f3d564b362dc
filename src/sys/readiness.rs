//! Waiting on a tokio runtime until a descriptor has something to read.
//!
//! tokio has this as `AsyncFd`, whose constructor is unsafe because the
//! descriptor it hands to epoll could be closed, or exchanged for another,
//! behind its back. Owning the descriptor and never giving it out makes it safe.
#![allow(unsafe_code, reason = "registering a descriptor is unsafe in tokio")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor registered with the current tokio runtime, for reading.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Registers a descriptor. Fails for want of kernel memory, or if it is of
    /// a kind that cannot be waited for. Panics outside of a runtime.
    pub fn new(descriptor: OwnedFd) -> io::Result<Readiness> {
        // SAFETY: an `OwnedFd` is open until dropped. The `AsyncFd` that owns
        // it is private and lends it only immutably, so it cannot be exchanged.
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Readiness(registered?))
    }

    /// Waits until there is something to read.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }

    /// Waits until `read` gets something out of the descriptor, which must be
    /// in nonblocking mode: [`io::ErrorKind::WouldBlock`] means to wait on.
    pub async fn read<T>(
        &self,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let attempt = |descriptor: &OwnedFd| read(descriptor.as_fd());
        self.0.async_io(Interest::READABLE, attempt).await
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
