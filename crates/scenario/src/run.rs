//! Playing a scenario.

use crate::compare::Seen;
use crate::format::{ByHand, Document, Doing, Edit, EventSpec, PersonExpectation, Scenario, Sources, Step, When};
use crate::report::{Failure, Finding, Outcome, Report};
use crate::world::{Broken, Refusal, TENANT, World};
use crate::{found, read, values};
use touchline_model::command::{CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::taxonomy;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};
use touchline_playbook::bundle::Bundle;
use touchline_playbook::compile::{compile, playbook_id};
use touchline_playbook::diagnostic::Place;
use touchline_playbook::directory;
use touchline_playbook::yaml::{self, NodeKind};

/// Plays a scenario with the texts of the files it names.
pub fn run(scenario: &Scenario, sources: &Sources) -> Report {
    let mut run = Run { scenario, sources, failures: Vec::new(), checks: 0, looked: 0, events: 0 };
    let outcome = match run.documents(&scenario.documents) {
        Err(findings) => Outcome::Refused { findings },
        Ok(texts) => match run.compiled(&texts) {
            Err(findings) => Outcome::Refused { findings },
            Ok(()) => run.play(&texts),
        },
    };
    Report { scenario: scenario.name.clone(), file: scenario.file.clone(), checks: run.checks, outcome }
}

/// The beginning of a file.
const BEGIN: Place = Place { line: 1, column: 1 };

struct Run<'s> {
    scenario: &'s Scenario,
    sources: &'s Sources,
    failures: Vec<Failure>,
    checks: usize,
    /// Outputs up to here were there at the last look.
    looked: usize,
    events: u64,
}

/// A document with where it begins in its file.
struct Text {
    /// Of a directory the id says nothing.
    source: PlaybookSource,
    is_directory: bool,
    file: String,
    begins: Place,
}

impl Run<'_> {
    /// The texts of documents, without the sections that are left out.
    fn documents(&self, documents: &[Document]) -> Result<Vec<Text>, Vec<Finding>> {
        let mut texts: Vec<Text> = Vec::new();
        for document in documents {
            let (text, file, begins) = match document {
                Document::Inline { text, place } => (text, self.scenario.file.clone(), *place),
                Document::File { path, place } => match self.sources.get(path) {
                    Some(text) => (text, path.clone(), BEGIN),
                    None => {
                        let message = format!("the file `{path}` is not there");
                        let file = self.scenario.file.clone();
                        let Place { line, column } = *place;
                        return Err(vec![Finding { file, line, column, code: None, message, hint: None }]);
                    }
                },
            };
            let yaml = leave_out(text, &self.scenario.leave_out);
            let id = playbook_id(&yaml).unwrap_or_else(|_| format!("document-{}", texts.len() + 1));
            let is_directory = is_directory(&yaml);
            texts.push(Text { source: PlaybookSource { id, yaml }, is_directory, file, begins });
        }
        Ok(texts)
    }

    fn compiled(&self, texts: &[Text]) -> Result<(), Vec<Finding>> {
        for text in texts.iter().filter(|text| text.is_directory) {
            directory::parse(&text.source.yaml).map_err(|found| {
                found.iter().map(|found| Finding::of(found, &text.file, text.begins)).collect::<Vec<_>>()
            })?;
        }
        let Err(found) = compile(&playbooks(texts), 1) else { return Ok(()) };
        let located = found.iter().map(|found| {
            let text = texts.iter().find(|text| text.source.id == found.source_id);
            text.map_or_else(
                || Finding::of(found, &self.scenario.file, BEGIN),
                |text| Finding::of(found, &text.file, text.begins),
            )
        });
        Err(located.collect())
    }

    fn play(&mut self, texts: &[Text]) -> Outcome {
        if let Err(broken) = self.steps(texts) {
            // The step at which it broke is the last one that was looked at: said without a better place.
            self.fail(BEGIN, "the run", "goes to the end".to_owned(), broken);
        }
        match std::mem::take(&mut self.failures) {
            failures if failures.is_empty() => Outcome::Passed,
            failures => Outcome::Failed { failures },
        }
    }

    fn steps(&mut self, texts: &[Text]) -> Result<(), Broken> {
        let start = self.scenario.steps.first().and_then(|step| step.when);
        let Some(When::At(start)) = start else { return Err("the first step does not say when".to_owned()) };
        let mut world = World::new(start, self.scenario.partitions)?;
        self.put_in_force(&mut world, BEGIN, texts, None)?;
        for step in &self.scenario.steps {
            self.pass_time(&mut world, step)?;
            self.step(&mut world, step)?;
            world.settle()?;
        }
        Ok(())
    }

    fn pass_time(&mut self, world: &mut World, step: &Step) -> Result<(), Broken> {
        let to = match step.when {
            None => return Ok(()),
            Some(When::At(at)) => at,
            Some(When::After(span)) => world.now.plus(span),
        };
        if to < world.now {
            let (expected, now) = (self.moment(to), self.moment(world.now));
            self.fail(step.place, "time", format!("{expected} is not past"), format!("it is {now} already"));
            return Ok(());
        }
        world.advance(to)
    }

    fn step(&mut self, world: &mut World, step: &Step) -> Result<(), Broken> {
        match &step.doing {
            Doing::Nothing => Ok(()),
            Doing::Event(spec) => {
                let event = self.event(world, step.place, spec)?;
                event.map_or(Ok(()), |event| world.event(event))
            }
            Doing::ByHand(by_hand) => self.by_hand(world, step.place, by_hand),
            Doing::Link(people) => {
                let ids = people.iter().filter_map(|person| self.scenario.identifiers(person).first());
                let under: Vec<IdKey> = ids.cloned().collect();
                let event = self.bare_event(world, Kind::IdentityLinked, String::new(), under, None);
                let fields = Fields::new().with("evidence", Value::text("strong"));
                world.event(Event { fields, ..event })
            }
            Doing::Load { documents, refused } => self.load(world, step.place, documents, refused.as_deref()),
            Doing::Expect(expectations) => self.look(world, expectations),
        }
    }

    fn load(
        &mut self,
        world: &mut World,
        place: Place,
        documents: &[Document],
        refused: Option<&str>,
    ) -> Result<(), Broken> {
        let texts = match self.documents(documents) {
            Ok(texts) => texts,
            Err(findings) => {
                findings.into_iter().for_each(|finding| {
                    self.fail(place, "the playbooks", "are there".to_owned(), finding.message);
                });
                return Ok(());
            }
        };
        self.put_in_force(world, place, &texts, refused)
    }

    fn put_in_force(
        &mut self,
        world: &mut World,
        place: Place,
        texts: &[Text],
        refused: Option<&str>,
    ) -> Result<(), Broken> {
        for text in texts.iter().filter(|text| text.is_directory) {
            let answer = world.set_directory(text.source.yaml.clone())?;
            self.answered(place, "the directory", refused, answer);
        }
        let playbooks = playbooks(texts);
        if !playbooks.is_empty() {
            let answer = world.activate(playbooks)?;
            self.answered(place, "the playbooks", refused, answer);
        }
        Ok(())
    }

    fn by_hand(&mut self, world: &mut World, place: Place, by_hand: &ByHand) -> Result<(), Broken> {
        let ids = self.scenario.identifiers(&by_hand.person);
        let (known, _) = world.contact(ids)?;
        let contact = CellKey::of(TENANT, &ids[0]);
        let reason = by_hand.reason.clone();
        let body = match by_hand.edit.clone() {
            Edit::Card { board, to, seen } => {
                let expected_stage = seen.unwrap_or_else(|| found::stage(known.as_ref(), &board));
                CommandBody::MoveCard { contact, board, expected_stage, to, reason }
            }
            Edit::Tags { add, remove } => CommandBody::EditTags { contact, add, remove, reason },
        };
        let what = format!("{} {}", by_hand.person, body.name());
        let answer = world.command(&by_hand.by, body)?;
        self.answered(place, &what, by_hand.refused.as_deref(), answer);
        Ok(())
    }

    /// Whether a command was answered as it should be: accepted, or refused with this code (`any`: with any).
    fn answered(&mut self, place: Place, what: &str, refused: Option<&str>, answer: Result<(), Refusal>) {
        self.checks += usize::from(refused.is_some());
        let is_right = match (&answer, refused) {
            (Ok(()), wanted) => wanted.is_none(),
            (Err((code, _)), Some(wanted)) => wanted == "any" || wanted == code,
            (Err(_), None) => false,
        };
        if !is_right {
            let expected = refused.map_or_else(|| "accepted".to_owned(), |code| format!("refused: {code}"));
            let found = answer.map_or_else(|(code, why)| format!("refused: {code}, {why}"), |()| "accepted".to_owned());
            self.fail(place, what, expected, found);
        }
    }

    fn look(&mut self, world: &World, expectations: &[PersonExpectation]) -> Result<(), Broken> {
        for expectation in expectations {
            let (contact, cells) = world.contact(self.scenario.identifiers(&expectation.person))?;
            let seen = Seen {
                file: &self.scenario.file,
                zone: self.scenario.zone,
                now: world.now,
                person: &expectation.person,
                contact: contact.as_ref(),
                cells: &cells,
                bundle: world.bundle(),
                history: &world.outputs,
                news: &world.outputs[self.looked..],
            };
            for check in &expectation.checks {
                self.checks += 1;
                self.failures.extend(seen.check(check));
            }
        }
        self.looked = world.outputs.len();
        Ok(())
    }

    /// The event a step gives; `None` when it cannot be one, which is a failure.
    fn event(&mut self, world: &World, place: Place, spec: &EventSpec) -> Result<Option<Event>, Broken> {
        let ids = self.scenario.identifiers(&spec.person);
        let under = if spec.under.is_empty() { ids.iter().take(1).cloned().collect() } else { spec.under.clone() };
        let mut event = self.bare_event(world, spec.kind, spec.custom_name.clone(), under, spec.id.as_deref());
        event.occurred_at = Some(spec.occurred.unwrap_or(world.now));
        if let Err((place, message)) = fill(&mut event, spec, self.scenario, world.bundle()) {
            self.fail(place, event.name(), "an event".to_owned(), message);
            return Ok(None);
        }
        if let (Kind::GroupJoined | Kind::GroupLeft, Some(group)) = (spec.kind, event.fields.text("group")) {
            event.subject.push(IdKey::new(IdKind::Group, read::CORP, group));
        }
        if let Some(step) = &spec.touch {
            let (_, cells) = world.contact(ids)?;
            let named = |touch: &&touchline_model::output::Touch| {
                touch.step == *step || format!("{}/{}", touch.journey, touch.step) == *step
            };
            let Some(touch) = found::touches(&world.outputs, &cells).rev().find(named) else {
                let what = format!("{} {}", spec.person, event.name());
                self.fail(place, &what, format!("a touch of {step}"), "none was said".to_owned());
                return Ok(None);
            };
            event.cause.touch_id = Some(touch.id.clone());
            if taxonomy::field(spec.kind, "touch_id").is_some() {
                event.fields.set("touch_id", Value::text(touch.id.as_str()));
            }
        }
        Ok(Some(event))
    }

    fn bare_event(
        &mut self,
        world: &World,
        kind: Kind,
        custom_name: String,
        subject: Vec<IdKey>,
        id: Option<&str>,
    ) -> Event {
        self.events += 1;
        let basis = id.map_or_else(|| format!("#{}", self.events), str::to_owned);
        Event {
            id: EventId::derive(TENANT, Channel::Api.name(), "scenario", "scenario", basis.as_bytes()),
            kind,
            custom_name,
            tenant: TENANT.to_owned(),
            channel: Channel::Api,
            account: read::CORP.to_owned(),
            occurred_at: Some(world.now),
            precision: Precision::Millisecond,
            received_at: world.now,
            subject,
            actor: Actor::Customer,
            native: Native::default(),
            cause: EventCause::default(),
            fields: Fields::new(),
            private: Private::default(),
        }
    }

    fn moment(&self, time: Time) -> String {
        found::moment(time, self.scenario.zone)
    }

    fn fail(&mut self, place: Place, what: &str, expected: String, found: String) {
        let Place { line, column } = place;
        let (file, what) = (self.scenario.file.clone(), what.to_owned());
        self.failures.push(Failure { file, line, column, what, expected, found, because: Vec::new() });
    }
}

/// Sets the fields of an event, each where it belongs and of the type it has.
fn fill(
    event: &mut Event,
    spec: &EventSpec,
    scenario: &Scenario,
    bundle: Option<&Bundle>,
) -> Result<(), values::Wrong> {
    let declared =
        bundle.into_iter().flat_map(|bundle| &bundle.playbooks).find_map(|of| of.events.get(&spec.custom_name));
    if spec.kind == Kind::Custom && declared.is_none() {
        let place = BEGIN;
        return Err((place, format!("no playbook declares the event `{}`", spec.custom_name)));
    }
    let (mut public, mut private) = (Fields::new(), Fields::new());
    for (name, given) in &spec.fields {
        let value = match spec.kind {
            Kind::Custom => {
                values::custom(declared.and_then(|fields| fields.get(name)).copied(), given, scenario.zone)?
            }
            kind => values::built_in(values::type_of(kind, name).unwrap_or(None), given, scenario.zone)?,
        };
        match (name.as_str(), &value) {
            ("channel", Value::Text(channel)) => event.channel = Channel::parse(channel).unwrap_or(Channel::Api),
            ("account", Value::Text(account)) => event.account.clone_from(account),
            _ => {
                let head = name.split('.').next().unwrap_or_default();
                let part = if taxonomy::is_private(spec.kind, head) { &mut private } else { &mut public };
                values::set(part, name, value);
            }
        }
    }
    event.fields = public;
    event.private = Private::Plain { fields: private, raw: Vec::new() };
    Ok(())
}

fn playbooks(texts: &[Text]) -> Vec<PlaybookSource> {
    texts.iter().filter(|text| !text.is_directory).map(|text| text.source.clone()).collect()
}

fn is_directory(text: &str) -> bool {
    let Ok(yaml::Node { kind: NodeKind::Map(entries), .. }) = yaml::read("", text) else { return false };
    let is_it = |node: &yaml::Node| matches!(&node.kind, NodeKind::Scalar(kind) if kind.text == "directory");
    entries.iter().any(|(key, node)| key.text == "kind" && is_it(node))
}

/// The text without these top-level sections, their lines left empty so that everything else stays where it is.
fn leave_out(text: &str, sections: &[String]) -> String {
    if sections.is_empty() {
        return text.to_owned();
    }
    let Ok(yaml::Node { kind: NodeKind::Map(entries), .. }) = yaml::read("", text) else { return text.to_owned() };
    let starts: Vec<(usize, bool)> =
        entries.iter().map(|(key, _)| (key.place.line as usize, sections.contains(&key.text))).collect();
    let is_out = |line: usize| starts.iter().rev().find(|(start, _)| *start <= line).is_some_and(|(_, out)| *out);
    let lines = text.lines().enumerate().map(|(at, line)| if is_out(at + 1) { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}
