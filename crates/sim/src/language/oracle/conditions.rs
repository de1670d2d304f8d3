//! What holds of somebody.

use super::patterns::{days, fits};
use super::{Event, Oracle};
use crate::language::Plant;
use crate::language::book::{CHATS, Compare, Condition, DUE, Literal, Pattern, Test, Window};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::time::{Span, Time, Zone};

/// What holds.
impl Oracle<'_> {
    pub(super) fn holds(&self, who: usize, condition: &Condition, zone: Zone, at: Time) -> bool {
        let person = &self.people[who];
        let fitting =
            |of: &Pattern| person.events.iter().filter(|event| fits(of, event, self.plant)).collect::<Vec<_>>();
        match condition {
            Condition::And(of) => of.iter().all(|of| self.holds(who, of, zone, at)),
            Condition::Or(of) => of.iter().any(|of| self.holds(who, of, zone, at)),
            Condition::Not(of) => !self.holds(who, of, zone, at),
            Condition::Tag(group, None) => person.tags.keys().any(|(of, _)| of == group),
            Condition::Tag(group, Some(tag)) => person.tags.contains_key(&(*group, *tag)),
            Condition::Stage(group, test) => self.is_at_stage(who, *group, test),
            Condition::Segment(segment) => self.is_in_segment(who, *segment, at),
            Condition::Count { of, window, distinct, test } => {
                let count = self.count(who, &fitting(of), window, *distinct, at);
                test.holds(Some(&Literal::Number(count)))
            }
            Condition::Sum { field, of, within, test } => {
                let today = zone.day_number(at);
                let counts = |event: &&Event| {
                    let day = zone.day_number(event.at);
                    within.is_none_or(|days| (today - i32::try_from(days).expect("few") + 1..=today).contains(&day))
                };
                let number = |event: &Event| event.field(field).and_then(Literal::number);
                let sum = fitting(of).into_iter().filter(counts).filter_map(number).sum();
                test.holds(Some(&Literal::Number(sum)))
            }
            Condition::None { of, within } => {
                let window = within.map_or(Window::Ever, Window::Within);
                self.count(who, &fitting(of), &window, None, at) == 0
            }
            Condition::Age { first, of, compare, hours } => {
                let times = || fitting(of).into_iter().map(|event| event.at);
                let since = if *first { times().min() } else { times().max() };
                since.is_some_and(|since| compare.holds(&at.since(since), &Span::hours(*hours)))
            }
            Condition::Attribute(name, test) => self.attribute_fits(who, name, test, zone, at),
            Condition::InGroup(group) => self.is_in(who, |chat| chat.0 == *group || chat.1 == *group),
            Condition::InKind(kind) => self.is_in(who, |chat| chat.2 == *kind),
        }
    }

    /// Whose days a playbook counts by.
    pub(super) fn zone_of(&self, playbook: &str) -> Zone {
        self.zones[usize::from(playbook != "p")]
    }

    pub(super) fn is_in_segment(&self, who: usize, segment: usize, at: Time) -> bool {
        let is_own = self.book.other.is_some_and(|other| segment >= other.segments);
        self.holds(who, &self.book.segments[segment], self.zones[usize::from(is_own)], at)
    }

    fn count(&self, who: usize, fitting: &[&Event], window: &Window, distinct: Option<&str>, at: Time) -> i64 {
        let since = |name: &str| {
            let times = self.people[who].events.iter().filter(|event| event.name == name).map(|event| event.at);
            times.max()
        };
        let counts = |event: &&&Event| match window {
            Window::Ever => true,
            Window::Within(hours) if self.plant == Some(Plant::WindowInclusive) => {
                (at.plus(Span::hours(-hours))..=at).contains(&event.at)
            }
            Window::Within(hours) => at.plus(Span::hours(-hours)) < event.at && event.at <= at,
            Window::Since(name) => since(name).is_some_and(|since| event.at >= since),
        };
        let inside = fitting.iter().filter(counts);
        let Some(field) = distinct.filter(|_| self.plant != Some(Plant::DistinctIgnored)) else {
            return i64::try_from(inside.count()).expect("few");
        };
        let (with, without): (Vec<&&Event>, Vec<&&Event>) = inside.partition(|event| event.field(field).is_some());
        let values: BTreeSet<String> = with.iter().map(|event| format!("{:?}", event.field(field))).collect();
        i64::try_from(values.len() + without.len()).expect("few")
    }

    fn is_at_stage(&self, who: usize, group: usize, test: &Test) -> bool {
        let current = self.current(who, group);
        match test {
            Test::Is(compare @ (Compare::Eq | Compare::Ne), Literal::Text(column)) => {
                (current == Some(*column)) == (*compare == Compare::Eq)
            }
            Test::Is(compare, Literal::Text(column)) => {
                let place = |tag: &str| self.book.groups[group].tags.iter().position(|known| *known == tag);
                let places = current.and_then(place).zip(place(column));
                places.is_some_and(|(current, wanted)| compare.holds(&current, &wanted))
            }
            Test::In(columns) => current.is_some_and(|current| columns.contains(&current)),
            _ => false,
        }
    }

    fn attribute_fits(&self, who: usize, name: &str, test: &Test, zone: Zone, at: Time) -> bool {
        if let Test::Is(compare, Literal::Date(date)) = test {
            let day = Zone::parse_date(date).expect("a date");
            return self.moment(who, name).is_some_and(|moment| compare.holds(&zone.day_number(moment), &day));
        }
        let value = match name {
            "city" | "children" => self.profile(who, name).cloned(),
            "months" | "days" => self.age(who, name, at).map(Literal::Number),
            _ => self.people[who].attributes.get(name).cloned(),
        };
        test.holds(value.as_ref())
    }

    /// Completed months, or days, from the birthday to the day of `at`.
    fn age(&self, who: usize, unit: &str, at: Time) -> Option<i64> {
        let Some(Literal::Text(date)) = self.profile(who, "baby_birthday") else { return None };
        let born = Zone::parse_date(date)?;
        let today = self.zones[0].day_number(at);
        if born > today {
            return None;
        }
        if unit == "days" {
            return Some(i64::from(today - born));
        }
        let mut parts = date.split('-').map(|part| part.parse::<i64>().expect("a number"));
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let (this_year, this_month, this_day, ..) = self.zones[0].civil(at);
        let months = (i64::from(this_year) - year) * 12 + i64::from(this_month) - month;
        let is_last_day = self.zones[0].civil(self.zones[0].day_start(today + 1)).2 == 1;
        let is_complete = i64::from(this_day) >= day || (is_last_day && self.plant == Some(Plant::MonthsByLastDay));
        Some(if is_complete { months } else { months - 1 })
    }

    /// The moment that an attribute holds.
    pub(super) fn moment(&self, who: usize, attribute: &str) -> Option<Time> {
        let times = |of: &Pattern| {
            let times =
                self.people[who].events.iter().filter(|event| fits(of, event, self.plant)).map(|event| event.at);
            times.collect::<Vec<_>>()
        };
        match attribute {
            "first" => times(&self.book.first).into_iter().min(),
            "last" => times(&self.book.last).into_iter().max(),
            DUE => {
                let (of, add) = &self.book.due;
                let orders = self.people[who].events.iter().filter(|event| fits(of, event, self.plant));
                let dated = orders.filter_map(|event| Some((event.at, days(*add, event, self.plant)?)));
                // Of equal times the last stays.
                dated.max_by_key(|(at, _)| *at).map(|(at, days)| self.zones[0].plus_days(at, days))
            }
            _ => None,
        }
    }

    /// Whether the last that is known of such a group is joining it.
    fn is_in(&self, who: usize, is_meant: impl Fn(&(&str, &str, &str)) -> bool) -> bool {
        CHATS.iter().filter(|chat| is_meant(chat)).any(|chat| {
            let events =
                self.people[who].events.iter().filter(|event| matches!(event.name, "group.joined" | "group.left"));
            let about = events.filter(|event| event.field("group") == Some(&Literal::Text(chat.0)));
            about.max_by_key(|event| event.at).is_some_and(|event| event.name == "group.joined")
        })
    }

    /// What the two metrics of each playbook count, by metric and period.
    pub(in crate::language) fn counted(&self) -> BTreeMap<(String, String), u64> {
        let mut counted = BTreeMap::new();
        for event in self.people.iter().flat_map(|person| &person.events) {
            let (year, month, day, ..) = self.zones[0].civil(event.at);
            for (metric, pattern, period) in [
                ("days", &self.book.first, format!("{year}-{month:02}-{day:02}")),
                ("months", &self.book.last, format!("{year}-{month:02}")),
            ] {
                if fits(pattern, event, self.plant) {
                    *counted.entry((metric.to_owned(), period)).or_default() += 1;
                }
            }
        }
        counted
    }
}
