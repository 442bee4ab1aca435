//! Records of refused credentials, as they survive a restart: a cache that is started again and again must not
//! show a wrong password each time.
//!
//! No secret is written. A credential is told from another one by a mark: two bytes of a hash over a salt of
//! this ledger's own, the user name and the password. A changed password has another mark and begins anew,
//! while two bytes fit one in 65,536 of all passwords: whoever reads the ledger cannot find out which it was.
//! The price is that a new password shares the mark of the old one that often, and waits a quarter of an hour.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LONGEST, Login, Refused};
use crate::clock::Time;
use crate::oci::Digest;

/// The longest lock that is believed of a ledger, which may be of a clock that went wrong.
const LONGEST_LOCK: Duration = Duration::from_secs(24 * 3600);

/// What tells a credential from another.
pub type Mark = u16;

/// The records of the refused credentials of one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    salt: [u8; 16],
    refused: Vec<Record>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    mark: Mark,
    refusals: u32,
    /// Until when it is left alone, in ms.
    parked: Option<u64>,
    locked: bool,
}

impl Written {
    /// What was written before, if anything was; else nothing yet, with marks by this salt.
    pub fn or_salted(self, salt: [u8; 16]) -> Self {
        let salt = if self.refused.is_empty() { salt } else { self.salt };
        Self { salt, ..self }
    }

    /// The mark of a credential.
    pub fn mark(&self, username: &str, password: &str) -> Mark {
        let mut bytes = self.salt.to_vec();
        // Where the name ends must be plain: `ab` and `c` are not `a` and `bc`.
        bytes.extend_from_slice(&(username.len() as u64).to_be_bytes());
        bytes.extend_from_slice(username.as_bytes());
        bytes.extend_from_slice(password.as_bytes());
        let hash = Digest::sha256(&bytes);
        Mark::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])
    }

    /// Forgets all but these credentials.
    pub fn retain(&mut self, marks: &[Mark]) {
        self.refused.retain(|record| marks.contains(&record.mark));
    }

    /// The record of a credential.
    pub fn login(&self, mark: Mark, now: Time) -> Login {
        let Some(record) = self.refused.iter().find(|record| record.mark == mark) else {
            return Login::default();
        };
        let (why, longest) = match record.locked {
            true => (Refused::Locked { retry_after: None }, LONGEST_LOCK),
            false => (Refused::Wrong, LONGEST),
        };
        let until = |parked| Time::from_millis(parked).min(now + longest);
        Login {
            refusals: record.refusals,
            parked: record.parked.map(|parked| (until(parked), why)),
            taken: None,
        }
    }

    /// Notes how a credential stands now. True if that must be written down.
    pub fn note(&mut self, mark: Mark, login: &Login) -> bool {
        let before = self.refused.iter().position(|record| record.mark == mark);
        let record = (login.refusals > 0 || login.parked.is_some()).then(|| Record {
            mark,
            refusals: login.refusals,
            parked: login.parked.map(|(until, _)| until.as_millis()),
            locked: matches!(login.parked, Some((_, Refused::Locked { .. }))),
        });
        if before.map(|place| self.refused[place]) == record {
            return false;
        }
        self.refused.retain(|other| other.mark != mark);
        self.refused.extend(record);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn again(written: &Written) -> Written {
        serde_json::from_slice(&serde_json::to_vec(written).unwrap()).unwrap()
    }

    #[test]
    fn a_refused_credential_stays_parked_over_a_restart_and_its_pauses_go_on_doubling() {
        let mut written = Written::default().or_salted([7; 16]);
        let mark = written.mark("robot", "wrong");
        let mut login = Login::default();
        login.refuse(Refused::Wrong, at(10));
        assert!(written.note(mark, &login) && !written.note(mark, &login));
        let after = again(&written).or_salted([8; 16]);
        assert_eq!(after.mark("robot", "wrong"), mark, "the salt stays");
        let mut login = after.login(mark, at(20));
        assert_eq!(login.parked(at(20)), Some((at(70), Refused::Wrong)));
        login.refuse(Refused::Wrong, at(70));
        assert_eq!(login.parked(at(70)).unwrap().0, at(190));
    }

    #[test]
    fn another_password_or_user_begins_anew_and_one_that_was_taken_is_forgotten() {
        let mut written = Written::default().or_salted([7; 16]);
        let mark = written.mark("robot", "wrong");
        let mut login = Login::default();
        login.refuse(Refused::Locked { retry_after: None }, at(10));
        written.note(mark, &login);
        for (user, password) in [("robot", "right"), ("robo", "twrong"), ("spare", "wrong")] {
            assert_eq!(
                written.login(written.mark(user, password), at(20)),
                Login::default()
            );
        }
        login.take(at(1000));
        assert!(written.note(mark, &login));
        assert_eq!(written.login(mark, at(1000)), Login::default());
    }

    #[test]
    fn nothing_written_names_the_credential_and_no_clock_locks_it_for_ever() {
        let mut written = Written::default().or_salted([7; 16]);
        let mark = written.mark("robot", "wrong");
        let mut login = Login::default();
        login.refuse(Refused::Wrong, at(9_000_000));
        written.note(mark, &login);
        let text = serde_json::to_string(&written).unwrap();
        assert!(!text.contains("robot") && !text.contains("wrong"), "{text}");
        assert_eq!(
            written.login(mark, at(10)).parked(at(10)).unwrap().0,
            at(10) + LONGEST
        );
        written.retain(&[]);
        assert_eq!(written.login(mark, at(10)), Login::default());
    }
}
