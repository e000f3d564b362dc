//! Which page a request path leads to, by the rules of Go's `http.ServeMux`,
//! which dashboards, probes and proxies in front of the exporter got used to:
//! paths that are not clean are redirected, a path that ends in a slash covers
//! all that is below it, and escapes are decoded segment by segment, so that
//! `%2F` is never a separator.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a request path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The metrics.
    Metrics,
    /// The page for people who came with a browser.
    Landing,
    /// Is the process alive?
    Healthy,
    /// Does it serve?
    Ready,
    /// Read the mapping file again.
    Reload,
    /// End the process.
    Quit,
    /// The page is at this path, still escaped as the client wrote it.
    Redirect(String),
    /// There is no such page.
    NotFound,
    /// This is no path.
    Malformed,
}

/// The paths of the server.
#[derive(Clone, Debug)]
pub struct Routes {
    telemetry: Telemetry,
    fixed: Vec<(&'static str, Route)>,
}

/// Why a telemetry path cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryPathError {
    /// It does not begin with a slash.
    #[error("telemetry path {0:?} must begin with a slash, as in /metrics")]
    Relative(String),
    /// It has a blank or a brace, which the reference takes for syntax.
    #[error("telemetry path {0:?} must not contain blanks or braces")]
    Syntax(String),
    /// Requests are redirected to the clean form, so none would ever reach it.
    #[error("telemetry path {path:?} can never be reached; write it as {clean:?}")]
    Unclean {
        /// The path as given.
        path: String,
        /// The path that reaches the same place.
        clean: String,
    },
    /// Another page lives there.
    #[error("telemetry path {0:?} is taken by a page of the exporter")]
    Reserved(String),
}

// === impl Routes ===

impl Routes {
    /// Metrics are at `telemetry_path`; a trailing slash makes it cover all
    /// paths below. `lifecycle` adds the pages that reload and quit.
    pub fn new(telemetry_path: &str, lifecycle: bool) -> Result<Routes, TelemetryPathError> {
        let mut fixed = vec![("/-/healthy", Route::Healthy), ("/-/ready", Route::Ready)];
        if lifecycle {
            fixed.push(("/-/reload", Route::Reload));
            fixed.push(("/-/quit", Route::Quit));
        }
        check_telemetry_path(telemetry_path)?;
        if fixed.iter().any(|(path, _)| same(path, telemetry_path)) {
            return Err(TelemetryPathError::Reserved(telemetry_path.to_owned()));
        }
        // The community chart of the reference probes this path, which the
        // reference does not have. It may be somebody's telemetry path, though.
        if !same("/health", telemetry_path.trim_end_matches('/')) {
            fixed.push(("/health", Route::Healthy));
        }
        Ok(Routes {
            telemetry: Telemetry::new(telemetry_path),
            fixed,
        })
    }

    /// A path that leads to the metrics.
    pub(super) fn telemetry_link(&self) -> String {
        match &self.telemetry {
            Telemetry::Everything => "/".to_owned(),
            Telemetry::Below(directory) => format!("{directory}/"),
            Telemetry::Page(path) => path.clone(),
        }
    }

    /// Where the path of a request leads, query excluded.
    pub(super) fn find(&self, path: &str) -> Route {
        if !path.starts_with('/') || !escapes_are_valid(path) {
            return Route::Malformed;
        }
        let clean = clean(path);
        let fixed = self.fixed.iter().find(|(fixed, _)| same(fixed, &clean));
        if let (Telemetry::Below(directory), None) = (&self.telemetry, fixed)
            && same(directory, &clean)
        {
            return Route::Redirect(format!("{directory}/"));
        }
        if clean != path {
            return Route::Redirect(clean);
        }
        match fixed {
            Some((_, page)) => page.clone(),
            None if self.telemetry.covers(path) => Route::Metrics,
            None if path == "/" => Route::Landing,
            None => Route::NotFound,
        }
    }
}

/// The paths that serve metrics.
#[derive(Clone, Debug)]
enum Telemetry {
    /// `/`: every path that is not another page.
    Everything,
    /// `/m/`, kept without its last slash: every path below it.
    Below(String),
    /// Just this path.
    Page(String),
}

impl Telemetry {
    fn new(path: &str) -> Telemetry {
        match path.strip_suffix('/') {
            Some("") => Telemetry::Everything,
            Some(directory) => Telemetry::Below(directory.to_owned()),
            None => Telemetry::Page(path.to_owned()),
        }
    }

    fn covers(&self, path: &str) -> bool {
        match self {
            Telemetry::Everything => true,
            Telemetry::Below(directory) => is_below(directory, path),
            Telemetry::Page(page) => same(page, path),
        }
    }
}

fn check_telemetry_path(path: &str) -> Result<(), TelemetryPathError> {
    let clean = clean(path);
    if !path.starts_with('/') {
        Err(TelemetryPathError::Relative(path.to_owned()))
    } else if path.contains([' ', '\t', '{', '}']) {
        Err(TelemetryPathError::Syntax(path.to_owned()))
    } else if clean != path {
        let path = path.to_owned();
        Err(TelemetryPathError::Unclean { path, clean })
    } else {
        Ok(())
    }
}

/// Resolves empty, `.` and `..` segments; a trailing slash stays. Escaped dots
/// are ordinary characters, as in Go.
fn clean(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

fn same(a: &str, b: &str) -> bool {
    segments(a).eq(segments(b))
}

fn is_below(directory: &str, path: &str) -> bool {
    let mut rest = segments(path);
    segments(directory).all(|segment| rest.next() == Some(segment)) && rest.next().is_some()
}

/// What stands between the slashes, unescaped.
fn segments(path: &str) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/')
        .map(|segment| percent_decode_str(segment).into())
}

/// Whether two hexadecimal digits follow every `%`.
fn escapes_are_valid(path: &str) -> bool {
    path.split('%').skip(1).all(|after| {
        let mut digits = after.bytes();
        let mut digit = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        digit() && digit()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(telemetry_path: &str, cases: &[(&str, Route)]) {
        let routes = Routes::new(telemetry_path, true).unwrap();
        for (path, want) in cases {
            assert_eq!(routes.find(path), *want, "{path} with {telemetry_path}");
        }
    }

    fn to(path: &str) -> Route {
        Route::Redirect(path.to_owned())
    }

    #[test]
    fn pages() {
        check(
            "/metrics",
            &[
                ("/", Route::Landing),
                ("/metrics", Route::Metrics),
                ("/metrics/", Route::NotFound),
                ("/metrics/x", Route::NotFound),
                ("/Metrics", Route::NotFound),
                ("/-/healthy", Route::Healthy),
                ("/-/healthy/", Route::NotFound),
                ("/-/ready", Route::Ready),
                ("/-/reload", Route::Reload),
                ("/-/quit", Route::Quit),
                ("/-/", Route::NotFound),
                ("/-", Route::NotFound),
                ("/health", Route::Healthy),
                ("/health/", Route::NotFound),
                ("/debug/pprof/", Route::NotFound),
                ("/debug/vars", Route::NotFound),
            ],
        );
    }

    #[test]
    fn reload_and_quit_are_there_only_on_request() {
        let routes = Routes::new("/metrics", false).unwrap();
        assert_eq!(routes.find("/-/reload"), Route::NotFound);
        assert_eq!(routes.find("/-/quit"), Route::NotFound);
        assert_eq!(routes.find("/-/ready"), Route::Ready);
    }

    #[test]
    fn unclean_paths_are_redirected() {
        check(
            "/metrics",
            &[
                ("//", to("/")),
                ("//metrics", to("/metrics")),
                ("/x/../metrics", to("/metrics")),
                ("/./-/ready", to("/-/ready")),
                ("/-//healthy", to("/-/healthy")),
                ("/..", to("/")),
                ("/../../metrics", to("/metrics")),
                ("/a/./b//c/", to("/a/b/c/")),
                ("/a/b/..", to("/a")),
                ("/metrics/.", to("/metrics")),
                ("/metrics/./", to("/metrics/")),
                ("//%6detrics", to("/%6detrics")),
                ("//a%20b", to("/a%20b")),
            ],
        );
    }

    #[test]
    fn escapes_are_decoded_within_segments() {
        check(
            "/metrics",
            &[
                ("/%6detrics", Route::Metrics),
                ("/%6Detrics", Route::Metrics),
                ("/%2Fmetrics", Route::NotFound),
                ("/-/health%79", Route::Healthy),
                ("/-%2Fhealthy", Route::NotFound),
                ("/x/%2e%2e/metrics", Route::NotFound),
                ("/metrics%00", Route::NotFound),
                ("/%ff", Route::NotFound),
                ("/%", Route::Malformed),
                ("/%4", Route::Malformed),
                ("/%zz", Route::Malformed),
                ("/%é", Route::Malformed),
                ("", Route::Malformed),
                ("*", Route::Malformed),
                ("metrics", Route::Malformed),
            ],
        );
        check(
            "/a%20b/é",
            &[
                ("/a%20b/%C3%A9", Route::Metrics),
                ("/a%20b/é", Route::Metrics),
            ],
        );
    }

    #[test]
    fn the_root_as_telemetry_path_takes_what_is_left() {
        check(
            "/",
            &[
                ("/", Route::Metrics),
                ("/whatever", Route::Metrics),
                ("/metrics/x/", Route::Metrics),
                ("/-/ready", Route::Ready),
                ("/health", Route::Healthy),
                ("//x", to("/x")),
            ],
        );
        let routes = Routes::new("/", false).unwrap();
        assert_eq!(routes.find("/-/reload"), Route::Metrics);
    }

    #[test]
    fn a_trailing_slash_covers_what_is_below() {
        check(
            "/m/",
            &[
                ("/m/", Route::Metrics),
                ("/m/x", Route::Metrics),
                ("/m/x/y/", Route::Metrics),
                ("/m", to("/m/")),
                ("/%6d", to("/m/")),
                ("//m", to("/m/")),
                ("/m//x", to("/m/x")),
                ("/mx", Route::NotFound),
                ("/", Route::Landing),
            ],
        );
        check(
            "/-/",
            &[
                ("/-/healthy", Route::Healthy),
                ("/-/other", Route::Metrics),
                ("/-", to("/-/")),
            ],
        );
        check(
            "/-/ready/",
            &[("/-/ready", Route::Ready), ("/-/ready/", Route::Metrics)],
        );
    }

    #[test]
    fn the_probe_path_of_the_chart_gives_way() {
        check("/health", &[("/health", Route::Metrics)]);
        check(
            "/health/",
            &[("/health", to("/health/")), ("/health/", Route::Metrics)],
        );
    }

    #[test]
    fn telemetry_paths_that_cannot_work() {
        use TelemetryPathError::{Relative, Reserved, Syntax};
        let check = |path: &str, want: fn(String) -> TelemetryPathError| {
            let got = Routes::new(path, true).unwrap_err();
            assert_eq!(got, want(path.to_owned()));
        };
        check("", Relative);
        check("nonsense", Relative);
        check("GET /metrics", Relative);
        check("/a b", Syntax);
        check("/{", Syntax);
        check("/{x}", Syntax);
        check("/-/ready", Reserved);
        check("/-/quit", Reserved);
        check("/-/%71uit", Reserved);
        assert!(Routes::new("/-/quit", false).is_ok());
        assert_eq!(
            Routes::new("//metrics/../m/", true).unwrap_err(),
            TelemetryPathError::Unclean {
                path: "//metrics/../m/".to_owned(),
                clean: "/m/".to_owned(),
            }
        );
    }

    #[test]
    fn the_link_leads_to_the_metrics() {
        for path in ["/metrics", "/m/", "/"] {
            let routes = Routes::new(path, false).unwrap();
            assert_eq!(routes.telemetry_link(), path);
        }
    }
}
