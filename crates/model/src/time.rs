//! Log time: milliseconds since 1970-01-01T00:00:00Z, and calendar days in compiled-in time zones.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub i64);

/// A length of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Span(pub i64);

impl Span {
    /// So many seconds.
    pub const fn seconds(n: i64) -> Self {
        Self(n * 1_000)
    }
    /// So many minutes.
    pub const fn minutes(n: i64) -> Self {
        Self::seconds(n * 60)
    }
    /// So many hours.
    pub const fn hours(n: i64) -> Self {
        Self::minutes(n * 60)
    }
    /// So many times 24 hours.
    pub const fn days(n: i64) -> Self {
        Self::hours(n * 24)
    }

    /// Parses `30s 5m 2h 3d`; whole numbers only, at most 36 500 days.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let number = text.strip_suffix(unit)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: i64 = number.parse().ok()?;
        let unit_ms = match unit {
            's' => Self::seconds(1).0,
            'm' => Self::minutes(1).0,
            'h' => Self::hours(1).0,
            'd' => Self::days(1).0,
            _ => return None,
        };
        let ms = number.checked_mul(unit_ms)?;
        (ms <= Self::days(36_500).0).then_some(Self(ms))
    }
}

impl Time {
    /// The earliest moment accepted from outside: 2000-01-01T00:00:00Z.
    pub const EARLIEST: Self = Self(946_684_800_000);
    /// The latest moment accepted from outside: 2200-01-01T00:00:00Z.
    pub const LATEST: Self = Self(7_258_118_400_000);

    /// Later by `span`, saturating.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long after `earlier` this is; negative when before.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Whether a source's clock can be meant: between [`Time::EARLIEST`] and [`Time::LATEST`].
    pub fn is_plausible(self) -> bool {
        (Self::EARLIEST..Self::LATEST).contains(&self)
    }

    /// Parses RFC 3339, e.g. `2026-03-02T10:00:00+08:00`.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_millis()))
    }

    fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0.clamp(-62_135_596_800_000, 253_402_300_799_000))
            .expect("clamped to years 1 to 9999")
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = self.utc();
        if !(0..=9_999).contains(&utc.year()) {
            return write!(f, "{}", utc.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
        }
        // Every record has a header with a time: no format is interpreted for it.
        let (year, month, day, milliseconds) = (utc.year(), utc.month(), utc.day(), utc.timestamp_subsec_millis());
        let (hour, minute, second) = (utc.hour(), utc.minute(), utc.second());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }
}

/// A time of day, minutes since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClockTime(u16);

impl ClockTime {
    /// Parses `HH:MM`, 24 hours.
    pub fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        if hour.len() != 2 || minute.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
            return None;
        }
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(Self(hour * 60 + minute))
    }

    /// When a day begins, where no clock is changed then.
    pub const MIDNIGHT: Self = Self(0);

    fn naive(self) -> NaiveTime {
        NaiveTime::from_hms_opt(u32::from(self.0) / 60, u32::from(self.0) % 60, 0).expect("checked when parsed")
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A named time zone from the compiled-in table, never the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(chrono_tz::Tz);

impl Zone {
    /// The zone when a playbook names none.
    pub const SHANGHAI: Self = Self(chrono_tz::Asia::Shanghai);

    /// The zone with this IANA name.
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    /// Every name that [`Zone::parse`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// The IANA name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The moment of `clock` on the calendar day `day` days after the day of `anchor` in this zone.
    /// A clock time that is skipped is later by as much as was skipped; of one that comes twice it is the first.
    pub fn day_at(self, anchor: Time, day: i64, clock: ClockTime) -> Time {
        let date = anchor.utc().with_timezone(&self.0).date_naive();
        let date = date.checked_add_signed(TimeDelta::days(day.clamp(-40_000, 40_000))).unwrap_or(NaiveDate::MAX);
        self.local(date.and_time(clock.naive()))
    }

    /// The moment of `clock` on a calendar day, given as days since 1970-01-01; as [`Zone::day_at`].
    pub fn at(self, day: i32, clock: ClockTime) -> Time {
        self.local(date_of(day).and_time(clock.naive()))
    }

    /// How many times `clock` comes on a calendar day: once but for changes of the clocks, else never (0) or twice.
    pub fn passes(self, day: i32, clock: ClockTime) -> usize {
        match self.0.from_local_datetime(&date_of(day).and_time(clock.naive())) {
            chrono::MappedLocalTime::None => 0,
            chrono::MappedLocalTime::Single(_) => 1,
            chrono::MappedLocalTime::Ambiguous(..) => 2,
        }
    }

    /// The calendar days from `from` to before `until` around which clocks are changed: the day itself and the one before
    /// it, since clocks that are put back at midnight double the evening.
    pub fn clock_changes(self, from: i32, until: i32) -> Vec<i32> {
        let offset = |day: i32| {
            let noon = date_of(day).and_time(NaiveTime::from_hms_opt(12, 0, 0).expect("a time"));
            self.0.offset_from_utc_datetime(&noon).fix()
        };
        let changes = (from..until).filter(|day| offset(*day) != offset(day - 1));
        let mut days: Vec<i32> = changes.flat_map(|day| [day - 1, day]).collect();
        days.dedup();
        days
    }

    fn local(self, local: chrono::NaiveDateTime) -> Time {
        if let Some(moment) = self.0.from_local_datetime(&local).earliest() {
            return Time(moment.timestamp_millis());
        }
        // A gap: the offset before it, applied to the skipped clock time, lands just after the gap.
        let before = self.0.offset_from_utc_datetime(&(local - TimeDelta::days(1))).fix();
        Time((local - before).and_utc().timestamp_millis())
    }

    /// The calendar day of a moment, as days since 1970-01-01.
    pub fn day_number(self, time: Time) -> i32 {
        time.utc().with_timezone(&self.0).date_naive().to_epoch_days()
    }

    /// The first moment of a calendar day, given as days since 1970-01-01.
    pub fn day_start(self, day: i32) -> Time {
        self.local(date_of(day).and_time(NaiveTime::MIN))
    }

    /// The same clock time so many calendar days later, or earlier.
    pub fn plus_days(self, time: Time, days: i64) -> Time {
        let local = time.utc().with_timezone(&self.0).naive_local();
        let date = local.date().checked_add_signed(TimeDelta::days(days.clamp(-40_000, 40_000)));
        self.local(date.unwrap_or(NaiveDate::MAX).and_time(local.time()))
    }

    /// Completed calendar months from one day to a later one, both as days since 1970-01-01: complete on the same day of
    /// the month, where a month is shorter on the first of the next.
    pub fn months_between(from: i32, to: i32) -> i32 {
        let (Some(from), Some(to)) = (NaiveDate::from_epoch_days(from), NaiveDate::from_epoch_days(to)) else {
            return 0;
        };
        let month = |date: NaiveDate| date.year() * 12 + date.month0() as i32;
        month(to) - month(from) - i32::from(to.day() < from.day())
    }

    /// The first day on which so many months, or so many days, have passed since `from`.
    pub fn day_after(from: i32, months: i32, days: i32) -> Option<i32> {
        if months == 0 {
            return from.checked_add(days);
        }
        let date = NaiveDate::from_epoch_days(from)?;
        let months = date.year().checked_mul(12)?.checked_add(date.month0() as i32)?.checked_add(months)?;
        let (year, month0) = (months.div_euclid(12), months.rem_euclid(12) as u32);
        let day = NaiveDate::from_ymd_opt(year, month0 + 1, date.day()).or_else(|| {
            let (year, month0) = if month0 == 11 { (year + 1, 0) } else { (year, month0 + 1) };
            NaiveDate::from_ymd_opt(year, month0 + 1, 1)
        })?;
        Some(day.to_epoch_days())
    }

    /// `2026-12-01` as days since 1970-01-01.
    pub fn parse_date(text: &str) -> Option<i32> {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.to_epoch_days())
    }

    /// RFC 3339 with this zone's offset, seconds precision: for people.
    pub fn format(self, time: Time) -> String {
        time.utc().with_timezone(&self.0).format("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// `yyyy-MM-dd HH:mm:ss` of this zone, as Chinese channels write times.
    pub fn parse_local(self, text: &str) -> Option<Time> {
        let local = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
        let moment = self.0.from_local_datetime(&local).earliest()?;
        Some(Time(moment.timestamp_millis()))
    }

    /// (year, month, day, hour, minute) of a moment in this zone.
    pub fn civil(self, time: Time) -> (i32, u32, u32, u32, u32) {
        let local = time.utc().with_timezone(&self.0);
        (local.year(), local.month(), local.day(), local.hour(), local.minute())
    }

    /// (year, week) of a moment in this zone by ISO 8601: weeks begin on Monday and belong to the year of their Thursday.
    pub fn iso_week(self, time: Time) -> (i32, u32) {
        let week = time.utc().with_timezone(&self.0).iso_week();
        (week.year(), week.week())
    }
}

/// A calendar day of the years 1860 to 3065; what lies outside is the first or last of them.
fn date_of(day: i32) -> NaiveDate {
    NaiveDate::from_epoch_days(day.clamp(-40_000, 400_000)).expect("a day of years 1860 to 3065")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse_rfc3339(text).expect(text)
    }

    #[test]
    fn day_n_is_a_calendar_day_in_the_zone() {
        let ten = ClockTime::parse("10:00").expect("valid");
        // 23:59 on the 1st in Shanghai: day 1 is the 2nd, though only ten hours later.
        assert_eq!(Zone::SHANGHAI.day_at(at("2026-03-01T23:59:00+08:00"), 1, ten), at("2026-03-02T10:00:00+08:00"));
        // Still the 1st in Shanghai though the 28th of February in UTC.
        assert_eq!(Zone::SHANGHAI.day_at(at("2026-02-28T16:30:00Z"), 3, ten), at("2026-03-04T10:00:00+08:00"));
        assert_eq!(Zone::SHANGHAI.day_at(at("2026-03-01T12:00:00+08:00"), 0, ten), at("2026-03-01T10:00:00+08:00"));
    }

    #[test]
    fn skipped_and_doubled_hours_have_one_meaning() {
        let berlin = Zone::parse("Europe/Berlin").expect("known");
        let half_past_two = ClockTime::parse("02:30").expect("valid");
        // 2026-03-29 02:00 → 03:00.
        assert_eq!(berlin.day_at(at("2026-03-28T12:00:00Z"), 1, half_past_two), at("2026-03-29T03:30:00+02:00"));
        // 2026-10-25 03:00 → 02:00: the first passage is still summer time.
        assert_eq!(berlin.day_at(at("2026-10-24T12:00:00Z"), 1, half_past_two), at("2026-10-25T02:30:00+02:00"));
    }

    #[test]
    fn clocks_are_changed_around_these_days() {
        let day = |text: &str| Zone::parse_date(text).expect(text);
        let changes = |zone: &str| {
            let zone = Zone::parse(zone).expect("known");
            zone.clock_changes(day("2026-01-01"), day("2027-01-01"))
        };
        assert_eq!(changes("Asia/Shanghai"), []);
        let berlin = ["2026-03-28", "2026-03-29", "2026-10-24", "2026-10-25"];
        assert_eq!(changes("Europe/Berlin"), berlin.map(day));
        let passes = |zone: &str, date: &str, clock: &str| {
            let clock = ClockTime::parse(clock).expect("valid");
            Zone::parse(zone).expect("known").passes(day(date), clock)
        };
        for (date, clock, times) in [
            ("2026-03-29", "01:59", 1),
            ("2026-03-29", "02:00", 0),
            ("2026-03-29", "02:59", 0),
            ("2026-03-29", "03:00", 1),
            ("2026-10-25", "02:00", 2),
            ("2026-10-25", "02:59", 2),
            ("2026-10-25", "03:00", 1),
        ] {
            assert_eq!(passes("Europe/Berlin", date, clock), times, "{date} {clock}");
        }
        // 2026-04-24 00:00 → 01:00; 2026-10-30 00:00 → 2026-10-29 23:00: the evening of the day before is doubled.
        assert_eq!(passes("Africa/Cairo", "2026-04-24", "00:00"), 0);
        assert_eq!(passes("Africa/Cairo", "2026-10-29", "23:30"), 2);
        let cairo = Zone::parse("Africa/Cairo").expect("known");
        assert!(cairo.clock_changes(day("2026-10-01"), day("2026-12-01")).contains(&day("2026-10-29")));
        assert_eq!(cairo.day_start(day("2026-04-24")), at("2026-04-24T01:00:00+03:00"));
        assert_eq!(cairo.at(day("2026-04-24"), ClockTime::MIDNIGHT), at("2026-04-24T01:00:00+03:00"));
    }

    #[test]
    fn months_are_complete_on_the_same_day_or_on_the_first_of_the_next() {
        let day = |text: &str| Zone::parse_date(text).expect(text);
        for (from, to, months) in [
            ("2026-01-31", "2026-02-28", 0),
            ("2026-01-31", "2026-03-01", 1),
            ("2026-01-31", "2026-03-31", 2),
            ("2024-02-29", "2025-02-28", 11),
            ("2024-02-29", "2025-03-01", 12),
            ("2025-06-15", "2026-06-14", 11),
            ("2025-06-15", "2026-06-15", 12),
        ] {
            assert_eq!(Zone::months_between(day(from), day(to)), months, "{from} {to}");
        }
        for from in ["2026-01-31", "2024-02-29", "2025-06-15", "2025-12-31", "2026-11-30"] {
            for months in 1..40 {
                let after = Zone::day_after(day(from), months, 0).expect("in range");
                assert_eq!(Zone::months_between(day(from), after), months, "{from} {months}");
                assert_eq!(Zone::months_between(day(from), after - 1), months - 1, "{from} {months}");
            }
        }
        assert_eq!(Zone::day_after(day("2026-01-31"), 0, 1), Some(day("2026-02-01")));
    }

    #[test]
    fn days_begin_and_shift_in_their_zone() {
        let shanghai = Zone::SHANGHAI;
        let late = at("2026-03-01T23:59:00+08:00");
        assert_eq!(shanghai.day_number(late), Zone::parse_date("2026-03-01").expect("a date"));
        assert_eq!(shanghai.day_start(shanghai.day_number(late)), at("2026-03-01T00:00:00+08:00"));
        let berlin = Zone::parse("Europe/Berlin").expect("known");
        // The same clock time, though the day between has 23 hours.
        assert_eq!(berlin.plus_days(at("2026-03-28T12:00:00+01:00"), 1), at("2026-03-29T12:00:00+02:00"));
        assert_eq!(berlin.plus_days(at("2026-03-29T12:00:00+02:00"), -1), at("2026-03-28T12:00:00+01:00"));
    }

    #[test]
    fn spans_and_clock_times_refuse_what_is_not_one() {
        assert_eq!(Span::parse("30d"), Some(Span::days(30)));
        assert_eq!(Span::parse("5m"), Some(Span::minutes(5)));
        for bad in ["", "d", "-1d", "1.5h", "1w", "5 m", "99999d", "一d", "9999999999999999999s"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
        for bad in ["24:00", "9:00", "10:60", "1000", "１０:00", "10:0"] {
            assert_eq!(ClockTime::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_print_and_parse() {
        let time = at("2026-03-02T10:00:00.250+08:00");
        assert_eq!(time.to_string(), "2026-03-02T02:00:00.250Z");
        assert_eq!(Zone::SHANGHAI.format(time), "2026-03-02T10:00:00+08:00");
        assert_eq!(Zone::SHANGHAI.parse_local("2026-03-02 10:00:00"), Some(at("2026-03-02T10:00:00+08:00")));
        assert!(!Time(i64::MAX).is_plausible());
        let _ = Time(i64::MAX).to_string();
        let _ = Time(i64::MIN).to_string();
    }
}
