//! The transaction coordinator and the group coordinator.

use crate::broker::{Outcome, Producer, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use touchline_log::{Marker, Topic};
use touchline_model::time::{Span, Time};

/// A transaction that is open for longer is aborted, by the broker's own look every now and then.
const TIMEOUT: Span = Span::seconds(10);

/// Where a transaction wrote something of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Records(Topic),
    Offsets,
}

/// Transactions by transactional id.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    transactions: BTreeMap<String, Transaction>,
    producers: u64,
}

#[derive(Debug)]
struct Transaction {
    partition: u32,
    producer: Producer,
    state: State,
    targets: BTreeSet<Target>,
    since: Time,
    last: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    /// Decided; markers are being written.
    Ending(Outcome),
}

/// A marker that waits to be written.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) partition: u32,
    pub(crate) producer: Producer,
    pub(crate) target: Target,
    pub(crate) outcome: Outcome,
}

impl Coordinator {
    /// A producer id that nobody has.
    pub(crate) const fn new_producer(&mut self) -> Producer {
        self.producers += 1;
        Producer { id: self.producers, epoch: 0 }
    }

    /// A new incarnation: fences those before, and first ends what they left open.
    pub(crate) fn init(&mut self, id: &str, partition: u32) -> Result<Producer, Refusal> {
        let Some(found) = self.transactions.get_mut(id) else {
            let producer = self.new_producer();
            let (state, targets) = (State::Empty, BTreeSet::new());
            let fresh = Transaction { partition, producer, state, targets, since: Time(0), last: Outcome::Commit };
            self.transactions.insert(id.to_owned(), fresh);
            return Ok(producer);
        };
        match found.state {
            State::Empty => {
                found.producer.epoch += 1;
                Ok(found.producer)
            }
            State::Ongoing => {
                found.fence_and_abort();
                Err(Refusal::Concurrent)
            }
            State::Ending(_) => Err(Refusal::Concurrent),
        }
    }

    /// Adds targets to the producer's transaction, beginning it where there is none.
    pub(crate) fn add(&mut self, id: &str, by: Producer, targets: &[Target], now: Time) -> Result<(), Refusal> {
        let found = self.of(id, by)?;
        match found.state {
            State::Ending(_) => return Err(Refusal::Concurrent),
            State::Empty => (found.state, found.since) = (State::Ongoing, now),
            State::Ongoing => {}
        }
        found.targets.extend(targets);
        Ok(())
    }

    /// Decides how the producer's transaction ends. Asked again, it says the same.
    pub(crate) fn end(&mut self, id: &str, by: Producer, outcome: Outcome) -> Result<(), Refusal> {
        let found = self.of(id, by)?;
        match found.state {
            State::Ongoing => {
                found.state = State::Ending(outcome);
                Ok(())
            }
            State::Ending(ending) if ending == outcome => Ok(()),
            State::Empty if found.last == outcome => Ok(()),
            State::Ending(_) | State::Empty => Err(Refusal::NotInTransaction),
        }
    }

    /// Whether a batch of the producer belongs to its transaction.
    pub(crate) fn verify(&self, id: &str, by: Producer, target: Target) -> Result<(), Refusal> {
        let Some(found) = self.transactions.get(id) else { return Err(Refusal::NotInTransaction) };
        if found.producer != by {
            return Err(Refusal::Fenced);
        }
        let holds = found.state == State::Ongoing && found.targets.contains(&target);
        if holds { Ok(()) } else { Err(Refusal::NotInTransaction) }
    }

    /// Gives the producer a new epoch by its own wish, as clients do after an abort.
    pub(crate) fn bump(&mut self, id: &str, by: Producer) -> Result<Producer, Refusal> {
        let found = self.of(id, by)?;
        found.producer.epoch += 1;
        Ok(found.producer)
    }

    /// Aborts what is open for too long.
    pub(crate) fn time_out(&mut self, now: Time) {
        for transaction in self.transactions.values_mut() {
            if transaction.state == State::Ongoing && now.since(transaction.since) > TIMEOUT {
                transaction.fence_and_abort();
            }
        }
    }

    /// Markers that wait to be written.
    pub(crate) fn pending(&self) -> Vec<Pending> {
        let mut pending = Vec::new();
        for (id, transaction) in &self.transactions {
            let State::Ending(outcome) = transaction.state else { continue };
            let Transaction { partition, producer, .. } = *transaction;
            let of = |target: &Target| Pending { id: id.clone(), partition, producer, target: *target, outcome };
            pending.extend(transaction.targets.iter().map(of));
        }
        pending
    }

    /// Notes that a marker is written; the transaction has ended with the last one.
    pub(crate) fn marked(&mut self, pending: &Pending) {
        let Some(found) = self.transactions.get_mut(&pending.id) else { return };
        found.targets.remove(&pending.target);
        if found.targets.is_empty() {
            (found.state, found.last) = (State::Empty, pending.outcome);
        }
    }

    /// Whether no transaction is open.
    pub(crate) fn is_quiet(&self) -> bool {
        self.transactions.values().all(|transaction| transaction.state == State::Empty)
    }

    fn of(&mut self, id: &str, by: Producer) -> Result<&mut Transaction, Refusal> {
        match self.transactions.get_mut(id) {
            Some(found) if found.producer == by => Ok(found),
            Some(_) => Err(Refusal::Fenced),
            None => Err(Refusal::NotInTransaction),
        }
    }
}

impl Transaction {
    const fn fence_and_abort(&mut self) {
        self.producer.epoch += 1;
        self.state = State::Ending(Outcome::Abort);
    }
}

/// The group of processors: who has which partition, and how far it came.
#[derive(Debug)]
pub(crate) struct Group {
    generation: u64,
    owners: Vec<usize>,
    members: Vec<Member>,
    committed: Vec<Option<Marker>>,
    /// Of transactions that have not ended.
    pending: Vec<Held>,
    /// Of those that were committed, and not in force yet.
    committing: Vec<Held>,
}

/// An offset in a transaction.
#[derive(Debug)]
struct Held {
    by: Producer,
    partition: u32,
    marker: Marker,
}

/// What a process knows of the group: as of its last poll.
#[derive(Debug, Clone, Default)]
struct Member {
    generation: u64,
    assigned: BTreeSet<u32>,
}

impl Group {
    pub(crate) fn new(partitions: u32, processes: usize) -> Self {
        let owners = (0..partitions as usize).map(|partition| partition % processes).collect();
        let members = vec![Member::default(); processes];
        let committed = vec![None; partitions as usize];
        Self { generation: 1, owners, members, committed, pending: Vec::new(), committing: Vec::new() }
    }

    /// Gives the partitions out anew.
    pub(crate) fn rebalance(&mut self, owners: Vec<usize>) {
        self.generation += 1;
        self.owners = owners;
    }

    pub(crate) fn owners(&self) -> &[usize] {
        &self.owners
    }

    /// A process hears how things stand.
    pub(crate) fn poll(&mut self, process: usize) {
        let own = |(partition, owner): (u32, &usize)| (*owner == process).then_some(partition);
        let assigned = (0..).zip(&self.owners).filter_map(own).collect();
        self.members[process] = Member { generation: self.generation, assigned };
    }

    /// A process that starts knows nothing.
    pub(crate) fn forget(&mut self, process: usize) {
        self.members[process] = Member::default();
    }

    /// Whether a process thinks that it has a partition.
    pub(crate) fn is_assigned(&self, process: usize, partition: u32) -> bool {
        self.members[process].assigned.contains(&partition)
    }

    /// The generation a process thinks there is.
    pub(crate) fn generation_of(&self, process: usize) -> u64 {
        self.members[process].generation
    }

    /// Takes offsets of a transaction, to be committed with it.
    pub(crate) fn hold(
        &mut self,
        generation: Option<u64>,
        by: Producer,
        partition: u32,
        marker: Marker,
    ) -> Result<(), Refusal> {
        if generation.is_some_and(|generation| generation != self.generation) {
            return Err(Refusal::Generation);
        }
        self.pending.retain(|held| (held.by.id, held.partition) != (by.id, partition));
        self.pending.push(Held { by, partition, marker });
        Ok(())
    }

    /// The producer's transaction has ended here; what it commits comes into force a little later.
    pub(crate) fn mark(&mut self, by: Producer, outcome: Outcome) {
        for held in self.pending.extract_if(.., |held| held.by.id == by.id) {
            if outcome == Outcome::Commit {
                self.committing.push(held);
            }
        }
    }

    /// What was committed comes into force.
    pub(crate) fn materialise(&mut self) {
        for held in self.committing.drain(..) {
            self.committed[held.partition as usize] = Some(held.marker);
        }
    }

    /// The committed marker.
    pub(crate) fn committed(&self, partition: u32) -> Option<&Marker> {
        self.committed[partition as usize].as_ref()
    }

    /// Whether offsets of the partition wait for the end of a transaction.
    pub(crate) fn is_stable(&self, partition: u32) -> bool {
        self.pending.iter().chain(&self.committing).all(|held| held.partition != partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOUCHES: Target = Target::Records(Topic::Touches);

    fn write_markers(coordinator: &mut Coordinator) {
        for pending in coordinator.pending() {
            coordinator.marked(&pending);
        }
    }

    #[test]
    fn init_fences_and_ends_what_was_open() {
        let mut coordinator = Coordinator::default();
        let first = coordinator.init("p", 0).unwrap();
        coordinator.add("p", first, &[TOUCHES], Time(0)).unwrap();
        assert_eq!(coordinator.verify("p", first, TOUCHES), Ok(()));
        assert_eq!(coordinator.verify("p", first, Target::Offsets), Err(Refusal::NotInTransaction));
        assert_eq!(coordinator.init("p", 0), Err(Refusal::Concurrent));
        assert_eq!(coordinator.end("p", first, Outcome::Commit), Err(Refusal::Fenced));
        assert_eq!(coordinator.verify("p", first, TOUCHES), Err(Refusal::Fenced));
        assert_eq!(coordinator.pending()[0].outcome, Outcome::Abort);
        write_markers(&mut coordinator);
        assert_eq!(coordinator.init("p", 0).unwrap(), Producer { id: first.id, epoch: first.epoch + 2 });
    }

    #[test]
    fn a_decided_commit_completes_and_says_the_same_again() {
        let mut coordinator = Coordinator::default();
        let producer = coordinator.init("p", 0).unwrap();
        coordinator.add("p", producer, &[TOUCHES, Target::Offsets], Time(0)).unwrap();
        coordinator.end("p", producer, Outcome::Commit).unwrap();
        assert_eq!(coordinator.init("p", 0), Err(Refusal::Concurrent));
        assert_eq!(coordinator.add("p", producer, &[TOUCHES], Time(0)), Err(Refusal::Concurrent));
        write_markers(&mut coordinator);
        assert_eq!(coordinator.end("p", producer, Outcome::Commit), Ok(()));
        coordinator.add("p", producer, &[TOUCHES], Time(0)).unwrap();
        coordinator.time_out(Time(10_000));
        assert!(!coordinator.is_quiet() && coordinator.pending().is_empty());
        coordinator.time_out(Time(10_001));
        write_markers(&mut coordinator);
        assert_eq!(coordinator.end("p", producer, Outcome::Commit), Err(Refusal::Fenced), "the time-out fenced it");
    }

    #[test]
    fn offsets_count_from_the_commit_on_and_old_generations_are_refused() {
        let mut group = Group::new(2, 2);
        group.poll(0);
        let (by, generation) = (Producer { id: 1, epoch: 0 }, group.generation_of(0));
        let marker = |offset| Marker { offset, sequences: [0; 4] };
        group.hold(Some(generation), by, 0, marker(3)).unwrap();
        assert!(!group.is_stable(0) && group.is_stable(1) && group.committed(0).is_none());
        group.mark(by, Outcome::Commit);
        assert!(!group.is_stable(0) && group.committed(0).is_none());
        group.materialise();
        assert!(group.is_stable(0));
        assert_eq!(group.committed(0), Some(&marker(3)));
        group.rebalance(vec![1, 1]);
        assert!(group.is_assigned(0, 0), "nobody told it");
        assert_eq!(group.hold(Some(generation), by, 0, marker(4)), Err(Refusal::Generation));
        group.hold(None, by, 0, marker(4)).unwrap();
        group.mark(by, Outcome::Abort);
        group.materialise();
        assert_eq!(group.committed(0), Some(&marker(3)));
        group.poll(0);
        assert!(!group.is_assigned(0, 0));
    }
}
