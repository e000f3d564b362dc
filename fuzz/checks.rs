//! What must hold for any bytes at all. The fuzz targets and the seeded smoke
//! test of the integration tests run the same checks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pitot::clock::Clock;
use pitot::mapping::{Mapper, rules};
use pitot::receive::Sink;
use pitot::registry::Registry;
use pitot::render::{Format, render};
use pitot::statsd::{Dialects, Sample, StatType};
use pitot::telemetry::{self, BuildInfo, Telemetry};
use pitot::worker::{Shared, Transport, Worker};

/// An exporter without sockets.
pub struct Exporter {
    shared: Arc<Shared>,
    worker: Worker,
}

impl Exporter {
    /// One with these rules; `cache` lets it remember lines.
    pub fn new(mapper: Mapper, cache: bool) -> Exporter {
        let shared = Arc::new(Shared {
            registry: Arc::new(Registry::new(Clock::manual(), telemetry::is_reserved)),
            mapper: ArcSwap::from_pointee(mapper),
            telemetry: Telemetry::new(&BuildInfo::default(), cache),
            dialects: Dialects::ALL,
            cache,
        });
        Exporter {
            worker: Worker::new(Arc::clone(&shared), Transport::Udp, None),
            shared,
        }
    }

    /// Takes a datagram as if it had been received.
    pub fn datagram(&mut self, datagram: &[u8]) {
        self.worker.batch_start();
        self.worker.datagram(datagram);
        self.worker.batch_end();
    }

    /// The page without the exporter's own families.
    pub fn page(&self, format: Format) -> Vec<u8> {
        let mut page = Vec::new();
        render(&self.shared.registry, &[], format, &mut page).expect("a vector takes all");
        page
    }

    /// The sum of one of the exporter's own counters over its labels.
    pub fn counter(&self, name: &str) -> f64 {
        let families = self.shared.telemetry.gather();
        let of_name = families.iter().filter(|family| family.name() == name);
        let metrics = of_name.flat_map(|family| family.get_metric());
        metrics.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// The exporter's own counters, but for those of the cache and the process.
    pub fn counters(&self) -> Vec<String> {
        let families = self.shared.telemetry.gather();
        let of_samples =
            |name: &str| name.starts_with("statsd_exporter_") && !name.contains("build_info");
        families
            .iter()
            .filter(|family| of_samples(family.name()))
            .map(|family| format!("{family:?}"))
            .collect()
    }
}

/// Two exporters get the same datagrams, one remembers lines and the other does
/// not: whatever comes, they must end with the same pages and counters.
pub struct Twins {
    remembers: Exporter,
    forgets: Exporter,
}

impl Twins {
    /// With rules from a mapping file, which must be a good one.
    pub fn new(mapping: &str) -> Twins {
        let mapper = || compile(mapping.as_bytes()).expect("a good mapping file");
        Twins {
            remembers: Exporter::new(mapper(), true),
            forgets: Exporter::new(mapper(), false),
        }
    }

    /// Gives both a datagram, twice: the first may be new to the one that
    /// remembers, the second is not.
    pub fn datagram(&mut self, datagram: &[u8]) {
        for _ in 0..2 {
            self.remembers.datagram(datagram);
            self.forgets.datagram(datagram);
        }
    }

    /// Compares them.
    ///
    /// # Panics
    /// If they differ.
    pub fn check(&self) {
        for format in [Format::Text, Format::ProtobufDelimited] {
            let pages = [&self.remembers, &self.forgets].map(|twin| twin.page(format));
            assert!(pages[0] == pages[1], "remembering lines changes the page");
        }
        assert_eq!(self.remembers.counters(), self.forgets.counters());
    }

    /// The page as text.
    pub fn page(&self) -> String {
        String::from_utf8(self.remembers.page(Format::Text)).expect("pages are UTF-8")
    }
}

/// Reads and compiles a mapping file; `None` if it is refused. A refusal must
/// name its place and say something.
pub fn compile(mapping: &[u8]) -> Option<Mapper> {
    match rules::read(mapping, "fuzz.yml") {
        Ok(file) => match Mapper::compile([(Arc::from("fuzz.yml"), file)]) {
            Ok(mapper) => Some(mapper),
            Err(error) => {
                assert!(error.line > 0 && !error.message.is_empty());
                None
            }
        },
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| !error.message.is_empty()));
            None
        }
    }
}

/// Reads a mapping file and, if it is good, puts names through it: mapping and
/// explaining them must agree on which rule takes what.
pub fn mapping(mapping: &[u8], names: &[&str]) {
    let Some(mapper) = compile(mapping) else {
        return;
    };
    let mut exporter = Exporter::new(compile(mapping).expect("it was good before"), true);
    for name in names {
        for stat in StatType::ALL {
            let verdicts = mapper.verdicts(&Sample::new(name, stat));
            assert_eq!(verdicts.len(), mapper.rules().len());
        }
        for suffix in [":1|c", ":1|g", ":1|ms|#le:1,quantile:2,a:b"] {
            exporter.datagram(format!("{name}{suffix}").as_bytes());
        }
    }
    exporter.page(Format::Text);
    exporter.page(Format::ProtobufDelimited);
    mapper.to_dot();
    mapper.warnings().for_each(drop);
}
