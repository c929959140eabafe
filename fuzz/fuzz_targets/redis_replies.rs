#![no_main]

#[path = "../checks/redis_replies.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
