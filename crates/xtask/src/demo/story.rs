//! The story: two customers, one playbook (`tests/playbooks/a.yaml`), five days.
//!
//! Every expected value below is worked out by hand from the playbook and the calendar, not read back from a run.
//! All moments are China's clock; 2026-03-02 is a Monday. On the last day a chapter about two others follows.

mod one_person;

use super::checks::Checks;
use super::payloads::{Accounts, Added, CORP, Message, TENANT, post_event};
use crate::demo::outputs;
use crate::http;
use crate::live::{Kafka, Server};
use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::time::Time;

const PLAYBOOK: &str = "tests/playbooks/a.yaml";
const BOARD: &str = "商机看板";
const COLUMN: &str = "考虑价格";
const TAG: &str = "商机/考虑价格";
/// The code by which both were added: the tenant's own word, no token.
const WEBSITE: &str = "官网";
/// Partitions of the log: what an embedded one has by default.
pub(crate) const PARTITIONS: u32 = 4;

/// Monday 09:00: both customers are added.
const START: &str = "2026-03-02T09:00:00+08:00";
/// Both ask for the price: the tag is set, the card moves, the journey starts. This is the anchor.
const ASKED: &str = "2026-03-02T09:12:00+08:00";
/// p1: five minutes after the anchor.
const P1_DUE: &str = "2026-03-02T09:17:00+08:00";
/// A while later: p1 is out, nothing else is due.
const AFTER_P1: &str = "2026-03-02T09:20:00+08:00";
/// Monday evening Bo pays: after p1, before p2.
const PAID: &str = "2026-03-02T21:30:00+08:00";
/// p2: the first calendar day after the anchor, at 10:00.
const P2_DUE: &str = "2026-03-03T10:00:00+08:00";
const AFTER_P2: &str = "2026-03-03T10:30:00+08:00";
/// p3: the third calendar day after the anchor (Thursday), at 10:00.
const P3_DUE: &str = "2026-03-05T10:00:00+08:00";
const AFTER_P3: &str = "2026-03-05T10:30:00+08:00";
const END: &str = "2026-03-06T09:00:00+08:00";

/// A customer of the story.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Customer {
    name: &'static str,
    external_userid: &'static str,
    staff: &'static str,
    says: &'static str,
    /// Characters of 「多少钱」 in what they say, counted from 0; the end is one past the last.
    hit: (u32, u32),
}

/// Runs through all three touches.
pub(crate) const ANNA: Customer = Customer {
    name: "Anna",
    external_userid: "wmDEMOAnna00000000000000000001",
    staff: "zhangsan",
    // 你0 们1 产2 品3 多4 少5 钱6
    says: "你们产品多少钱",
    hit: (4, 7),
};

/// Pays early. She writes traditional characters: the playbook folds 錢 to 钱.
const BO: Customer = Customer {
    name: "Bo",
    external_userid: "wmDEMOBo0000000000000000000002",
    staff: "lisi",
    // 請0 問1 多2 少3 錢4 ？5
    says: "請問多少錢？",
    hit: (2, 5),
};

impl Customer {
    fn id(&self) -> IdKey {
        IdKey::new(IdKind::WecomExternalUserid, CORP, self.external_userid)
    }

    fn partition(&self) -> u32 {
        CellKey::of(TENANT, &self.id()).partition(PARTITIONS)
    }

    /// `kind/scope/value`, as the command line takes it.
    pub(crate) fn address(&self) -> String {
        format!("{}/{CORP}/{}", IdKind::WecomExternalUserid, self.external_userid)
    }
}

/// Bo's identifier at Youzan: the first made-up one whose cell lies in another partition than her contact.
fn youzan_buyer() -> IdKey {
    let candidates = (1..).map(|n| IdKey::new(IdKind::YzOpenId, "youzan", format!("DEMOyzopenid{n:013}")));
    let elsewhere = |id: &IdKey| CellKey::of(TENANT, id).partition(PARTITIONS) != BO.partition();
    candidates.into_iter().find(elsewhere).expect("one in four lies in the same partition")
}

/// Where the story happens.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// All roles in one process, with its own log.
    OneProcess,
    /// Several processes; their topics exist.
    Kafka(Kafka),
}

/// A server with the demo's accounts, and what happens to it.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) server: Server,
    place: Place,
    directory: PathBuf,
    accounts: Accounts,
    link_key: String,
}

impl Story {
    /// Starts one process on `directory`: an empty one, or one of an earlier run.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        Self::start_at(directory, Place::OneProcess)
    }

    /// Starts the processes on `directory`: an empty one, or one of an earlier run.
    pub(crate) fn start_at(directory: &Path, place: Place) -> Result<Self> {
        let accounts = Accounts::new();
        let config = accounts.write(directory)?;
        let arguments = ["--config", &config, "--clock", "manual", "--clock-start", START];
        let server = match &place {
            Place::OneProcess => Server::start(directory, TENANT, &arguments)?,
            Place::Kafka(kafka) => Server::start_cluster(directory, TENANT, kafka, &arguments)?,
        };
        let (link_key, directory) = (directory.join("link.key").display().to_string(), directory.to_path_buf());
        Ok(Self { server, place, directory, accounts, link_key })
    }

    /// Tells it all. Errors: something could not even be tried; what was tried and not observed is in `checks`.
    pub(crate) fn tell(&self, checks: &mut Checks) -> Result<()> {
        self.activate(checks)?;
        self.add_customers(checks)?;
        self.ask_for_the_price(checks)?;
        self.click(checks)?;
        self.first_touch(checks)?;
        self.pay_early(checks)?;
        self.other_touches(checks)?;
        self.counts(checks);
        self.follow_one_person(checks)
    }

    fn activate(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, &format!("A playbook is activated ({PLAYBOOK})"));
        self.show(checks, &["playbook", "activate", PLAYBOOK])?;
        checks.expect("bundle 1 holds the playbook price-consideration", json!([1, ["price-consideration"]]), || {
            let list = one(self.server.json(&["playbook", "list"])?)?;
            Ok(json!([list["bundle"], list["playbooks"]]))
        });
        Ok(())
    }

    fn add_customers(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, "Staff add two customers: encrypted, signed WeCom callbacks");
        for customer in [ANNA, BO] {
            let added =
                Added { staff: customer.staff, customer: customer.external_userid, state: WEBSITE, at: at(START) };
            let answer = self.accounts.add_contact(&self.server, &added, false)?;
            let name = customer.name;
            checks.expect(&format!("the callback for {name} is answered 200"), 200, || Ok(answer.status));
            checks.expect(&format!("{name} belongs to {}", customer.staff), json!(customer.staff), || {
                Ok(self.contact(&customer)?["owner"].clone())
            });
        }
        let added = Added { staff: "zhangsan", customer: "wmDEMOForged", state: WEBSITE, at: at(START) };
        let forged = self.accounts.add_contact(&self.server, &added, true)?;
        checks.expect("a callback signed with another token is refused with 401", 401, || Ok(forged.status));
        let labels = [("channel", "wecom"), ("reason", "bad_signature")];
        checks.expect("and counted, and nothing of it is in the log", (1, 2), || {
            let applied = [("channel", "wecom"), ("behaviour", "did")];
            Ok((self.server.metric("touchline_webhook_rejected_total", &labels)?, self.applied(&applied)?))
        });
        Ok(())
    }

    fn ask_for_the_price(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, "Twelve minutes later both ask for the price: chat-archive messages");
        self.advance(checks, ASKED)?;
        for (customer, id) in [(ANNA, "demo-message-1"), (BO, "demo-message-2")] {
            let Customer { name, external_userid, staff, says, .. } = customer;
            let message = Message { id, customer: external_userid, staff, text: says, at: at(ASKED) };
            let answer = self.accounts.write_message(&self.server, &message)?;
            checks.expect(&format!("{name} says 「{says}」: durable"), 200, || Ok(answer.status));
            self.expect_tag(checks, &customer);
            checks.expect(
                &format!("{name}'s card is in {COLUMN} since {ASKED}"),
                json!([[BOARD, COLUMN, utc(ASKED)]]),
                || {
                    let contact = self.contact(&customer)?;
                    let stages = contact["stages"].as_array().cloned().unwrap_or_default();
                    Ok(stages
                        .iter()
                        .map(|stage| json!([stage["board"], stage["column"], stage["entered_at"]]))
                        .collect())
                },
            );
        }
        self.repeat_a_message(checks)?;
        self.show(checks, &["explain", &ANNA.address(), TAG])?;
        self.show(checks, &["board", "show", BOARD])
    }

    /// Channels send again what they did not see answered.
    fn repeat_a_message(&self, checks: &mut Checks) -> Result<()> {
        let Customer { external_userid: customer, staff, says: text, .. } = ANNA;
        let message = Message { id: "demo-message-1", customer, staff, text, at: at(ASKED) };
        let answer = self.accounts.write_message(&self.server, &message)?;
        checks.expect("Anna's message is sent again: taken, and dropped as a repeat", (200, 1, 2), || {
            let dropped = self.server.metric("touchline_duplicates_total", &[])?;
            let said = self.applied(&[("channel", "wecom_archive"), ("behaviour", "said")])?;
            Ok((answer.status, dropped, said))
        });
        Ok(())
    }

    fn expect_tag(&self, checks: &mut Checks, customer: &Customer) {
        let (start, end) = customer.hit;
        let address = customer.address();
        let expected = json!({
            "set_at": utc(ASKED), "because_of": "chat.message", "partition": customer.partition(),
            "playbook": "price-consideration", "rule": "rules/asks-price", "bundle": 1,
            "hit": {"keywords": "价格", "keyword": "多少钱", "field": "text", "start": start, "end": end},
            "message_there": true,
        });
        let what = format!(
            "tag {TAG}, because rule asks-price found 多少钱 at characters {start} to {end} of the message, whose position is told"
        );
        checks.expect(&what, expected, || {
            let why = one(self.server.json(&["explain", &address, TAG])?)?;
            let cause = &why["cause"];
            let timeline = one(self.server.json(&["contact", &address, "--timeline"])?)?["timeline"].clone();
            let is_message = |entry: &Json| entry["kind"] == "chat.message" && entry["position"] == cause["position"];
            Ok(json!({
                "set_at": why["set_at"], "because_of": cause["kind"], "partition": cause["position"]["partition"],
                "playbook": cause["playbook"], "rule": cause["rule"], "bundle": cause["bundle"], "hit": cause["hit"],
                "message_there": timeline.as_array().is_some_and(|entries| entries.iter().any(is_message)),
            }))
        });
    }

    fn click(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, "Anna opens one content from two places: tracked links");
        for surface in ["chat", "moment"] {
            let address = ANNA.address();
            let destination = "https://shop.example/price-list";
            let link = one(self.server.json(&[
                "link",
                "create",
                "--key-file",
                &self.link_key,
                "--to",
                destination,
                "--content",
                "报价说明",
                "--contact",
                &address,
                "--surface",
                surface,
            ])?)?;
            let Some(token) = link["token"].as_str() else { bail!("link create gives no token: {link}") };
            let answer = http::get(&self.server.http, &format!("/l/{token}"))?;
            let seen = json!([answer.status, answer.header("location")]);
            checks.expect(&format!("the link in {surface} leads on"), json!([302, destination]), || Ok(seen.clone()));
        }
        checks.expect("both clicks are events of Anna's", 2, || {
            let contact = one(self.server.json(&["contact", &ANNA.address(), "--timeline"])?)?;
            let entries = contact["timeline"].as_array().cloned().unwrap_or_default();
            Ok(entries.iter().filter(|entry| entry["kind"] == "content.clicked").count())
        });
        Ok(())
    }

    fn first_touch(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, "The clock moves on: the first touch falls due");
        self.advance(checks, AFTER_P1)?;
        let expected = vec![due(&ANNA, "p1", "报价说明", P1_DUE), due(&BO, "p1", "报价说明", P1_DUE)];
        checks.expect("p1 is due for both at 09:17, by their own staff", expected, || self.touches("due"));
        self.show(checks, &["touches"])?;
        self.report_sent("p1", &[ANNA, BO], AFTER_P1)
    }

    fn pay_early(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, "Bo pays in the evening: a signed Youzan order under her own yz_open_id");
        let buyer = youzan_buyer();
        let (here, there) = (BO.partition(), CellKey::of(TENANT, &buyer).partition(PARTITIONS));
        if !checks.is_quiet() {
            println!("  Bo's contact lies in partition {here}, her yz_open_id in partition {there}");
        }
        self.advance(checks, PAID)?;
        post_event(
            &self.server,
            &json!({
                "kind": "identity.linked", "tenant": TENANT, "source": "demo", "id": "bo-is-the-buyer",
                "occurred_at": PAID, "subject": [json_id(&BO.id()), json_id(&buyer)], "fields": {"evidence": "strong"},
            }),
        )?;
        let contact_id = self.contact(&BO)?["contact_id"].clone();
        let buyer_address = format!("{}/youzan/{}", IdKind::YzOpenId, buyer.value);
        checks.expect("a logged link joins the two identifiers to one contact", contact_id, || {
            Ok(one(self.server.json(&["contact", &buyer_address])?)?["contact_id"].clone())
        });
        let answer = self.accounts.pay_order(&self.server, &buyer.value, "E20260302213000000000001", at(PAID))?;
        checks.expect("the order push is answered 200", 200, || Ok(answer.status));
        let ended = json!({"ended": {"reason": "goal", "at": utc(PAID)}, "goal_reached": true, "next": null});
        checks.expect("the order ends Bo's journey at once: goal reached", ended, || self.journey(&BO));
        let cancelled =
            vec![cancelled("p2", "客户案例-ROI", P2_DUE, there), cancelled("p3", "限时方案", P3_DUE, there)];
        checks.expect("p2 and p3 are cancelled for Bo, because of the order in the other partition", cancelled, || {
            let touches = self.server.json(&["touches", "--state", "cancelled"])?;
            let told = touches.iter().map(|touch| {
                let (cause, who) = (&touch["cause"], &touch["recipient"]["value"]);
                let (kind, origin) = (&cause["kind"], &cause["origin"]["partition"]);
                json!([who, touch["step"], touch["content"], touch["planned_at"], touch["reason"], kind, origin])
            });
            Ok(sorted(told.collect()))
        });
        self.show(checks, &["contact", &BO.address()])
    }

    fn other_touches(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, "Days pass: Anna's other touches fall due, Bo's do not");
        self.advance(checks, AFTER_P2)?;
        let mut expected = vec![
            due(&ANNA, "p1", "报价说明", P1_DUE),
            due(&BO, "p1", "报价说明", P1_DUE),
            due(&ANNA, "p2", "客户案例-ROI", P2_DUE),
        ];
        checks.expect("p2 is due for Anna on Tuesday at 10:00", sorted(expected.clone()), || self.touches("due"));
        self.report_sent("p2", &[ANNA], AFTER_P2)?;
        self.advance(checks, AFTER_P3)?;
        expected.push(due(&ANNA, "p3", "限时方案", P3_DUE));
        checks.expect("p3 is due for Anna on Thursday at 10:00", sorted(expected.clone()), || self.touches("due"));
        self.report_sent("p3", &[ANNA], AFTER_P3)?;
        self.advance(checks, END)?;
        checks.expect("nothing more is due by Friday", sorted(expected), || self.touches("due"));
        checks.expect("and nothing was missed: staff reported each as sent", 0, || Ok(self.touches("missed")?.len()));
        self.show(checks, &["touches"])
    }

    /// The same numbers by gRPC, from the topics, and from the counters.
    fn counts(&self, checks: &mut Checks) {
        heading(checks, "The counts agree: gRPC and /metrics");
        checks.expect("2 contacts carry the tag (segment)", json!(2), || {
            Ok(one(self.server.json(&["segment", "count", "tag(商机/考虑价格)"])?)?["count"].clone())
        });
        let columns = json!([["初步沟通", 0], [COLUMN, 2], ["方案确认", 0], ["赢单", 0], ["输单", 0]]);
        checks.expect("2 cards in 考虑价格, none elsewhere (board)", columns, || {
            let board = one(self.server.json(&["board", "show", BOARD])?)?;
            let columns = board["columns"].as_array().cloned().unwrap_or_default();
            Ok(columns.iter().map(|column| json!([column["id"], column["count"]])).collect())
        });
        checks.expect("4 touches due, 2 cancelled (touches)", (4, 2), || {
            Ok((self.touches("due")?.len(), self.touches("cancelled")?.len()))
        });
        let counters: [Counter<'_>; 8] = [
            ("2 tags set", "touchline_tag_changes_total", &[("op", "set")], 2),
            ("2 cards moved", "touchline_stage_moves_total", &[], 2),
            ("4 touches due", "touchline_touches_total", &[("state", "due")], 4),
            ("2 touches cancelled", "touchline_touches_total", &[("state", "cancelled")], 2),
            ("4 touches with their lateness", "touchline_touch_lateness_seconds_count", &[], 4),
            (
                "2 callbacks taken in",
                "touchline_events_ingested_total",
                &[("channel", "wecom"), ("result", "accepted")],
                2,
            ),
            (
                "2 messages said",
                "touchline_events_applied_total",
                &[("channel", "wecom_archive"), ("behaviour", "said")],
                2,
            ),
            ("2 clicks viewed", "touchline_events_applied_total", &[("channel", "click"), ("behaviour", "viewed")], 2),
        ];
        for (what, name, labels, expected) in counters {
            checks.expect(&format!("{what} ({name})"), expected, || self.server.metric(name, labels));
        }
        checks.expect("1 order bought (touchline_events_applied_total)", 1, || {
            self.applied(&[("channel", "youzan"), ("behaviour", "bought")])
        });
        if let Place::Kafka(_) = &self.place {
            checks.expect("both processors have published: they share the partitions", vec![true, true], || {
                Ok(self.server.publications()?.iter().map(|count| *count > 0).collect())
            });
        }
    }

    /// Stops the server, deletes its state, starts it again on the log alone, and goes on with the story.
    pub(crate) fn lose_the_state(self, checks: &mut Checks) -> Result<Self> {
        heading(checks, "The state is deleted; the log is enough");
        let (before, data_dirs) = (self.answers()?, self.server.data_dirs());
        let Self { server, place, directory, .. } = self;
        server.stop()?;
        let agrees = json!({"differences": [], "stores": PARTITIONS});
        checks.expect("the log replayed into an empty store gives an equal state and the same outputs", agrees, || {
            let report = outputs::verify(&place, &data_dirs, None)?;
            // A store that was given away stays behind its log; it is brought up to it when the partition comes back.
            let (all, behind) = (report["stores"].as_u64(), report["behind"].as_array().map(Vec::len));
            let level = all.unwrap_or_default() - behind.unwrap_or_default() as u64;
            Ok(json!({"differences": report["differences"], "stores": level}))
        });
        for data_dir in &data_dirs {
            std::fs::remove_dir_all(data_dir.join("store")).context("no state to delete")?;
        }
        let story = Self::start_at(&directory, place)?;
        checks.expect("the same contacts, links, touches and cards as before", before, || story.answers());
        story.expect_one_end(checks);
        // Within 30 days of the anchor: the goal was still open, and only the rebuilt state knows it.
        post_event(
            &story.server,
            &json!({
                "kind": "order.paid", "tenant": TENANT, "source": "demo", "id": "anna-pays", "occurred_at": END,
                "subject": [json_id(&ANNA.id())], "fields": {"order_id": "D-1", "paid_fen": 19_900},
            }),
        )?;
        let ended = json!({"ended": {"reason": "goal", "at": utc(END)}, "goal_reached": true, "next": null});
        checks.expect("Anna pays, and the journey of before ends: goal reached", ended, || story.journey(&ANNA));
        checks.expect("no touch is due or cancelled a second time", (4, 2), || {
            Ok((story.touches("due")?.len(), story.touches("cancelled")?.len()))
        });
        story.part_and_join(checks)?;
        Ok(story)
    }

    /// Stops every process; then the log alone says what came of it.
    pub(crate) fn end(self) -> Result<Vec<String>> {
        let (data_dirs, Self { server, place, directory, .. }) = (self.server.data_dirs(), self);
        server.stop()?;
        outputs::read(&place, &data_dirs, &directory)
    }

    /// What came of it so far. Errors: one process keeps its log to itself as long as it runs.
    pub(crate) fn outputs(&self) -> Result<Vec<String>> {
        outputs::read(&self.place, &[], &self.directory)
    }

    /// What the read side says of everything in the story.
    fn answers(&self) -> Result<Json> {
        let touches = self.server.json(&["touches"])?;
        let board = self.server.json(&["board", "show", BOARD])?;
        Ok(json!([self.contact(&ANNA)?, self.contact(&BO)?, sorted(touches), board, self.answers_of_buyers()?]))
    }

    /// How a customer's journey stands.
    fn journey(&self, customer: &Customer) -> Result<Json> {
        let enrolment = self.contact(customer)?["enrolments"][0].clone();
        Ok(json!({"ended": enrolment["ended"], "goal_reached": enrolment["goal_reached"], "next": enrolment["next"]}))
    }

    fn applied(&self, labels: &[(&str, &str)]) -> Result<u64> {
        self.server.metric("touchline_events_applied_total", labels)
    }

    fn contact(&self, customer: &Customer) -> Result<Json> {
        one(self.server.json(&["contact", &customer.address()])?)
    }

    /// Touches in a state, as [`due`] writes them.
    fn touches(&self, state: &str) -> Result<Vec<Json>> {
        let touches = self.server.json(&["touches", "--state", state])?;
        let told = touches.iter().map(|touch| {
            let who = &touch["recipient"]["value"];
            json!([touch["due_at"], who, touch["executor"], touch["step"], touch["touchpoint"], touch["content"]])
        });
        Ok(sorted(told.collect()))
    }

    /// Staff confirm that they sent a step.
    fn report_sent(&self, step: &str, customers: &[Customer], sent_at: &str) -> Result<()> {
        let touches = self.server.json(&["touches", "--state", "due"])?;
        for customer in customers {
            let is_theirs =
                |touch: &&Json| touch["step"] == step && touch["recipient"]["value"] == customer.external_userid;
            let Some(id) = touches.iter().find(is_theirs).and_then(|touch| touch["id"].as_str()) else {
                bail!("{step} of {} is not there to be reported", customer.name);
            };
            let address = customer.address();
            self.server.text(&[
                "report",
                id,
                "--recipient",
                &address,
                "--sent",
                "--at",
                sent_at,
                "--staff",
                customer.staff,
            ])?;
        }
        Ok(())
    }

    fn advance(&self, checks: &Checks, to: &str) -> Result<()> {
        self.show(checks, &["clock", "advance", "--to", to])
    }

    /// Runs a command as a reader would, and shows it.
    fn show(&self, checks: &Checks, arguments: &[&str]) -> Result<()> {
        let said = self.server.text(arguments)?;
        if !checks.is_quiet() {
            println!("  $ touchline {}", arguments.join(" "));
            for line in said.lines() {
                println!("    {line}");
            }
        }
        Ok(())
    }
}

/// What it says, its name, labels, value.
type Counter<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u64);

/// When, to whom, by whom, which step, where, what.
fn due(customer: &Customer, step: &str, content: &str, due_at: &str) -> Json {
    json!([utc(due_at), customer.external_userid, customer.staff, step, "dm", content])
}

/// Bo's touch that will not go out, and why: the goal, by an order logged in `partition`.
fn cancelled(step: &str, content: &str, planned_at: &str, partition: u32) -> Json {
    json!([BO.external_userid, step, content, utc(planned_at), "goal", "order.paid", partition])
}

fn json_id(id: &IdKey) -> Json {
    json!({"kind": id.kind.name(), "scope": id.scope, "value": id.value})
}

fn sorted(mut values: Vec<Json>) -> Vec<Json> {
    values.sort_by_key(Json::to_string);
    values
}

fn heading(checks: &Checks, text: &str) {
    if !checks.is_quiet() {
        println!("\n▸ {text}");
    }
}

fn at(text: &str) -> Time {
    Time::parse_rfc3339(text).expect("a constant of this file")
}

/// As the command line prints moments for programs.
fn utc(text: &str) -> String {
    at(text).to_string()
}

fn one(mut values: Vec<Json>) -> Result<Json> {
    match values.pop() {
        Some(value) if values.is_empty() => Ok(value),
        _ => bail!("expected one answer, got {}", values.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_counted_in_characters() {
        for (customer, found) in [(ANNA, "多少钱"), (BO, "多少錢")] {
            let (start, end) = (customer.hit.0 as usize, customer.hit.1 as usize);
            let text: String = customer.says.chars().skip(start).take(end - start).collect();
            assert_eq!(text, found);
        }
    }

    #[test]
    fn the_order_enters_in_another_partition() {
        assert_ne!(CellKey::of(TENANT, &youzan_buyer()).partition(PARTITIONS), BO.partition());
    }

    #[test]
    fn moments_are_in_order() {
        let story = [START, ASKED, P1_DUE, AFTER_P1, PAID, P2_DUE, AFTER_P2, P3_DUE, AFTER_P3, END];
        assert!(story.map(at).is_sorted());
        assert_eq!(utc(P2_DUE), "2026-03-03T02:00:00.000Z");
    }
}
