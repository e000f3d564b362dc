//! The HTTP side: metrics for Prometheus, probes for Kubernetes, reload and
//! quit for operators, a landing page for people.
//!
//! This module knows neither series nor mapping files; [`Pages`] stands for
//! all that. What it owns is the behaviour that clients of the reference rely
//! on: paths and redirects as Go's `ServeMux` has them (`paths`), formats and
//! compression as its Prometheus library negotiates them (`negotiate`), and
//! handlers that care little about methods. Connections are served by hyper
//! (`serve`), pages streamed from a rendering thread (`body`).
//!
//! The profiling pages of the Go runtime are not offered. `/health` is an
//! addition: the community chart of the reference probes it in vain.

mod body;
mod landing;
mod negotiate;
mod paths;
mod serve;
mod stats;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::task;

use self::negotiate::PageType;
use self::paths::Route;
use self::stats::Scrape;
use crate::render::Format;

pub use self::paths::{Routes, TelemetryPathError};
pub use self::serve::{Limits, serve};
pub use self::stats::HandlerStats;

/// What the server shows and sets off.
pub trait Pages: Send + Sync + 'static {
    /// Writes the metrics; called on a thread that may block. `out` blocks
    /// while the client is slow to read, so nothing that others wait for may be
    /// held while writing.
    ///
    /// # Errors
    /// An error of `out` means that the client is gone, and should end the
    /// rendering. Any other becomes the response if nothing was sent yet, and
    /// else breaks the connection.
    fn render(&self, format: Format, out: &mut dyn io::Write) -> io::Result<()>;

    /// Reads the mapping file again; called on a thread that may block. The
    /// response is sent when this returns, and does not tell how it went.
    fn reload(&self);

    /// Asks the process to end, and returns at once. The response has been
    /// sent when [`serve`] returns.
    fn quit(&self);

    /// Whether the process is fit to be sent datagrams; must not block.
    fn ready(&self) -> bool;
}

/// What the server needs to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The paths, checked.
    pub routes: Routes,
    /// The version to show on the landing page.
    pub version: String,
    /// How long clients may take.
    pub limits: Limits,
}

/// All that a request can lead to.
pub struct Site {
    routes: Routes,
    limits: Limits,
    landing: Bytes,
    pages: Arc<dyn Pages>,
    stats: Arc<HandlerStats>,
}

// === impl Site ===

impl Site {
    /// A site that shows `pages` and counts scrapes in `stats`.
    pub fn new(options: Options, pages: Arc<dyn Pages>, stats: Arc<HandlerStats>) -> Site {
        let landing = landing::page(&options.version, &options.routes.telemetry_link());
        Site {
            routes: options.routes,
            limits: options.limits,
            landing: landing.into(),
            pages,
            stats,
        }
    }

    /// Answers a request. Bodies of requests mean nothing to any page.
    async fn answer<B>(&self, request: &Request<B>) -> Response {
        let method = request.method();
        let path = request.uri().path();
        match (method, path) {
            // These two are about the server or about another one, not about a
            // page.
            (&Method::OPTIONS, "*") => return StatusCode::OK.into_response(),
            (&Method::CONNECT, _) => return not_found(),
            _ => {}
        }
        match self.routes.find(path) {
            Route::Metrics => self.metrics(request).await,
            Route::Landing => self.landing(),
            Route::Healthy => answer_if(method == Method::GET, "Statsd Exporter is Healthy.\n"),
            Route::Ready => self.ready(method),
            Route::Reload => self.reload(method).await,
            Route::Quit => self.quit(method),
            Route::Redirect(path) => redirect(request, &path),
            Route::NotFound => not_found(),
            Route::Malformed => malformed(),
        }
    }

    async fn metrics<B>(&self, request: &Request<B>) -> Response {
        let scrape = Scrape::begin(Arc::clone(&self.stats));
        let accept = header_values(request, ACCEPT).next();
        let page_type = PageType::negotiate(&accept.unwrap_or_default());
        let gzip = negotiate::prefers_gzip(header_values(request, ACCEPT_ENCODING));
        let pages = Arc::clone(&self.pages);
        let body = match body::start(pages, page_type.format, gzip, scrape, self.limits).await {
            Ok(body) => body,
            Err((scrape, error)) => {
                scrape.fail();
                return metrics_failed(&error);
            }
        };
        let content_type = [(CONTENT_TYPE, page_type.content_type())];
        let content_encoding = gzip.then_some([(CONTENT_ENCODING, "gzip")]);
        (content_type, content_encoding, body).into_response()
    }

    fn landing(&self) -> Response {
        let content_type = [(CONTENT_TYPE, "text/html; charset=UTF-8")];
        (content_type, self.landing.clone()).into_response()
    }

    fn ready(&self, method: &Method) -> Response {
        if self.pages.ready() {
            answer_if(method == Method::GET, "Statsd Exporter is Ready.\n")
        } else {
            let text = "Statsd Exporter is not Ready.\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }

    async fn reload(&self, method: &Method) -> Response {
        let asked = is_order(method);
        if asked {
            let pages = Arc::clone(&self.pages);
            // The only failure would be a panic, of which the log tells.
            let _ = task::spawn_blocking(move || pages.reload()).await;
        }
        answer_if(asked, "Requesting reload")
    }

    fn quit(&self, method: &Method) -> Response {
        let asked = is_order(method);
        if asked {
            self.pages.quit();
        }
        answer_if(asked, "Requesting termination... Goodbye!")
    }
}

/// The methods that set something off.
fn is_order(method: &Method) -> bool {
    method == Method::PUT || method == Method::POST
}

/// The text, or nothing for a method that the page does not care about: the
/// reference answers 200 to those too.
fn answer_if(asked: bool, text: &'static str) -> Response {
    if asked {
        text.into_response()
    } else {
        StatusCode::OK.into_response()
    }
}

/// The values of a header, with replacement characters for what is no UTF-8.
fn header_values<B>(request: &Request<B>, name: HeaderName) -> impl Iterator<Item = Cow<'_, str>> {
    let values = request.headers().get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()))
}

fn metrics_failed(error: &io::Error) -> Response {
    tracing::error!(%error, "cannot serve the metrics");
    let text = format!("An error has occurred while serving metrics:\n\n{error}\n");
    let nosniff = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::INTERNAL_SERVER_ERROR, nosniff, text).into_response()
}

fn not_found() -> Response {
    let nosniff = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, nosniff, "404 page not found\n").into_response()
}

fn malformed() -> Response {
    let close = [(CONNECTION, "close")];
    (StatusCode::BAD_REQUEST, close, "400 Bad Request").into_response()
}

/// Sends the client to `path`, with the query it came with.
fn redirect<B>(request: &Request<B>, path: &str) -> Response {
    let mut location = utf8_percent_encode(path, NOT_IN_PATHS).to_string();
    if let Some(query) = request.uri().query().filter(|query| !query.is_empty()) {
        location.push('?');
        location.extend(utf8_percent_encode(query, CONTROLS));
    }
    let page = format!(
        "<a href=\"{}\">Temporary Redirect</a>.\n\n",
        landing::escape(&location)
    );
    let status = StatusCode::TEMPORARY_REDIRECT;
    let location = [(LOCATION, location)];
    if request.method() == Method::GET || request.method() == Method::HEAD {
        let content_type = [(CONTENT_TYPE, "text/html; charset=utf-8")];
        (status, location, content_type, page).into_response()
    } else {
        (status, location).into_response()
    }
}

/// What must not stand as it is in a path. `%` may: the path of a request is
/// still escaped.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
