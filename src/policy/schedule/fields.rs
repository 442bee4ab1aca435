//! The five fields of a cron expression, each as the set of its numbers.

use jiff::civil::Date;

use super::ScheduleError;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Most days of each month, January first.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// What a field may hold.
struct Kind {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const MINUTE: Kind = Kind {
    name: "minute",
    least: 0,
    most: 59,
    words: &[],
};
const HOUR: Kind = Kind {
    name: "hour",
    least: 0,
    most: 23,
    words: &[],
};
const DAY: Kind = Kind {
    name: "day of the month",
    least: 1,
    most: 31,
    words: &[],
};
const MONTH: Kind = Kind {
    name: "month",
    least: 1,
    most: 12,
    words: &MONTHS,
};
/// Sunday is 0 and, as in cron, 7.
const WEEKDAY: Kind = Kind {
    name: "day of the week",
    least: 0,
    most: 7,
    words: &WEEKDAYS,
};

/// A set of numbers below 64, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }
}

/// The five fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// Whether both kinds of days are narrowed: then either will do, as in cron.
    either: bool,
}

impl Fields {
    /// Reads the five.
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(ScheduleError::Fields(fields.len()));
        };
        let either = !days.starts_with('*') && !weekdays.starts_with('*');
        let mut weekdays = WEEKDAY.set(weekdays)?;
        if weekdays.has(7) {
            weekdays.0 |= 1;
        }
        let fields = Self {
            minutes: MINUTE.set(minutes)?,
            hours: HOUR.set(hours)?,
            days: DAY.set(days)?,
            months: MONTH.set(months)?,
            weekdays,
            either,
        };
        let comes = |month: &u32| (1..=LENGTHS[*month as usize - 1]).any(|day| fields.days.has(day));
        let comes = either
            || (1..=12)
                .filter(|month| fields.months.has(*month))
                .any(|month| comes(&month));
        if comes {
            Ok(fields)
        } else {
            Err(ScheduleError::Never)
        }
    }

    /// Whether a day of the calendar is one of them.
    pub(super) fn is_on(&self, date: Date) -> bool {
        let number = |number: i8| u32::try_from(number).unwrap_or_default();
        let day = self.days.has(number(date.day()));
        let weekday = self.weekdays.has(number(date.weekday().to_sunday_zero_offset()));
        let of_days = if self.either {
            day || weekday
        } else {
            day && weekday
        };
        of_days && self.months.has(number(date.month()))
    }

    /// Whether every hour of the day is one of them.
    pub(super) fn is_hourly(&self) -> bool {
        (0..24).all(|hour| self.hours.has(hour))
    }

    /// The hours and minutes of a day, in order.
    pub(super) fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        let hours = (0..24_i8).filter(|hour| self.hours.has(u32::from(hour.unsigned_abs())));
        let minutes = || (0..60_i8).filter(|minute| self.minutes.has(u32::from(minute.unsigned_abs())));
        hours.flat_map(move |hour| minutes().map(move |minute| (hour, minute)))
    }
}

impl Kind {
    /// Reads a list of numbers, ranges and steps.
    fn set(&self, text: &str) -> Result<Set, ScheduleError> {
        let mut set = 0;
        for part in text.split(',') {
            let numbers = self.part(part).ok_or_else(|| self.wrong(part))?;
            set = numbers.fold(set, |set, number| set | 1 << number);
        }
        Ok(Set(set))
    }

    fn part(&self, part: &str) -> Option<impl Iterator<Item = u32> + use<>> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, digits(step).filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            // What a step from a single number means differs between programs.
            None if part.contains('/') => return None,
            None => (self.number(range)?, self.number(range)?),
        };
        let step = usize::try_from(step).ok()?;
        (first <= last).then(|| (first..=last).step_by(step))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let word = text.to_ascii_lowercase();
        let word = self.words.iter().position(|known| *known == word);
        let word = word
            .and_then(|at| u32::try_from(at).ok())
            .map(|at| at + self.least);
        let number = word.or_else(|| digits(text))?;
        (self.least..=self.most).contains(&number).then_some(number)
    }

    fn wrong(&self, part: &str) -> ScheduleError {
        let words = match self.words {
            [first, .., last] => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        let (least, most) = (self.least, self.most);
        ScheduleError::Part {
            field: self.name,
            part: part.to_owned(),
            expected: format!(
                "`*`, {least} to {most}{words}, a range such as `{least}-{most}` or a step such as `*/2`"
            ),
        }
    }
}

/// A number of one or two digits.
fn digits(text: &str) -> Option<u32> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}
