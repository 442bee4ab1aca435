//! A PROXY header is read to its end and no further, and what is none is refused.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_beginning_of_a_connection_is_judged_within_bounds(
        begin in prop_oneof![
            Just(Vec::new()),
            Just(b"PROXY ".to_vec()),
            Just(b"PROXY TCP4 ".to_vec()),
            Just(b"PROXY UNKNOWN ".to_vec()),
            Just(b"\r\n\r\n\0\r\nQUIT\n".to_vec()),
            Just(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".to_vec()),
        ],
        rest in proptest::collection::vec(any::<u8>(), 5000),
    ) {
        let stream = [begin, rest].concat();
        let mut taken = 0;
        let mut steps = 0;
        while let Step::More(count) = look(&stream[..taken]) {
            prop_assert!(count > 0);
            taken += count;
            steps += 1;
            prop_assert!(taken <= LONGEST && steps <= 60, "{taken} bytes in {steps} steps");
        }
    }

    #[test]
    fn a_header_is_read_to_its_end_and_no_further(
        (client, ours) in (any::<std::net::SocketAddrV4>(), any::<std::net::SocketAddrV4>()),
        (client6, ours6) in (any::<Ipv6Addr>(), any::<Ipv6Addr>()),
        extra in proptest::collection::vec(any::<u8>(), 0..300),
        which in 0..6,
    ) {
        let (port, our_port) = (client.port(), ours.port());
        let v4 = [client.ip().octets().as_slice(), &ours.ip().octets()].concat();
        let v6 = [client6.octets().as_slice(), &ours6.octets()].concat();
        let ports = [port.to_be_bytes(), our_port.to_be_bytes()].concat();
        let told6 = SocketAddr::new(IpAddr::V6(client6).to_canonical(), port);
        let (header, told) = match which {
            0 => (format!("PROXY TCP4 {} {} {port} {our_port}\r\n", client.ip(), ours.ip()).into_bytes(), Some(client.into())),
            1 => (format!("PROXY TCP6 {client6} {ours6} {port} {our_port}\r\n").into_bytes(), Some(told6)),
            2 => (b"PROXY UNKNOWN\r\n".to_vec(), None),
            3 => (binary(0x21, 0x11, &[v4, ports, extra].concat()), Some(client.into())),
            4 => (binary(0x21, 0x21, &[v6, ports, extra].concat()), Some(told6)),
            _ => (binary(0x20, 0x11, &extra), None),
        };
        let stream = [header.clone(), b"GET /v2/ HTTP/1.1\r\n".to_vec()].concat();
        let mut taken = 0;
        while let Step::More(count) = look(&stream[..taken]) {
            taken += count;
        }
        prop_assert_eq!(look(&stream[..taken]), Step::Whole(told));
        prop_assert_eq!(taken, header.len());
    }
}

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
        &[command, family],
        &length,
        rest,
    ]
    .concat()
}

/// What a connection that sends these bytes is taken for.
fn judge(stream: &[u8]) -> Step {
    let mut taken = 0;
    loop {
        match look(&stream[..taken]) {
            Step::More(count) if taken + count <= stream.len() => taken += count,
            step => return step,
        }
    }
}

#[test]
fn a_connection_that_names_nobody_is_its_peers_own() {
    for stream in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n".to_vec(),
        binary(0x20, 0, b""),
        binary(0x20, 0x11, &[1; 12]),
        binary(0x21, 0, b""),
        binary(0x21, 0x12, &[1; 12]),
        binary(0x21, 0x31, &[1; 216]),
    ] {
        assert_eq!(judge(&stream), Step::Whole(None), "{stream:?}");
    }
}

#[test]
fn what_is_no_header_or_not_quite_is_refused() {
    for stream in [
        b"GET /v2/ HTTP/1.1\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
        b"PROXY  TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 \r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n      ".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\nGET /".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\rX".to_vec(),
        b"PROXY \r\nGET / HTTP/1.1\r\n".to_vec(),
        b"PROXY UNKNOWN\nX\r\n".to_vec(),
        [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
        [b"PROXY TCP4 ".to_vec(), vec![0xff; 20], b"\r\n".to_vec()].concat(),
        binary(0x11, 0x11, &[1; 12]),
        binary(0x22, 0x11, &[1; 12]),
        binary(0x21, 0x41, &[1; 12]),
        binary(0x21, 0x13, &[1; 12]),
        binary(0x21, 0x11, &[1; 11]),
        binary(0x21, 0x21, &[1; 35]),
        binary(0x21, 0x11, &[1; 4081]),
    ] {
        assert!(
            matches!(judge(&stream), Step::Wrong(_)),
            "{:?} {:?}",
            judge(&stream),
            String::from_utf8_lossy(&stream)
        );
    }
}
