//! A provided-buffer ring: memory lent to the kernel, which fills one buffer
//! per datagram and says which.
//!
//! ```text
//!        kernel takes here                    we put back here
//!              ▼                                    ▼
//!   ring: … [id 7][id 2][id 5] …  … [id 0][id 3]  (not yet published) | tail
//! ```
//!
//! A buffer is either in the ring (the kernel's), or reported by a completion
//! and not yet given back (ours). Giving back writes the entry at once but
//! moves the tail, which is what the kernel looks at, only in [`publish`]: one
//! store for a whole batch.
//!
//! [`publish`]: BufRing::publish
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::PAYLOAD_BYTES_MAX;
use super::pages::Pages;

/// The header that a multishot `recvmsg` writes before each payload
/// (`struct io_uring_recvmsg_out`). It has no room for addresses or control
/// data, since we ask for none.
const HEADER_BYTES: usize = 16;

/// What a buffer holds at most.
const BUFFER_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;

/// Bytes from one buffer to the next: whole cache lines.
const STRIDE_BYTES: usize = BUFFER_BYTES.next_multiple_of(64);

/// Buffers, and the ring in which they are lent.
#[derive(Debug)]
pub(super) struct BufRing {
    /// `count` entries of `io_uring_buf`. The field of the first entry that
    /// the kernel calls `resv` is the ring's tail. Page-aligned, as the kernel
    /// demands; only it reads this memory, only we write it.
    ring: Pages,
    /// Buffer `id` begins at `id * STRIDE_BYTES`.
    memory: Pages,
    /// Entries of the ring and buffers: a power of two. There are as many of
    /// one as of the other and a buffer is in the ring at most once, so a
    /// buffer that comes back always finds a free entry.
    count: u16,
    /// The entry to write next, counted without bound; what the kernel may
    /// already take ends at the tail in `ring`.
    next: u16,
}

impl BufRing {
    /// Makes `count` buffers, a power of two, and puts all of them into the
    /// ring. Fails for want of memory.
    pub(super) fn new(count: u16) -> io::Result<BufRing> {
        assert!(count.is_power_of_two());
        let mut buffers = BufRing {
            ring: Pages::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Pages::new(usize::from(count) * STRIDE_BYTES)?,
            count,
            next: 0,
        };
        for id in 0..count {
            buffers.give_back(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Makes the ring known to the kernel as `group`.
    ///
    /// # Safety
    /// `self` must live until no operation of the io_uring can select a buffer
    /// of `group` any more.
    pub(super) unsafe fn register(&self, submitter: &Submitter<'_>, group: u16) -> io::Result<()> {
        let address = self.ring.at(0).as_ptr().expose_provenance() as u64;
        // SAFETY: `ring` is `count` page-aligned entries; that it lives long
        // enough is the caller's promise.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, group, 0) }
    }

    /// What the kernel wrote into buffer `id`, `len` bytes.
    ///
    /// # Safety
    /// A completion must have reported `id`, and it must not be given back
    /// while the slice lives.
    pub(super) unsafe fn filled(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count && len <= BUFFER_BYTES);
        // SAFETY: the kernel is done with a buffer that it reported, and only
        // takes it again from the ring.
        unsafe { self.memory.bytes(usize::from(id) * STRIDE_BYTES, len) }
    }

    /// Puts buffer `id` back, for the kernel to see after the next
    /// [`BufRing::publish`].
    pub(super) fn give_back(&mut self, id: u16) {
        let buffer = self.memory.at(usize::from(id) * STRIDE_BYTES);
        let index = usize::from(self.next & (self.count - 1));
        let entry = self.ring.at(index * size_of::<BufRingEntry>());
        // SAFETY: the entry lies in `ring`, aligned; the kernel does not read
        // entries at or behind the tail, and this one is (see `count`). Only
        // the three fields are written, so the tail inside the first entry
        // stays.
        let entry = unsafe { entry.cast::<BufRingEntry>().as_mut() };
        entry.set_addr(buffer.as_ptr().expose_provenance() as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.next = self.next.wrapping_add(1);
    }

    /// Lets the kernel have all that was given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: the pointer is to the first entry of the ring.
        let tail = unsafe { BufRingEntry::tail(self.ring.at(0).cast().as_ptr()) };
        // SAFETY: aligned and alive as part of `ring`; no reference to it
        // exists, and the kernel reads it with the matching acquire.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.next, Ordering::Release);
    }
}
