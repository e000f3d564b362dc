//! Series to bytes: the page that Prometheus scrapes.
//!
//! A page is the registry's families and the exporter's own, by name. Nothing
//! here changes a series, and nothing waits for a page: families and series
//! come as snapshots, each value is read when its turn comes, and the bytes
//! leave in chunks, so that a page of any size needs little memory. Only
//! delimited protobuf needs a whole family at once, because a message's length
//! stands before it.
//!
//! `page` walks the families once for all formats; an `Encoder` knows one
//! format and nothing of the registry.

mod chunks;
mod number;
mod protobuf;
mod prototext;
mod text;

use std::io::{self, Write};

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use crate::clock::Millis;
use crate::registry::{Family, Kind, Reading, Registry};
use protobuf::Delimited;
use prototext::{Layout, Prototext};
use text::Text;

/// The formats of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// `MetricFamily` messages, each behind its length.
    ProtobufDelimited,
    /// The same as multi-line prototext.
    ProtobufText,
    /// The same as prototext, a family a line.
    ProtobufCompactText,
}

/// Writes the page of all series, and of the exporter's own metrics, of which
/// only counters and gauges are shown. The only errors are those of `out`.
pub fn render(
    registry: &Registry,
    own: &[MetricFamily],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Text => page(registry, own, Text::new(out)),
        Format::ProtobufDelimited => page(registry, own, Delimited::new(out)),
        Format::ProtobufText => page(registry, own, Prototext::new(out, Layout::Lines)),
        Format::ProtobufCompactText => page(registry, own, Prototext::new(out, Layout::Compact)),
    }
}

/// A format: is given a page family by family and series by series.
trait Encoder {
    /// Starts a family, which will have at least one series.
    fn begin_family(&mut self, name: &str, help: &str, kind: Kind) -> io::Result<()>;

    /// Adds a series of that family: its labels by name, when it was made in
    /// wall-clock milliseconds if that is known, and a reading of its kind.
    fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        created_ms: Option<u64>,
        reading: &Reading,
    ) -> io::Result<()>;

    /// Ends the family.
    fn end_family(&mut self) -> io::Result<()>;

    /// Ends the page.
    fn finish(self) -> io::Result<()>;
}

fn page(registry: &Registry, own: &[MetricFamily], mut encoder: impl Encoder) -> io::Result<()> {
    let now = registry.clock().now();
    let mut own: Vec<&MetricFamily> = own.iter().collect();
    own.sort_by_key(|family| family.name());
    let mut own = own.into_iter().peekable();
    for family in registry.families().iter() {
        while let Some(earlier) = own.next_if(|own| own.name() < &*family.name) {
            own_family(earlier, &mut encoder)?;
        }
        registry_family(family, now, &mut encoder)?;
    }
    for family in own {
        own_family(family, &mut encoder)?;
    }
    encoder.finish()
}

/// A family without series is left out, and so are series that were retired
/// since the snapshot was made.
fn registry_family(family: &Family, now: Millis, encoder: &mut impl Encoder) -> io::Result<()> {
    let series = family.series();
    let mut live = series
        .iter()
        .filter(|series| !series.is_retired())
        .peekable();
    if live.peek().is_none() {
        return Ok(());
    }
    encoder.begin_family(&family.name, &family.help, family.kind)?;
    for series in live {
        encoder.series(
            series.labels(),
            Some(series.created_ms()),
            &series.read(now),
        )?;
    }
    encoder.end_family()
}

fn own_family(family: &MetricFamily, encoder: &mut impl Encoder) -> io::Result<()> {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        _ => return Ok(()),
    };
    if family.get_metric().is_empty() {
        return Ok(());
    }
    encoder.begin_family(family.name(), family.help(), kind)?;
    for metric in family.get_metric() {
        let reading = match kind {
            Kind::Counter => Reading::Counter(metric.get_counter().get_value()),
            _ => Reading::Gauge(metric.get_gauge().get_value()),
        };
        let labels = metric.get_label().iter().map(name_and_value);
        encoder.series(labels, None, &reading)?;
    }
    encoder.end_family()
}

fn name_and_value(label: &LabelPair) -> (&str, &str) {
    (label.name(), label.value())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::clock::Clock;
    use crate::registry::{HistogramOptions, SeriesSpec, Shape, SummaryOptions, Ttl};
    use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};
    use prost::Message;
    use std::sync::Arc;
    use std::time::Duration;

    const HELP: &str = "Metric autogenerated by statsd_exporter.";
    const ALL: [Format; 4] = [
        Format::Text,
        Format::ProtobufDelimited,
        Format::ProtobufText,
        Format::ProtobufCompactText,
    ];

    fn empty_registry() -> Registry {
        let clock = Clock::manual();
        clock.advance(Duration::from_millis(1_700_000_000_123));
        Registry::new(clock, |_| false)
    }

    fn add(
        registry: &Registry,
        name: &str,
        labels: &[(&str, &str)],
        shape: &Shape,
        values: &[f64],
    ) {
        let help = match shape {
            Shape::Summary(_) => "back\\slash \"quoted\"\nsecond line",
            _ => HELP,
        };
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value)))
            .collect();
        let spec = SeriesSpec {
            name,
            help: &Arc::from(help),
            shape,
            labels: &labels,
            ttl: Ttl::After(Duration::from_secs(60)),
        };
        let now = registry.clock().now();
        let series = registry.series(&spec, now).unwrap();
        for value in values {
            match shape {
                Shape::Counter => series.count(*value),
                Shape::Gauge => series.set(*value),
                _ => assert!(series.try_observe(*value, 1, now)),
            }
        }
    }

    /// A registry that was told what the reference was told for the pages
    /// recorded below.
    fn registry() -> Registry {
        let registry = empty_registry();
        let summary = Shape::Summary(Arc::new(SummaryOptions {
            quantiles: vec![0.5, 0.9, 0.99],
            max_age: Duration::from_secs(600),
            age_buckets: 5,
        }));
        let histogram = Shape::Histogram(Arc::new(HistogramOptions {
            buckets: vec![0.1, 1.0],
            native_bucket_factor: 1.1,
            native_buckets_max: 256,
        }));
        let add = |name, labels: &[_], shape, values: &[_]| {
            add(&registry, name, labels, shape, values);
        };
        add("dags", &[("z", "1")], &Shape::Counter, &[2.0]);
        add(
            "dags",
            &[("a", "q\"u\\o"), ("b", "x")],
            &Shape::Counter,
            &[1_234_567.0],
        );
        add("dags", &[], &Shape::Counter, &[0.5]);
        add("pool", &[], &Shape::Gauge, &[-3.0]);
        add("pool", &[("pool", "default_pool")], &Shape::Gauge, &[7.0]);
        add("a_summary", &[("t", "v")], &summary, &[0.25, 1e9]);
        add("nan", &[], &histogram, &[f64::NAN]);
        let infinite = [0.05, 0.06, 3.0, 0.0, -2.0, f64::INFINITY];
        add("run", &[("dag", "d")], &histogram, &infinite);
        registry
    }

    fn rendered(registry: &Registry, own: &[MetricFamily], format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        render(registry, own, format, &mut out).unwrap();
        out
    }

    fn rendered_text(registry: &Registry, own: &[MetricFamily], format: Format) -> String {
        String::from_utf8(rendered(registry, own, format)).unwrap()
    }

    /// Recorded from statsd_exporter 0.30.
    const TEXT: &str = r##"# HELP a_summary back\\slash "quoted"\nsecond line
# TYPE a_summary summary
a_summary{t="v",quantile="0.5"} 0.25
a_summary{t="v",quantile="0.9"} 1e+09
a_summary{t="v",quantile="0.99"} 1e+09
a_summary_sum{t="v"} 1.00000000025e+09
a_summary_count{t="v"} 2
# HELP dags Metric autogenerated by statsd_exporter.
# TYPE dags counter
dags 0.5
dags{z="1"} 2
dags{a="q\"u\\o",b="x"} 1.234567e+06
# HELP nan Metric autogenerated by statsd_exporter.
# TYPE nan histogram
nan_bucket{le="0.1"} 0
nan_bucket{le="1"} 0
nan_bucket{le="+Inf"} 1
nan_sum NaN
nan_count 1
# HELP pool Metric autogenerated by statsd_exporter.
# TYPE pool gauge
pool -3
pool{pool="default_pool"} 7
# HELP run Metric autogenerated by statsd_exporter.
# TYPE run histogram
run_bucket{dag="d",le="0.1"} 4
run_bucket{dag="d",le="1"} 4
run_bucket{dag="d",le="+Inf"} 6
run_sum{dag="d"} +Inf
run_count{dag="d"} 6
"##;

    #[test]
    fn text_is_the_references() {
        assert_eq!(rendered_text(&registry(), &[], Format::Text), TEXT);
    }

    /// Recorded in the same run; its creation times are replaced by ours.
    const MESSAGES: [&[u8]; 4] = [
        b"\n\ta_summary\x12\x1fback\\slash \"quoted\"\nsecond line\x18\x02\"_\n\x06\n\x01t\x12\x01v\"U\
          \x08\x02\x11\x00\x00 \x00e\xcd\xcdA\x1a\x12\t\x00\x00\x00\x00\x00\x00\xe0?\x11\x00\x00\x00\x00\
          \x00\x00\xd0?\x1a\x12\t\xcd\xcc\xcc\xcc\xcc\xcc\xec?\x11\x00\x00\x00\x00e\xcd\xcdA\x1a\x12\t\
          \xaeG\xe1z\x14\xae\xef?\x11\x00\x00\x00\x00e\xcd\xcdA\"\x0c\x08\xec\xd6\x92\xd8\x06\x10\xad\
          \xb3\xa2\x9a\x01",
        b"\n\x04dags\x12(Metric autogenerated by statsd_exporter.\x18\x00\"\x19\x1a\x17\t\x00\x00\x00\x00\
          \x00\x00\xe0?\x1a\x0c\x08\xec\xd6\x92\xd8\x06\x10\x99\xfe\x98\x9a\x01\"!\n\x06\n\x01z\x12\x011\
          \x1a\x17\t\x00\x00\x00\x00\x00\x00\x00@\x1a\x0c\x08\xec\xd6\x92\xd8\x06\x10\xba\xcd\x97\x9a\
          \x01\"-\n\n\n\x01a\x12\x05q\"u\\o\n\x06\n\x01b\x12\x01x\x1a\x17\t\x00\x00\x00\x00\x87\xd62A\
          \x1a\x0c\x08\xec\xd6\x92\xd8\x06\x10\xc0\xd9\x98\x9a\x01",
        b"\n\x04pool\x12(Metric autogenerated by statsd_exporter.\x18\x01\"\x0b\x12\t\t\x00\x00\x00\x00\
          \x00\x00\x08\xc0\"!\n\x14\n\x04pool\x12\x0cdefault_pool\x12\t\t\x00\x00\x00\x00\x00\x00\x1c@",
        b"\n\x03run\x12(Metric autogenerated by statsd_exporter.\x18\x04\"q\n\x08\n\x03dag\x12\x01d:e\
          \x08\x06\x11\x00\x00\x00\x00\x00\x00\xf0\x7f\x1a\x0b\x08\x04\x11\x9a\x99\x99\x99\x99\x99\xb9?\
          \x1a\x0b\x08\x04\x11\x00\x00\x00\x00\x00\x00\xf0?(\x061\x00\x00\x00\x00\x00\x00\xf078\x01J\x04\
          \x08\x10\x10\x01P\x02b\x04\x08C\x10\x03b\x04\x08X\x10\x01b\x05\x08\xe6\x7f\x10\x01h\x02h\x01h\
          \x02h\x00h\x00z\x0c\x08\xec\xd6\x92\xd8\x06\x10\xd0\xe4\xf0\xf9\x01",
    ];

    fn decoded(mut page: &[u8]) -> Vec<protobuf::MetricFamily> {
        let mut families = Vec::new();
        while !page.is_empty() {
            families.push(protobuf::MetricFamily::decode_length_delimited(&mut page).unwrap());
        }
        families
    }

    #[test]
    fn delimited_messages_are_the_references() {
        let page = decoded(&rendered(&registry(), &[], Format::ProtobufDelimited));
        let names: Vec<&str> = page
            .iter()
            .filter_map(|family| family.name.as_deref())
            .collect();
        assert_eq!(names, ["a_summary", "dags", "nan", "pool", "run"]);
        let created = Some(protobuf::Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_000_000,
        });
        for recorded in MESSAGES {
            let mut recorded = protobuf::MetricFamily::decode(recorded).unwrap();
            for metric in &mut recorded.metric {
                let times = [
                    metric.counter.as_mut().map(|c| &mut c.created_timestamp),
                    metric.summary.as_mut().map(|s| &mut s.created_timestamp),
                    metric.histogram.as_mut().map(|h| &mut h.created_timestamp),
                ];
                for time in times.into_iter().flatten() {
                    assert!(time.is_some());
                    *time = created;
                }
            }
            assert!(page.contains(&recorded), "{recorded:?}");
        }
    }

    #[test]
    fn prototext_has_all_fields() {
        let registry = registry();
        let compact = rendered_text(&registry, &[], Format::ProtobufCompactText);
        // Recorded like the above; only the white space is ours.
        let run = "name:\"run\" help:\"Metric autogenerated by statsd_exporter.\" type:HISTOGRAM \
                   metric:{label:{name:\"dag\" value:\"d\"} histogram:{sample_count:6 sample_sum:inf \
                   bucket:{cumulative_count:4 upper_bound:0.1} bucket:{cumulative_count:4 upper_bound:1} \
                   created_timestamp:{seconds:1700000000 nanos:123000000} \
                   schema:3 zero_threshold:2.938735877055719e-39 zero_count:1 \
                   negative_span:{offset:8 length:1} negative_delta:1 positive_span:{offset:-34 length:3} \
                   positive_span:{offset:44 length:1} positive_span:{offset:8179 length:1} \
                   positive_delta:1 positive_delta:-1 positive_delta:1 positive_delta:0 positive_delta:0}}";
        assert_eq!(compact.lines().last(), Some(run));
        assert_eq!(compact.lines().count(), 5);
        let lines = rendered_text(&registry, &[], Format::ProtobufText);
        let summary = r#"name: "a_summary"
help: "back\\slash \"quoted\"\nsecond line"
type: SUMMARY
metric: {
  label: {
    name: "t"
    value: "v"
  }
  summary: {
    sample_count: 2
    sample_sum: 1.00000000025e+09
    quantile: {
      quantile: 0.5
      value: 0.25
    }
"#;
        assert!(lines.starts_with(summary), "{lines}");
        // The layouts differ in nothing else.
        let words = |text: &str| -> Vec<String> {
            let spaced = text
                .replace(": ", ":")
                .replace('{', "{ ")
                .replace('}', " } ");
            spaced.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words(&lines), words(&compact));
    }

    fn own() -> Vec<MetricFamily> {
        let own = prometheus::Registry::new();
        let lines = IntCounter::new("own_lines_total", "Lines.").unwrap();
        let errors = Opts::new("errors_total", "By\nreason.");
        let errors = IntCounterVec::new(errors, &["reason", "kind"]).unwrap();
        let queue = IntGauge::new("zz_queue", "Queue.").unwrap();
        lines.inc_by(2_000_000);
        errors.with_label_values(&["bad", "tag"]).inc();
        queue.set(-1);
        own.register(Box::new(lines)).unwrap();
        own.register(Box::new(errors)).unwrap();
        own.register(Box::new(queue)).unwrap();
        own.gather()
    }

    #[test]
    fn own_families_stand_among_the_others() {
        let registry = empty_registry();
        add(&registry, "dags", &[], &Shape::Counter, &[1.0]);
        add(&registry, "pool", &[], &Shape::Gauge, &[2.0]);
        let mut own = own();
        own.reverse();
        own.push(MetricFamily::default());
        let text = rendered_text(&registry, &own, Format::Text);
        let help = HELP;
        let expect = format!(
            "# HELP dags {help}\n# TYPE dags counter\ndags 1\n\
             # HELP errors_total By\\nreason.\n# TYPE errors_total counter\n\
             errors_total{{kind=\"tag\",reason=\"bad\"}} 1\n\
             # HELP own_lines_total Lines.\n# TYPE own_lines_total counter\nown_lines_total 2e+06\n\
             # HELP pool {help}\n# TYPE pool gauge\npool 2\n\
             # HELP zz_queue Queue.\n# TYPE zz_queue gauge\nzz_queue -1\n"
        );
        assert_eq!(text, expect);
        let delimited = decoded(&rendered(&registry, &own, Format::ProtobufDelimited));
        assert_eq!(delimited.len(), 5);
    }

    #[test]
    fn nothing_gives_an_empty_page() {
        let registry = empty_registry();
        for format in ALL {
            assert_eq!(rendered(&registry, &[], format), b"", "{format:?}");
        }
        add(&registry, "dags", &[], &Shape::Counter, &[1.0]);
        registry.clock().advance(Duration::from_secs(61));
        registry.sweep(registry.clock().now());
        for format in ALL {
            assert_eq!(rendered(&registry, &[], format), b"", "{format:?}");
        }
    }

    /// Notes how much it is given at once, and retires what is due meanwhile.
    struct Watcher<'a> {
        registry: &'a Registry,
        bytes: Vec<u8>,
        largest: usize,
    }

    impl Write for Watcher<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.registry.sweep(self.registry.clock().now());
            self.bytes.extend_from_slice(bytes);
            self.largest = self.largest.max(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_page_leaves_in_chunks() {
        let registry = empty_registry();
        for dag in 0..20_000 {
            let dag = dag.to_string();
            add(&registry, "dags", &[("dag", &dag)], &Shape::Counter, &[1.0]);
        }
        for format in ALL {
            let mut out = Watcher {
                registry: &registry,
                bytes: Vec::new(),
                largest: 0,
            };
            render(&registry, &[], format, &mut out).unwrap();
            assert!(out.bytes.len() > 300_000, "{format:?}");
            assert!(out.largest < 70_000, "{format:?}: {}", out.largest);
        }
    }

    #[test]
    fn a_series_retired_meanwhile_is_left_out() {
        let registry = empty_registry();
        for dag in 0..20_000 {
            let dag = dag.to_string();
            add(&registry, "dags", &[("dag", &dag)], &Shape::Counter, &[1.0]);
        }
        add(&registry, "pool", &[], &Shape::Gauge, &[1.0]);
        registry.clock().advance(Duration::from_secs(61));
        let mut out = Watcher {
            registry: &registry,
            bytes: Vec::new(),
            largest: 0,
        };
        render(&registry, &[], Format::Text, &mut out).unwrap();
        let text = String::from_utf8(out.bytes).unwrap();
        assert!(text.lines().count() < 5000, "only the first chunk");
        assert!(text.ends_with('\n') && !text.contains("pool"));
    }

    #[test]
    fn errors_of_the_writer_are_passed_on() {
        for format in ALL {
            let mut full: &mut [u8] = &mut [0; 10];
            let error = render(&registry(), &[], format, &mut full).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WriteZero, "{format:?}");
        }
    }
}
