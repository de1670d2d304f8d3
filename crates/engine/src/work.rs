//! The workbench of one record: state through the overlay, outputs with their numbers.

use crate::activation::{Migrations, Since};
use crate::apply::Effects;
use crate::cache::Cells;
use crate::cell::{self, Cell, Contact};
use crate::overlay::{Overlay, View, ViewError};
use crate::{Meta, keys};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use touchline_model::directory::{Directory, Entry};
use touchline_model::id::{CellKey, Position};
use touchline_model::output::{Cause, DeadLetter, DeadReason, Numbered, Output};
use touchline_model::record::{Loop, LoopBody};
use touchline_model::time::Time;
use touchline_playbook::bundle::Bundle;
use xxhash_rust::xxh3::Xxh3;

/// A bundle in force, what becomes of the tags it does not have, and since when.
pub(crate) type Bundled = (Arc<Bundle>, Arc<Migrations>, Arc<Since>);

/// What is in force, by tenant.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    pub(crate) bundles: BTreeMap<String, Bundled>,
    pub(crate) directories: BTreeMap<String, Arc<Directory>>,
    /// The offset of the latest change of each directory.
    pub(crate) listed: BTreeMap<String, u64>,
}

impl Tenants {
    /// Entries of a directory come into force.
    pub(crate) fn list(&mut self, tenant: &str, entries: Vec<Entry>) {
        let directory = Arc::make_mut(self.directories.entry(tenant.to_owned()).or_default());
        entries.into_iter().for_each(|entry| directory.set(entry));
    }
}

/// What decides about the contacts of one tenant.
pub(crate) struct InForce {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) migrations: Arc<Migrations>,
    pub(crate) since: Arc<Since>,
    pub(crate) directory: Arc<Directory>,
    /// The offset of its latest change.
    pub(crate) listed: u64,
}

impl InForce {
    /// Names it, as contacts that are settled by it remember it.
    pub(crate) fn number(&self) -> (u64, u64) {
        (self.bundle.number, self.listed)
    }
}

/// What spares looking into the store; no part of the state.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The index holds no timer from `Meta::timers_from` up to this key (exclusive): most records need not look. Empty:
    /// not known.
    pub(crate) no_timer_before: Vec<u8>,
    /// Cells as they were last read or written.
    pub(crate) cells: Cells,
}

/// What a record led to, and what it put in force.
pub(crate) struct Finished {
    pub(crate) effects: Effects,
    pub(crate) activated: Option<Bundled>,
    pub(crate) listed: Vec<Entry>,
}

/// One record's workbench.
pub(crate) struct Work<'w, 'v> {
    pub(crate) meta: &'w mut Meta,
    pub(crate) memory: &'w mut Memory,
    overlay: &'w mut Overlay<'v>,
    tenants: &'w Tenants,
    /// The record being applied.
    pub(crate) position: Position,
    /// The partition's clock after it.
    pub(crate) clock: Time,
    /// Its append time: the latest an event can have happened.
    pub(crate) append_time: Time,
    pub(crate) effects: Effects,
    /// A bundle that comes into force with this record.
    pub(crate) activated: Option<Bundled>,
    /// Entries of the directory that come into force with this record.
    pub(crate) listed: Vec<Entry>,
    dirty: BTreeSet<CellKey>,
    /// How often each name was numbered.
    numbered: BTreeMap<String, u32>,
    hash: Xxh3,
}

impl<'w, 'v> Work<'w, 'v> {
    pub(crate) fn new(
        meta: &'w mut Meta,
        memory: &'w mut Memory,
        overlay: &'w mut Overlay<'v>,
        tenants: &'w Tenants,
        offset: u64,
        clock: Time,
        append_time: Time,
    ) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&meta.chain.to_le_bytes());
        hash.update(&offset.to_le_bytes());
        let position = Position { partition: meta.partition, offset };
        Self {
            meta,
            memory,
            overlay,
            tenants,
            position,
            clock,
            append_time,
            effects: Effects::default(),
            activated: None,
            listed: Vec::new(),
            dirty: BTreeSet::new(),
            numbered: BTreeMap::new(),
            hash,
        }
    }

    /// Closes the record: what it led to, with the chain moved on.
    pub(crate) fn finish(mut self) -> Finished {
        self.effects.dirty = self.dirty.into_iter().collect();
        self.meta.offset = self.position.offset + 1;
        self.meta.chain = self.hash.digest128();
        Finished { effects: self.effects, activated: self.activated, listed: self.listed }
    }

    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.meta.loop_sent.len()).expect("partition counts are small")
    }

    pub(crate) fn is_mine(&self, cell: &CellKey) -> bool {
        cell.partition(self.partitions()) == self.meta.partition
    }

    /// What decides about this tenant's contacts; `None` before its first activation.
    pub(crate) fn in_force(&self, tenant: &str) -> Option<InForce> {
        let (bundle, migrations, since) = self.tenants.bundles.get(tenant).cloned()?;
        Some(InForce { bundle, migrations, since, directory: self.directory(tenant), listed: self.listed_at(tenant) })
    }

    /// The offset of the latest change of the directory; 0 before any.
    pub(crate) fn listed_at(&self, tenant: &str) -> u64 {
        self.tenants.listed.get(tenant).copied().unwrap_or_default()
    }

    pub(crate) fn directory(&self, tenant: &str) -> Arc<Directory> {
        self.tenants.directories.get(tenant).cloned().unwrap_or_default()
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, ViewError> {
        self.overlay.get(key)?.map(|bytes| cell::decode(&bytes)).transpose()
    }

    pub(crate) fn scan_keys(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, ViewError> {
        Ok(View::scan(self.overlay, from, until, limit)?.into_iter().map(|(key, _)| key).collect())
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        let bytes = cell::encode(value);
        self.hash_write(&key, Some(&bytes));
        self.overlay.put(key, bytes);
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.hash_write(&key, None);
        self.overlay.delete(key);
    }

    /// A dedupe mark: outside the chain, because marks expire without a record.
    pub(crate) fn mark(&mut self, key: Vec<u8>) {
        self.overlay.put(key, cell::encode(&self.clock));
    }

    fn hash_write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let length = |bytes: &[u8]| (bytes.len() as u64 + 1).to_le_bytes();
        self.hash.update(&length(key));
        self.hash.update(key);
        self.hash.update(&value.map_or([0; 8], length));
        self.hash.update(value.unwrap_or_default());
    }

    /// A cell to change and put, or to give back unchanged by [`Work::keep`].
    pub(crate) fn cell(&mut self, key: &CellKey) -> Result<Option<Cell>, ViewError> {
        match self.memory.cells.take(key) {
            Some(cell) => Ok(cell),
            None => self.get(&keys::cell(key)),
        }
    }

    /// Gives a cell back as [`Work::cell`] returned it, so that it need not be read again soon.
    pub(crate) fn keep(&mut self, key: &CellKey, cell: Option<Cell>) {
        self.memory.cells.keep(key, cell);
    }

    pub(crate) fn put_cell(&mut self, key: &CellKey, cell: Cell) {
        self.put(keys::cell(key), &cell);
        self.memory.cells.keep(key, Some(cell));
        self.dirty.insert(key.clone());
    }

    /// The same of what nobody reads.
    pub(crate) fn put_quietly(&mut self, key: &CellKey, cell: Cell) {
        self.put(keys::cell(key), &cell);
        self.memory.cells.keep(key, Some(cell));
    }

    pub(crate) fn put_contact(&mut self, key: &CellKey, mut contact: Box<Contact>) {
        contact.version = self.position.offset;
        self.put_cell(key, Cell::Contact(contact));
    }

    /// From 1, how often the record has named something so. What else it says, of other contacts, must not matter: they
    /// may lie in another record elsewhere.
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        let number = self.numbered.entry(name.to_owned()).or_default();
        *number += 1;
        *number
    }

    /// Why something happens that this record leads to; `origin`: the event's own place, if it was passed on.
    pub(crate) fn cause(&self, kind: &str, origin: Position, bundle: u64) -> Cause {
        Cause {
            position: self.position,
            origin: (origin != self.position).then_some(origin),
            native: None,
            event_id: None,
            kind: kind.to_owned(),
            playbook: String::new(),
            rule: String::new(),
            bundle,
            hit: None,
            actor: String::new(),
            reason: String::new(),
        }
    }

    /// Says something, under the next number of its stream.
    pub(crate) fn say(&mut self, output: Output) {
        let sequence = &mut self.meta.sequences[output.stream().index()];
        *sequence += 1;
        let numbered = Numbered { sequence: *sequence, clock: self.clock, source: self.position, output };
        self.effects.outputs.push(numbered);
    }

    pub(crate) fn dead(&mut self, reason: DeadReason, detail: impl Into<String>) {
        self.say(Output::DeadLetter(DeadLetter { reason, detail: detail.into(), cells: Vec::new() }));
    }

    /// The same of a link between two cells, for whoever reviews it.
    pub(crate) fn dead_link(&mut self, reason: DeadReason, detail: String, one: &CellKey, other: &CellKey) {
        self.dead_of(reason, detail, vec![one.clone(), other.clone()]);
    }

    /// The same, naming the cells it is about.
    pub(crate) fn dead_of(&mut self, reason: DeadReason, detail: String, cells: Vec<CellKey>) {
        self.say(Output::DeadLetter(DeadLetter { reason, detail, cells }));
    }

    /// Tells the cell named in `body`, through the log of its partition.
    pub(crate) fn tell(&mut self, body: LoopBody) {
        let target = body.target().expect("only activations have no target, and those use tell_all");
        let destination = target.partition(self.partitions());
        self.send(destination, body);
    }

    /// Tells every partition, this one too.
    pub(crate) fn tell_all(&mut self, body: &LoopBody) {
        for destination in 0..self.partitions() {
            self.send(destination, body.clone());
        }
    }

    fn send(&mut self, destination: u32, body: LoopBody) {
        let sequence = &mut self.meta.loop_sent[destination as usize];
        *sequence += 1;
        let record =
            Loop { source: self.meta.partition, sequence: *sequence, origin: self.position, clock: self.clock, body };
        self.effects.loops.push((destination, record));
    }
}
