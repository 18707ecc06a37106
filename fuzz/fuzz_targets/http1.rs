//! Feeds bytes to `pellucid::fuzzing::http1`; what must hold is asserted there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pellucid::fuzzing::http1(bytes));
