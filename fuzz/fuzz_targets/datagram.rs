//! Any datagrams, with and without a memory of lines: the pages must agree.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target runs some of the checks")]
mod checks;

use libfuzzer_sys::fuzz_target;

const MAPPING: &str = "mappings:\n\
    - {match: a.*, name: 'a_$1', labels: {one: '$1'}}\n\
    - {match: '(.)\\.(\\w+)$', match_type: regex, name: 'rx_$1', labels: {two: '$2'}, observer_type: histogram}\n";

fuzz_target!(|datagrams: Vec<Vec<u8>>| {
    let mut twins = checks::Twins::new(MAPPING);
    for datagram in &datagrams {
        twins.datagram(datagram);
    }
    twins.check();
});
