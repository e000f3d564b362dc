//! A block of memory straight from the kernel: page-aligned, zero, and not
//! resident before it is written.
//!
//! Receive buffers leave room for the longest datagram in every slot while
//! nearly all datagrams fit into one page. The allocator's aligned zeroed
//! allocation would write, and so make resident, all of it.
#![allow(unsafe_code, reason = "mmap has no safe wrapper in std")]

use std::io;
use std::ptr::NonNull;

/// Memory that the kernel writes and we read.
#[derive(Debug)]
pub(super) struct Pages {
    /// Start of a private mapping of `len` bytes that nothing else knows.
    start: NonNull<u8>,
    /// As given to `mmap`, and so to be given to `munmap`.
    len: usize,
}

// SAFETY: `Pages` owns its mapping as a `Box` would, and a mapping belongs to
// the process, not to a thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps `len` bytes, which must not be zero. Fails for want of memory.
    pub(super) fn new(len: usize) -> io::Result<Pages> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice
        // touches no memory that is in use.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Pages { start, len })
    }

    /// The address `offset` bytes into the block, which must be long enough.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len);
        // SAFETY: the result stays inside the mapping by the line above.
        unsafe { self.start.add(offset) }
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Safety
    /// Nothing, the kernel included, may write these bytes while the slice
    /// lives.
    pub(super) unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(len <= self.len && offset <= self.len - len);
        // SAFETY: the range lies inside the mapping by the line above, whose
        // bytes are initialised (the kernel hands out zeros) and which lives as
        // long as `self`; that nobody writes them is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; slices of it borrow `self`
        // and so have ended.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_page_and_is_zero() {
        let pages = Pages::new(10_000).unwrap();
        assert_eq!(pages.at(0).addr().get() % 4096, 0);
        assert_eq!(
            pages.at(9_999).addr().get() - pages.at(0).addr().get(),
            9_999
        );
        // SAFETY: nobody writes to it.
        assert_eq!(unsafe { pages.bytes(0, 10_000) }, [0; 10_000]);
    }

    #[test]
    #[should_panic]
    fn refuses_a_range_beyond_its_end() {
        let pages = Pages::new(10).unwrap();
        // SAFETY: nobody writes to it.
        unsafe { pages.bytes(5, 6) };
    }
}
