//! The few requests that a checker sends to an exporter's web port.
//!
//! Nothing is done behind the caller's back: no redirect is followed, no status
//! is an error, no header is added, no body is unpacked, no connection is kept.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

/// How long a whole exchange may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Speaks to one web server.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    server: SocketAddr,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// For example 200.
    pub status: u16,
    /// As sent.
    pub headers: HeaderMap,
    /// As sent.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects only when a request is sent.
    pub fn new(server: SocketAddr) -> Client {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .user_agent("")
            .accept("")
            .max_idle_connections(0);
        Client {
            agent: config.build().into(),
            server,
        }
    }

    /// Sends a request without a body.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Response> {
        let url = format!("http://{}{path}", self.server);
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name.as_ref(), value.as_ref());
        }
        let response = if matches!(method, "POST" | "PUT" | "PATCH") {
            self.agent.run(request.body(&[][..])?)?
        } else {
            self.agent.run(request.body(())?)?
        };
        let (head, mut body) = response.into_parts();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.with_config().limit(u64::MAX).read_to_vec()?,
        })
    }

    /// Sends a plain GET.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.request("GET", path, [("Accept-Encoding", "identity")])
    }
}

impl Response {
    /// A header's value; empty if absent or not text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}
