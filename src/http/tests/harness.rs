//! A server to test, the requests it is sent, and its responses read by hand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::http::*;

/// Far longer than anything here takes; it ends tests that hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Called to render a page.
type Render = dyn Fn(Format, &mut dyn Write) -> io::Result<()> + Send + Sync;

/// Pages that note what is asked of them.
pub(super) struct TestPages {
    render: Box<Render>,
    pub(super) reloads: AtomicU64,
    pub(super) quits: AtomicU64,
    pub(super) ready: AtomicBool,
}

impl TestPages {
    pub(super) fn new(
        render: impl Fn(Format, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    ) -> TestPages {
        TestPages {
            render: Box::new(render),
            reloads: AtomicU64::new(0),
            quits: AtomicU64::new(0),
            ready: AtomicBool::new(true),
        }
    }
}

impl Pages for TestPages {
    fn render(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        (self.render)(format, out)
    }

    fn reload(&self) {
        self.reloads.fetch_add(1, Ordering::SeqCst);
    }

    fn quit(&self) {
        self.quits.fetch_add(1, Ordering::SeqCst);
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
}

/// A running server; dropping it stops it.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) pages: Arc<TestPages>,
    pub(super) stats: Arc<HandlerStats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server whose page names the format.
    pub(super) fn start(telemetry_path: &str, lifecycle: bool) -> Server {
        let pages = TestPages::new(|format, out| writeln!(out, "{format:?}"));
        Server::with(telemetry_path, lifecycle, pages, Limits::default())
    }

    pub(super) fn with_render(
        render: impl Fn(Format, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    ) -> Server {
        let pages = TestPages::new(render);
        Server::with("/metrics", true, pages, Limits::default())
    }

    pub(super) fn with(
        telemetry_path: &str,
        lifecycle: bool,
        pages: TestPages,
        limits: Limits,
    ) -> Server {
        let options = Options {
            routes: Routes::new(telemetry_path, lifecycle).unwrap(),
            version: "1.2.3".to_owned(),
            limits,
        };
        let pages = Arc::new(pages);
        let stats = Arc::new(HandlerStats::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let site = Site::new(options, pages.clone(), Arc::clone(&stats));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let shutdown = async { stopped.await.unwrap_or_default() };
            runtime.block_on(serve(listener, site, shutdown)).unwrap();
        });
        Server {
            address,
            pages,
            stats,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends the bytes, says that no more will come, and reads to the end.
    pub(super) fn raw(&self, request: &str) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut response = Vec::new();
        // A reset ends a response as much as a proper end does.
        let _ = stream.read_to_end(&mut response);
        response
    }

    pub(super) fn request(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for header in headers {
            request += &format!("{header}\r\n");
        }
        Reply::read(&self.raw(&(request + "\r\n")))
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[])
    }

    /// Asks the server to stop, without waiting.
    pub(super) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(super) fn join(&mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop.is_some() {
            self.stop();
        }
        if self.thread.is_some() {
            self.join();
        }
    }
}

/// A response, its body put together again but not unpacked.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether all came that was promised.
    pub(super) complete: bool,
}

impl Reply {
    pub(super) fn read(bytes: &[u8]) -> Reply {
        let head_len = bytes.windows(4).position(|end| end == b"\r\n\r\n");
        let (head, rest) = bytes.split_at(head_len.expect("no response") + 4);
        let head = String::from_utf8(head.to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut reply = Reply {
            status: status.parse().unwrap(),
            headers,
            body: Vec::new(),
            complete: false,
        };
        reply.read_body(rest);
        reply
    }

    fn read_body(&mut self, mut rest: &[u8]) {
        if self.header("transfer-encoding") != "chunked" {
            let promised: usize = self.header("content-length").parse().unwrap_or(0);
            self.body = rest.to_vec();
            self.complete = rest.len() == promised;
            return;
        }
        while let Some(line_len) = rest.windows(2).position(|end| end == b"\r\n") {
            let chunk_len = std::str::from_utf8(&rest[..line_len]).unwrap();
            let chunk_len = usize::from_str_radix(chunk_len, 16).unwrap();
            rest = &rest[line_len + 2..];
            if chunk_len == 0 {
                self.complete = true;
                return;
            }
            if rest.len() < chunk_len + 2 {
                return;
            }
            self.body.extend_from_slice(&rest[..chunk_len]);
            rest = &rest[chunk_len + 2..];
        }
    }

    /// The value of a header, empty if there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(given, _)| given.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn check(&self, status: u16, content_type: &str, body: &str) {
        let got = (self.status, self.header("content-type"), self.text());
        assert_eq!(got, (status, content_type, body));
    }
}

pub(super) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::yield_now();
    }
}
