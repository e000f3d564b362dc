//! Output in pieces of a size that sockets and compressors like.

use std::io::{self, Write};

/// A piece is passed on when it has grown to this size.
const CHUNK_BYTES: usize = 32 * 1024;

/// Bytes on their way out. Whoever appends to `bytes` calls [`Chunks::settle`]
/// now and then.
pub(super) struct Chunks<'a> {
    pub(super) bytes: Vec<u8>,
    out: &'a mut dyn Write,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Chunks<'a> {
        Chunks {
            bytes: Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4),
            out,
        }
    }

    /// Passes the bytes on if there are enough of them.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.bytes.len() >= CHUNK_BYTES {
            self.pass_on()?;
        }
        Ok(())
    }

    /// Appends any number of bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(CHUNK_BYTES) {
            self.bytes.extend_from_slice(piece);
            self.settle()?;
        }
        Ok(())
    }

    /// Passes on what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.pass_on()
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
