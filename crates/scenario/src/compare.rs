//! What is expected against what is found.

use crate::format::{Check, Wanted, WantedChange, WantedTouch, WantedWhy, What};
use crate::found;
use crate::report::Failure;
use touchline_model::id::CellKey;
use touchline_model::output::{Contact, Numbered, TagChange, Touch};
use touchline_model::time::{Time, Zone};
use touchline_playbook::bundle::Bundle;
use touchline_playbook::diagnostic::Place;

/// What there is to look at of one person.
pub(crate) struct Seen<'w> {
    pub(crate) file: &'w str,
    pub(crate) zone: Zone,
    pub(crate) now: Time,
    pub(crate) person: &'w str,
    pub(crate) contact: Option<&'w Contact>,
    pub(crate) cells: &'w [CellKey],
    pub(crate) bundle: Option<&'w Bundle>,
    /// Everything said so far.
    pub(crate) history: &'w [Numbered],
    /// What was said since the last look.
    pub(crate) news: &'w [Numbered],
}

/// Where a check stands and what it looks at.
struct At<'c> {
    place: Place,
    what: &'c str,
}

impl Seen<'_> {
    /// Every difference of one check.
    pub(crate) fn check(&self, check: &Check) -> Vec<Failure> {
        let at = At { place: check.place, what: check.what.name() };
        match &check.what {
            What::Tags(wanted) => self.lists(&at, wanted, &found::tags(self.contact)),
            What::TagsOf(groups) => {
                let one = |(group, wanted): &(String, Vec<String>)| {
                    let full = |tags: &[String]| tags.iter().map(|tag| format!("{group}/{tag}")).collect::<Vec<_>>();
                    self.lists(&at, &full(wanted), &full(&found::tags_of(self.contact, group)))
                };
                groups.iter().flat_map(one).collect()
            }
            What::Stages(boards) => self.each(&at, boards, |board| found::stage(self.contact, board)),
            What::Why(tags) => tags.iter().filter_map(|(tag, wanted)| self.why(&at, tag, wanted)).collect(),
            What::Segments(wanted) => self.lists(&at, wanted, &found::segments(self.contact)),
            What::Attributes(names) => {
                self.each(&at, names, |name| found::attribute(self.contact, self.bundle, name, (self.now, self.zone)))
            }
            What::Owner(wanted) => {
                let owner = self.contact.and_then(|contact| contact.owner.clone());
                self.equal(&at, "", wanted, &owner).into_iter().collect()
            }
            What::Journeys(names) => self.each(&at, names, |name| found::journey(self.contact, name)),
            What::Touches(wanted) => self.touches(&at, wanted),
            What::Changes(wanted) => self.changes(&at, wanted),
        }
    }

    fn failure(&self, at: &At<'_>, name: &str, expected: String, found: String, because: Vec<String>) -> Failure {
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        let notes = found::dead_letters(self.news)
            .map(|letter| format!("put aside: {} ({})", letter.reason.name(), letter.detail));
        Failure {
            file: self.file.to_owned(),
            line: at.place.line,
            column: at.place.column,
            what: format!("{} {}{name}", self.person, at.what),
            expected,
            found,
            because: because.into_iter().chain(notes).collect(),
        }
    }

    fn lists(&self, at: &At<'_>, wanted: &[String], found: &[String]) -> Vec<Failure> {
        if wanted == found {
            return Vec::new();
        }
        let mut because: Vec<String> = found.iter().filter_map(|tag| self.why_set(tag)).collect();
        because.extend(wanted.iter().filter(|tag| !found.contains(tag)).filter_map(|tag| self.why_gone(tag)));
        vec![self.failure(at, "", listed(wanted), listed(found), because)]
    }

    fn each(&self, at: &At<'_>, wanted: &[(String, Wanted)], found: impl Fn(&str) -> Option<String>) -> Vec<Failure> {
        wanted.iter().filter_map(|(name, wanted)| self.equal(at, name, wanted, &found(name))).collect()
    }

    fn equal(&self, at: &At<'_>, name: &str, wanted: &Wanted, found: &Wanted) -> Option<Failure> {
        if wanted == found {
            return None;
        }
        let because = found::tags(self.contact).iter().filter_map(|tag| self.why_set(tag)).collect();
        Some(self.failure(at, name, or_nothing(wanted), or_nothing(found), because))
    }

    fn why(&self, at: &At<'_>, tag: &str, wanted: &WantedWhy) -> Option<Failure> {
        let cause = found::why(self.contact, tag);
        if cause.is_some_and(|cause| found::is_because(cause, wanted)) {
            return None;
        }
        let found = cause.map_or_else(|| "the contact does not carry it".to_owned(), found::cause_line);
        Some(self.failure(at, tag, why_line(wanted), found, self.why_gone(tag).into_iter().collect()))
    }

    /// Since when and why a tag is carried.
    fn why_set(&self, tag: &str) -> Option<String> {
        let (group, name) = tag.split_once('/')?;
        let carried = self.contact?.tags.iter().find(|have| have.group == group && have.tag == name)?;
        let since = found::moment(carried.set_at, self.zone);
        Some(format!("{tag} since {since}: {}", found::cause_line(&carried.cause)))
    }

    /// When and why it was unset last.
    fn why_gone(&self, tag: &str) -> Option<String> {
        let (group, name) = tag.split_once('/')?;
        let is_it = |change: &&TagChange| change.group == group && change.unset.as_deref() == Some(name);
        let change = found::changes(self.history, self.cells).rev().find(is_it)?;
        let at = found::moment(change.at, self.zone);
        Some(format!("{tag} unset {at}: {}", found::cause_line(&change.cause)))
    }

    fn touches(&self, at: &At<'_>, wanted: &[WantedTouch]) -> Vec<Failure> {
        let found: Vec<&Touch> = found::touches(self.news, self.cells).collect();
        let fits = |(wanted, touch): (&WantedTouch, &&Touch)| {
            let text = |(key, text): &(&str, Wanted)| found::touch_text(touch, key) == *text;
            wanted.at.is_none_or(|at| at == touch.due_at) && wanted.texts.iter().all(text)
        };
        let Some(place) = difference(wanted, &found, fits, |wanted| wanted.place) else { return Vec::new() };
        let at = At { place: place.unwrap_or(at.place), ..*at };
        let expected = wanted.iter().map(|touch| self.wanted_touch(touch)).collect::<Vec<_>>();
        let because = found
            .iter()
            .map(|touch| format!("{} {}: {}", touch.step, touch.state.name(), found::cause_line(&touch.cause)))
            .collect();
        let found = found.iter().map(|touch| self.touch_line(touch)).collect::<Vec<_>>();
        vec![self.failure(&at, "", listed(&expected), listed(&found), because)]
    }

    fn wanted_touch(&self, touch: &WantedTouch) -> String {
        let mut parts: Vec<String> =
            touch.texts.iter().map(|(key, text)| format!("{key}: {}", text.as_deref().unwrap_or("~"))).collect();
        parts.extend(touch.at.map(|at| format!("at: {}", found::moment(at, self.zone))));
        format!("{{{}}}", parts.join(", "))
    }

    fn touch_line(&self, touch: &Touch) -> String {
        let keys = ["journey", "step", "state", "reason", "touchpoint", "content", "executor"];
        let texts = keys.iter().filter_map(|key| found::touch_text(touch, key).map(|text| format!("{key}: {text}")));
        let mut parts: Vec<String> = texts.collect();
        parts.push(format!("at: {}", found::moment(touch.due_at, self.zone)));
        format!("{{{}}}", parts.join(", "))
    }

    fn changes(&self, at: &At<'_>, wanted: &[WantedChange]) -> Vec<Failure> {
        let found: Vec<&TagChange> = found::changes(self.news, self.cells).collect();
        let fits = |(wanted, change): (&WantedChange, &&TagChange)| {
            let tag = |wanted: &Option<Wanted>, found: &Option<String>| {
                let found = found.as_ref().map(|tag| format!("{}/{tag}", change.group));
                wanted.as_ref().is_none_or(|wanted| *wanted == found)
            };
            tag(&wanted.set, &change.set)
                && tag(&wanted.unset, &change.unset)
                && wanted.at.is_none_or(|at| at == change.at)
                && wanted.why.as_ref().is_none_or(|why| found::is_because(&change.cause, why))
                && wanted.retracted.is_none_or(|retracted| retracted == change.retracted)
        };
        let Some(place) = difference(wanted, &found, fits, |wanted| wanted.place) else { return Vec::new() };
        let at = At { place: place.unwrap_or(at.place), ..*at };
        let expected: Vec<String> = wanted.iter().map(|change| self.wanted_change(change)).collect();
        let because = found.iter().map(|change| found::cause_line(&change.cause)).collect();
        let found: Vec<String> = found.iter().map(|change| self.change_line(change)).collect();
        vec![self.failure(&at, "", listed(&expected), listed(&found), because)]
    }

    fn wanted_change(&self, change: &WantedChange) -> String {
        let mut parts = Vec::new();
        for (key, wanted) in [("set", &change.set), ("unset", &change.unset)] {
            parts.extend(wanted.as_ref().map(|tag| format!("{key}: {}", tag.as_deref().unwrap_or("~"))));
        }
        parts.extend(change.at.map(|at| format!("at: {}", found::moment(at, self.zone))));
        parts.extend(change.why.as_ref().map(|why| format!("why: {}", why_line(why))));
        parts.extend(change.retracted.map(|retracted| format!("retracted: {retracted}")));
        format!("{{{}}}", parts.join(", "))
    }

    fn change_line(&self, change: &TagChange) -> String {
        let mut parts = Vec::new();
        for (key, tag) in [("set", &change.set), ("unset", &change.unset)] {
            parts.extend(tag.as_ref().map(|tag| format!("{key}: {}/{tag}", change.group)));
        }
        parts.push(format!("at: {}", found::moment(change.at, self.zone)));
        parts.extend(change.retracted.then(|| "retracted: true".to_owned()));
        format!("{{{}}}", parts.join(", "))
    }
}

/// Whether two lists differ: where the first wanted one is that does not fit, if it is one of those.
fn difference<W, F>(
    wanted: &[W],
    found: &[F],
    fits: impl Fn((&W, &F)) -> bool,
    place: impl Fn(&W) -> Place,
) -> Option<Option<Place>> {
    let first =
        wanted.iter().enumerate().find(|(at, wanted)| !found.get(*at).is_some_and(|found| fits((wanted, found))));
    match first {
        Some((_, wanted)) => Some(Some(place(wanted))),
        None => (wanted.len() != found.len()).then_some(None),
    }
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

fn or_nothing(wanted: &Wanted) -> String {
    wanted.clone().unwrap_or_else(|| "nothing".to_owned())
}

fn why_line(wanted: &WantedWhy) -> String {
    let keys = [
        ("rule", &wanted.rule),
        ("on", &wanted.on),
        ("keyword", &wanted.keyword),
        ("by", &wanted.by),
        ("reason", &wanted.reason),
    ];
    let parts: Vec<String> =
        keys.iter().filter_map(|(key, text)| text.as_ref().map(|text| format!("{key} {text}"))).collect();
    parts.join(", ")
}
