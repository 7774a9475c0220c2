#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hyperiondb_client::sim::fuzz::negotiation(data));
