//! Every tripwire bites: rude clients, each of which does one thing that no good client does.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use seawall::net::dial::Io;

use super::presets::{hub, hub_abuse, usual, with_account};
use super::switches::{Account, Switches, per_hours};
use super::tripwires::Trip;
use super::wire::host;
use super::{Role, Sim};

/// A client without manners.
struct Rude(Sim);

impl Rude {
    async fn connect(&self, role: Role) -> Box<dyn Io> {
        let dialer = self.0.dialer();
        let limit = Duration::from_secs(5);
        dialer.dial(host(role), 80, |_| true, limit).await.unwrap()
    }

    /// Sends a request and leaves the body where it is.
    async fn open(
        &self,
        role: Role,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let io = TokioIo::new(self.connect(role).await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "user-agent") {
            request = request.header("user-agent", "seawall/0");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        sender.send_request(request).await.unwrap()
    }

    async fn ask(&self, role: Role, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Bytes) {
        let response = self.open(role, method, path, headers).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await;
        (status, body.map(|body| body.to_bytes()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> u16 {
        self.ask(Role::Registry, "GET", path, &[]).await.0
    }

    /// Where the registry sends those who want a blob.
    async fn signed(&self, path: &str) -> String {
        let response = self.open(Role::Registry, "GET", path, &[]).await;
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        location.split_once(".net").unwrap().1.to_owned()
    }

    #[track_caller]
    fn springs(&self, trip: Trip) {
        let sprung: Vec<Trip> = self.0.sprung().into_iter().map(|(trip, _)| trip).collect();
        assert_eq!(sprung, [trip]);
    }
}

fn open_registry() -> Switches {
    Switches {
        auth: super::switches::Auth::Nobody,
        ..usual("")
    }
}

#[tokio::test(start_paused = true)]
async fn the_headers_of_clients_and_a_missing_name_are_noticed() {
    for header in [
        ("cookie", "CANARY"),
        ("x-forwarded-for", "198.51.100.7"),
        ("te", "trailers"),
        ("user-agent", "curl/8"),
        ("authorization", "Basic Q0FOQVJZ"),
    ] {
        let rude = Rude(Sim::new(open_registry(), 1));
        rude.ask(Role::Registry, "GET", "/v2/", &[header]).await;
        rude.springs(Trip::Leak);
    }
}

#[tokio::test(start_paused = true)]
async fn proofs_at_hosts_that_they_are_not_for_are_noticed() {
    let rude = Rude(Sim::new(open_registry(), 2));
    let token = [("authorization", "Bearer T")];
    rude.ask(Role::Store(0), "GET", "/blobs/x", &token).await;
    rude.springs(Trip::AuthToStore);
    let rude = Rude(Sim::new(open_registry(), 2));
    let password = [("authorization", "Basic cm9ib3Q6cmlnaHQ=")];
    rude.ask(Role::Alternate, "GET", "/v2/", &password).await;
    rude.springs(Trip::PasswordToStranger);
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_an_address_inside_is_noticed() {
    let rude = Rude(Sim::new(open_registry(), 3));
    let dialer = rude.0.dialer();
    let limit = Duration::from_secs(5);
    assert!(dialer.dial("169.254.169.254", 80, |_| true, limit).await.is_err());
    rude.springs(Trip::PrivateDial);
}

#[tokio::test(start_paused = true)]
async fn fetching_the_same_twice_is_noticed() {
    let rude = Rude(Sim::new(open_registry(), 4));
    let image = rude.0.image("library/app", "1", 1, 1000);
    let path = format!("/v2/library/app/manifests/{}", image.index);
    assert_eq!((rude.get(&path).await, rude.get(&path).await), (200, 200));
    rude.springs(Trip::Refetch);

    let rude = Rude(Sim::new(open_registry(), 4));
    rude.0.image("library/app", "1", 1, 1000);
    tokio::join!(rude.get(&path), rude.get(&path));
    rude.springs(Trip::DoubleFetch);
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_and_need_not_be_is_noticed() {
    for (method, path, header) in [
        ("GET", "1", ("accept", "*/*")),
        ("GET", "digest", ("if-none-match", "\"x\"")),
    ] {
        let rude = Rude(Sim::new(open_registry(), 5));
        let image = rude.0.image("library/app", "1", 1, 1000);
        let path = path.replace("digest", &image.index.to_string());
        let path = format!("/v2/library/app/manifests/{path}");
        rude.ask(Role::Registry, method, &path, &[header]).await;
        rude.springs(Trip::CountedWaste);
    }
}

#[tokio::test(start_paused = true)]
async fn going_on_after_a_refusal_is_noticed() {
    let switches = Switches {
        allowance: Some(per_hours(1, 1)),
        ..open_registry()
    };
    let rude = Rude(Sim::new(switches, 6));
    let paths = [1, 2, 3].map(|seed| {
        let digest = rude.0.content(|content| content.small("library/app", "1", seed));
        format!("/v2/library/app/manifests/{digest}")
    });
    assert_eq!(rude.get(&paths[0]).await, 200);
    assert_eq!(rude.get(&paths[1]).await, 429);
    rude.springs(Trip::OverBudget);
    rude.0.tripwires(|trips| {
        trips.sprung.clear();
        trips.refusals_allowed = 2;
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rude.get(&paths[2]).await, 429);
    rude.springs(Trip::RetryBefore);
}

#[tokio::test(start_paused = true)]
async fn coming_back_before_the_time_that_was_named_is_noticed() {
    let rude = Rude(Sim::new(hub_abuse(), 7));
    let mut last = 0;
    for _ in 0..13 {
        last = rude.ask(Role::Registry, "GET", "/v2/", &[]).await.0;
    }
    assert_eq!(last, 429);
    assert!(rude.0.sprung().is_empty());
    tokio::time::sleep(Duration::from_secs(30)).await;
    rude.get("/v2/").await;
    rude.springs(Trip::RetryBefore);
}

#[tokio::test(start_paused = true)]
async fn storms_of_logins_and_of_tokens_are_noticed() {
    let rude = Rude(Sim::new(with_account(hub(), "robot", None), 8));
    let query = "/token?service=registry.docker.io&scope=repository:a:pull";
    let wrong = [("authorization", "Basic cm9ib3Q6d3Jvbmc=")];
    for _ in 0..2 {
        assert_eq!(rude.ask(Role::Tokens, "GET", query, &wrong).await.0, 401);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    rude.springs(Trip::BadLoginStorm);
    let rude = Rude(Sim::new(hub(), 8));
    for _ in 0..2 {
        assert_eq!(rude.ask(Role::Tokens, "GET", query, &[]).await.0, 200);
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    rude.springs(Trip::TokenStorm);
    let rude = Rude(Sim::new(hub(), 8));
    let ask = || rude.ask(Role::Tokens, "GET", query, &[]);
    tokio::join!(ask(), ask());
    rude.springs(Trip::TokenStorm);
}

#[tokio::test(start_paused = true)]
async fn misused_blob_addresses_are_noticed() {
    let rude = Rude(Sim::new(open_registry(), 9));
    let image = rude.0.image("library/app", "1", 1, 200_000);
    let path = format!("/v2/library/app/blobs/{}", image.platforms[0].blobs[1]);
    let signed = rude.signed(&path).await;
    let first = [("range", "bytes=0-999")];
    for _ in 0..2 {
        rude.ask(Role::Store(0), "GET", &signed, &first).await;
    }
    rude.springs(Trip::StaleSignature);

    let rude = Rude(Sim::new(open_registry(), 9));
    rude.0.image("library/app", "1", 1, 200_000);
    rude.ask(Role::Registry, "HEAD", &path, &[]).await;
    rude.springs(Trip::HeadBlob);

    let rude = Rude(Sim::new(open_registry(), 9));
    rude.0.image("library/app", "1", 1, 200_000);
    let signed = rude.signed(&path).await;
    assert_eq!(rude.ask(Role::Store(0), "GET", &signed, &[]).await.0, 200);
    let signed = rude.signed(&path).await;
    let again = [("range", "bytes=1000-")];
    assert_eq!(rude.ask(Role::Store(1), "GET", &signed, &again).await.0, 206);
    rude.springs(Trip::Overread);
}

#[tokio::test(start_paused = true)]
async fn a_low_tier_that_takes_what_is_reserved_is_noticed() {
    let account = Account {
        name: "robot",
        password: "right",
        former: None,
        allowance: None,
    };
    let switches = Switches {
        allowance: Some(per_hours(10, 1)),
        accounts: vec![account],
        ..open_registry()
    };
    let rude = Rude(Sim::new(switches, 10));
    rude.0
        .tripwires(|trips| trips.reserves.push(("ci/".to_owned(), 0.3)));
    for seed in 0..8 {
        assert!(rude.0.sprung().is_empty(), "{seed}");
        let digest = rude.0.content(|content| content.small("ci/app", "1", seed));
        assert_eq!(rude.get(&format!("/v2/ci/app/manifests/{digest}")).await, 200);
    }
    rude.springs(Trip::ReserveBreach);
}
