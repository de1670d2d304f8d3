//! The lane over a broker that does at once what it is told, except where a test says otherwise.

use super::*;
use crate::Headers;
use crate::publish::{SEQUENCE_HEADER, sequence_in};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// What the broker holds, and what was asked of it.
#[derive(Default)]
struct Broker {
    topics: [Vec<Seen>; OUTPUTS.len()],
    committed: Option<Marker>,
    calls: Vec<&'static str>,
    reads: Vec<(Topic, u64, u64)>,
    /// Answers of the next calls of that name; then success.
    failures: VecDeque<(&'static str, Failure)>,
    reached: VecDeque<Reached>,
    /// Sent, not committed.
    open: Vec<(Topic, NewRecord)>,
    mode: Mode,
}

#[derive(Clone, Default)]
struct Fake(Rc<RefCell<Broker>>);

impl Fake {
    fn call(&self, name: &'static str) -> Result<(), Failure> {
        let mut broker = self.0.borrow_mut();
        broker.calls.push(name);
        match broker.failures.front() {
            Some((failing, _)) if *failing == name => {
                let (_, failure) = broker.failures.pop_front().expect("just seen");
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    fn put(&self, topic: Topic, sequence: Option<u64>, marker: Option<Marker>) {
        let mut broker = self.0.borrow_mut();
        let records = &mut broker.topics[index(topic)];
        records.push(Seen { offset: records.len() as u64, sequence, marker });
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.borrow_mut().calls)
    }

    fn fail(&self, call: &'static str, failure: Failure) {
        self.0.borrow_mut().failures.push_back((call, failure));
    }
}

impl World for Fake {
    type Client = Fake;

    fn connect(&mut self) -> Result<Fake, Failure> {
        self.call("connect").map(|()| self.clone())
    }

    fn high_watermarks(&mut self) -> Result<Ends, Failure> {
        self.call("watermarks")?;
        let broker = self.0.borrow();
        Ok(std::array::from_fn(|topic| broker.topics[topic].len() as u64))
    }

    fn reached(&mut self, _: &Ends) -> Result<Reached, Failure> {
        self.call("reached")?;
        Ok(self.0.borrow_mut().reached.pop_front().unwrap_or(Reached::Yes))
    }

    fn committed(&mut self) -> Result<Option<Marker>, Failure> {
        self.call("committed")?;
        Ok(self.0.borrow().committed.clone())
    }

    fn read(&mut self, topic: Topic, from: u64, to: u64) -> Result<Vec<Seen>, Failure> {
        let mut broker = self.0.borrow_mut();
        broker.reads.push((topic, from, to));
        let within = |seen: &&Seen| (from..to).contains(&seen.offset);
        Ok(broker.topics[index(topic)].iter().filter(within).cloned().collect())
    }
}

impl Client for Fake {
    fn init(&mut self) -> Result<(), Failure> {
        self.call("init")
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.call("begin")
    }

    fn send(&mut self, records: &[(Topic, NewRecord)]) -> Result<(), Failure> {
        self.call("send")?;
        self.0.borrow_mut().open.extend_from_slice(records);
        Ok(())
    }

    fn drain(&mut self) -> Result<Drained, Failure> {
        self.call("drain")?;
        if self.0.borrow().mode == Mode::Sequenced {
            self.land();
        }
        Ok(Drained::All)
    }

    fn commit_offsets(&mut self, marker: &Marker) -> Result<(), Failure> {
        self.call("offsets")?;
        self.0.borrow_mut().committed = Some(marker.clone());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.call("commit")?;
        self.land();
        Ok(())
    }
}

impl Fake {
    fn land(&self) {
        let open = std::mem::take(&mut self.0.borrow_mut().open);
        for (topic, record) in open {
            self.put(topic, sequence_in(&record.headers), Marker::in_headers(&record.headers));
        }
    }
}

fn index(topic: Topic) -> usize {
    OUTPUTS.iter().position(|output| *output == topic).expect("an output topic")
}

fn marker(offset: u64, touches: u64) -> Marker {
    Marker { offset, sequences: [0, touches, 0, 0] }
}

fn publication(offset: u64, sequences: std::ops::RangeInclusive<u64>) -> Publication {
    let marker = marker(offset, *sequences.end());
    let touch = |sequence: u64| {
        let headers = Headers::from([(SEQUENCE_HEADER, sequence.to_string())]);
        (Topic::Touches, NewRecord { headers, ..NewRecord::default() })
    };
    let progress = NewRecord { headers: Headers::from([marker.to_header()]), ..NewRecord::default() };
    let records = sequences.map(touch).chain([(Topic::Contacts, progress)]).collect();
    Publication { records, marker }
}

/// Steps until the lane has something to say.
fn run(lane: &mut Lane<Fake>) -> Step {
    loop {
        match lane.step() {
            Step::Did(_) | Step::Polled | Step::Waiting => {}
            step => return step,
        }
    }
}

fn taken_over(fake: &Fake, mode: Mode) -> (Lane<Fake>, Published) {
    fake.0.borrow_mut().mode = mode;
    let mut lane = Lane::new(fake.clone(), 3, mode);
    match run(&mut lane) {
        Step::TakenOver(published) => (lane, published),
        step => panic!("{step:?}"),
    }
}

fn again() -> Failure {
    Failure::Again("for a test".to_owned())
}

#[test]
fn it_fences_before_it_looks_and_drains_before_it_commits() {
    let fake = Fake::default();
    let (mut lane, published) = taken_over(&fake, Mode::Transactional);
    assert_eq!(published, Published::default());
    assert_eq!(fake.calls(), ["connect", "init", "watermarks", "reached", "committed"]);
    assert!(lane.publish(publication(7, 1..=2)) && !lane.publish(publication(8, 3..=3)));
    assert!(matches!(run(&mut lane), Step::Published));
    assert_eq!(fake.calls(), ["begin", "send", "drain", "send", "drain", "offsets", "commit"]);
    assert!(matches!(lane.step(), Step::Idle));
    let (_, published) = taken_over(&fake, Mode::Transactional);
    assert_eq!(published, Published::whole(marker(7, 2)));
}

#[test]
fn without_transactions_the_marker_goes_when_all_outputs_are_delivered() {
    let fake = Fake::default();
    let (mut lane, _) = taken_over(&fake, Mode::Sequenced);
    assert_eq!(fake.calls(), ["connect", "watermarks", "reached", "committed"]);
    assert!(lane.publish(publication(7, 1..=2)));
    assert!(matches!(run(&mut lane), Step::Published));
    assert_eq!(fake.calls(), ["send", "drain", "send", "drain"]);
    // A crash before the marker leaves outputs that the next owner must not number again.
    assert!(lane.publish(publication(9, 3..=5)));
    while !matches!(lane.step(), Step::Did(LanePoint::AfterDrain)) {}
    drop(lane);
    let (_, published) = taken_over(&fake, Mode::Sequenced);
    assert_eq!(published, Published { marker: marker(7, 2), tails: [0, 5, 0, 0] });
}

#[test]
fn any_failure_of_a_publication_kills_the_lane_and_nothing_is_aborted() {
    for call in ["begin", "send", "drain", "offsets", "commit"] {
        for (failure, fenced) in [(again(), false), (Failure::Fenced, true)] {
            let fake = Fake::default();
            let (mut lane, _) = taken_over(&fake, Mode::Transactional);
            fake.fail(call, failure);
            assert!(lane.publish(publication(1, 1..=1)));
            let Step::Failed(error) = run(&mut lane) else { panic!("{call} failed") };
            assert_eq!(matches!(error, Error::Fenced { partition: 3 }), fenced, "{call}: {error}");
            assert_eq!(fake.calls().last(), Some(&call));
            assert!(lane.client.is_none() && !lane.publish(publication(1, 1..=1)));
            assert!(matches!(lane.step(), Step::Failed(Error::Closed)));
        }
    }
}

#[test]
fn a_takeover_starts_again_from_init_where_that_may_help() {
    let fake = Fake::default();
    fake.fail("init", again());
    fake.0.borrow_mut().reached = [Reached::NotYet, Reached::TooLong].into();
    let (lane, _) = taken_over(&fake, Mode::Transactional);
    let second = ["connect", "init", "watermarks", "reached", "reached"];
    let third = ["connect", "init", "watermarks", "reached", "committed"];
    assert_eq!(fake.calls(), [&["connect", "init"][..], &second, &third].concat());
    assert_eq!(lane.attempts(), 2);
    fake.fail("init", Failure::Fenced);
    let mut lane = Lane::new(fake.clone(), 3, Mode::Transactional);
    assert!(matches!(run(&mut lane), Step::Failed(Error::Fenced { partition: 3 })));
    (0..ATTEMPTS_MAX).for_each(|_| fake.fail("watermarks", again()));
    let mut lane = Lane::new(fake, 3, Mode::Transactional);
    assert!(matches!(run(&mut lane), Step::Failed(Error::Unavailable(_))));
}

#[test]
fn the_end_of_what_is_published_is_found_far_from_the_end_of_the_topic() {
    let fake = Fake::default();
    (1..=300).for_each(|sequence| fake.put(Topic::Touches, Some(sequence), None));
    fake.put(Topic::Contacts, None, Some(marker(9, 2)));
    // Neither contacts nor repeats tell anything.
    (0..5_000).for_each(|_| fake.put(Topic::Contacts, None, None));
    let (_, published) = taken_over(&fake, Mode::Sequenced);
    assert_eq!(published, Published { marker: marker(9, 2), tails: [0, 300, 0, 0] });
    let reads = std::mem::take(&mut fake.0.borrow_mut().reads);
    let contacts = [(Topic::Contacts, 4745, 5001), (Topic::Contacts, 649, 4745), (Topic::Contacts, 0, 649)];
    assert_eq!(reads[..3], contacts);
    assert_eq!(reads[3..], [(Topic::Touches, 44, 300), (Topic::Touches, 0, 44)]);
}

#[test]
fn only_what_is_without_a_gap_counts_as_published() {
    let fake = Fake::default();
    fake.put(Topic::Contacts, None, Some(marker(9, 2)));
    for sequence in [1, 2, 3, 3, 4, 6, 7] {
        fake.put(Topic::Touches, Some(sequence), None);
    }
    let (_, published) = taken_over(&fake, Mode::Sequenced);
    assert_eq!(published.tails, [0, 4, 0, 0]);
    // A zombie without transactions may put its older marker behind.
    fake.put(Topic::Contacts, None, Some(marker(5, 1)));
    let (_, published) = taken_over(&fake, Mode::Sequenced);
    assert_eq!(published.marker, marker(9, 2));
}

#[test]
fn records_win_over_the_committed_offset_and_are_never_behind_it() {
    let fake = Fake::default();
    fake.put(Topic::Contacts, None, Some(marker(9, 0)));
    fake.0.borrow_mut().committed = Some(marker(4, 0));
    assert_eq!(taken_over(&fake, Mode::Transactional).1.marker, marker(9, 0));
    fake.0.borrow_mut().committed = Some(marker(12, 0));
    let mut lane = Lane::new(fake.clone(), 3, Mode::Transactional);
    assert!(matches!(run(&mut lane), Step::Failed(Error::Unavailable(reason)) if reason.contains("committed offset")));
    fake.0.borrow_mut().topics = Default::default();
    assert_eq!(taken_over(&fake, Mode::Transactional).1.marker, marker(12, 0));
}

#[test]
fn names_of_points_round_trip() {
    for point in LanePoint::ALL {
        assert_eq!(LanePoint::parse(point.name()), Some(point));
    }
    assert_eq!(LanePoint::parse("after_apply"), None);
}
