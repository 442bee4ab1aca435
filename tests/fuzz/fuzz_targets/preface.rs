//! PROXY headers: reading one ends within its bound, and what follows it changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::policy::proxies::preface::{LONGEST, Step, look};

fuzz_target!(|stream: &[u8]| {
    let mut taken = 0;
    while let Step::More(count) = look(&stream[..taken]) {
        assert!(count > 0);
        taken += count;
        assert!(taken <= LONGEST);
        if taken > stream.len() {
            return;
        }
    }
});
