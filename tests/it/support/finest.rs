//! The log at its finest level, and the operator's pages: what is secret stands in neither.

use std::sync::LazyLock;

use http::Method;
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

use super::paper::Paper;
use super::seawall::{Seawall, read};

/// All that this thread logs, while it lasts.
pub(crate) struct Finest {
    paper: Paper,
    _guard: DefaultGuard,
}

impl Finest {
    /// Begins to write down what is logged.
    pub(crate) fn begin() -> Self {
        let paper = Paper::default();
        let writer = paper.clone();
        // While there is only one, tracing asks the subscriber of whichever thread comes first whether anybody listens,
        // and remembers for all threads that nobody does. Beside one that listens to everything and stays, it asks all.
        static OTHER: LazyLock<Dispatch> = LazyLock::new(|| {
            let everything = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
            everything.with_writer(std::io::sink).finish().into()
        });
        LazyLock::force(&OTHER);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            paper,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// What was logged by now, which has these words in it.
    pub(crate) fn logged(&self, words: &str) -> String {
        let logged = self.paper.text();
        assert!(logged.contains(words), "this was not logged: {words}: {logged}");
        logged
    }

    /// None of these is in the log, which has these words in it, or on any of the operator's pages.
    pub(crate) async fn assert_hides(&self, secrets: &[String], seawall: &Seawall, words: &str) {
        let mut written = self.logged(words);
        for path in [
            "/",
            "/metrics",
            "/api/v1/status",
            "/api/v1/explain?reference=team/app:1",
        ] {
            let answer = read(seawall.operate(Method::GET, path, &[], "").await).await;
            assert!(!answer.body.is_empty(), "{path}");
            written += &String::from_utf8_lossy(&answer.body);
        }
        // What the pages made to be logged.
        written += &self.paper.text();
        for secret in secrets {
            let found = written.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(found, None, "{secret}");
        }
    }
}
