//! Feeds bytes to `pellucid::fuzzing::routes`; what must hold is asserted there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pellucid::fuzzing::routes(bytes));
