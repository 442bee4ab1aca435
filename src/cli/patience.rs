//! How long a command waits for an answer: as long as Seawall lives.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::admin::NoAnswer;
use super::words::span;

/// How long an answer may take before it is asked whether anybody is still at work on it; and how long that may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked how far something is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
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

/// Waits for an answer, and looks now and then how far it is. When Ctrl-C is `pressed`, has it stopped, and asks for that
/// until it is understood; the answer is waited for all the same. Pressed once more, it is not.
pub(super) async fn watched<T>(
    asking: impl Future<Output = Result<T, NoAnswer>>,
    mut pressed: impl AsyncFnMut(),
    stop: impl AsyncFn() -> bool,
    mut look: impl AsyncFnMut(),
) -> Result<T, NoAnswer> {
    let mut asking = pin!(asking);
    let (mut stops, mut is_told) = (false, false);
    loop {
        tokio::select! {
            biased;
            answer = &mut asking => return answer,
            () = pressed() => {
                if std::mem::replace(&mut stops, true) {
                    return Err(NoAnswer::Left);
                }
            }
            () = sleep(LOOK_EVERY) => {}
        }
        if stops && !is_told {
            is_told = stop().await;
        }
        look().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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

    /// An answer after so many seconds, while Ctrl-C is pressed at some; and how often it was looked and asked to stop.
    async fn pressed_at(after: u64, presses: &[u64]) -> (Result<u64, NoAnswer>, usize, usize) {
        let begun = Instant::now();
        let mut left = presses.iter();
        let mut next = left.next();
        let (looks, stops) = (Cell::new(0), Cell::new(0));
        let asking = async {
            sleep(Duration::from_secs(after)).await;
            Ok(after)
        };
        let pressed = async || match next {
            Some(at) => {
                tokio::time::sleep_until(begun + Duration::from_secs(*at)).await;
                next = left.next();
            }
            None => std::future::pending().await,
        };
        let stop = async || {
            stops.set(stops.get() + 1);
            // It is understood the second time.
            stops.get() == 2
        };
        let look = async || looks.set(looks.get() + 1);
        let answer = watched(asking, pressed, stop, look).await;
        (answer, looks.get(), stops.get())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_watched_and_stopped_once_and_waited_for_until_nobody_wants_to() {
        assert_eq!(pressed_at(1, &[]).await, (Ok(1), 3, 0));
        let (answer, looks, stops) = pressed_at(10, &[2]).await;
        assert_eq!((answer, stops), (Ok(10), 2));
        assert!(looks > 30, "{looks}");
        let (answer, _, stops) = pressed_at(10, &[2, 4]).await;
        assert_eq!((answer, stops), (Err(NoAnswer::Left), 2));
    }
}
