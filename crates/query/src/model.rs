//! The read model: what the topics say, held for questions.

use crate::metrics;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use touchline_log::Topic;
use touchline_model::command::TagRef;
use touchline_model::counted::Counted;
use touchline_model::directory::{self, Directory};
use touchline_model::id::{CellKey, ContactId, EventId, IdKey, Position};
use touchline_model::output::{Contact, DeadReason, Numbered, Output, Progress, Stream, Tag, TagChange};
use touchline_model::record::Evidence;
use touchline_model::time::Time;
use touchline_playbook::bundle::Bundle;
use touchline_proto::{contact_to, v1};

/// Changes of one tag of one cell kept for its history: the newest explain the tag, the rest is in the log.
pub const TAG_HISTORY_MAX: usize = 50;
/// Dead letters listed per partition: the newest; older ones stay in the topic.
pub const DEAD_LETTERS_MAX: usize = 10_000;
/// Longest chain of merged contacts followed: identity alarms at 8, so this is a loop.
const REDIRECTS_MAX: usize = 64;

/// What the topics say so far. One writer, the follower; readers hold a read lock for one question.
#[derive(Debug, Default)]
pub struct ReadModel {
    partitions: Vec<Partition>,
    tenants: BTreeMap<String, Tenant>,
    /// Bundles by number with their tenant: read from `events`, in force once a Progress says so.
    bundles: BTreeMap<u64, (String, Arc<Bundle>)>,
    /// Position of an activation's command → number it was given.
    activations: HashMap<Position, u64>,
    /// Position of a directory's command → where each partition was told.
    directories: HashMap<Position, Vec<Location>>,
    /// Touch id → its latest record.
    touches: HashMap<String, Location>,
    alarms: Alarms,
    caught_up: bool,
}

/// What is known of one partition.
#[derive(Debug)]
struct Partition {
    progress: Progress,
    dead_letters: VecDeque<DeadLetterRef>,
}

/// One tenant's contacts.
#[derive(Debug, Default)]
pub struct Tenant {
    contacts: BTreeMap<ContactId, Entry>,
    /// By ordinal: in first-seen order of the log.
    ids: Vec<ContactId>,
    /// Identifiers that are not cells of their own yet → contact.
    identities: HashMap<CellKey, ContactId>,
    /// Contacts that are not merged away.
    all: RoaringBitmap,
    tags: BTreeMap<String, BTreeMap<String, RoaringBitmap>>,
    timelines: HashMap<CellKey, Timeline>,
    /// What partitions have counted, by metric; each number of each partition under its own key.
    counted: BTreeMap<String, BTreeMap<CellKey, Counted>>,
    bundle: Option<Arc<Bundle>>,
    directory: Arc<Directory>,
}

/// A contact with its ordinal.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its bit in every bitmap of the tenant.
    pub ordinal: u32,
    /// Its public record.
    pub contact: Arc<Contact>,
}

/// Where the things that happened to one cell lie.
#[derive(Debug, Default)]
struct Timeline {
    entries: Vec<TimelineRef>,
    tags: HashMap<TagRef, VecDeque<Location>>,
}

/// Where a record of an output topic lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Partition.
    pub partition: u32,
    /// Offset in the topic.
    pub offset: u64,
}

/// One thing that happened: where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineRef {
    /// Event time, or the clock of the decision.
    pub at: Time,
    /// `events`, `tag-changes` or `touches`.
    pub topic: Topic,
    /// Where in the topic.
    pub location: Location,
    /// The event's id; `None` for decisions. A forwarded event lies in the log twice, under one id.
    pub event: Option<EventId>,
}

/// A record put aside: where its letter lies.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterRef {
    /// Its number in the partition.
    pub sequence: u64,
    /// Offset in `dead-letters`.
    pub offset: u64,
    /// Why.
    pub reason: DeadReason,
}

/// What is wrong with the topics as they were read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Alarms {
    /// Records ignored because one before them is missing. Until it comes, Progress of that partition waits, and what
    /// `contacts` holds behind it.
    pub gaps: u64,
    /// Records that could not be decoded, or carry no number where they must.
    pub undecodable: u64,
    /// Why the log cannot be read at the moment.
    pub log: Option<String>,
}

/// One decoded record: what the writer applies.
#[derive(Debug)]
pub(crate) enum Change {
    Event {
        key: CellKey,
        id: EventId,
        at: Time,
        location: Location,
    },
    Bundle {
        position: Position,
        number: u64,
        tenant: String,
        bundle: Option<Arc<Bundle>>,
    },
    Directory {
        position: Position,
        location: Location,
        tenant: String,
        entries: Vec<directory::Entry>,
    },
    /// The next record of its topic: each comes once.
    Output {
        numbered: Box<Numbered>,
        location: Location,
    },
    Contact(Box<Contact>),
    Counted(Counted),
    Progress(Progress),
    /// A record that nobody can read, or of no publisher of ours.
    Undecodable(Topic),
    /// A record was ignored because one before it is missing.
    Gap(Topic),
}

impl ReadModel {
    /// A model that has read nothing of a log of so many partitions.
    pub fn new(partitions: u32) -> Self {
        let empty = |partition| Partition {
            progress: Progress { partition, ..Progress::default() },
            dead_letters: VecDeque::new(),
        };
        Self { partitions: (0..partitions).map(empty).collect(), ..Self::default() }
    }

    /// Whether it has read every topic to the end that it had when the model started.
    pub const fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// What is wrong with the topics.
    pub const fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// How far each partition has come, in partition order.
    pub fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.partitions.iter().map(|partition| &partition.progress)
    }

    /// How far one partition has come.
    pub fn progress_of(&self, partition: u32) -> Option<&Progress> {
        self.partitions.get(partition as usize).map(|partition| &partition.progress)
    }

    /// The bundle that every partition has reached.
    pub fn bundle(&self) -> u64 {
        self.progress().map(|progress| progress.bundle).min().unwrap_or_default()
    }

    /// The lowest clock of the partitions that have one.
    pub fn as_of(&self) -> Time {
        self.progress().map(|progress| progress.clock).filter(|clock| clock.0 > 0).min().unwrap_or_default()
    }

    /// One tenant; `None` when nothing was heard of it.
    pub fn tenant(&self, tenant: &str) -> Option<&Tenant> {
        self.tenants.get(tenant)
    }

    /// The number that the activation asked for at `position` was given.
    pub fn activation(&self, position: Position) -> Option<u64> {
        self.activations.get(&position).copied()
    }

    /// Whether every partition has applied the directory asked for at `position`.
    pub fn has_directory(&self, position: Position) -> bool {
        let told = self.directories.get(&position).map_or(&[][..], Vec::as_slice);
        let applied = |location: &&Location| {
            self.progress_of(location.partition).is_some_and(|progress| progress.offset > location.offset)
        };
        told.iter().filter(applied).count() == self.partitions.len()
    }

    /// Where the latest record of a touch lies.
    pub fn touch(&self, id: &str) -> Option<Location> {
        self.touches.get(id).copied()
    }

    /// Dead letters after (partition, sequence), by partition then sequence.
    pub fn dead_letters(&self, after: (u32, u64)) -> impl Iterator<Item = (u32, DeadLetterRef)> {
        self.partitions.iter().flat_map(move |partition| {
            let number = partition.progress.partition;
            let letters = partition.dead_letters.iter();
            letters.filter(move |letter| (number, letter.sequence) > after).map(move |letter| (number, *letter))
        })
    }

    pub(crate) fn set_caught_up(&mut self) {
        self.caught_up = true;
    }

    pub(crate) fn set_log_alarm(&mut self, alarm: Option<String>) {
        self.alarms.log = alarm;
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Event { key, id, at, location } => {
                let entry = TimelineRef { at, topic: Topic::Events, location, event: Some(id) };
                self.tenant_mut(&key.tenant()).timeline_of(&key).entries.push(entry);
            }
            Change::Bundle { position, number, tenant, bundle } => {
                self.activations.insert(position, number);
                if let Some(bundle) = bundle {
                    self.bundles.insert(number, (tenant, bundle));
                }
            }
            Change::Directory { position, location, tenant, entries } => {
                self.directories.entry(position).or_default().push(location);
                let directory = Arc::make_mut(&mut self.tenant_mut(&tenant).directory);
                entries.into_iter().for_each(|entry| directory.set(entry));
            }
            Change::Output { numbered, location } => self.output(*numbered, location),
            Change::Contact(contact) => self.tenant_mut(&contact.key.tenant()).contact(*contact),
            Change::Counted(counted) => self.tenant_mut(&counted.key.tenant()).counted(counted),
            Change::Progress(progress) => self.advance(progress),
            Change::Undecodable(topic) => {
                self.alarms.undecodable += 1;
                metrics::undecodable(topic);
            }
            Change::Gap(topic) => {
                self.alarms.gaps += 1;
                metrics::gap(topic);
            }
        }
    }

    fn output(&mut self, numbered: Numbered, location: Location) {
        match numbered.output {
            Output::TagChange(change) => {
                let tenant = self.tenant_mut(&change.contact.tenant());
                tenant.timeline_of(&change.contact).tag_change(&change, location);
            }
            Output::Touch(touch) => {
                let entry = TimelineRef { at: numbered.clock, topic: Topic::Touches, location, event: None };
                self.tenant_mut(&touch.contact.tenant()).timeline_of(&touch.contact).entries.push(entry);
                self.touches.insert(touch.id, location);
            }
            Output::CommandResult(_) => {}
            Output::DeadLetter(letter) => {
                let Some(partition) = self.partitions.get_mut(location.partition as usize) else { return };
                if partition.dead_letters.len() == DEAD_LETTERS_MAX {
                    partition.dead_letters.pop_front();
                }
                let (sequence, offset) = (numbered.sequence, location.offset);
                partition.dead_letters.push_back(DeadLetterRef { sequence, offset, reason: letter.reason });
            }
        }
    }

    /// Takes a Progress, and puts in force the bundles it has reached.
    fn advance(&mut self, progress: Progress) {
        let Some(partition) = self.partitions.get_mut(progress.partition as usize) else { return };
        if progress.offset < partition.progress.offset {
            return;
        }
        metrics::applied(progress.partition, progress.offset);
        let reached = progress.bundle;
        partition.progress = progress;
        let later = self.bundles.split_off(&reached.saturating_add(1));
        for (_, (tenant, bundle)) in std::mem::replace(&mut self.bundles, later) {
            let tenant = self.tenants.entry(tenant).or_default();
            if tenant.bundle.as_ref().is_none_or(|have| have.number < bundle.number) {
                tenant.bundle = Some(bundle);
            }
        }
    }

    fn tenant_mut(&mut self, tenant: &str) -> &mut Tenant {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.to_owned(), Tenant::default());
        }
        self.tenants.get_mut(tenant).expect("just inserted")
    }

    pub(crate) fn contacts_total(&self) -> u64 {
        self.tenants.values().map(|tenant| tenant.all.len()).sum()
    }

    /// Whether the publication of a numbered record is applied whole, its contact among it.
    pub(crate) fn has_published(&self, partition: u32, stream: Stream, sequence: u64) -> bool {
        self.progress_of(partition).is_some_and(|progress| progress.sequences[stream.index()] >= sequence)
    }
}

impl Tenant {
    /// The bundle in force; `None` before the first activation.
    pub fn bundle(&self) -> Option<&Arc<Bundle>> {
        self.bundle.as_ref()
    }

    /// Staff, groups and products.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A contact as people see it now: its stages are those of the boards in force, and its tags are called as in the
    /// playbooks in force, also where the record in `contacts` was written before the last activation.
    pub fn shown(&self, contact: &Contact) -> v1::Contact {
        let mut shown = contact_to(contact);
        let boards = self.bundle.iter().flat_map(|bundle| bundle.boards.values());
        let stages = boards.filter_map(|board| {
            let on_board = |tag: &&Tag| tag.group == board.group && board.columns.contains(&tag.tag);
            let tag = contact.tags.iter().find(on_board)?;
            let (board, column) = (board.id.clone(), tag.tag.clone());
            Some(v1::Stage { board, column, entered_at_ms: tag.set_at.0 })
        });
        shown.stages = stages.collect();
        for tag in &mut shown.tags {
            tag.label = self.label(&tag.group, &tag.tag).to_owned();
        }
        shown
    }

    /// What people call a tag; its id, where no playbook in force has it.
    pub fn label<'a>(&'a self, group: &str, tag: &'a str) -> &'a str {
        let group = self.bundle.as_ref().and_then(|bundle| bundle.groups.get(group));
        let labelled = group.and_then(|group| group.tags.iter().find(|known| known.id == tag));
        labelled.map_or(tag, |known| &known.label)
    }

    /// What partitions have counted under this metric id, of every meaning it has had.
    pub fn counted_of(&self, metric: &str) -> impl Iterator<Item = &Counted> {
        self.counted.get(metric).into_iter().flat_map(BTreeMap::values)
    }

    /// Every contact that is not merged away.
    pub const fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// Who carries this tag; `None`: nobody.
    pub fn with_tag(&self, group: &str, tag: &str) -> Option<&RoaringBitmap> {
        self.tags.get(group)?.get(tag)
    }

    /// Who carries any tag of the group.
    pub fn with_any_tag(&self, group: &str) -> RoaringBitmap {
        let mut union = RoaringBitmap::new();
        for bitmap in self.tags.get(group).into_iter().flat_map(BTreeMap::values) {
            union |= bitmap;
        }
        union
    }

    /// The contact of a public id, merged ones answering with their root.
    pub fn by_id(&self, id: &ContactId) -> Option<&Entry> {
        let mut entry = self.contacts.get(id)?;
        for _ in 0..REDIRECTS_MAX {
            match &entry.contact.merged_into {
                None => return Some(entry),
                Some(root) => entry = self.contacts.get(&root.contact_id())?,
            }
        }
        None
    }

    /// The contact that an identifier names.
    pub fn by_identifier(&self, tenant: &str, id: &IdKey) -> Option<&Entry> {
        let key = CellKey::of(tenant, id);
        self.by_id(&key.contact_id()).or_else(|| self.by_id(self.identities.get(&key)?))
    }

    /// The contact with this ordinal.
    pub fn by_ordinal(&self, ordinal: u32) -> Option<&Entry> {
        self.contacts.get(self.ids.get(ordinal as usize)?)
    }

    /// Contacts after `id`, by contact id, merged ones too.
    pub(crate) fn after<'a>(&'a self, id: Option<&ContactId>) -> impl Iterator<Item = (&'a ContactId, &'a Entry)> {
        use std::ops::Bound;
        let from = id.map_or(Bound::Unbounded, |id| Bound::Excluded(id.clone()));
        self.contacts.range((from, Bound::Unbounded))
    }

    /// Everything that happened to a contact, newest first, an event that was forwarded once.
    pub fn timeline(&self, contact: &Contact) -> Vec<TimelineRef> {
        let mut entries: Vec<TimelineRef> =
            self.cells(contact).into_iter().flat_map(|timeline| timeline.entries.iter().copied()).collect();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.rank()));
        let mut seen = std::collections::HashSet::new();
        entries.retain(|entry| entry.event.is_none_or(|id| seen.insert(id)));
        entries
    }

    /// Where the latest changes of one tag of a contact lie, in no order.
    pub fn tag_history(&self, contact: &Contact, tag: &TagRef) -> Vec<Location> {
        let histories = self.cells(contact).into_iter().filter_map(|timeline| timeline.tags.get(tag));
        histories.flatten().copied().collect()
    }

    fn cells(&self, contact: &Contact) -> Vec<&Timeline> {
        let tenant = contact.key.tenant();
        let mut keys: Vec<CellKey> =
            contact.identities.iter().map(|identity| CellKey::of(&tenant, &identity.id)).collect();
        keys.push(contact.key.clone());
        keys.sort();
        keys.dedup();
        keys.iter().filter_map(|key| self.timelines.get(key)).collect()
    }

    fn timeline_of(&mut self, key: &CellKey) -> &mut Timeline {
        if !self.timelines.contains_key(key) {
            self.timelines.insert(key.clone(), Timeline::default());
        }
        self.timelines.get_mut(key).expect("just inserted")
    }

    /// Takes the public record of a contact unless a later one is there.
    fn contact(&mut self, contact: Contact) {
        let id = contact.id();
        let ordinal = match self.contacts.get(&id) {
            Some(have) if !is_later(&contact, &have.contact) => return,
            Some(have) => {
                let (have, ordinal) = (Arc::clone(&have.contact), have.ordinal);
                for tag in &have.tags {
                    self.bitmap(&tag.group, &tag.tag).remove(ordinal);
                }
                ordinal
            }
            None => {
                self.ids.push(id.clone());
                u32::try_from(self.ids.len() - 1).expect("fewer than 4 billion contacts fit in memory")
            }
        };
        if contact.merged_into.is_some() {
            self.all.remove(ordinal);
        } else {
            self.all.insert(ordinal);
            for tag in &contact.tags {
                self.bitmap(&tag.group, &tag.tag).insert(ordinal);
            }
        }
        let tenant = contact.key.tenant();
        // A weak identifier may belong to several people, so it finds nobody.
        for identity in contact.identities.iter().filter(|identity| identity.evidence > Evidence::Weak) {
            self.identities.insert(CellKey::of(&tenant, &identity.id), id.clone());
        }
        self.contacts.insert(id, Entry { ordinal, contact: Arc::new(contact) });
    }

    /// Takes a number unless a later one is there.
    fn counted(&mut self, counted: Counted) {
        let of = self.counted.entry(counted.slot.metric.clone()).or_default();
        if of.get(&counted.key).is_none_or(|have| have.version.offset <= counted.version.offset) {
            of.insert(counted.key.clone(), counted);
        }
    }

    fn bitmap(&mut self, group: &str, tag: &str) -> &mut RoaringBitmap {
        self.tags.entry(group.to_owned()).or_default().entry(tag.to_owned()).or_default()
    }
}

/// The higher version wins, of equal ones the later record. A forward may become a contact again.
fn is_later(new: &Contact, have: &Contact) -> bool {
    new.version.offset >= have.version.offset
}

impl Timeline {
    fn tag_change(&mut self, change: &TagChange, location: Location) {
        self.entries.push(TimelineRef { at: change.at, topic: Topic::TagChanges, location, event: None });
        for tag in change.set.iter().chain(&change.unset) {
            let history = self.tags.entry(TagRef::new(&change.group, tag)).or_default();
            if history.len() == TAG_HISTORY_MAX {
                history.pop_front();
            }
            history.push_back(location);
        }
    }
}

impl TimelineRef {
    /// Order of a timeline: by time; at one moment what led to something comes before it.
    pub fn rank(&self) -> (Time, Topic, u32, u64) {
        (self.at, self.topic, self.location.partition, self.location.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_in_force_once_progress_has_reached_it() {
        let mut model = ReadModel::new(2);
        let position = Position { partition: 0, offset: 3 };
        let compiled = |number| Some(Arc::new(touchline_playbook::compile::compile(&[], number).unwrap()));
        for number in [1, 2] {
            let (tenant, bundle) = ("acme".to_owned(), compiled(number));
            model.apply(Change::Bundle { position, number, tenant, bundle });
        }
        assert!(model.tenant("acme").is_none());
        let progress =
            |partition, offset, bundle| Change::Progress(Progress { partition, offset, bundle, ..Progress::default() });
        let number = |model: &ReadModel| model.tenant("acme").unwrap().bundle().unwrap().number;
        model.apply(progress(0, 5, 1));
        assert_eq!((number(&model), model.bundle()), (1, 0), "in force here, not everywhere");
        model.apply(progress(1, 5, 2));
        assert_eq!((number(&model), model.bundle()), (2, 1));
        model.apply(progress(1, 4, 0));
        assert_eq!(model.bundle(), 1, "an older Progress changes nothing");
        model.apply(progress(0, 6, u64::MAX));
        model.apply(progress(7, 1, 1));
        assert_eq!(number(&model), 2);
    }
}
