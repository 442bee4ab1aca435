//! Accounts whose credentials come from elsewhere, and those for some repositories only.

use std::os::unix::fs::PermissionsExt;

use crate::net::client::Client;
use crate::net::dial::Gate;
use crate::net::tls;
use crate::net::url::Url;
use crate::policy::identity::Prefix;
use crate::telemetry::metrics::upstreams as metrics;
use crate::upstream::identity::{Holder, Reach, Site};
use crate::upstream::wire::Wire;

use super::*;

/// A `docker-credential-test`, which may be a plugin as well, that says what the files beside it say, and counts how often it is asked.
struct Program(tempfile::TempDir);

impl Program {
    fn says(status: u8, text: &str) -> Self {
        let program = Self(tempfile::tempdir().unwrap());
        let script = "#!/bin/sh\ncd \"${0%/*}\" && cat > asked && echo >> count && cat answer && exit \"$(cat status)\"\n";
        let path = program.0.path().join("docker-credential-test");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        program.will_say(status, text);
        program
    }

    /// Knows this user and password.
    fn knows(username: &str, secret: &str) -> Self {
        Self::says(0, &answer_of(username, secret))
    }

    fn will_say(&self, status: u8, text: &str) {
        std::fs::write(self.0.path().join("answer"), text).unwrap();
        std::fs::write(self.0.path().join("status"), status.to_string()).unwrap();
    }

    /// How often it was asked.
    fn count(&self) -> usize {
        std::fs::read(self.0.path().join("count")).map_or(0, |count| count.len())
    }

    /// What it was asked last.
    fn asked(&self) -> String {
        std::fs::read_to_string(self.0.path().join("asked")).unwrap()
    }

    /// As a plugin of the kubelet.
    fn plugin(&self, registry: &str, prefix: &str) -> Holder {
        holder(self.plugin_account(prefix), registry)
    }

    fn plugin_account(&self, prefix: &str) -> Account {
        let plugin = Plugin {
            program: self.0.path().join("docker-credential-test"),
            arguments: vec!["--one".to_owned()],
            environment: Vec::new(),
            timeout: Duration::from_secs(60),
        };
        Account {
            identity: Source::Plugin(plugin).into(),
            prefix: Prefix::parse(prefix).unwrap(),
        }
    }

    fn account(&self) -> Account {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        let helper = Helper {
            name: "test".to_owned(),
            environment: vec![("PATH".to_owned(), Secret::new(path))],
            timeout: Duration::from_secs(60),
        };
        Account {
            identity: Identity::Source(Source::Helper(helper)),
            prefix: Prefix::ALL,
        }
    }

    fn holder(&self, registry: &str) -> Holder {
        holder(self.account(), registry)
    }
}

/// Of an account at a registry that is never reached.
fn holder(account: Account, registry: &str) -> Holder {
    let (dialer, tls, clock) = (Dialer::system(), tls::client_config(&[]), Clock::start());
    let second = Duration::from_secs(1);
    let client = Client::new(dialer.clone(), Gate::open(), &tls, second, second);
    let site = Site {
        registry: registry.parse().unwrap(),
        base: Url::parse(&format!("https://{registry}")).unwrap(),
        wire: Arc::new(Wire::new(
            client,
            None,
            metrics::Upstreams::default().of("r"),
            clock,
        )),
    };
    Holder::new(account, &site, &Arc::new(Reach::new(&dialer, &tls)), clock)
}

fn answer_of(username: &str, secret: &str) -> String {
    format!(r#"{{"ServerURL":"x","Username":"{username}","Secret":"{secret}"}}"#)
}

/// What a plugin writes.
fn response(username: &str, secret: &str, keep: &str) -> String {
    format!(
        r#"{{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",
            "cacheKeyType":"Registry","cacheDuration":"{keep}",
            "auth":{{"*.example":{{"username":"{username}","password":"{secret}"}}}}}}"#
    )
}

async fn shown(holder: &Holder) -> Result<Option<String>, Refusal> {
    let lent = holder.get().await?;
    Ok(lent.map(|lent| {
        format!(
            "{}:{}",
            lent.credential.username,
            lent.credential.password.expose()
        )
    }))
}

#[tokio::test]
async fn of_a_hundred_who_need_a_credential_one_asks_the_helper_for_all() {
    let program = Program::knows("robot", "hunter2");
    let holder = Arc::new(program.holder("docker.io"));
    let asking: tokio::task::JoinSet<_> = (0..100)
        .map(|_| {
            let holder = holder.clone();
            async move { shown(&holder).await }
        })
        .collect();
    for shown in asking.join_all().await {
        assert_eq!(shown, Ok(Some("robot:hunter2".to_owned())));
    }
    assert_eq!(
        (program.count(), program.asked().as_str()),
        (1, "https://index.docker.io/v1/")
    );
}

#[tokio::test]
async fn a_helper_that_has_nothing_makes_an_anonymous_pull_and_one_that_fails_makes_none() {
    let program = Program::says(1, "credentials not found in native keychain\n");
    let holder = program.holder("r.example:5000");
    assert_eq!(shown(&holder).await, Ok(None));
    assert_eq!(program.asked(), "r.example:5000");
    program.will_say(0, &answer_of("robot", "hunter2"));
    pass(29).await;
    assert_eq!((shown(&holder).await, program.count()), (Ok(None), 1));
    pass(2).await;
    let found = Ok(Some("robot:hunter2".to_owned()));
    for _ in 0..10_000 {
        if shown(&holder).await == found {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(shown(&holder).await, found, "a login is found soon");
    for (status, text, why) in [
        (
            1,
            "the vault is locked",
            "it failed (exit status: 1): the vault is locked",
        ),
        (0, "CANARY", "it wrote no user and secret"),
        (0, &answer_of("", "CANARY"), "it wrote no user and secret"),
    ] {
        let program = Program::says(status, text);
        let holder = program.holder("r.example");
        for _ in 0..3 {
            let Err(Refusal::Unreachable(told)) = shown(&holder).await else {
                panic!("{text}")
            };
            assert_eq!(told, format!("docker-credential-test: {why}"));
        }
        assert_eq!(program.count(), 1, "it is not asked again at once");
        assert_eq!(holder.failure().as_deref(), Some(why));
    }
}

/// Time passes. It is not paused else: a program takes its own.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_plugin_is_asked_again_at_half_of_what_it_said_and_what_it_gave_is_used_while_it_fails() {
    let program = Program::says(0, &response("robot", "one", "10m0s"));
    let holder = program.plugin("r.example", "team");
    let one = Ok(Some("robot:one".to_owned()));
    assert_eq!(shown(&holder).await, one);
    let asked = program.asked();
    assert!(asked.contains(r#""image":"r.example/team""#), "{asked}");
    program.will_say(1, "");
    pass(290).await;
    assert_eq!(shown(&holder).await, one);
    assert_eq!((program.count(), holder.failure()), (1, None));
    pass(20).await;
    for _ in 0..10_000 {
        assert_eq!(shown(&holder).await, one);
        if holder.failure().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(holder.failure().is_some(), "it was not asked again");
    pass(270).await;
    assert_eq!(shown(&holder).await, one);
    pass(120).await;
    let gone = shown(&holder).await.unwrap_err();
    let told = "docker-credential-test (team): it failed (exit status: 1)";
    assert_eq!(gone, Refusal::Unreachable(told.to_owned()));
    program.will_say(0, &response("robot", "two", "10m0s"));
    pass(60).await;
    assert_eq!(shown(&holder).await, Ok(Some("robot:two".to_owned())));
    assert_eq!(holder.failure(), None);
}

#[tokio::test]
async fn a_plugin_that_knows_nothing_of_the_registry_makes_an_anonymous_pull_and_its_secrets_are_not_told() {
    let program = Program::says(0, &response("robot", "CANARY", "0s"));
    let holder = program.plugin("r.example.com", "");
    assert_eq!(shown(&holder).await, Ok(None));
    program.will_say(0, &response("", "CANARY", "0s"));
    let holder = program.plugin("r.example", "");
    let told = shown(&holder).await.unwrap_err().to_string();
    assert!(
        told.contains("docker-credential-test: what it wrote for the image") && !told.contains("CANARY"),
        "{told}"
    );
}

/// Gives tokens to `robot:right`, and wants them.
const RIGHT_ONLY: Script = |_, line, head| match line {
    line if line.starts_with("GET /token") && head.contains("Basic cm9ib3Q6cmlnaHQ=") => {
        answer("200 OK", "", r#"{"token":"t1","expires_in":300}"#)
    }
    line if line.starts_with("GET /token") => answer("401 Unauthorized", "", ""),
    _ if head.contains("Bearer t1") => answer("200 OK", "", "{}"),
    _ => challenge("/token"),
};

#[tokio::test]
async fn the_user_and_password_of_a_helper_or_a_plugin_buy_tokens() {
    let helper = Program::knows("robot", "right");
    let plugin = Program::says(0, &response("robot", "right", "10m0s"));
    for (program, account) in [(&helper, helper.account()), (&plugin, plugin.plugin_account(""))] {
        let world = world(RIGHT_ONLY, |options| options.credentials = vec![account]);
        for name in ["a/b", "a/c"] {
            let pulled = world.upstream.manifest(&name.parse().unwrap(), &tag(), 0).await;
            assert!(pulled.is_ok(), "{pulled:?}");
        }
        assert_eq!(
            (program.count(), world.upstream.accounts()[0].name.as_str()),
            (1, "docker-credential-test")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_for_a_path_is_shown_for_what_stands_below_it_and_else_nobody_asks() {
    let world = world(RIGHT_ONLY, |options| {
        let mut team = login("robot", "right");
        team.prefix = Prefix::parse("team").unwrap();
        let mut deep = login("robot", "wrong");
        deep.prefix = Prefix::parse("team/deep").unwrap();
        options.credentials = vec![deep, team];
    });
    let pull = |path: &str| {
        let path: RepositoryPath = path.parse().unwrap();
        let upstream = world.upstream.clone();
        async move {
            upstream
                .manifest(&path, &tag(), upstream.exchange().unwrap().shield.account(&path))
                .await
        }
    };
    assert!(pull("team/app").await.is_ok());
    assert_eq!(pull("other/app").await.unwrap_err(), Refusal::Denied(401));
    assert_eq!(
        world.count("Basic"),
        1,
        "S029: nobody's question has no credential"
    );
    assert_eq!(pull("team/deep/app").await.unwrap_err(), Refusal::Denied(401));
    // That one is parked says nothing of the other.
    assert!(pull("team/other").await.is_ok());
    let exchange = world.upstream.exchange().unwrap();
    let out = ["team/deep", "team", "other"].map(|path| exchange.shut_out(&path.parse().unwrap()).is_some());
    assert_eq!(out, [true, false, false]);
    let names: Vec<String> = world
        .upstream
        .accounts()
        .into_iter()
        .map(|account| account.name)
        .collect();
    assert_eq!(names, ["robot (team/deep)", "robot (team)", "anonymous"]);
}

/// What is posted for `right`.
const FORM_SENT: &str = "grant_type=refresh%5Ftoken&service=r&client_id=seawall&scope=repository%3Aa%2Fb%3Apull\
                         &refresh_token=right";

/// Exchanges the identity token `right` for tokens, and wants them.
const EXCHANGE: Script = |_, line, head| match line {
    line if line.starts_with("POST /token") && head.ends_with(FORM_SENT) => {
        answer("200 OK", "", r#"{"access_token":"t1"}"#)
    }
    line if line.starts_with("POST /token") => answer("400 Bad Request", "", r#"{"error":"invalid_grant"}"#),
    _ if head.contains("Bearer t1") => answer("200 OK", "", "{}"),
    _ => challenge("/token"),
};

// S038
#[tokio::test(start_paused = true)]
async fn an_identity_token_is_exchanged_and_one_that_is_no_good_is_parked() {
    for (token, served) in [("right", true), ("wrong token", false)] {
        let world = world(EXCHANGE, |options| {
            options.credentials = vec![login("<token>", token)]
        });
        let pulled = world.upstream.manifest(&path(), &tag(), 0).await;
        assert_eq!(pulled.is_ok(), served, "{pulled:?}");
        assert_eq!(world.upstream.accounts()[0].parked.is_some(), !served);
        assert_eq!((world.count("POST /token"), world.count("Basic")), (1, 0));
    }
}
