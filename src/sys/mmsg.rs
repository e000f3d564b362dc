//! `recvmmsg` and `sendmmsg`: many datagrams in one system call.
#![allow(unsafe_code, reason = "std has neither call")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::pages::Pages;
use super::{Datagram, PAYLOAD_BYTES_MAX};

/// Bytes from one slot to the next: whole cache lines. (A stride that spreads
/// the beginnings of slots over the cache's sets made no measurable difference.)
const STRIDE_BYTES: usize = PAYLOAD_BYTES_MAX.next_multiple_of(64);

/// Slots for one `recvmmsg`, filled again and again. A slot that never saw a
/// long datagram costs one page of memory.
#[derive(Debug)]
pub struct RecvBatch {
    /// One slot each [`STRIDE_BYTES`]. The kernel writes it only inside
    /// [`RecvBatch::receive`], which borrows `self` mutably, so slices of it
    /// never see a write.
    memory: Pages,
    /// Header `i` points to vector `i`. The kernel writes lengths and flags.
    headers: Vec<libc::mmsghdr>,
    /// Vector `i` points to slot `i` of `memory`. Neither grows nor moves after
    /// `new`, so the headers' pointers stay good for as long as `self` lives.
    vectors: Vec<libc::iovec>,
}

// SAFETY: the raw pointers in `headers` and `vectors` point only to heap memory
// that `self` owns and that does not move with it.
unsafe impl Send for RecvBatch {}

impl RecvBatch {
    /// Makes room for `slots` datagrams a call. Fails for want of memory.
    pub fn new(slots: usize) -> io::Result<RecvBatch> {
        let memory = Pages::new(slots * STRIDE_BYTES)?;
        let mut vectors: Vec<_> = (0..slots)
            .map(|slot| libc::iovec {
                iov_base: memory.at(slot * STRIDE_BYTES).as_ptr().cast(),
                iov_len: PAYLOAD_BYTES_MAX,
            })
            .collect();
        let headers = headers_of(&mut vectors);
        Ok(RecvBatch {
            memory,
            headers,
            vectors,
        })
    }

    /// Takes what is in the socket's buffer, as many datagrams as there are
    /// slots, and never waits: an empty buffer is
    /// [`io::ErrorKind::WouldBlock`].
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> io::Result<impl ExactSizeIterator<Item = Datagram<'_>>> {
        // SAFETY: the pointer and the length are those of `headers`, whose
        // pointers are good by the invariants of the fields; no slice of
        // `memory` is alive, since `self` is borrowed mutably.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.vectors.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok((0..received).map(|slot| self.datagram(slot)))
    }

    fn datagram(&self, slot: usize) -> Datagram<'_> {
        let header = &self.headers[slot];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return Datagram::Truncated;
        }
        // SAFETY: the kernel writes `memory` only inside `receive`, which no
        // slice borrowed from `self` outlives.
        let payload = unsafe {
            self.memory
                .bytes(slot * STRIDE_BYTES, header.msg_len as usize)
        };
        Datagram::Whole(payload)
    }
}

/// The arrays of one `sendmmsg`, kept so that sending allocates nothing.
#[derive(Debug)]
pub struct SendBatch {
    /// Header `i` points to vector `i` during a call.
    headers: Vec<libc::mmsghdr>,
    /// Vector `i` points to datagram `i` during a call. Pointers of an earlier
    /// call are overwritten before the kernel sees them.
    vectors: Vec<libc::iovec>,
}

// SAFETY: as for `RecvBatch`; pointers to datagrams are not used beyond the
// call that set them.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Makes room for `slots` datagrams a call.
    pub fn new(slots: usize) -> SendBatch {
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut vectors = vec![empty; slots];
        let headers = headers_of(&mut vectors);
        SendBatch { headers, vectors }
    }

    /// Sends the first of `datagrams` over a connected socket and says how many
    /// the kernel took: at most the number of slots, possibly fewer. An error
    /// means that it took none.
    pub fn send(&mut self, socket: BorrowedFd<'_>, datagrams: &[&[u8]]) -> io::Result<usize> {
        let count = datagrams.len().min(self.vectors.len());
        let slots = self.headers.iter_mut().zip(&mut self.vectors);
        for ((header, vector), datagram) in slots.zip(datagrams) {
            vector.iov_base = datagram.as_ptr().cast_mut().cast();
            vector.iov_len = datagram.len();
            header.msg_hdr.msg_iov = vector;
        }
        // SAFETY: the first `count` headers point to vectors that were just
        // pointed to datagrams borrowed for this whole call; the kernel only
        // reads them, so the lost `const` does no harm.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// One header for each vector. The vectors must not move while the headers are
/// used.
fn headers_of(vectors: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    // SAFETY: all zeros are a valid `mmsghdr`: no name, no control data.
    let empty: libc::mmsghdr = unsafe { std::mem::zeroed() };
    let mut headers = vec![empty; vectors.len()];
    let first = vectors.as_mut_ptr();
    for (index, header) in headers.iter_mut().enumerate() {
        header.msg_hdr.msg_iov = first.wrapping_add(index);
        header.msg_hdr.msg_iovlen = 1;
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    /// What `slots` slots make of `sent`, call by call.
    fn check(slots: usize, sent: &[&[u8]], calls: &[&[Datagram<'_>]]) {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let mut batch = SendBatch::new(sent.len());
        assert_eq!(batch.send(sender.as_fd(), sent).unwrap(), sent.len());
        let mut batch = RecvBatch::new(slots).unwrap();
        for call in calls {
            let received: Vec<_> = batch.receive(receiver.as_fd()).unwrap().collect();
            assert_eq!(received, *call);
        }
        let end = batch.receive(receiver.as_fd()).err().unwrap();
        assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn datagrams_arrive_whole_and_in_order() {
        use Datagram::{Truncated, Whole};
        check(4, &[b"a"], &[&[Whole(b"a")]]);
        check(4, &[b"", b"b"], &[&[Whole(b""), Whole(b"b")]]);
        check(
            2,
            &[b"a", b"b", b"c"],
            &[&[Whole(b"a"), Whole(b"b")], &[Whole(b"c")]],
        );
        let longest = vec![b'x'; PAYLOAD_BYTES_MAX];
        let longer = vec![b'x'; PAYLOAD_BYTES_MAX + 1];
        check(2, &[&longest, b"b"], &[&[Whole(&longest), Whole(b"b")]]);
        check(2, &[&longer, b"b"], &[&[Truncated, Whole(b"b")]]);
    }

    #[test]
    fn a_batch_takes_as_many_as_it_has_slots() {
        let (sender, _receiver) = UnixDatagram::pair().unwrap();
        let mut batch = SendBatch::new(2);
        let datagrams: [&[u8]; 3] = [b"a", b"b", b"c"];
        assert_eq!(batch.send(sender.as_fd(), &datagrams).unwrap(), 2);
        assert_eq!(batch.send(sender.as_fd(), &datagrams[2..]).unwrap(), 1);
    }
}
