//! Who is which client, by what, and for how long it waits.

use super::*;

fn at(address: &str) -> Evidence<'static> {
    Evidence::from(address.parse().unwrap())
}

fn clients() -> Clients {
    let rule = |name, tier, network: &str| Rule::at(name, tier, vec![network.parse().unwrap()]);
    Clients {
        rules: vec![rule("ci", 2, "10.20.0.0/16"), rule("office", 1, "10.0.0.0/8")],
        ..Clients::default()
    }
}

#[test]
fn a_named_client_is_one_whatever_its_address() {
    let who = |address: &str| clients().identify(&at(address));
    assert_eq!((who("10.20.1.1").client, who("10.20.1.1").tier), (0, 2));
    assert_eq!(who("::ffff:10.20.9.9"), who("10.20.1.1"));
    assert_eq!(who("10.1.1.1").tier, 1);
}

#[test]
fn everybody_else_is_one_by_address_and_by_prefix() {
    let who = |address: &str| clients().identify(&at(address));
    assert_eq!(who("192.0.2.1").tier, 0);
    assert_ne!(who("192.0.2.1").client, who("192.0.2.2").client);
    assert_eq!(who("2001:db8::1"), who("2001:db8::2"));
    assert_ne!(who("2001:db8::1"), who("2001:db8:0:1::1"));
}

#[test]
fn a_client_is_called_by_its_name_or_where_it_comes_from() {
    let clients = clients();
    for (address, name) in [
        ("10.20.1.1", "ci"),
        ("192.0.2.1", "192.0.2.1"),
        ("255.255.255.255", "255.255.255.255"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fd00:1::5", "fd00:1::/64"),
        ("fe80::5", "fe80::/64"),
        ("::1", "::/64"),
    ] {
        let client = clients.identify(&at(address)).client;
        assert_eq!(clients.name_of(client), name);
    }
}

#[test]
fn patience_is_known_by_client_and_never_above_what_containerd_waits() {
    assert_eq!(patience("containerd/v2.1.0"), Duration::from_secs(23));
    assert_eq!(patience("docker/27.0 go/go1.22"), Duration::from_secs(20));
    assert_eq!(
        patience("crane/0.20 go-containerregistry/0.20"),
        Duration::from_secs(8)
    );
    assert_eq!(patience("curl/8"), Duration::from_secs(10));
    assert_eq!(patience("buildkit/v0.19"), Duration::from_secs(20));
    assert_eq!(patience("cri-o/1.31.0 go/go1.23"), Duration::from_secs(23));
    // What podman and skopeo send of the library they share.
    assert_eq!(
        patience("containers/5.32.0 (github.com/containers/image)"),
        Duration::from_secs(23)
    );
    assert_eq!(patience("libpod/5.3.1"), Duration::from_secs(23));
}

#[test]
fn those_who_ask_again_within_milliseconds_are_slowed_and_no_others() {
    for (agent, hurried) in [
        ("containerd/v2.1.0", true),
        ("buildkit/v0.19", true),
        (
            "docker/29.0.1 go/go1.24 containerd-client/2.1.5 storage-driver/overlayfs UpstreamClient(x)",
            true,
        ),
        ("docker/28.5.2 go/go1.24 kernel/6.8 os/linux", false),
        ("skopeo/1.18", false),
        ("curl/8", false),
    ] {
        assert_eq!(hurries(agent), hurried, "{agent}");
    }
}

#[test]
fn what_makes_a_request_its_clients_is_what_its_rule_wants() {
    use crate::policy::access::{Access, Anonymous, User};
    use crate::policy::issuers::{Bearer, Claims};

    let claim = |name: &str, value: &str| Claim::new(name, value).unwrap();
    let rule = |name: &str, matches: Matches| Rule {
        matches,
        ..Rule::at(name, 0, Vec::new())
    };
    let network: IpNet = "10.20.0.0/16".parse().unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let everything = Matches {
        networks: vec!["192.0.2.0/24".parse().unwrap(), network],
        users: names(&["bob", "alice"]),
        certificates: names(&["node-1", "node-2"]),
        issuers: names(&["other", "ci"]),
        claims: vec![claim("ref", "refs/heads/.*"), claim("groups", "b")],
    };
    let user = |name: &str| User {
        name: name.to_owned(),
        hash: "x".into(),
    };
    let clients = Clients {
        rules: vec![
            rule("all", everything),
            rule(
                "user",
                Matches {
                    users: names(&["alice"]),
                    ..Matches::default()
                },
            ),
        ],
        access: Access {
            anonymous: Anonymous::From(vec!["10.0.0.0/8".parse().unwrap()]),
            users: ["alice", "carol"].map(user).to_vec(),
            ..Access::default()
        },
        ..Clients::default()
    };
    let said = [
        ("ref", "refs/heads/main"),
        ("groups", "a"),
        ("groups", "b"),
        ("more", "c"),
    ];
    let bearer = Bearer {
        issuer: "ci".to_owned(),
        claims: Claims::told(said.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        until: crate::clock::Time::from_millis(0),
    };
    let shown = names(&["node-2.example.com", "node-2"]);
    let all = Evidence {
        user: Some(0),
        bearer: Some(&bearer),
        certificate: &shown,
        ..at("::ffff:10.20.1.1")
    };
    let marks = |evidence: &Evidence<'_>| clients.marks(&clients.identify(evidence), evidence);
    let user = Mark::User("alice".to_owned());
    let vouched = Mark::Issuer("ci".to_owned());
    let claim = |name: &str, value: &str| Mark::Claim(name.to_owned(), value.to_owned());
    assert_eq!(
        marks(&all),
        [
            user.clone(),
            Mark::Certificate("node-2".to_owned()),
            Mark::Network(network),
            vouched.clone(),
            claim("ref", "refs/heads/main"),
            claim("groups", "b"),
        ]
    );
    // What the rule does not want made nobody its client.
    assert_eq!(
        marks(&Evidence {
            certificate: &[],
            ..all
        }),
        [user]
    );
    let stranger = Evidence {
        user: None,
        certificate: &[],
        ..all
    };
    assert_eq!(
        marks(&stranger),
        [Mark::Network("10.0.0.0/8".parse().unwrap()), vouched.clone()]
    );
    // Of what a client of no rule proves, its login makes it who it is.
    let carol = Evidence {
        user: Some(1),
        bearer: None,
        ..all
    };
    assert_eq!(marks(&carol), [Mark::User("carol".to_owned())]);
    let address = "203.0.113.5".parse().unwrap();
    assert_eq!(marks(&Evidence { address, ..stranger }), [vouched]);
    let certificate = Evidence {
        bearer: None,
        ..Evidence {
            certificate: &shown,
            ..stranger
        }
    };
    assert_eq!(
        marks(&certificate),
        [Mark::Certificate("node-2.example.com".to_owned())]
    );
    assert_eq!(marks(&at("203.0.113.5")), []);
}
