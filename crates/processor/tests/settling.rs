//! After an activation every partition brings its contacts under the bundle by itself, comes to rest, and stays there.

mod common;

use common::{at, event};
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::time::Span;
use touchline_processor::cluster::Cluster;

const NOON: &str = "2026-03-02T12:00:00+08:00";
const BEFORE: &str = "playbook: p\ntag_groups: [{id: g, tags: [a]}]\n";
/// Whoever has ordered is in it for a month.
const AFTER: &str = "playbook: p\ntag_groups: [{id: g, tags: [a]}]\n\
                     segments: {近: \"count(order.paid, within=30d) >= 1\"}\n";
/// Several times what one record brings under a bundle, in each of the partitions.
const CUSTOMERS: usize = 1_000;
const PARTITIONS: u32 = 4;

fn activate(cluster: &mut Cluster, yaml: &str, expected_active: u64) {
    let sources = vec![PlaybookSource { id: "p".to_owned(), yaml: yaml.to_owned() }];
    let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active, migrations: Vec::new() };
    let (request_id, tenant) = (format!("activate-{expected_active}"), "acme".to_owned());
    let command = Command { request_id, tenant, actor: "test".to_owned(), received_at: at(NOON), body };
    cluster.append_command(command).expect("appended");
    cluster.settle().expect("comes to rest");
}

#[test]
fn contacts_come_under_the_bundle_without_a_record_of_their_own_and_ticks_end() {
    let mut cluster = Cluster::new(PARTITIONS, at(NOON)).expect("opens");
    activate(&mut cluster, BEFORE, 0);
    for number in 0..CUSTOMERS {
        // The last ones of each partition have no timer: that nothing is left to do has to be noticed all the same.
        let kind = if number < CUSTOMERS / 2 { Kind::OrderPaid } else { Kind::PageViewed };
        let customer = format!("{}{number:04}", if kind == Kind::OrderPaid { "a" } else { "z" });
        cluster.append_event(event(kind, &customer, NOON, "")).expect("appended");
    }
    cluster.settle().expect("comes to rest");
    activate(&mut cluster, AFTER, 1);
    for partition in cluster.partitions() {
        assert!(partition.meta().settling.is_empty(), "{:?}", partition.meta().settling);
        let next = partition.next_due().expect("who has ordered leaves the segment");
        assert!(next > cluster.now().plus(Span::days(29)), "nothing is due now: {next}");
    }
    let offsets: Vec<u64> = cluster.partitions().iter().map(|partition| partition.meta().offset).collect();
    cluster.settle().expect("rests");
    let after: Vec<u64> = cluster.partitions().iter().map(|partition| partition.meta().offset).collect();
    assert_eq!(offsets, after, "no tick is wanted any more");
    let in_segment = |number: usize, letter: &str| {
        let id = IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("{letter}{number:04}"));
        let cell = CellKey::of("acme", &id);
        let contacts = cluster.contacts().expect("readable");
        contacts.iter().find(|contact| contact.key == cell).is_some_and(|contact| contact.past.segments.contains("近"))
    };
    assert!(in_segment(0, "a") && in_segment(CUSTOMERS / 2 - 1, "a"));
    assert!(!in_segment(CUSTOMERS - 1, "z"));
}
