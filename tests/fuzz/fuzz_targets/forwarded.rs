//! `Forwarded` and `X-Forwarded-For`: what strangers wrote to the left of a proxy's word changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::policy::proxies::Proxies;

fuzz_target!(|spoofed: &[u8]| {
    let proxies = Proxies {
        trusted: vec!["10.0.0.0/8".parse().expect("a network")],
        protocol: false,
    };
    let (proxy, stranger) = (([10, 0, 0, 1], 1).into(), ([192, 0, 2, 1], 1).into());
    let none = || std::iter::empty::<&[u8]>();
    let once = |line: &'static str| [spoofed, line.as_bytes()].concat();

    let usual = once(", 192.0.2.1, 10.0.0.2");
    let told = proxies.client(proxy, none(), [usual.as_slice()].into_iter());
    assert_eq!(
        told.map(|client| client.ip().to_string()),
        Ok("192.0.2.1".to_owned())
    );
    let standard = once(", for=192.0.2.1;host=\"a\\\"b\", for=\"10.0.0.2:80\"");
    let told = proxies.client(proxy, [standard.as_slice()].into_iter(), none());
    assert_eq!(
        told.map(|client| client.ip().to_string()),
        Ok("192.0.2.1".to_owned())
    );

    let both = proxies.client(stranger, [spoofed].into_iter(), [spoofed].into_iter());
    assert_eq!(both, Ok(stranger));
});
