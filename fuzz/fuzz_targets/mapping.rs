//! Any mapping file: it is refused or it works, and explaining agrees with
//! mapping.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target runs some of the checks")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    checks::mapping(file, &["a.b", "a.b.c", "*", "", "..", "é.9"]);
});
