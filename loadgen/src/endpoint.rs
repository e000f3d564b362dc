//! The page of metrics of an exporter that may run anywhere.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use crate::http::Client;
use crate::scrape::Page;
use crate::target::resolve;

/// Where a page is: `http://host:port/path`.
#[derive(Clone, Debug)]
pub struct Endpoint {
    http: Client,
    server: SocketAddr,
    path: String,
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Endpoint> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        ensure!(
            !rest.contains("://"),
            "{url} is not http://host:port/path; TLS is not spoken here"
        );
        let (server, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/metrics"),
        };
        let server = match server.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => resolve(server)?,
            _ => resolve(&format!("{server}:80"))?,
        };
        Ok(Endpoint::new(server, path))
    }
}

impl Endpoint {
    /// A page of that path.
    pub fn new(server: SocketAddr, path: &str) -> Endpoint {
        Endpoint {
            http: Client::new(server),
            server,
            path: path.to_owned(),
        }
    }

    /// Whether it is served by this machine, as far as its address tells.
    pub fn is_loopback(&self) -> bool {
        self.server.ip().is_loopback()
    }

    /// The page as it stands.
    pub fn text(&self) -> Result<String> {
        let path = &self.path;
        let answer = self.http.get(path);
        let answer = answer.with_context(|| format!("http://{}{path}", self.server))?;
        let text = String::from_utf8(answer.body).context("the page is not UTF-8")?;
        let status = answer.status;
        let said: String = text.chars().take(400).collect();
        ensure!(status == 200, "{path} answered {status}: {said}");
        Ok(text)
    }

    /// The page, read.
    pub fn page(&self) -> Result<Page> {
        Page::parse(&self.text()?)
    }

    /// The value of a sample without labels; zero if it is absent. Quicker than
    /// [`Endpoint::page`].
    pub fn counter(&self, name: &str) -> Result<f64> {
        Ok(counter(&self.text()?, name)?.unwrap_or_default())
    }
}

/// The value of a sample without labels, if it is on a page.
pub fn counter(page: &str, name: &str) -> Result<Option<f64>> {
    let mut values = page.lines().filter_map(|line| {
        let (sample, value) = line.split_once(' ')?;
        (sample == name).then_some(value)
    });
    let value = values.next().map(str::parse);
    value.transpose().with_context(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, server, path) in [
            (
                "http://127.0.0.1:9102/metrics",
                "127.0.0.1:9102",
                "/metrics",
            ),
            ("http://127.0.0.1:9102", "127.0.0.1:9102", "/metrics"),
            ("127.0.0.1/x/y", "127.0.0.1:80", "/x/y"),
            ("[::1]/x", "[::1]:80", "/x"),
            ("[::1]:9102", "[::1]:9102", "/metrics"),
        ] {
            let endpoint: Endpoint = url.parse().expect(url);
            assert_eq!(endpoint.server.to_string(), server);
            assert_eq!(endpoint.path, path);
        }
        assert!("https://127.0.0.1/".parse::<Endpoint>().is_err());
    }

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let page = "a_total_more 1\na_total{x=\"1\"} 2\na_total 3e2\n";
        assert_eq!(counter(page, "a_total").expect("a number"), Some(300.0));
        assert_eq!(counter(page, "a").expect("nothing"), None);
        assert!(counter("a x\n", "a").is_err());
    }
}
