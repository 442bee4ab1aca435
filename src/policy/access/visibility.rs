//! Who may have what an upstream's credentials can see, and how long the upstream's own word on that is believed.
//!
//! The upstream is the judge: it is asked, by requests that cost nothing, whether it shows a repository to somebody.
//! What it said holds for a while; a refusal holds at once, and whatever is not known is refused.

use std::time::Duration;

use crate::clock::Time;

/// Who may have what the credentials of an upstream can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody, by them: what is served is what the upstream shows to everybody.
    #[default]
    Public,
    /// Whoever may use the upstream here.
    Shared,
    /// Those to whom the upstream shows it, by what they log in with themselves.
    PerClient,
}

impl Sharing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Public, Self::Shared, Self::PerClient];

    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Shared => "shared",
            Self::PerClient => "per_client",
        }
    }
}

/// For how long what an upstream said of one repository is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// That it shows it.
    pub shown: Duration,
    /// That it does not.
    pub hidden: Duration,
    /// For how much longer it is taken as shown while the upstream cannot be asked.
    pub grace: Duration,
}

impl Lives {
    /// Of what everybody may see. What was public was known to everybody, so an outage of a day hides nothing.
    pub const EVERYBODY: Self = Self {
        shown: Duration::from_secs(3600),
        hidden: Duration::from_secs(600),
        grace: Duration::from_secs(24 * 3600),
    };

    /// Of what one client may see: a right that was taken away ends within `shown` (S067), and within twice that if
    /// the upstream cannot be asked. A password that it does not take is not tried for a minute, whatever is chosen.
    pub const fn of_clients(shown: Duration) -> Self {
        Self {
            shown,
            hidden: Duration::from_secs(60),
            grace: shown,
        }
    }
}

/// After an upstream could not be asked, it is left alone for this long where there is a grace to live on, and by
/// those who can do without the answer.
pub const PAUSE: Duration = Duration::from_secs(30);
/// For how long it is believed that something is not there that was asked about.
pub const MISSING: Duration = Duration::from_secs(10);

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It shows the repository.
    Shown,
    /// It does not.
    Hidden,
    /// What was asked about is not there, which says nothing of the repository.
    Missing,
    /// It could not be asked, or did not answer.
    Nothing,
}

/// What is known without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The repository may be shown.
    Shown,
    /// It may not.
    Hidden,
    /// The upstream is to be asked.
    Ask,
}

/// What an upstream said of one repository to one asker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    shown: Option<Time>,
    hidden: Option<Time>,
    silent: Option<Time>,
}

impl Record {
    /// What is known of it.
    pub fn known(&self, lives: &Lives, now: Time) -> Known {
        let within = |at: Option<Time>, life: Duration| at.is_some_and(|at| now < at + life);
        if within(self.hidden, lives.hidden) {
            Known::Hidden
        } else if within(self.shown, lives.shown) || (self.rests(now) && self.has_grace(lives, now)) {
            Known::Shown
        } else {
            Known::Ask
        }
    }

    /// Takes down what came of asking.
    pub fn hear(&mut self, said: Said, now: Time) {
        match said {
            Said::Shown => {
                *self = Self {
                    shown: Some(now),
                    ..Self::default()
                }
            }
            Said::Hidden => {
                *self = Self {
                    hidden: Some(now),
                    ..Self::default()
                }
            }
            Said::Missing => self.silent = None,
            Said::Nothing => self.silent = Some(now),
        }
    }

    /// True if it was shown so lately that it may be while the upstream cannot be asked.
    pub fn has_grace(&self, lives: &Lives, now: Time) -> bool {
        self.shown
            .is_some_and(|shown| now < shown + lives.shown + lives.grace)
    }

    /// True while the upstream is left alone because it did not answer.
    pub fn rests(&self, now: Time) -> bool {
        self.silent.is_some_and(|silent| now < silent + PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIVES: Lives = Lives::of_clients(Duration::from_secs(300));

    fn at(seconds: u64) -> Time {
        Time::from_millis(1_000_000 + seconds * 1000)
    }

    fn heard(said: &[(u64, Said)]) -> Record {
        let mut record = Record::default();
        for (seconds, said) in said {
            record.hear(*said, at(*seconds));
        }
        record
    }

    #[test]
    fn s067_what_was_shown_is_shown_for_five_minutes_and_then_asked_about() {
        let record = heard(&[(0, Said::Shown)]);
        assert_eq!(record.known(&LIVES, at(299)), Known::Shown);
        assert_eq!(record.known(&LIVES, at(300)), Known::Ask);
        assert_eq!(Record::default().known(&LIVES, at(0)), Known::Ask);
    }

    #[test]
    fn s067_with_no_life_the_upstream_is_asked_each_time_and_an_outage_leaves_nothing() {
        let lives = Lives::of_clients(Duration::ZERO);
        let record = heard(&[(0, Said::Shown)]);
        assert_eq!(record.known(&lives, at(0)), Known::Ask);
        let silent = heard(&[(0, Said::Shown), (0, Said::Nothing)]);
        assert_eq!(silent.known(&lives, at(0)), Known::Ask);
        assert!(!silent.has_grace(&lives, at(0)));
        // A password that is refused is still not tried again at once.
        assert_eq!(heard(&[(0, Said::Hidden)]).known(&lives, at(59)), Known::Hidden);
    }

    #[test]
    fn a_refusal_holds_at_once_and_leaves_no_grace() {
        let record = heard(&[(0, Said::Shown), (10, Said::Hidden), (11, Said::Nothing)]);
        assert_eq!(record.known(&LIVES, at(12)), Known::Hidden);
        assert_eq!(record.known(&LIVES, at(69)), Known::Hidden);
        assert_eq!(record.known(&LIVES, at(70)), Known::Ask);
        assert!(!record.has_grace(&LIVES, at(12)));
    }

    #[test]
    fn while_the_upstream_cannot_be_asked_what_was_shown_lives_on_for_the_grace_and_no_longer() {
        let record = heard(&[(0, Said::Shown), (310, Said::Nothing)]);
        assert_eq!(record.known(&LIVES, at(339)), Known::Shown);
        assert_eq!(record.known(&LIVES, at(340)), Known::Ask);
        assert!(record.has_grace(&LIVES, at(599)) && !record.has_grace(&LIVES, at(600)));
        let late = heard(&[(0, Said::Shown), (590, Said::Nothing)]);
        assert_eq!(late.known(&LIVES, at(600)), Known::Ask);
    }

    #[test]
    fn what_is_not_there_says_nothing_of_its_repository() {
        for (before, known) in [(vec![], Known::Ask), (vec![(0, Said::Shown)], Known::Shown)] {
            let mut record = heard(&before);
            record.hear(Said::Missing, at(5));
            assert_eq!(record.known(&LIVES, at(5)), known);
        }
    }

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![
            Just(Said::Shown),
            Just(Said::Hidden),
            Just(Said::Missing),
            Just(Said::Nothing)
        ]
    }

    proptest! {
        /// Nobody is shown what the upstream did not show within the life and the grace, or hid since.
        #[test]
        fn nothing_is_shown_without_a_word_that_still_holds(
            events in prop::collection::vec((0_u64..400, said()), 0..12),
            after in 0_u64..1000,
        ) {
            let (mut record, mut now, mut shown) = (Record::default(), 0, None);
            for (pause, said) in events {
                now += pause;
                record.hear(said, at(now));
                match said {
                    Said::Shown => shown = Some(now),
                    Said::Hidden => shown = None,
                    Said::Missing | Said::Nothing => {}
                }
            }
            now += after;
            if record.known(&LIVES, at(now)) == Known::Shown {
                prop_assert!(shown.is_some_and(|shown| now < shown + 600));
            }
        }
    }
}
