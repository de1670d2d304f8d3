//! How long until what an event leads to is published: of a contact's own identifier, and of one that is a forward to it.
//!
//! One event at a time in a pipeline at rest, by turns, of the same contacts: so the two differ by the forward alone,
//! which is one more append, on another partition, and one more batch.

use crate::embedded::{self, PARTITIONS, Pipeline, Stores};
use crate::report::Report;
use crate::{Options, Outcome, workload};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use touchline_log::{Log, SystemWall, Topic, Wall, wait};
use touchline_model::id::{CellKey, IdKey, IdKind};

/// Contacts, each with a forward on another partition.
const CONTACTS: usize = 64;
/// Events of each sort in a run: enough for a p99.
const EVENTS: usize = 500;
/// An output that takes longer never comes.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// Every other event sets the other tag, so each has an output.
const PLAYBOOK: &str = r#"
playbook: hop
tag_groups: [{id: side, exclusive: true, tags: [left, right]}]
keywords: {left: {any: [left]}, right: {any: [right]}}
rules:
  - {id: left, trigger: "chat.message(direction=in, text has left)", do: [{set_tag: side/left}]}
  - {id: right, trigger: "chat.message(direction=in, text has right)", do: [{set_tag: side/right}]}
"#;

/// A contact's own identifier, and one that is a forward to it.
struct Pair {
    own: IdKey,
    forward: IdKey,
}

/// One run.
pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let dir = embedded::fresh(&options.dir)?;
    let mut bench = Bench { pipeline: Pipeline::start(dir.path(), Stores::Rocks, PLAYBOOK)?, count: 0 };
    let pairs: Vec<Pair> = pairs().take(CONTACTS).collect();
    for Pair { own, forward } in &pairs {
        bench.append("identity.linked", &[own, forward], json!({"evidence": "strong"}))?;
    }
    bench.pipeline.settle()?;
    for pair in &pairs {
        bench.delay_ms(&pair.own, "right", &pair.own)?;
    }
    let (mut direct, mut forwarded) = (Vec::new(), Vec::new());
    for Pair { own, forward } in pairs.iter().cycle().take(EVENTS) {
        direct.push(bench.delay_ms(own, "left", own)?);
        forwarded.push(bench.delay_ms(forward, "right", own)?);
    }
    bench.pipeline.stop();
    for (name, per_mille) in [("p50", 500), ("p99", 990)] {
        let [direct, forwarded] = [&mut direct, &mut forwarded].map(|delays| at(delays, per_mille));
        report.add(&format!("acknowledged to published, direct, {name}"), "ms", direct);
        report.add(&format!("acknowledged to published, one forward, {name}"), "ms", forwarded);
        report.add(&format!("one forward to direct, {name}"), "times", forwarded / direct);
    }
    Ok(())
}

/// Identifiers whose cells lie on different partitions.
fn pairs() -> impl Iterator<Item = Pair> {
    let partition = |id: &IdKey| CellKey::of(workload::TENANT, id).partition(PARTITIONS);
    (0_u64..)
        .map(|number| Pair {
            own: IdKey::new(IdKind::WecomExternalUserid, "wwcorp", format!("wm{number:010}")),
            forward: IdKey::new(IdKind::YzOpenId, "youzan", format!("yz{number:010}")),
        })
        .filter(move |pair| partition(&pair.own) != partition(&pair.forward))
}

fn at(delays: &mut [f64], per_mille: usize) -> f64 {
    delays.sort_by(f64::total_cmp);
    delays[(delays.len() * per_mille / 1_000).min(delays.len() - 1)]
}

struct Bench {
    pipeline: Pipeline,
    count: u64,
}

impl Bench {
    /// Says something under an identifier; from the acknowledgement until the tag change of its contact can be read.
    fn delay_ms(&mut self, id: &IdKey, text: &str, contact: &IdKey) -> Outcome<f64> {
        self.pipeline.settle()?;
        let partition = CellKey::of(workload::TENANT, contact).partition(PARTITIONS);
        let before = self.pipeline.log.end(Topic::TagChanges, partition)?;
        self.append("chat.message", &[id], json!({"direction": "in", "msg_type": "text", "text": text}))?;
        let acknowledged = Instant::now();
        loop {
            let seen = self.pipeline.log.signal().count();
            if self.pipeline.log.end(Topic::TagChanges, partition)? > before {
                return Ok(acknowledged.elapsed().as_secs_f64() * 1e3);
            }
            if acknowledged.elapsed() > DELAY_MAX {
                return Err("an event has led to nothing".into());
            }
            self.pipeline.log.signal().wait_past(seen, DELAY_MAX);
        }
    }

    /// Appends an event and waits until it is acknowledged.
    fn append(&mut self, kind: &str, subject: &[&IdKey], fields: Value) -> Outcome<()> {
        self.count += 1;
        let subject: Vec<Value> =
            subject.iter().map(|id| json!({"kind": id.kind.name(), "scope": id.scope, "value": id.value})).collect();
        let event = json!({"kind": kind, "tenant": workload::TENANT, "source": "bench", "id": self.count.to_string(),
            "subject": subject, "fields": fields});
        let (partition, record) = workload::record(&event, PARTITIONS, SystemWall.now())?;
        wait(self.pipeline.log.append(Topic::Events, partition, vec![record]))?;
        Ok(())
    }
}
