//! Cron expressions, and the nights on which clocks are put forward and back.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn schedule(expression: &str, zone: &str) -> Schedule {
    Schedule::parse(expression, Zone::named(zone).unwrap()).unwrap()
}

fn time(text: &str) -> Time {
    let moment: Timestamp = text.parse().unwrap();
    Time::from_millis(u64::try_from(moment.as_millisecond()).unwrap())
}

fn shown(time: Time) -> String {
    Timestamp::from_millisecond(i64::try_from(time.as_millis()).unwrap())
        .unwrap()
        .to_string()
}

/// The first runs after a moment.
fn runs(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(expression, zone);
    let first = schedule.next(time(after));
    let all = std::iter::successors(first, |last| schedule.next(*last));
    all.take(count).map(shown).collect()
}

fn wrong(expression: &str) -> String {
    Schedule::parse(expression, Zone::utc()).unwrap_err().to_string()
}

#[test]
fn a_run_comes_at_its_time_in_its_zone_summer_and_winter() {
    assert_eq!(
        runs("30 3 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        [
            "2026-03-28T02:30:00Z",
            "2026-03-29T01:30:00Z",
            "2026-03-30T01:30:00Z"
        ]
    );
    // At the very moment it is due, the next is the one after.
    assert_eq!(
        runs("30 3 * * *", "UTC", "2026-03-28T03:30:00Z", 1),
        ["2026-03-29T03:30:00Z"]
    );
    assert_eq!(
        runs("30 3 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T22:00:00Z"]
    );
}

#[test]
fn a_time_that_does_not_come_is_made_up_for_once_when_the_clock_jumps() {
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        runs("*/20 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 4),
        [
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:20:00Z",
            "2026-03-29T01:40:00Z",
            "2026-03-30T00:00:00Z"
        ]
    );
    // A whole day that does not come: Samoa went from 29 to 31 December 2011.
    assert_eq!(
        runs("0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", 2),
        ["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]
    );
}

#[test]
fn a_time_that_comes_twice_counts_once_unless_every_hour_counts() {
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // Between the first and the second 02:30 nothing is due.
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1),
        ["2026-10-26T01:30:00Z"]
    );
    assert_eq!(
        runs("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z"
        ]
    );
    // Put back at one o'clock to midnight.
    assert_eq!(
        runs("*/30 * * * *", "America/Havana", "2026-11-01T03:45:00Z", 5),
        [
            "2026-11-01T04:00:00Z",
            "2026-11-01T04:30:00Z",
            "2026-11-01T05:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-01T06:00:00Z"
        ]
    );
}

#[test]
fn days_of_the_month_and_of_the_week_are_alternatives_where_both_are_given() {
    assert_eq!(
        runs("0 0 13 * fri", "UTC", "2026-11-10T00:00:00Z", 3),
        [
            "2026-11-13T00:00:00Z",
            "2026-11-20T00:00:00Z",
            "2026-11-27T00:00:00Z"
        ]
    );
    assert_eq!(
        runs("0 0 * * 7", "UTC", "2026-11-25T00:00:00Z", 2),
        ["2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"]
    );
    assert_eq!(
        runs("15 6 1 JAN-mar/2 *", "UTC", "2026-11-25T00:00:00Z", 3),
        [
            "2027-01-01T06:15:00Z",
            "2027-03-01T06:15:00Z",
            "2028-01-01T06:15:00Z"
        ]
    );
    assert_eq!(
        runs("@monthly", "UTC", "2026-11-25T00:00:00Z", 2),
        ["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]
    );
}

#[test]
fn the_rarest_day_is_found_over_a_century_without_it() {
    assert_eq!(
        runs("0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", 1),
        ["2104-02-29T00:00:00Z"]
    );
}

#[test]
fn what_is_no_expression_is_refused_with_the_field() {
    assert!(wrong("30 3 * *").contains("4 fields instead of five"));
    assert!(wrong("").contains("0 fields"));
    assert!(wrong("0 30 3 * * *").contains("6 fields"));
    assert!(wrong("@yearly").contains("1 fields"));
    for (expression, field) in [
        ("60 * * * *", "minute `60`"),
        ("-1 * * * *", "minute `-1`"),
        ("1,,2 * * * *", "minute ``"),
        ("*/0 * * * *", "minute `*/0`"),
        ("5/10 * * * *", "minute `5/10`"),
        ("+5 * * * *", "minute `+5`"),
        ("* 24 * * *", "hour `24`"),
        ("* 5-3 * * *", "hour `5-3`"),
        ("* * 0 * *", "day of the month `0`"),
        ("* * L * *", "day of the month `L`"),
        ("* * * 13 *", "month `13`"),
        ("* * * juny *", "month `juny`"),
        ("* * * * 8", "day of the week `8`"),
        ("* * * * mon#1", "day of the week `mon#1`"),
    ] {
        let said = wrong(expression);
        assert!(
            said.starts_with(&format!("the {field} is not `*`, ")),
            "{expression}: {said}"
        );
    }
    assert!(wrong("0 0 31 4,6 *").contains("never run"));
    assert!(wrong("0 0 30 feb *").contains("never run"));
    // Any Monday of February will do.
    schedule("0 0 30 feb mon", "UTC");
}

#[test]
fn zones_are_those_of_the_iana_database_and_come_along() {
    assert_eq!(Zone::named("europe/berlin").unwrap().name(), "Europe/Berlin");
    assert_eq!(Zone::named("UTC").unwrap().name(), "UTC");
    for none in ["", "Berlin", "CET+1", "Europe/Bonn", "../../etc/passwd"] {
        assert!(Zone::named(none).is_none(), "{none}");
    }
}

proptest! {
    /// Against the slow way: every minute in turn, by the calendar of the zone.
    #[test]
    fn the_next_run_is_the_first_minute_whose_calendar_fits(
        minute in 0..60_i8,
        hour in 0..24_i8,
        start in 0_u64..2_000_000_000,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    ) {
        let schedule = schedule(&format!("{minute} {hour} * * *"), zone);
        let start = Time::from_millis(start * 1000);
        let next = schedule.next(start).unwrap();
        prop_assert!(next > start);
        let zone = TimeZone::get(zone).unwrap();
        let calendar = |time: Time| {
            let moment = Timestamp::from_millisecond(i64::try_from(time.as_millis()).unwrap()).unwrap();
            zone.to_datetime(moment)
        };
        let due = |time: Time| (calendar(time).hour(), calendar(time).minute()) == (hour, minute);
        let minutes = |from: Time, to: Time| (from.as_millis() / 60_000 + 1..to.as_millis() / 60_000).map(|at| Time::from_millis(at * 60_000));
        let first = minutes(start, next).find(|time| due(*time));
        // An earlier one can only be the second of two.
        if let Some(first) = first {
            let earlier = minutes(Time::from_millis(first.as_millis().saturating_sub(3 * 3_600_000)), first);
            let again = earlier.into_iter().any(|time| due(time) && calendar(time).date() == calendar(first).date());
            prop_assert!(again, "{} is earlier than {}", shown(first), shown(next));
        }
        // What is not due by the calendar is where the clock jumped.
        if !due(next) {
            let before = calendar(Time::from_millis(next.as_millis() - 60_000));
            prop_assert!((before.hour(), before.minute()) < (hour, minute));
            prop_assert!((calendar(next).hour(), calendar(next).minute()) > (hour, minute));
        }
    }
}
