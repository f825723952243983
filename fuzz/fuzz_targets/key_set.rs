#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (gatekey_properties::target("key_set").run)(data));
