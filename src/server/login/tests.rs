//! Logins without a server around them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::*;

fn access(users: &[(&str, &str)]) -> Access {
    let user = |(name, password): &(&str, &str)| User {
        name: (*name).to_owned(),
        hash: bcrypt::hash(password, 4).unwrap().into(),
    };
    Access {
        users: users.iter().map(user).collect(),
        ..Access::default()
    }
}

fn header_of(user: &str, password: &str) -> HeaderMap {
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    [(header::AUTHORIZATION, HeaderValue::from_str(&text).unwrap())]
        .into_iter()
        .collect()
}

/// Who a request is from, for all that it wants to know whether this is a registry.
async fn who(logins: &Logins, access: &Access, address: IpAddr, headers: &HeaderMap) -> Login {
    let (keys, dialer) = (Keys::new([].into_iter()), crate::net::dial::Dialer::system());
    let trust = Trust {
        access,
        keys: &keys,
        issuers: &Issuers::new(&[], None, &dialer, Clock::start()),
    };
    logins.who(trust, address, headers, Some(Wanted::Base)).await
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

#[tokio::test(start_paused = true)]
async fn a_password_is_looked_at_once_and_no_longer_believed_when_its_user_changes() {
    let clock = Clock::start();
    let logins = Logins::new(clock);
    let old = access(&[("alice", "right"), ("bob", "other")]);
    let said = header_of("alice", "right");
    assert_eq!(who(&logins, &old, HERE, &said).await, Login::User(0));
    assert_eq!(lock(&logins.taken).len(), 1);
    // Nothing is left to verify with: what is remembered does.
    let all = logins.turns.acquire_many(AT_ONCE as u32).await.unwrap();
    assert_eq!(who(&logins, &old, HERE, &said).await, Login::User(0));
    // A new password, the user gone, another in its place: looked at again, for which there is no turn.
    let changed = access(&[("alice", "new"), ("bob", "other")]);
    for access in [
        &changed,
        &access(&[("bob", "other")]),
        &access(&[("bob", "other"), ("alice", "right")]),
    ] {
        assert_eq!(who(&logins, access, HERE, &said).await, Login::Later(RETRY));
    }
    drop(all);
    assert_eq!(who(&logins, &changed, HERE, &said).await, Login::Wrong);
    assert_eq!(who(&logins, &old, HERE, &said).await, Login::User(0));
    tokio::time::advance(TAKEN).await;
    assert_eq!(
        logins.remembered(&old, &logins.tag(&Basic::new("alice", "right").unwrap())),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_unknown_costs_as_much_as_whoever_is_known() {
    let access = access(&[("alice", "right")]);
    let nobody = nobody(&access);
    let cost = |hash: &str| hash.parse::<bcrypt::HashParts>().unwrap().get_cost();
    assert_eq!(cost(&nobody), cost(&access.users[0].hash));
    assert!(!bcrypt::verify("right", &nobody).unwrap());
    let logins = Logins::new(Clock::start());
    let none = logins.turns.acquire_many(AT_ONCE as u32).await.unwrap();
    for user in ["alice", "mallory"] {
        assert_eq!(
            who(&logins, &access, HERE, &header_of(user, "x")).await,
            Login::Later(RETRY)
        );
    }
    drop(none);
    for user in ["alice", "mallory"] {
        assert_eq!(
            who(&logins, &access, HERE, &header_of(user, "x")).await,
            Login::Wrong
        );
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_keep_failing_wait_and_those_who_are_known_do_not() {
    let access = access(&[("alice", "right"), ("bob", "also")]);
    let logins = Logins::new(Clock::start());
    assert_eq!(
        who(&logins, &access, HERE, &header_of("alice", "right")).await,
        Login::User(0)
    );
    for guess in 0..10 {
        let said = header_of("alice", &format!("guess {guess}"));
        // Who repeats one password has failed once.
        for _ in 0..3 {
            assert_eq!(who(&logins, &access, HERE, &said).await, Login::Wrong);
        }
    }
    let next = header_of("bob", "also");
    assert!(matches!(
        who(&logins, &access, HERE, &next).await,
        Login::Later(_)
    ));
    assert_eq!(
        who(&logins, &access, HERE, &header_of("alice", "right")).await,
        Login::User(0)
    );
    let elsewhere = "192.0.2.2".parse().unwrap();
    assert_eq!(who(&logins, &access, elsewhere, &next).await, Login::User(1));
    let Login::Later(wait) = who(&logins, &access, HERE, &header_of("bob", "x")).await else {
        panic!("it is not slowed")
    };
    tokio::time::advance(wait).await;
    assert_eq!(
        who(&logins, &access, HERE, &header_of("bob", "x")).await,
        Login::Wrong
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_strangers_is_bounded_and_no_more_wait_than_may() {
    let access = access(&[("alice", "right")]);
    let logins = Logins::new(Clock::start());
    for number in 0..u32::try_from(MOST_FAILING.get()).unwrap() + 10 {
        logins.conclude(
            logins.tag(&Basic::new("x", &number.to_string()).unwrap()),
            u64::from(number),
            None,
        );
    }
    assert_eq!(lock(&logins.failing).len(), MOST_FAILING.get());
    assert_eq!(lock(&logins.refused).len(), MOST_REMEMBERED.get());
    let _all = logins.waiting.acquire_many(MOST_WAITING as u32).await.unwrap();
    assert_eq!(
        who(&logins, &access, HERE, &header_of("alice", "right")).await,
        Login::Later(RETRY)
    );
}

#[tokio::test(start_paused = true)]
async fn neither_name_nor_password_is_no_login_and_two_are_none_that_is_believed() {
    let access = access(&[("alice", "right")]);
    let logins = Logins::new(Clock::start());
    let mut said = HeaderMap::new();
    assert_eq!(who(&logins, &access, HERE, &said).await, Login::None);
    said.append(header::AUTHORIZATION, HeaderValue::from_static("Basic Og=="));
    assert_eq!(who(&logins, &access, HERE, &said).await, Login::None);
    let mut said = header_of("alice", "right");
    said.append(header::AUTHORIZATION, said[header::AUTHORIZATION].clone());
    assert_eq!(who(&logins, &access, HERE, &said).await, Login::Wrong);
    // Where nobody can log in, nothing is even looked at.
    let open = Access::default();
    assert_eq!(who(&logins, &open, HERE, &said).await, Login::None);
}
