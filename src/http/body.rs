//! The way of a page from the thread that renders it to the connection.
//!
//! Rendering is plain blocking code, so it runs on a thread for such things
//! and writes into chunks; full chunks wait in a short queue until the
//! connection takes them. A slow client thereby slows its own rendering and
//! nothing else, and one that went away turns the next write into an error. A
//! page never exists as a whole: it may be hundreds of megabytes.

use std::io::{self, BufWriter, Write};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::{task, time};
use tokio_stream::Stream;

use super::stats::{HandlerStats, Scrape};
use super::{Limits, Pages};
use crate::render::Format;

/// Large enough that the hand-over to the connection costs nothing beside the
/// rendering.
const CHUNK_BYTES: usize = 64 * 1024;

/// Chunks that wait for the connection; one more is being filled.
const CHUNKS_QUEUED_MAX: usize = 4;

/// At this level zlib-rs packs a page of metrics to a twelfth, ten times as
/// fast as the default level of the reference, which gets to a fourteenth.
const GZIP_LEVEL: u32 = 2;

/// What the rendering thread hands over. The end is said aloud: a queue that
/// merely closes means that the thread died, and a page that breaks off must
/// not look complete.
#[derive(Debug)]
enum Piece {
    Chunk(Bytes),
    End,
}

type PieceReceiver = mpsc::Receiver<io::Result<Piece>>;

/// Starts to render and returns the body as soon as its first chunk is ready.
/// Fails, with nothing sent yet, if rendering does before that.
///
/// Later failures break the connection: for HTTP/1.1 clients the body then
/// lacks its last chunk.
pub(super) async fn start(
    pages: Arc<dyn Pages>,
    format: Format,
    gzip: bool,
    scrape: Scrape,
    limits: Limits,
) -> Result<Body, (Scrape, io::Error)> {
    let (sender, mut pieces) = mpsc::channel(CHUNKS_QUEUED_MAX);
    let queue = Queue {
        sender,
        stats: scrape.stats(),
        limits,
    };
    task::spawn_blocking(move || {
        let chunks = Chunks::new(&queue);
        let outcome = match gzip {
            true => write_packed(&*pages, format, chunks),
            false => write_plain(&*pages, format, chunks),
        };
        if let Err(error) = outcome.and_then(|()| queue.send(Piece::End)) {
            // If there is no room, or nobody to hear it, the queue ends without
            // an end, which says the same.
            let _ = queue.sender.try_send(Err(error));
        }
    });
    match next_piece(pieces.recv().await) {
        Ok(Piece::Chunk(first)) => Ok(Body::from_stream(PageStream {
            first,
            pieces,
            scrape: Some(scrape),
        })),
        Ok(Piece::End) => Ok(Body::empty()),
        Err(error) => Err((scrape, error)),
    }
}

fn write_plain(pages: &dyn Pages, format: Format, mut out: Chunks<'_>) -> io::Result<()> {
    pages.render(format, &mut out)?;
    out.send()
}

fn write_packed(pages: &dyn Pages, format: Format, out: Chunks<'_>) -> io::Result<()> {
    let packer = GzEncoder::new(out, Compression::new(GZIP_LEVEL));
    // A call of the packer costs more than the few bytes of a sample.
    let mut out = BufWriter::new(packer);
    pages.render(format, &mut out)?;
    let packer = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    packer.finish()?.send()
}

fn next_piece(received: Option<io::Result<Piece>>) -> io::Result<Piece> {
    received.unwrap_or_else(|| Err(io::Error::other("the rendering thread died")))
}

/// The rendering thread's end of the queue.
struct Queue {
    sender: mpsc::Sender<io::Result<Piece>>,
    stats: Arc<HandlerStats>,
    limits: Limits,
}

impl Queue {
    /// Queues a piece, and waits while there is no room.
    fn send(&self, piece: Piece) -> io::Result<()> {
        let room = Handle::current().block_on(self.room())?;
        room.send(Ok(piece));
        Ok(())
    }

    /// Waits for room; gives up when the client has gone, or when so many
    /// others wait as well that new ones would find no thread.
    async fn room(&self) -> io::Result<mpsc::Permit<'_, io::Result<Piece>>> {
        loop {
            match time::timeout(self.limits.crowd_stall, self.sender.reserve()).await {
                Ok(room) => {
                    return room.map_err(|_| {
                        io::Error::new(io::ErrorKind::BrokenPipe, "the client went away")
                    });
                }
                Err(_) if self.stats.in_flight() > self.limits.crowd => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "too many clients ask for metrics and do not read them",
                    ));
                }
                Err(_) => {}
            }
        }
    }
}

/// Fills chunks and queues them, waiting while the queue is full.
struct Chunks<'a> {
    chunk: BytesMut,
    queue: &'a Queue,
}

impl<'a> Chunks<'a> {
    fn new(queue: &'a Queue) -> Chunks<'a> {
        let chunk = BytesMut::with_capacity(CHUNK_BYTES);
        Chunks { chunk, queue }
    }

    /// Queues what there is, if there is anything.
    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = mem::replace(&mut self.chunk, BytesMut::with_capacity(CHUNK_BYTES));
        self.queue.send(Piece::Chunk(chunk.freeze()))
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    /// Does nothing: only full chunks and the end leave, so that an early
    /// failure can still become an error response.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body as the connection pulls it.
struct PageStream {
    /// The chunk that was waited for; empty once it is gone.
    first: Bytes,
    pieces: PieceReceiver,
    /// Ends with the page, or with the stream if the connection broke.
    scrape: Option<Scrape>,
}

impl Stream for PageStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let first = mem::take(&mut self.first);
        if !first.is_empty() {
            return Poll::Ready(Some(Ok(first)));
        }
        let received = ready!(self.pieces.poll_recv(context));
        Poll::Ready(match next_piece(received) {
            Ok(Piece::Chunk(chunk)) => Some(Ok(chunk)),
            Ok(Piece::End) => {
                // Before the client can know that the page is over: its next
                // scrape shall find this one counted.
                self.scrape = None;
                None
            }
            Err(error) => Some(Err(error)),
        })
    }
}
