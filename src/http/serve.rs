//! Connections: accepting them, bounding how long each may do nothing, and
//! ending them in an orderly way.
//!
//! The reference waits for its clients for ever; here every wait has a limit,
//! far above what a working client takes.

use std::convert::Infallible;
use std::io;
use std::net;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use super::Site;

/// How long clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To send a request once they are connected, and again after each
    /// response. Longer than scrape intervals, so that Prometheus can keep its
    /// connection.
    pub idle: Duration,
    /// To take any part of a response that is ready for them. A client that
    /// stops reading occupies a rendering thread.
    pub stall: Duration,
    /// The same while more than `crowd` scrapes are under way: there is only so
    /// many rendering threads, and the next client may be Prometheus.
    pub crowd_stall: Duration,
    /// More scrapes at a time than honest clients make.
    pub crowd: u64,
    /// To take the rest of their responses at the end of the process.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            idle: Duration::from_secs(180),
            stall: Duration::from_secs(60),
            crowd_stall: Duration::from_secs(1),
            crowd: 64,
            drain: Duration::from_secs(5),
        }
    }
}

/// Answers connections to `listener` until `shutdown` comes true, then stops
/// to accept and lets running responses end within [`Limits::drain`].
///
/// # Errors
/// If the listener cannot be used at all. Failures to accept a connection are
/// logged and survived.
pub async fn serve(
    listener: net::TcpListener,
    site: Site,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let site = Arc::new(site);
    let (running, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Ended tasks would pile up if nobody asked for them.
            Some(_) = connections.join_next() => {}
            stream = accept(&listener) => {
                connections.spawn(converse(stream, Arc::clone(&site), stopped.clone()));
            }
        }
    }
    drop(listener);
    drop(running);
    let drained = async { while connections.join_next().await.is_some() {} };
    if time::timeout(site.limits.drain, drained).await.is_err() {
        tracing::warn!("left HTTP clients that were too slow");
    }
    Ok(())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client gave up before its turn came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                // Most likely descriptors are short, and will be for a while.
                time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Serves one connection until it closes, is in error, or `stopped` ends.
async fn converse(stream: TcpStream, site: Arc<Site>, mut stopped: watch::Receiver<()>) {
    let limits = site.limits;
    if let Err(error) = prepare(&stream, limits) {
        tracing::debug!(%error, "cannot set up an HTTP connection");
        return;
    }
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            // Simple probes close their side once they have asked.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
    );
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

fn prepare(stream: &TcpStream, limits: Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // The kernel closes the connection if data stays unsent or unacknowledged
    // for so long, be the client gone or just not reading.
    SockRef::from(stream).set_tcp_user_timeout(Some(limits.stall))
}
