//! What a scenario file says.

use std::collections::BTreeMap;
use touchline_model::command::{Migration, TagRef};
use touchline_model::id::IdKey;
use touchline_model::kind::Kind;
use touchline_model::time::{Span, Time, Zone};
use touchline_playbook::diagnostic::Place;
use touchline_playbook::yaml::Node;

/// The texts of the files that scenarios name, by the path as they name it.
pub type Sources = BTreeMap<String, String>;

/// A scenario, read and checked, not yet run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) zone: Zone,
    /// Engines that share the people among them; turns are taken in each by itself.
    pub(crate) partitions: u32,
    /// Playbooks in the order of the bundle, then directories.
    pub(crate) documents: Vec<Document>,
    /// Top-level sections taken out of every document before it is compiled.
    pub(crate) leave_out: Vec<String>,
    /// Everybody in order of appearance, with their identifiers, never none.
    pub(crate) people: Vec<(String, Vec<IdKey>)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) proofs: Vec<Proof>,
}

impl Scenario {
    /// What it is called: `scenario:`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files it needs, as it names them: relative to its own directory.
    pub fn files(&self) -> Vec<&str> {
        self.all_documents().filter_map(|document| document.file()).collect()
    }

    /// What it says that it proves.
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    pub(crate) fn all_documents(&self) -> impl Iterator<Item = &Document> {
        self.documents.iter().chain(self.steps.iter().flat_map(Step::documents))
    }

    pub(crate) fn all_documents_mut(&mut self) -> impl Iterator<Item = &mut Document> {
        let steps = self.steps.iter_mut().filter_map(|step| match &mut step.doing {
            Doing::Load { documents, .. } => Some(documents),
            _ => None,
        });
        self.documents.iter_mut().chain(steps.flatten())
    }

    pub(crate) fn identifiers(&self, person: &str) -> &[IdKey] {
        self.people.iter().find(|(name, _)| name == person).map_or(&[], |(_, ids)| ids)
    }
}

/// A claim that the scenario would notice if a key were ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What it is about: `count.within`.
    pub key: String,
    /// A text of the playbooks, or of the directory.
    pub from: String,
    /// What stands there instead; empty for `without`.
    pub to: String,
    /// The playbook without it does not even compile.
    pub refused: bool,
    /// Line of the file.
    pub line: u32,
}

/// A playbook or a directory.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    /// Written in the scenario itself.
    Inline {
        text: String,
        /// Where the text begins.
        place: Place,
    },
    /// In a file of its own.
    File { path: String, place: Place },
}

impl Document {
    pub(crate) fn file(&self) -> Option<&str> {
        match self {
            Self::Inline { .. } => None,
            Self::File { path, .. } => Some(path),
        }
    }
}

/// One thing that is done or expected.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) place: Place,
    /// When; `None`: at the same moment as the step before.
    pub(crate) when: Option<When>,
    pub(crate) doing: Doing,
}

impl Step {
    fn documents(&self) -> &[Document] {
        match &self.doing {
            Doing::Load { documents, .. } => documents,
            _ => &[],
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    At(Time),
    After(Span),
}

#[derive(Debug, Clone)]
pub(crate) enum Doing {
    /// Only time passes.
    Nothing,
    /// Something happens to somebody.
    Event(EventSpec),
    /// Somebody of the staff moves a card or edits tags.
    ByHand(ByHand),
    /// These people turn out to be one.
    Link(Vec<String>),
    /// Playbooks are put in force, or a directory is loaded.
    Load { documents: Vec<Document>, migrations: Vec<Migration>, refused: Option<String> },
    /// How it stands is looked at.
    Expect(Vec<PersonExpectation>),
    /// What is counted is looked at.
    Count(Vec<MetricExpectation>),
}

#[derive(Debug, Clone)]
pub(crate) struct EventSpec {
    pub(crate) person: String,
    pub(crate) kind: Kind,
    /// The declared name of a custom event, else empty.
    pub(crate) custom_name: String,
    /// Event time; `None`: now.
    pub(crate) occurred: Option<Time>,
    /// Identifiers it names, native first; empty: the person's first one.
    pub(crate) under: Vec<IdKey>,
    /// What makes its id, where the file says so.
    pub(crate) id: Option<String>,
    /// `step` or `journey/step` of the touch it reports on or answers.
    pub(crate) touch: Option<String>,
    pub(crate) fields: Vec<(String, Given)>,
}

/// A field's value as written.
#[derive(Debug, Clone)]
pub(crate) enum Given {
    /// A word of the short form.
    Word { text: String, place: Place },
    /// A value of the long form.
    Value(Node),
}

#[derive(Debug, Clone)]
pub(crate) struct ByHand {
    pub(crate) person: String,
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) edit: Edit,
    /// The answer expected: a code, or `any`; `None`: accepted.
    pub(crate) refused: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// `seen`: the column that was seen, if the file says so; else where the card is.
    Card {
        board: String,
        to: Option<String>,
        seen: Option<Option<String>>,
    },
    Tags {
        add: Vec<TagRef>,
        remove: Vec<TagRef>,
    },
}

/// What is expected of one person. What is not named is not looked at.
#[derive(Debug, Clone)]
pub(crate) struct PersonExpectation {
    pub(crate) person: String,
    pub(crate) checks: Vec<Check>,
}

/// All the numbers of one metric.
#[derive(Debug, Clone)]
pub(crate) struct MetricExpectation {
    pub(crate) place: Place,
    pub(crate) metric: String,
    /// `li/2026-12` (`-` for nobody), with the number.
    pub(crate) numbers: BTreeMap<String, WantedNumber>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedNumber {
    pub(crate) count: u64,
    /// Whether the target is met, where the file says so.
    pub(crate) met: Option<bool>,
}

#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) place: Place,
    pub(crate) what: What,
}

/// A text that must be equal, or nothing there.
pub(crate) type Wanted = Option<String>;

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// All tags, as `group/tag`.
    Tags(Vec<String>),
    /// All tags of these groups.
    TagsOf(Vec<(String, Vec<String>)>),
    Stages(Vec<(String, Wanted)>),
    Why(Vec<(String, WantedWhy)>),
    /// All segments the contact is in.
    Segments(Vec<String>),
    Attributes(Vec<(String, Wanted)>),
    Owner(Wanted),
    /// `running`, `completed`, `exit`, `goal`…, or nothing where it never entered.
    Journeys(Vec<(String, Wanted)>),
    Touches(Vec<WantedTouch>),
    Changes(Vec<WantedChange>),
}

impl What {
    /// The key in the file.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Tags(_) | Self::TagsOf(_) => "tags",
            Self::Stages(_) => "stages",
            Self::Why(_) => "why",
            Self::Segments(_) => "segments",
            Self::Attributes(_) => "attributes",
            Self::Owner(_) => "owner",
            Self::Journeys(_) => "journeys",
            Self::Touches(_) => "touches",
            Self::Changes(_) => "changes",
        }
    }
}

/// Who or what decided. What is `None` is not compared.
#[derive(Debug, Clone, Default)]
pub(crate) struct WantedWhy {
    /// `rules/asks-price`, `playbook/rules/asks-price`, or the command's name.
    pub(crate) rule: Option<String>,
    /// Event name, `timer`, or the command's name.
    pub(crate) on: Option<String>,
    /// The keyword that was found.
    pub(crate) keyword: Option<String>,
    /// The person who did it.
    pub(crate) by: Option<String>,
    /// In that person's words.
    pub(crate) reason: Option<String>,
}

/// A touch said since the last look: what is named is compared.
#[derive(Debug, Clone)]
pub(crate) struct WantedTouch {
    pub(crate) place: Place,
    pub(crate) at: Option<Time>,
    /// Key and value: `step`, `journey`, `state`, `reason`, `content`, `touchpoint`, `executor`.
    pub(crate) texts: Vec<(&'static str, Wanted)>,
}

/// A net change said since the last look: what is named is compared.
#[derive(Debug, Clone)]
pub(crate) struct WantedChange {
    pub(crate) place: Place,
    pub(crate) set: Option<Wanted>,
    pub(crate) unset: Option<Wanted>,
    pub(crate) at: Option<Time>,
    pub(crate) why: Option<WantedWhy>,
    pub(crate) retracted: Option<bool>,
}
