//! How long a command waits for an answer: as long as Seawall lives.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::admin::NoAnswer;
use super::words::span;

/// How long an answer may take before it is asked whether anybody is still at work on it; and how long that may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where that is asked: it waits for nothing.
pub(super) const LIVES: &str = "/livez";

/// Waits for an answer. Whenever it is late, asks whether the other side `lives`, tells `late` how long it has been if
/// it does, and gives up if it does not. An answer that comes meanwhile counts.
pub(super) async fn patiently<T>(
    asking: impl Future<Output = Result<T, NoAnswer>>,
    lives: impl AsyncFn() -> Result<(), NoAnswer>,
    mut late: impl FnMut(Duration),
) -> Result<T, NoAnswer> {
    let mut asking = pin!(asking);
    let begun = Instant::now();
    loop {
        if let Ok(answer) = timeout(PATIENCE, &mut asking).await {
            return answer;
        }
        let alive = tokio::select! {
            biased;
            answer = &mut asking => return answer,
            alive = timeout(PATIENCE, lives()) => alive,
        };
        let waited = begun.elapsed();
        let dead = |why: &dyn std::fmt::Display| {
            let waited = span(waited);
            NoAnswer::Unreachable(format!(
                "no answer for {waited}, and asked whether it lives ({LIVES}): {why}"
            ))
        };
        match alive {
            Ok(Ok(())) => late(waited),
            Ok(Err(why)) => return Err(dead(&why)),
            Err(_) => return Err(dead(&format!("nothing for {}", span(PATIENCE)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::*;

    /// Seconds after which an answer comes, and is asked whether Seawall lives.
    async fn answered(
        after: u64,
        lives: impl AsyncFn() -> Result<(), NoAnswer>,
    ) -> (Result<u64, NoAnswer>, Vec<u64>) {
        let mut told = Vec::new();
        let asking = async {
            sleep(Duration::from_secs(after)).await;
            Ok(after)
        };
        let answer = patiently(asking, lives, |waited| told.push(waited.as_secs())).await;
        (answer, told)
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_waited_for_while_seawall_lives_and_the_wait_is_told() {
        let alive = async || Ok(());
        assert_eq!(answered(9, alive).await, (Ok(9), Vec::new()));
        assert_eq!(answered(35, alive).await, (Ok(35), vec![10, 20, 30]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_given_up_when_seawall_is_dead() {
        let checks = Cell::new(0);
        let dies = async || {
            checks.set(checks.get() + 1);
            match checks.get() {
                1 => Ok(()),
                _ => Err(NoAnswer::Unreachable("connection refused".to_owned())),
            }
        };
        let (answer, told) = answered(3600, dies).await;
        let why = answer.unwrap_err().to_string();
        assert!(
            why.contains("no answer for 20 s") && why.contains("connection refused"),
            "{why}"
        );
        assert_eq!(told, [10]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_dead_unless_its_answer_comes_after_all() {
        let hangs = async || std::future::pending().await;
        let (answer, _) = answered(3600, hangs).await;
        let why = answer.unwrap_err().to_string();
        assert!(
            why.contains("no answer for 20 s") && why.contains("/livez"),
            "{why}"
        );
        assert_eq!(answered(15, hangs).await, (Ok(15), Vec::new()));
    }
}
