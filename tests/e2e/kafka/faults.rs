//! What else goes wrong than processes that are killed.

use crate::fleet::Fleet;
use std::time::Duration;
use touchline_broker::{Action, Rule, api};

/// How long a fault that was asked for may take to happen.
const HAPPENS_WITHIN: Duration = Duration::from_secs(60);
/// A request is in the network for longer than its client waits and its successor takes to begin.
const LATE_MS: u64 = 3_000;

/// One disturbance; when it returns, work goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL at any moment.
    Kill,
    /// SIGSTOP beyond the session, then SIGCONT: a zombie that wakes up.
    Zombie,
    /// The network around one process is gone beyond the session.
    Isolated,
    /// One process leaves gracefully and comes back.
    Leaves,
    /// Kill -9 of a broker, and its restart.
    Broker,
    /// The network around the brokers is gone for a moment.
    Cut,
    /// Something happens to one request of a publisher lane or of the loopback.
    Request(&'static str, i16, &'static str, Action),
}

/// Of both modes.
pub(crate) const COMMON: [Fault; 8] = [
    Fault::Zombie,
    Fault::Isolated,
    Fault::Leaves,
    Fault::Broker,
    Fault::Cut,
    Fault::Request("late Produce of a publication", api::PRODUCE, "-lane-", Action::LateDelivery { after_ms: LATE_MS }),
    Fault::Request("lost answer to a publication", api::PRODUCE, "-lane-", Action::LoseResponse),
    Fault::Request("lost answer to loopback or tick", api::PRODUCE, "-append", Action::LoseResponse),
];

/// Of transactions.
pub(crate) const TRANSACTIONAL: [Fault; 5] = [
    Fault::Request("late EndTxn", api::END_TXN, "-lane-", Action::LateDelivery { after_ms: LATE_MS }),
    Fault::Request("lost answer to EndTxn", api::END_TXN, "-lane-", Action::LoseResponse),
    Fault::Request("lost answer to TxnOffsetCommit", api::TXN_OFFSET_COMMIT, "-lane-", Action::LoseResponse),
    Fault::Request(
        "late AddPartitionsToTxn",
        api::ADD_PARTITIONS_TO_TXN,
        "-lane-",
        Action::LateDelivery { after_ms: LATE_MS },
    ),
    Fault::Request("EndTxn that never arrives", api::END_TXN, "-lane-", Action::Cut),
];

impl Fault {
    /// In reports; `TOUCHLINE_FAULT` names one to leave the others out.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Zombie => "zombie",
            Self::Isolated => "processor cut off",
            Self::Leaves => "processor left and came back",
            Self::Broker => "broker killed",
            Self::Cut => "brokers cut off",
            Self::Request(name, ..) => name,
        }
    }

    pub(crate) fn happen(self, fleet: &mut Fleet) {
        let name = self.name();
        match self {
            Self::Kill => {
                let enough = fleet.load.count() + 1 + usize::try_from(fleet.seeded.below(100)).expect("small");
                fleet.wait_for("acknowledgements", |fleet| fleet.load.count() >= enough);
                let index = fleet.pick();
                fleet.kill(index);
            }
            Self::Zombie => {
                let index = fleet.pick();
                fleet.signal(index, "STOP");
                // The others have everything once they published it.
                fleet.progress("a process was stopped");
                fleet.signal(index, "CONT");
            }
            Self::Isolated => {
                let index = fleet.pick();
                let client = format!("processor-{}-", fleet.name(index));
                let rule = fleet.cluster.proxy().expect("ours").add(Rule::isolate(&client));
                fleet.progress("a process was cut off");
                fleet.cluster.proxy().expect("ours").remove(rule);
            }
            Self::Leaves => {
                let index = fleet.pick();
                fleet.leave(index);
            }
            Self::Broker => broker(fleet),
            Self::Cut => {
                let proxy = fleet.cluster.proxy().expect("ours");
                proxy.cut();
                std::thread::park_timeout(Duration::from_millis(500 + fleet.seeded.below(1_000)));
                proxy.heal();
            }
            Self::Request(_, api, client, action) => request(fleet, name, api, client, action),
        }
        fleet.progress(name);
        if self != Self::Kill {
            fleet.tally.fault(name);
        }
    }
}

/// With three brokers the other two go on; with one nothing does until it is back.
fn broker(fleet: &mut Fleet) {
    let brokers = u32::try_from(fleet.setting.brokers.split(',').count()).expect("few");
    let id = 1 + u32::try_from(fleet.seeded.below(u64::from(brokers))).expect("few");
    fleet.cluster.kill(id).expect("killed");
    if brokers > 1 {
        fleet.progress("a broker was killed");
    }
    fleet.cluster.restart(id).expect("restarted");
}

fn request(fleet: &mut Fleet, name: &str, api: i16, client: &str, action: Action) {
    let nth = 1 + fleet.seeded.below(10);
    let rule = fleet.cluster.proxy().expect("ours").add(Rule::nth(api, nth, action).from_client(client));
    let give_up_at = std::time::Instant::now() + HAPPENS_WITHIN;
    fleet.wait_for(name, |fleet| {
        assert!(std::time::Instant::now() < give_up_at, "{name} does not happen");
        fleet.cluster.proxy().expect("ours").done(rule) >= 1
    });
    fleet.cluster.proxy().expect("ours").remove(rule);
}
