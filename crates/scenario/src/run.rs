//! Playing a scenario, step by step, in any world.

use crate::compare::Seen;
use crate::format::{ByHand, Document, Doing, Edit, EventSpec, PersonExpectation, Scenario, Sources, Step, When};
use crate::memory::Memory;
use crate::report::{Failure, Finding, Outcome, Report};
use crate::world::{Broken, Refusal, World};
use crate::{counts, found, read, values};
use touchline_model::command::{Command, CommandBody, Migration, PlaybookSource, replaced};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::{Contact, Numbered};
use touchline_model::taxonomy;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};
use touchline_playbook::bundle::Bundle;
use touchline_playbook::compile::{compile, playbook_id};
use touchline_playbook::diagnostic::Place;
use touchline_playbook::directory;
use touchline_playbook::yaml::{self, NodeKind};

/// Whose world it is where nobody says.
const TENANT: &str = "acme";
/// Who does what nobody is named for.
const OPERATOR: &str = "li";
/// What events of a scenario name as their source.
const SOURCE: &str = "scenario";

/// Plays a scenario with the texts of the files it names, on engines in memory.
pub fn run(scenario: &Scenario, sources: &Sources) -> Report {
    run_as(scenario, sources, TENANT).0
}

/// As [`run`], for a tenant of that name; also everything that was said.
pub fn run_as(scenario: &Scenario, sources: &Sources, tenant: &str) -> (Report, Vec<Numbered>) {
    let mut play = match Play::open(scenario, sources, tenant) {
        Ok(play) => play,
        Err(report) => return (report, Vec::new()),
    };
    let mut world = match Memory::new(play.start(), play.partitions()) {
        Ok(world) => world,
        Err(broken) => {
            play.broken(broken);
            return (play.report(), Vec::new());
        }
    };
    while play.next_at().is_some() {
        play.step(&mut world);
    }
    (play.report(), world.outputs)
}

/// The beginning of a file.
const BEGIN: Place = Place { line: 1, column: 1 };

/// A scenario that is being played. Whoever plays calls [`Play::step`] as long as there is a [`Play::next_at`]; several
/// can take turns in one world, each for a tenant of its own, if who is next in time goes first.
pub struct Play<'s> {
    scenario: &'s Scenario,
    sources: &'s Sources,
    tenant: String,
    /// Documents to be put in force first.
    opening: Option<Vec<Text>>,
    /// Steps that are done.
    done: usize,
    now: Time,
    /// What is in force: what a condition's value depends on is worked out from it.
    active: Vec<PlaybookSource>,
    bundle: Option<Bundle>,
    failures: Vec<Failure>,
    checks: usize,
    /// Outputs up to here were there at the last look.
    looked: usize,
    events: u64,
    commands: u64,
}

/// A document with where it begins in its file.
struct Text {
    /// Of a directory the id says nothing.
    source: PlaybookSource,
    is_directory: bool,
    file: String,
    begins: Place,
}

impl<'s> Play<'s> {
    /// Reads and compiles what the scenario begins with.
    ///
    /// # Errors
    /// A report that says what does not compile.
    pub fn open(scenario: &'s Scenario, sources: &'s Sources, tenant: &str) -> Result<Self, Report> {
        let mut play = Self {
            scenario,
            sources,
            tenant: tenant.to_owned(),
            opening: None,
            done: 0,
            now: Time::default(),
            active: Vec::new(),
            bundle: None,
            failures: Vec::new(),
            checks: 0,
            looked: 0,
            events: 0,
            commands: 0,
        };
        play.now = play.start();
        let texts = play.documents(&scenario.documents).and_then(|texts| play.compiled(&texts).map(|()| texts));
        match texts {
            Ok(texts) => {
                play.opening = Some(texts);
                Ok(play)
            }
            Err(findings) => Err(play.reported(Outcome::Refused { findings })),
        }
    }

    /// When it begins.
    pub fn start(&self) -> Time {
        match self.scenario.steps.first().and_then(|step| step.when) {
            Some(When::At(start)) => start,
            // Whoever read the scenario has seen that its first step says when.
            _ => Time::default(),
        }
    }

    /// Engines that share the people among them.
    pub fn partitions(&self) -> u32 {
        self.scenario.partitions
    }

    /// When the next step happens; `None`: it is over.
    pub fn next_at(&self) -> Option<Time> {
        let step = self.scenario.steps.get(self.done)?;
        let at = match step.when {
            None => self.now,
            Some(When::At(at)) => at,
            Some(When::After(span)) => self.now.plus(span),
        };
        Some(at.max(self.now))
    }

    /// Lets time pass to the next step and does it.
    pub fn step(&mut self, world: &mut dyn World) {
        if let Err(broken) = self.try_step(world) {
            self.broken(broken);
        }
    }

    /// It cannot go on.
    pub fn broken(&mut self, why: Broken) {
        let place = self.scenario.steps.get(self.done.saturating_sub(1)).map_or(BEGIN, |step| step.place);
        self.fail(place, "the run", "goes to the end".to_owned(), why);
        self.done = self.scenario.steps.len();
    }

    /// What came of it.
    pub fn report(mut self) -> Report {
        let outcome = match std::mem::take(&mut self.failures) {
            failures if failures.is_empty() => Outcome::Passed,
            failures => Outcome::Failed { failures },
        };
        self.reported(outcome)
    }

    fn reported(&self, outcome: Outcome) -> Report {
        let Scenario { name, file, .. } = self.scenario;
        Report { scenario: name.clone(), file: file.clone(), checks: self.checks, outcome }
    }

    fn try_step(&mut self, world: &mut dyn World) -> Result<(), Broken> {
        let scenario = self.scenario;
        let Some(step) = scenario.steps.get(self.done) else { return Ok(()) };
        self.done += 1;
        if let Some(texts) = self.opening.take() {
            world.advance(self.now)?;
            self.put_in_force(world, BEGIN, &texts, (&[], None))?;
        }
        self.pass_time(world, step)?;
        self.act(world, step)?;
        world.settle()
    }

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

    fn pass_time(&mut self, world: &mut dyn World, step: &Step) -> Result<(), Broken> {
        let to = match step.when {
            None => return Ok(()),
            Some(When::At(at)) => at,
            Some(When::After(span)) => self.now.plus(span),
        };
        if to < self.now {
            let (expected, now) = (self.moment(to), self.moment(self.now));
            self.fail(step.place, "time", format!("{expected} is not past"), format!("it is {now} already"));
            return Ok(());
        }
        self.now = to;
        world.advance(to)
    }

    fn act(&mut self, world: &mut dyn World, step: &Step) -> Result<(), Broken> {
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
                let mut event = self.bare_event(Kind::IdentityLinked, String::new(), under, None);
                event.fields = Fields::new().with("evidence", Value::text("strong"));
                world.event(named(event))
            }
            Doing::Load { documents, migrations, refused } => {
                self.load(world, step.place, documents, (migrations, refused.as_deref()))
            }
            Doing::Expect(expectations) => self.look(world, expectations),
            Doing::Count(expectations) => {
                self.checks += expectations.len();
                for wanted in expectations {
                    let metrics = self.bundle.iter().flat_map(|bundle| &bundle.metrics);
                    let metric = metrics.into_iter().find(|metric| metric.id == wanted.metric);
                    let rows = metric.map(|metric| world.numbers(&self.tenant, metric)).transpose()?;
                    let found = metric.zip(rows.as_deref());
                    self.failures.extend(counts::check(wanted, found, &self.scenario.file));
                }
                Ok(())
            }
        }
    }

    fn load(
        &mut self,
        world: &mut dyn World,
        place: Place,
        documents: &[Document],
        answer: (&[Migration], Option<&str>),
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
        self.put_in_force(world, place, &texts, answer)
    }

    fn put_in_force(
        &mut self,
        world: &mut dyn World,
        place: Place,
        texts: &[Text],
        (migrations, refused): (&[Migration], Option<&str>),
    ) -> Result<(), Broken> {
        for text in texts.iter().filter(|text| text.is_directory) {
            let body = CommandBody::SetDirectory { yaml: text.source.yaml.clone() };
            let answer = self.command(world, OPERATOR, body)?;
            self.answered(place, "the directory", refused, answer);
        }
        let playbooks = playbooks(texts);
        if !playbooks.is_empty() {
            let expected_active = world.active(&self.tenant)?;
            let (sources, remove, migrations) = (playbooks.clone(), Vec::new(), migrations.to_vec());
            let body = CommandBody::Activate { sources, remove, expected_active, migrations };
            let answer = self.command(world, OPERATOR, body)?;
            if answer.is_ok() {
                self.activated(&playbooks);
            }
            self.answered(place, "the playbooks", refused, answer);
        }
        Ok(())
    }

    fn activated(&mut self, playbooks: &[PlaybookSource]) {
        self.active = replaced(&self.active, playbooks, &[]);
        self.bundle = compile(&self.active, 1).ok();
    }

    fn command(
        &mut self,
        world: &mut dyn World,
        actor: &str,
        body: CommandBody,
    ) -> Result<Result<(), Refusal>, Broken> {
        self.commands += 1;
        world.command(Command {
            request_id: format!("command-{}", self.commands),
            tenant: self.tenant.clone(),
            actor: actor.to_owned(),
            received_at: self.now,
            body,
        })
    }

    /// The contact that these identifiers stand for, if anything is known of it, and every cell that does.
    fn contact(&self, world: &mut dyn World, ids: &[IdKey]) -> Result<(Option<Contact>, Vec<CellKey>), Broken> {
        let cells: Vec<CellKey> = ids.iter().map(|id| CellKey::of(&self.tenant, id)).collect();
        world.contact(cells)
    }

    fn by_hand(&mut self, world: &mut dyn World, place: Place, by_hand: &ByHand) -> Result<(), Broken> {
        let ids = self.scenario.identifiers(&by_hand.person);
        let (known, _) = self.contact(world, ids)?;
        let contact = CellKey::of(&self.tenant, &ids[0]);
        let reason = by_hand.reason.clone();
        let body = match by_hand.edit.clone() {
            Edit::Card { board, to, seen } => {
                let expected_stage = seen.unwrap_or_else(|| found::stage(known.as_ref(), &board));
                CommandBody::MoveCard { contact, board, expected_stage, to, reason }
            }
            Edit::Tags { add, remove } => CommandBody::EditTags { contact, add, remove, reason },
        };
        let what = format!("{} {}", by_hand.person, body.name());
        let answer = self.command(world, &by_hand.by, body)?;
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

    fn look(&mut self, world: &mut dyn World, expectations: &[PersonExpectation]) -> Result<(), Broken> {
        for expectation in expectations {
            let (contact, cells) = self.contact(world, self.scenario.identifiers(&expectation.person))?;
            let said = world.said()?;
            let seen = Seen {
                file: &self.scenario.file,
                zone: self.scenario.zone,
                now: self.now,
                person: &expectation.person,
                contact: contact.as_ref(),
                cells: &cells,
                bundle: self.bundle.as_ref(),
                history: said,
                news: &said[self.looked..],
            };
            for check in &expectation.checks {
                self.checks += 1;
                self.failures.extend(seen.check(check));
            }
        }
        self.looked = world.said()?.len();
        Ok(())
    }

    /// The event a step gives; `None` when it cannot be one, which is a failure.
    fn event(&mut self, world: &mut dyn World, place: Place, spec: &EventSpec) -> Result<Option<Event>, Broken> {
        let ids = self.scenario.identifiers(&spec.person);
        let under = if spec.under.is_empty() { ids.iter().take(1).cloned().collect() } else { spec.under.clone() };
        let mut event = self.bare_event(spec.kind, spec.custom_name.clone(), under, spec.id.as_deref());
        event.occurred_at = Some(spec.occurred.unwrap_or(self.now));
        if let Err((place, message)) = fill(&mut event, spec, self.scenario, self.bundle.as_ref()) {
            self.fail(place, event.name(), "an event".to_owned(), message);
            return Ok(None);
        }
        if let (Kind::GroupJoined | Kind::GroupLeft, Some(group)) = (spec.kind, event.fields.text("group")) {
            event.subject.push(IdKey::new(IdKind::Group, read::CORP, group));
        }
        if let Some(step) = &spec.touch {
            let (_, cells) = self.contact(world, ids)?;
            let named = |touch: &&touchline_model::output::Touch| {
                touch.step == *step || format!("{}/{}", touch.journey, touch.step) == *step
            };
            let Some(touch) = found::touches(world.said()?, &cells).rev().find(named) else {
                let what = format!("{} {}", spec.person, event.name());
                self.fail(place, &what, format!("a touch of {step}"), "none was said".to_owned());
                return Ok(None);
            };
            event.cause.touch_id = Some(touch.id.clone());
            if taxonomy::field(spec.kind, "touch_id").is_some() {
                event.fields.set("touch_id", Value::text(touch.id.as_str()));
            }
        }
        Ok(Some(named(event)))
    }

    fn bare_event(&mut self, kind: Kind, custom_name: String, subject: Vec<IdKey>, id: Option<&str>) -> Event {
        self.events += 1;
        let basis = id.map_or_else(|| format!("#{}", self.events), str::to_owned);
        Event {
            id: EventId([0; 16]),
            kind,
            custom_name,
            tenant: self.tenant.clone(),
            channel: Channel::Api,
            account: read::CORP.to_owned(),
            occurred_at: Some(self.now),
            precision: Precision::Millisecond,
            received_at: self.now,
            subject,
            actor: Actor::Customer,
            native: Native { kind: SOURCE.to_owned(), id: basis, ..Native::default() },
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

/// The event with the id that source and number give it, as for whatever comes in.
fn named(event: Event) -> Event {
    let id =
        EventId::of_source(&event.tenant, event.channel.name(), &event.account, &event.native.kind, &event.native.id);
    Event { id, ..event }
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
