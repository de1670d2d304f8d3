//! The `journeys` section.

use crate::bundle::{Condition, Goal, Journey, ReEntry, Step, Timing, Trigger};
use crate::codes;
use crate::compile::Scope;
use crate::diagnostic::{Sink, did_you_mean};
use crate::documents::{self, BACKFILLS, DAY_MAX, PRIORITIES, STEP_PARTS_NOT_YET, TOUCHPOINTS};
use crate::reader::{self, Mapping};
use crate::syntax;
use crate::yaml::{Node, NodeKind, Scalar};
use std::collections::BTreeSet;
use touchline_model::time::{ClockTime, Span};

/// Grace when no policy says otherwise; a journey may shorten it.
const LATE_GRACE: Span = Span::hours(6);
/// An unconfirmed touch is missed after this.
const EXPIRES_AFTER: Span = Span::hours(24);

/// Reads all journeys of one playbook.
pub(crate) fn read(node: &Node, scope: &Scope<'_>, sink: &mut Sink, journeys: &mut Vec<Journey>) {
    let mut seen = BTreeSet::new();
    for node in reader::list(node, "journeys", sink) {
        let Some(mut map) = Mapping::open(node, &documents::JOURNEY, "journeys", sink) else { continue };
        let Some(id) = map.id("id", sink) else { continue };
        if !seen.insert(id.text.as_str()) {
            let message = format!("the playbook has another journey `{}`", id.text);
            sink.report(codes::DUPLICATE_ID, id.place, "journeys", message, None);
        }
        // The id of a touch names the journey and not the playbook: two of one name would share their touches.
        if let Some(other) = journeys.iter().find(|other| other.id == id.text && other.playbook != scope.document.id) {
            let message = format!("playbook `{}` of the bundle has a journey `{}`", other.playbook, id.text);
            sink.report(codes::DUPLICATE_ID, id.place, "journeys", message, None);
        }
        let mut reader = Reader { scope, sink, path: reader::join("journeys", &id.text) };
        journeys.extend(reader.journey(map, id));
    }
}

struct Reader<'a, 's> {
    scope: &'a Scope<'a>,
    sink: &'s mut Sink,
    path: String,
}

impl Reader<'_, '_> {
    fn journey(&mut self, mut map: Mapping<'_>, id: &Scalar) -> Option<Journey> {
        let entry = map.require("entry", self.sink).and_then(|node| self.start(node));
        let exit = map.take("exit").map_or_else(|| Some((Vec::new(), None)), |node| self.exit(node));
        let goal = match map.take("goal") {
            None => Some(None),
            Some(node) => self.goal(node).map(Some),
        };
        let re_entry = map.take("re_entry").map_or(Some(ReEntry::Never), |node| self.re_entry(node));
        let late_grace = map.take("late").map_or(Some(LATE_GRACE), |node| self.late(node));
        let priority = map.text("priority", self.sink);
        self.priority(priority);
        self.backfill(&mut map);
        for key in ["holdout", "mode", "expect"] {
            map.not_yet(key, self.sink);
        }
        let mut ids = BTreeSet::new();
        let tracks = map.not_yet("tracks", self.sink);
        for (name, node) in tracks.map_or(&[][..], |node| reader::named(node, &self.path, self.sink)) {
            let path = reader::join(&self.path, &name.text);
            self.steps(node, &path, &mut ids);
        }
        let steps = if tracks.is_some() { map.take("steps") } else { map.require("steps", self.sink) };
        let path = self.path("steps");
        let steps = steps.and_then(|node| self.steps(node, &path, &mut ids));
        map.done(self.sink);
        let ((entry, entry_when), (exit, exit_when)) = (entry?, exit?);
        let document = self.scope.document;
        Some(Journey {
            id: id.text.clone(),
            playbook: document.id.clone(),
            zone: document.zone,
            entry,
            entry_when,
            exit,
            exit_when,
            goal: goal?,
            re_entry: re_entry?,
            late_grace: late_grace?,
            steps: steps?,
        })
    }

    fn start(&mut self, node: &Node) -> Option<(Vec<Trigger>, Option<Condition>)> {
        let path = self.path("entry");
        let mut map = Mapping::open(node, &documents::ENTRY, &path, self.sink)?;
        let trigger = map.require("trigger", self.sink);
        let triggers = trigger.and_then(|node| self.scope.triggers(node, &path, self.sink));
        let when = self.when(&mut map, &path);
        map.done(self.sink);
        Some((triggers?, when?))
    }

    fn exit(&mut self, node: &Node) -> Option<(Vec<Trigger>, Option<Condition>)> {
        let path = self.path("exit");
        let mut map = Mapping::open(node, &documents::EXIT, &path, self.sink)?;
        let trigger = map.take("trigger");
        let triggers = trigger.map_or(Some(Vec::new()), |node| self.scope.triggers(node, &path, self.sink));
        let given = map.take("when").is_some();
        let when = self.when(&mut map, &path);
        if trigger.is_none() && !given {
            self.report(codes::MISSING_KEY, map.place(), &path, "an exit names a trigger or a condition".into());
        }
        map.done(self.sink);
        Some((triggers?, when?))
    }

    fn goal(&mut self, node: &Node) -> Option<Goal> {
        let path = self.path("goal");
        let mut map = Mapping::open(node, &documents::GOAL, &path, self.sink)?;
        let when = map.not_yet("when", self.sink);
        if let Some(node) = when {
            reader::expression(node, &path, false, self.sink, syntax::condition);
        }
        let trigger = if when.is_some() { map.take("trigger") } else { map.require("trigger", self.sink) };
        let triggers = trigger.and_then(|node| self.scope.triggers(node, &path, self.sink));
        let within = match map.text("within", self.sink) {
            None => Some(None),
            Some(text) => self.span(text, &path).map(Some),
        };
        map.done(self.sink);
        Some(Goal { triggers: triggers?, within: within? })
    }

    fn re_entry(&mut self, node: &Node) -> Option<ReEntry> {
        let path = self.path("re_entry");
        if let NodeKind::Scalar(text) = &node.kind {
            if text.text == "never" {
                return Some(ReEntry::Never);
            }
            let hint = Some("write never, {after_exit: 30d} or {each: entry}".to_owned());
            let message = format!("`{}` does not say when one may enter again", text.text);
            self.sink.report(codes::VALUE, text.place, &path, message, hint);
            return None;
        }
        let mut map = Mapping::open(node, &documents::RE_ENTRY, &path, self.sink)?;
        let after = map.text("after_exit", self.sink);
        let each = map.text("each", self.sink);
        let place = map.place();
        map.done(self.sink);
        match (after, each) {
            (Some(after), None) => self.span(after, &path).map(ReEntry::AfterExit),
            (None, Some(each)) if each.text == "entry" => Some(ReEntry::Each),
            _ => {
                let hint = Some("write never, {after_exit: 30d} or {each: entry}".to_owned());
                let message = "it must say when one may enter again".to_owned();
                self.sink.report(codes::VALUE, place, &path, message, hint);
                None
            }
        }
    }

    fn late(&mut self, node: &Node) -> Option<Span> {
        let path = self.path("late");
        let mut map = Mapping::open(node, &documents::LATE, &path, self.sink)?;
        let grace = map.text("grace", self.sink);
        if let Some(then) = map.text("then", self.sink).filter(|then| then.text != "skip") {
            let message = format!("what is late is skipped, not `{}`", then.text);
            self.report(codes::VALUE, then.place, &path, message);
        }
        map.done(self.sink);
        let Some(text) = grace else { return Some(LATE_GRACE) };
        let span = self.span(text, &path)?;
        if span > LATE_GRACE {
            let message = format!("a grace of {} is longer than the policy's 6h", text.text);
            self.report(codes::LOOSENED, text.place, &path, message);
        }
        Some(span)
    }

    /// Read and checked; touches of one contact at one moment are not ordered by it yet.
    fn priority(&mut self, value: Option<&Scalar>) {
        let Some(value) = value.filter(|value| !PRIORITIES.contains(&value.text.as_str())) else { return };
        let hint =
            did_you_mean(&value.text, PRIORITIES).or_else(|| Some(format!("priorities are {}", PRIORITIES.join(", "))));
        let path = self.path("priority");
        self.sink.report(codes::VALUE, value.place, &path, format!("there is no priority `{}`", value.text), hint);
    }

    fn backfill(&mut self, map: &mut Mapping<'_>) {
        let Some((key, node)) = map.entry("backfill") else { return };
        let path = self.path("backfill");
        let Some(value) = reader::text(node, &path, self.sink).filter(|value| value.text != "none") else { return };
        if BACKFILLS.contains(&value.text.as_str()) {
            reader::not_yet(codes::NY_BACKFILL, key.place, &path, self.sink);
            return;
        }
        let hint = did_you_mean(&value.text, BACKFILLS).or_else(|| Some(format!("it is {}", BACKFILLS.join(", "))));
        self.sink.report(codes::VALUE, value.place, &path, format!("there is no backfill `{}`", value.text), hint);
    }

    fn steps(&mut self, node: &Node, path: &str, ids: &mut BTreeSet<String>) -> Option<Vec<Step>> {
        let nodes = reader::list(node, path, self.sink);
        if nodes.is_empty() {
            self.report(codes::MISSING_KEY, node.place, path, "at least one step is needed".into());
        }
        let mut steps = Vec::new();
        let mut whole = true;
        let mut last_day = 0;
        for node in nodes {
            let Some(step) = self.step(node, path, ids) else {
                whole = false;
                continue;
            };
            if let Timing::Day { day, .. } = step.timing {
                if day < last_day {
                    let message = format!("day {day} comes after a step of day {last_day}");
                    self.report(codes::STEP_ORDER, node.place, &reader::join(path, &step.id), message);
                }
                last_day = day;
            }
            steps.push(step);
        }
        whole.then_some(steps)
    }

    fn step(&mut self, node: &Node, path: &str, ids: &mut BTreeSet<String>) -> Option<Step> {
        let mut map = Mapping::open(node, &documents::STEP, path, self.sink)?;
        let id = map.id("id", self.sink)?;
        let path = reader::join(path, &id.text);
        if !ids.insert(id.text.clone()) {
            let message = format!("the journey has another step `{}`", id.text);
            self.report(codes::DUPLICATE_ID, id.place, &path, message);
        }
        let refused = self.refused_parts(&mut map, &path, ids);
        let several = map.entry("at").filter(|(_, node)| matches!(node.kind, NodeKind::List(_)));
        if let Some((key, _)) = several {
            reader::not_yet(codes::NY_REPEAT, key.place, &reader::join(&path, "at"), self.sink);
        }
        let repeated = several.is_some();
        let timing = if refused || repeated {
            let _known = (map.take("after"), map.take("day"));
            None
        } else {
            self.timing(&mut map, &path)
        };
        let when = self.when(&mut map, &path);
        let (touchpoint, content) = (map.text("touchpoint", self.sink), map.text("content", self.sink));
        for (value, what) in [(touchpoint, "touchpoint"), (content, "content")] {
            if value.is_none() && !refused {
                self.report(codes::INCOMPLETE_STEP, map.place(), &path, format!("the step has no {what}"));
            }
        }
        if let Some(touchpoint) = touchpoint {
            self.touchpoint(touchpoint, &path);
        }
        if let Some(content) = content {
            reader::check_id(content, &path, self.sink);
            self.sink.report(codes::NO_BODY, content.place, &path, content.text.clone(), None);
            let (names, document) = (self.scope.names, self.scope.document);
            if let Some(owner) = names.owners.foreign_content(&content.text, &document.id, &document.uses) {
                let message = format!("content `{}` belongs to playbook `{owner}`", content.text);
                let hint = Some(format!("say `uses: [{owner}]`"));
                self.sink.report(codes::FOREIGN, content.place, &path, message, hint);
            }
        }
        map.done(self.sink);
        Some(Step {
            id: id.text.clone(),
            timing: timing?,
            when: when?,
            touchpoint: touchpoint?.text.clone(),
            content: content?.text.clone(),
            expires_after: EXPIRES_AFTER,
        })
    }

    /// Parts of a step that are not evaluated yet; the expressions and steps in them are checked all the same.
    fn refused_parts(&mut self, map: &mut Mapping<'_>, path: &str, ids: &mut BTreeSet<String>) -> bool {
        let others = STEP_PARTS_NOT_YET.into_iter().filter(|key| !matches!(*key, "wait_for" | "choose"));
        let refused = others.filter(|key| map.not_yet(key, self.sink).is_some()).count() > 0;
        let wait = map.not_yet("wait_for", self.sink);
        if let Some(mut map) = wait.and_then(|node| Mapping::open(node, &documents::WAIT_FOR, path, self.sink)) {
            if let Some(node) = map.require("trigger", self.sink) {
                let triggers = reader::one_or_many(node);
                for node in triggers {
                    reader::expression(node, path, false, self.sink, syntax::trigger);
                }
                if triggers.is_empty() {
                    reader::shape(node, "at least one trigger", path, self.sink);
                }
            }
            map.text("timeout", self.sink).map(|text| self.span(text, path));
            map.done(self.sink);
        }
        let choose = map.not_yet("choose", self.sink);
        for node in choose.map_or(&[][..], |node| reader::list(node, path, self.sink)) {
            self.choice(node, path);
        }
        for key in ["then", "else"] {
            let Some((name, node)) = map.entry(key) else { continue };
            if wait.is_some() {
                self.steps(node, &reader::join(path, key), ids);
            } else if choose.is_some() && key == "else" {
                self.choice(node, path);
            } else {
                let message = format!("`{key}` belongs to wait_for or choose");
                self.report(codes::UNKNOWN_KEY, name.place, path, message);
            }
        }
        refused || wait.is_some() || choose.is_some()
    }

    fn choice(&mut self, node: &Node, path: &str) {
        let Some(mut map) = Mapping::open(node, &documents::CHOICE, path, self.sink) else { return };
        if let Some(node) = map.take("when") {
            reader::expression(node, path, false, self.sink, syntax::condition);
        }
        map.text("touchpoint", self.sink);
        map.text("content", self.sink);
        map.done(self.sink);
    }

    fn timing(&mut self, map: &mut Mapping<'_>, path: &str) -> Option<Timing> {
        let (after, day, at) = (map.text("after", self.sink), map.text("day", self.sink), map.text("at", self.sink));
        match (after, day, at) {
            (Some(after), None, None) => self.span(after, path).map(Timing::After),
            // A step that names no time follows at once.
            (None, None, None) => Some(Timing::After(Span(0))),
            (None, Some(day), Some(at)) => {
                let parsed = day.text.parse().ok().filter(|day| *day <= DAY_MAX);
                if parsed.is_none() {
                    let message = format!("`{}` is not a day from 0 to {DAY_MAX}", day.text);
                    self.report(codes::VALUE, day.place, path, message);
                }
                let clock = ClockTime::parse(&at.text);
                if clock.is_none() {
                    let hint = Some("write HH:MM in quotes: \"09:30\"".to_owned());
                    let message = format!("`{}` is not a clock time", at.text);
                    self.sink.report(codes::VALUE, at.place, path, message, hint);
                }
                let odd = clock.and_then(|clock| self.scope.document.clocks.warning(clock, 0));
                if let Some(odd) = odd {
                    self.sink.report(odd.code, at.place, path, odd.message, odd.hint);
                }
                Some(Timing::Day { day: parsed?, at: clock? })
            }
            (after, day, at) => {
                let place = after.or(day).or(at).map_or(map.place(), |scalar| scalar.place);
                let hint = Some("write `after: 2h`, or `day: 1` with `at: \"10:00\"`".to_owned());
                let message = "this does not say one time".to_owned();
                self.sink.report(codes::TIMING, place, path, message, hint);
                None
            }
        }
    }

    fn touchpoint(&mut self, value: &Scalar, path: &str) {
        if TOUCHPOINTS.contains(&value.text.as_str()) || !reader::check_id(value, path, self.sink) {
            return;
        }
        let hint = did_you_mean(&value.text, TOUCHPOINTS)
            .or_else(|| Some(format!("known touchpoints are {}", TOUCHPOINTS.join(", "))));
        let message = format!("nothing here is known to send through `{}`", value.text);
        self.sink.report(codes::TOUCHPOINT, value.place, path, message, hint);
    }

    /// The outer `None` is a mistake, the inner one an absent key.
    fn when(&mut self, map: &mut Mapping<'_>, path: &str) -> Option<Option<Condition>> {
        match map.take("when") {
            None => Some(None),
            Some(node) => self.scope.condition(node, path, self.sink).map(Some),
        }
    }

    fn span(&mut self, text: &Scalar, path: &str) -> Option<Span> {
        let span = Span::parse(&text.text);
        if span.is_none() {
            let hint = Some("durations are 30s, 5m, 2h, 3d".to_owned());
            let message = format!("`{}` is not a duration", text.text);
            self.sink.report(codes::VALUE, text.place, path, message, hint);
        }
        span
    }

    fn path(&self, key: &str) -> String {
        reader::join(&self.path, key)
    }

    fn report(&mut self, code: codes::Code, at: crate::diagnostic::Place, path: &str, message: String) {
        self.sink.report(code, at, path, message, None);
    }
}
