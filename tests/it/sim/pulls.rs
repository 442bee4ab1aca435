//! What a pull costs, and how answers tell what is left.

use http::Method;

use super::limits::Told;
use super::state::{Reply, Request, State};
use super::switches::{Allowance, Figures, Refusal};

impl State {
    /// Counts a request about a manifest against an allowance.
    pub(super) fn count(
        &mut self,
        request: &Request,
        repository: &str,
        account: Option<usize>,
    ) -> Result<Option<Told>, Box<Reply>> {
        let Some((source, allowance)) = self.allowance(account) else {
            return Ok(None);
        };
        let line = format!("{} at {} ms", request.path, request.at);
        if request.method == Method::HEAD {
            let told = self.limits.look(&source, allowance, &self.switches, request.at);
            self.trips.told(&told);
            return match self.switches.head_when_empty {
                status if told.remaining == 0 && status != 200 => Err(Box::new(Reply::new(status))),
                _ => Ok(Some(told)),
            };
        }
        self.trips.too_early(&source, request.at, &line);
        match self.limits.spend(&source, allowance, &self.switches, request.at) {
            Ok(told) => {
                self.trips.charged(&told, repository, false, &line);
                Ok(Some(told))
            }
            Err((told, opens)) => {
                self.trips.close(&source, request.at, opens);
                self.trips.charged(&told, repository, true, &line);
                Err(Box::new(self.refuse_pull(told)))
            }
        }
    }

    fn refuse_pull(&self, told: Told) -> Reply {
        let words = "You have reached your pull rate limit. You may increase the limit by authenticating and \
                     upgrading: https://www.docker.com/increase-rate-limit";
        let reply = match self.switches.refusal {
            Refusal::Json => Reply::error(429, "TOOMANYREQUESTS", words),
            Refusal::JsonUnauthenticated => {
                let words = "You have reached your unauthenticated pull rate limit.";
                Reply::error(429, "TOOMANYREQUESTS", words)
            }
            Refusal::Html => Reply::new(429).text("text/html", "<html>429</html>"),
            Refusal::Empty => Reply::new(429),
        };
        let reply = match self.switches.retry_after {
            Some(text) => reply.with("retry-after", text),
            None => reply,
        };
        self.tell(reply, Some(told))
    }

    /// Whose allowance a request is taken from.
    fn allowance(&self, account: Option<usize>) -> Option<(String, Allowance)> {
        match account {
            Some(index) => {
                let account = self.switches.accounts[index];
                Some((account.name.to_owned(), account.allowance?))
            }
            None => Some((self.switches.egress.to_owned(), self.switches.allowance?)),
        }
    }

    /// Adds the figures to an answer.
    pub(super) fn tell(&self, mut reply: Reply, told: Option<Told>) -> Reply {
        let Some(told) = told else { return reply };
        reply.charged = Some((told.source.clone(), told.remaining));
        if self.switches.source {
            reply = reply.with("docker-ratelimit-source", told.source);
        }
        let (limit, left, window) = (
            told.allowance.pulls,
            told.remaining,
            told.allowance.window.as_secs(),
        );
        let plain = [format!("{limit};w={window}"), format!("{left};w={window}")];
        let forms: Vec<(&'static str, &'static str, [String; 2])> = match self.switches.figures {
            Figures::Silent => Vec::new(),
            Figures::Plain => vec![("ratelimit-limit", "ratelimit-remaining", plain)],
            Figures::XOnly => vec![("x-ratelimit-limit", "x-ratelimit-remaining", plain)],
            Figures::Both => vec![
                ("ratelimit-limit", "ratelimit-remaining", plain.clone()),
                ("x-ratelimit-limit", "x-ratelimit-remaining", plain),
            ],
            Figures::Spaced => {
                let spaced = [format!("{limit} ; w={window}"), format!("{left} ; w={window}")];
                vec![("ratelimit-limit", "ratelimit-remaining", spaced)]
            }
            Figures::List => {
                let list = [
                    format!("{limit}, {limit};w={window}, 5000;w=86400"),
                    left.to_string(),
                ];
                vec![("ratelimit-limit", "ratelimit-remaining", list)]
            }
            Figures::NoWindow => {
                let bare = [limit.to_string(), left.to_string()];
                vec![("ratelimit-limit", "ratelimit-remaining", bare)]
            }
        };
        for (limit, remaining, [limits, lefts]) in forms {
            reply = reply.with(limit, limits).with(remaining, lefts);
        }
        reply
    }
}
