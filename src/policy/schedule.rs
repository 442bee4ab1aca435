//! When something that is done by the calendar is done next: a cron expression in a time zone.
//!
//! Clocks are put forward and back, so a time of the day may not come, or come twice:
//! - A time that does not come (02:30 on the night in spring) is made up for at the moment the clock jumps;
//!   several of them are made up for once.
//! - A time that comes twice (02:30 on the night in autumn) counts the first time only. An expression that runs
//!   in every hour runs in the repeated hour too.
//!
//! A run that nobody was there for (Seawall was stopped) is not made up for.

mod fields;

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::Time;
use fields::Fields;

/// Days looked at for the next run. 29 February is away eight years at most (1896 to 1904, 2096 to 2104); a day
/// more on each side for the time zone.
const MOST_DAYS: usize = 8 * 366 + 2;

/// Words for the usual expressions.
const WORDS: [(&str, &str); 4] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
];

/// Times that come again: `30 3 * * *` in `Europe/Berlin`.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    expression: String,
    fields: Fields,
    zone: Zone,
}

/// A time zone of the IANA database: `Europe/Berlin`, `UTC`. The database is brought along.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There are not five fields.
    #[error("it has {0} fields instead of five: minute, hour, day of the month, month, day of the week")]
    Fields(usize),
    /// A field cannot be read.
    #[error("the {field} `{part}` is not {expected}")]
    Part {
        /// Which field, for people.
        field: &'static str,
        /// The part of it that cannot be read.
        part: String,
        /// What it may be.
        expected: String,
    },
    /// No year has such a day.
    #[error("none of the months has such a day, so it would never run")]
    Never,
}

impl Zone {
    /// The zone with that name; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        // As the database spells it.
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Some(Self { name, zone })
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Schedule {
    /// Reads a cron expression of five fields (minute, hour, day of the month, month, day of the week), each
    /// `*`, a number, a range `1-5`, a step `*/15` or `8-18/2`, or a list of those; months and days of the week also
    /// by their first three letters. Where both days are given, either will do. `@hourly`, `@daily`, `@weekly` and
    /// `@monthly` stand for the usual ones.
    ///
    /// # Errors
    /// [`ScheduleError`] that names the field.
    pub fn parse(expression: &str, zone: Zone) -> Result<Self, ScheduleError> {
        let word = WORDS.iter().find(|(word, _)| *word == expression);
        let fields = Fields::parse(word.map_or(expression, |(_, fields)| fields))?;
        Ok(Self {
            expression: expression.to_owned(),
            fields,
            zone,
        })
    }

    /// The expression, as it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The zone its times are in.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first run after `now`. `None` beyond the year 9999.
    pub fn next(&self, now: Time) -> Option<Time> {
        let now = Timestamp::from_millisecond(i64::try_from(now.as_millis()).ok()?).ok()?;
        // The day before: a clock that is put back over midnight repeats times of yesterday.
        let mut day = self.zone.zone.to_datetime(now).date().yesterday().ok()?;
        for _ in 0..MOST_DAYS {
            let tomorrow = day.tomorrow().ok()?;
            let next = self.first_after(now, day);
            // A clock that is put back over midnight lets tomorrow begin before today has ended.
            let next = next.map(|next| {
                self.first_after(now, tomorrow)
                    .map_or(next, |other| next.min(other))
            });
            if let Some(next) = next {
                return u64::try_from(next.as_millisecond()).ok().map(Time::from_millis);
            }
            day = tomorrow;
        }
        None
    }

    /// The earliest moment after `now` at which a run of that day of the calendar is due.
    fn first_after(&self, now: Timestamp, day: Date) -> Option<Timestamp> {
        if !self.fields.is_on(day) {
            return None;
        }
        let times = self.fields.times();
        let moments = times.flat_map(|(hour, minute)| self.moments(day.at(hour, minute, 0, 0)));
        moments.filter(|moment| *moment > now).min()
    }

    /// The moments at which a time of the calendar is due: one, or two if it comes twice and counts twice.
    fn moments(&self, time: DateTime) -> impl Iterator<Item = Timestamp> + use<> {
        let zone = &self.zone.zone;
        let due = zone.to_ambiguous_timestamp(time);
        let (first, second) = match due.offset() {
            AmbiguousOffset::Unambiguous { .. } => (due.compatible().ok(), None),
            AmbiguousOffset::Fold { .. } => {
                let second = due.later().ok().filter(|_| self.fields.is_hourly());
                (due.earlier().ok(), second)
            }
            AmbiguousOffset::Gap { .. } => {
                let before = due.earlier().ok();
                let jump = before.and_then(|before| zone.following(before).next());
                (jump.map(|jump| jump.timestamp()), None)
            }
        };
        first.into_iter().chain(second)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.expression, self.zone.name)
    }
}

#[cfg(test)]
mod tests;
