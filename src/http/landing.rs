//! The page for people who open the exporter in a browser. It keeps the title
//! and the link of the reference, which some scripts look for, and needs
//! nothing but itself.

/// Writes the page. `telemetry_link` is the path of the metrics.
pub(super) fn page(version: &str, telemetry_link: &str) -> String {
    let version = escape(version);
    let link = escape(telemetry_link);
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>StatsD Exporter</title>
<style>
body {{ margin: 0; font-family: system-ui, sans-serif; line-height: 1.5; color: #222; }}
header {{ padding: 0.5rem 2rem; background: #e6522c; color: #fff; }}
main {{ padding: 1rem 2rem; }}
</style>
</head>
<body>
<header><h1>StatsD Exporter</h1></header>
<main>
<p>This is Pitot: it turns StatsD datagrams into Prometheus metrics.</p>
<p>Version: {version}</p>
<ul>
<li><a href="{link}">Metrics</a></li>
</ul>
</main>
</body>
</html>
"#
    )
}

/// Makes text safe between tags and within quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_title_version_and_link() {
        let page = page("1.2.3", "/metrics");
        for part in [
            "<title>StatsD Exporter</title>",
            "<h1>StatsD Exporter</h1>",
            "Pitot",
            "Version: 1.2.3",
            r#"<a href="/metrics">Metrics</a>"#,
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }

    #[test]
    fn nothing_given_becomes_markup() {
        let page = page("<1>", r#"/"><script>'&"#);
        assert!(page.contains("Version: &lt;1&gt;"));
        assert!(page.contains(r#"href="/&#34;&gt;&lt;script&gt;&#39;&amp;""#));
    }
}
