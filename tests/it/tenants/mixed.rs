//! Logins of the cache's own beside a registry that judges those of its clients: each goes to whom it is for.
//!
//! `docker.io` is everybody's here; `private.test` shows `team/app` to bob and to the operator's robot. Alice is a user of
//! the cache, an issuer vouches for jobs, and dave is known to both, by two passwords.

use http::StatusCode;
use serde_json::json;

use crate::access::{STRANGER, ask, basic};
use crate::support::configured::{Configured, hub};
use crate::support::issuer::Issuer;
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Answer, Seawall};
use crate::support::signing::SigningKey;
use crate::support::world::bare_manifest;

const OPEN: &str = "/v2/library/open/manifests/1";
const PRIVATE: &str = "/v2/private.test/team/app/manifests/1";
/// Not closed, but of the same registry; as the others are.
const SHOWN: &str = "/v2/private.test/library/shown-0/manifests/1";
/// In the network of the client `office`, which may have what is there and log in for the rest.
const OFFICE: [u8; 4] = [192, 0, 2, 7];
/// The host that means the registry that judges logins itself.
const HOST: (&str, &str) = ("host", "private.cache.test");

/// A line of the file that names users.
fn hashed(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
}

struct Scene {
    /// The one that judges.
    private: Registry,
    issuer: Issuer,
    configured: Configured,
    key: SigningKey,
    secrets: tempfile::TempDir,
}

impl Scene {
    /// A Seawall that whoever does not log in may use as `anonymous` says.
    fn new(anonymous: &str) -> Self {
        let (public, private) = (Registry::default(), Registry::default());
        let key = SigningKey::ec("one");
        let issuer = Issuer::beside(&public, &[&key]);
        public.beside("private.test", &private);
        bare_manifest(&public, "library/open");
        for number in 0..20 {
            bare_manifest(&private, &format!("library/shown-{number}"));
        }
        bare_manifest(&private, "team/app");
        let may = [
            ("robot", "CANARY-robot"),
            ("bob", "CANARY-bob"),
            ("dave", "theirs"),
        ];
        let may = may.map(|(user, password)| basic(user, password));
        private.close("team/app", &may.each_ref().map(String::as_str));

        let secrets = tempfile::tempdir().unwrap();
        let (robot, users) = (secrets.path().join("robot"), secrets.path().join("htpasswd"));
        std::fs::write(&robot, "CANARY-robot").unwrap();
        std::fs::write(&users, hashed("alice", "ours") + &hashed("dave", "ours")).unwrap();
        let text = format!(
            "{}default = true\n[[upstream]]\nregistry = \"private.test\"\nhosts = [\"private.cache.test\"]\n\
             url = \"http://private.test\"\ninsecure = true\naccess = \"per_client\"\n\
             credentials = [{{ username = \"robot\", password = {{ file = '{}' }} }}]\n\
             [access]\nanonymous = \"{anonymous}\"\nhtpasswd = '{}'\n\
             [[issuer]]\nname = \"ci\"\nurl = \"http://issuer.test\"\ninsecure = true\n\
             audience = \"https://cache.example.com\"\n\
             [[client]]\nname = \"jobs\"\ntier = \"basic\"\nmatch = {{ issuer = \"ci\", claims = {{ owner = \"acme\" }} }}\n\
             [[client]]\nname = \"users\"\ntier = \"basic\"\nmatch = {{ user = [\"alice\"] }}\n\
             [[client]]\nname = \"office\"\ntier = \"basic\"\nmatch = {{ cidr = [\"192.0.2.0/24\"] }}\n\
             allow = [\"private.test\"]\n",
            hub(""),
            robot.display(),
            users.display()
        );
        Self {
            configured: Configured::start(&public.dialer(), &text),
            private,
            issuer,
            key,
            secrets,
        }
    }

    fn seawall(&self) -> &Seawall {
        &self.configured.seawall
    }

    async fn get(&self, from: [u8; 4], login: &str, path: &str) -> Answer {
        ask(self.seawall(), from, path, &[("authorization", login)]).await
    }

    /// A job's token, as the password that CI systems send.
    fn job(&self) -> String {
        let claims = self.issuer.claims(300, &json!({ "owner": "acme" }));
        basic("oidc", &self.key.token(&claims))
    }

    /// Who logged in at the registry that judges.
    fn seen(&self) -> Vec<String> {
        let journal = self.private.journal();
        let logins = journal
            .iter()
            .filter_map(|seen| seen.headers.get("authorization"));
        let mut logins: Vec<String> = logins.map(|login| login.to_str().unwrap().to_owned()).collect();
        logins.sort();
        logins.dedup();
        logins
    }
}

#[tokio::test(start_paused = true)]
async fn each_login_is_judged_by_whom_it_is_for_and_shown_to_nobody_else() {
    let scene = Scene::new("nobody");
    let (alice, bob, job) = (basic("alice", "ours"), basic("bob", "CANARY-bob"), scene.job());
    for (from, login, path, status) in [
        // Those of the cache, wherever they come from.
        (STRANGER, &alice, OPEN, 200),
        (STRANGER, &job, OPEN, 200),
        (STRANGER, &bob, OPEN, 401),
        (OFFICE, &alice, OPEN, 200),
        (OFFICE, &bob, OPEN, 401),
        // That of the registry, from where somebody may pull. No login of ours opens that door.
        (OFFICE, &bob, PRIVATE, 200),
        (STRANGER, &bob, PRIVATE, 403),
        (STRANGER, &alice, PRIVATE, 403),
        (STRANGER, &job, PRIVATE, 403),
        // What is good here is for no registry to see, where it would take any login too.
        (OFFICE, &alice, PRIVATE, 401),
        (OFFICE, &alice, SHOWN, 401),
        (OFFICE, &job, PRIVATE, 401),
        (OFFICE, &job, SHOWN, 401),
        (OFFICE, &bob, SHOWN, 200),
    ] {
        let answer = scene.get(from, login, path).await;
        assert_eq!(answer.status.as_u16(), status, "{from:?} {path}");
    }
    let told = scene.get(OFFICE, &alice, PRIVATE).await;
    assert!(String::from_utf8_lossy(&told.body).contains("this logs in at the cache"));
    let challenge = told.header("www-authenticate");
    assert_eq!(challenge, "Basic realm=\"private.test\", charset=\"UTF-8\"");
    assert_eq!(scene.seen(), [bob, basic("robot", "CANARY-robot")]);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ours_is_no_password_for_a_registry() {
    let scene = Scene::new("everyone");
    let path = "/v2/_auth/token?service=seawall&scope=repository:library/open:pull";
    let told = scene.get(STRANGER, &basic("alice", "ours"), path).await;
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    let token = told["token"].as_str().unwrap();
    for said in [basic("alice", token), format!("Bearer {token}")] {
        for path in [PRIVATE, SHOWN] {
            let answer = scene.get(OFFICE, &said, path).await;
            // A bearer token is nothing that a registry is asked about: whoever it is may have what everybody has.
            let is_shown = path == SHOWN && said.starts_with("Bearer");
            assert_eq!(answer.is_good(), is_shown, "{path} {}", answer.status);
        }
    }
    assert!(scene.seen().is_empty(), "{:?}", scene.seen());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_means_the_registry_asks_for_its_login_and_every_other_for_ours() {
    let scene = Scene::new("everyone");
    let (alice, bob) = (basic("alice", "ours"), basic("bob", "CANARY-bob"));
    for (login, host, status) in [
        (Some(&bob), Some(HOST), 200),
        (Some(&alice), Some(HOST), 401),
        (None, Some(HOST), 401),
        (Some(&alice), None, 200),
        (None, None, 200),
    ] {
        let login = login.map(|login| ("authorization", login.as_str()));
        let headers: Vec<_> = login.into_iter().chain(host).collect();
        let answer = ask(scene.seawall(), OFFICE, "/v2/", &headers).await;
        assert_eq!(answer.status.as_u16(), status, "{login:?} {host:?}");
    }
    // Only where the registry asks for it is a login shown to it, and only what may be its own.
    scene.private.script(
        "/v2/",
        Script {
            status: Some(StatusCode::UNAUTHORIZED),
            headers: vec![("www-authenticate", "Basic realm=\"private\"".to_owned())],
            ..Script::default()
        },
    );
    let carol = basic("carol", "CANARY-carol");
    for login in [&alice, &carol] {
        let answer = ask(scene.seawall(), OFFICE, "/v2/", &[("authorization", login), HOST]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(scene.seen(), [carol]);

    let locked = Scene::new("nobody");
    let ping = ask(locked.seawall(), STRANGER, "/v2/", &[]).await;
    assert!(
        ping.header("www-authenticate")
            .starts_with("Bearer realm=\"http://cache.test/")
    );
    let ping = ask(locked.seawall(), STRANGER, "/v2/", &[HOST]).await;
    assert_eq!(ping.status, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn who_is_known_to_both_logs_in_by_either_password() {
    let mut scene = Scene::new("everyone");
    let (ours, theirs) = (basic("dave", "ours"), basic("dave", "theirs"));
    let later = basic("dave", "later");
    let shown = |number| SHOWN.replace("-0", &format!("-{number}"));
    for number in 0..15 {
        assert!(scene.get(OFFICE, &theirs, PRIVATE).await.is_good());
        // That it is none of ours is found out once, where the registry does not look at it.
        let answer = scene.get(OFFICE, &later, &shown(number)).await;
        assert!(answer.is_good(), "{number}: {}", answer.status);
        assert_eq!(scene.get(OFFICE, &ours, PRIVATE).await.status, 401);
    }
    assert!(scene.get(STRANGER, &ours, "/v2/_auth/token").await.is_good());
    assert_eq!(scene.seen(), [theirs.clone(), basic("robot", "CANARY-robot")]);

    // The user of ours is given a password that was none: no registry is shown it from then on.
    let users = scene.secrets.path().join("htpasswd");
    std::fs::write(users, hashed("alice", "ours") + &hashed("dave", "later")).unwrap();
    let text = std::fs::read_to_string(scene.configured.file()).unwrap();
    assert!(scene.configured.change(&text).await.applied);
    let asked = scene.private.journal().len();
    assert_eq!(scene.get(OFFICE, &later, &shown(16)).await.status, 401);
    assert_eq!(scene.private.journal().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn nobody_guesses_a_password_of_ours_where_a_registry_takes_any() {
    let scene = Scene::new("everyone");
    for number in 0..10 {
        let guess = basic("alice", &format!("guess-{number}"));
        // The same again is no other guess.
        for _ in 0..3 {
            let answer = scene.get(OFFICE, &guess, SHOWN).await;
            assert_eq!(answer.is_good(), number < 9, "{number}: {}", answer.status);
        }
    }
    for path in [SHOWN, PRIVATE] {
        let answer = scene.get(OFFICE, &basic("alice", "ours"), path).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    // Whoever is no user of ours guesses nothing of ours.
    for number in 0..30 {
        let login = basic(&format!("somebody-{number}"), "theirs");
        assert!(scene.get(STRANGER, &login, SHOWN).await.is_good(), "{number}");
    }
}
