//! A chapter of its own: one person at Tmall, in WeCom and at Youzan becomes one contact, whatever comes first.
//!
//! Cai and Dan do the same on the same days. Of Cai it is told in the order in which it happened; of Dan the link and
//! Youzan come first and Tmall last. Each step is waited for, so that what comes of it does not depend on chance.

use super::{Story, at, heading, json_id, one, sorted, utc};
use crate::demo::checks::Checks;
use crate::demo::payloads::{Added, CORP, SELLER, TENANT, TMALL_APP, TmallOrder, post_event};
use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};
use touchline_model::id::{CellKey, IdKey, IdKind};

const PLAYBOOK: &str = "crates/xtask/src/demo/buyers.yaml";
const AT_TMALL: &str = "购买渠道/天猫";
const AT_YOUZAN: &str = "购买渠道/有赞";

/// The evening before: both order and pay at Tmall, as the sample says, …
const TMALL_CREATED: &str = "2026-03-05T19:00:00+08:00";
const TMALL_PAID: &str = "2026-03-05T19:01:00+08:00";
/// … and then at Youzan.
const YOUZAN_PAID: &str = "2026-03-05T20:00:00+08:00";
/// Friday morning they add staff by the card in the parcel; only now anything of all that arrives.
const ADDED: &str = super::END;
/// Until when the cards count.
const CARDS_EXPIRE: &str = "2026-12-31T23:59:59+08:00";

/// Somebody who buys in two places.
struct Buyer {
    name: &'static str,
    external_userid: &'static str,
    yz_open_id: &'static str,
    yz_order: &'static str,
    tmall: TmallOrder,
}

/// The buyer of the sample.
const CAI: Buyer = Buyer {
    name: "Cai",
    external_userid: "wmDEMOCai0000000000000000000003",
    yz_open_id: "DEMOyzopenidCAI000000001",
    yz_order: "E20260305200000000000001",
    tmall: TmallOrder::SAMPLE,
};

const DAN: Buyer = Buyer {
    name: "Dan",
    external_userid: "wmDEMODan0000000000000000000004",
    yz_open_id: "DEMOyzopenidDAN000000002",
    yz_order: "E20260305200000000000002",
    tmall: TmallOrder {
        buyer_open_uid: "AAHTESTOPENUID0002",
        tid: "612055618715866299",
        refund_id: "112233445577",
        message_ids: "6142200092063759",
    },
};

/// Who added both.
const STAFF: &str = "zhangsan";

impl Buyer {
    fn in_wecom(&self) -> IdKey {
        IdKey::new(IdKind::WecomExternalUserid, CORP, self.external_userid)
    }

    fn at_youzan(&self) -> IdKey {
        IdKey::new(IdKind::YzOpenId, "youzan", self.yz_open_id)
    }

    fn at_tmall(&self) -> IdKey {
        IdKey::new(IdKind::TbOpenUid, TMALL_APP, self.tmall.buyer_open_uid)
    }

    fn order(&self) -> IdKey {
        IdKey::new(IdKind::Order, format!("taobao:{SELLER}"), self.tmall.tid)
    }

    fn all(&self) -> [IdKey; 3] {
        [self.in_wecom(), self.at_tmall(), self.at_youzan()]
    }
}

impl Story {
    /// Tells of both, and compares. Errors: something could not even be tried.
    pub(super) fn follow_one_person(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, &format!("A second playbook joins the first: whoever pays is a customer ({PLAYBOOK})"));
        self.show(checks, &["playbook", "activate", PLAYBOOK])?;
        checks.expect("bundle 2 holds both", json!([2, ["buyers", "price-consideration"]]), || {
            let list = one(self.server.json(&["playbook", "list"])?)?;
            Ok(json!([list["bundle"], sorted(list["playbooks"].as_array().cloned().unwrap_or_default())]))
        });

        heading(checks, "Cai buys at Tmall, adds staff by the card in the parcel, and has bought at Youzan");
        self.relay_the_page(checks, &CAI)?;
        self.add_by_the_card(checks, &CAI)?;
        self.expect_joined(checks, "who comes by the card of the order is its buyer", &CAI, &CAI.at_tmall());
        self.pay_at_youzan(checks, &CAI)?;
        self.link_youzan(&CAI)?;
        self.expect_joined(checks, "the vendor's bridge says that he is the buyer at Youzan", &CAI, &CAI.at_youzan());

        heading(checks, "Dan did the same, but it arrives the other way round: the link, Youzan, the card, Tmall last");
        self.link_youzan(&DAN)?;
        self.expect_joined(checks, "the bridge's link comes before anything it links", &DAN, &DAN.at_youzan());
        self.pay_at_youzan(checks, &DAN)?;
        self.add_by_the_card(checks, &DAN)?;
        self.relay_the_payment(checks, &DAN)?;
        self.expect_joined(checks, "the order knew who had come by its card", &DAN, &DAN.at_tmall());
        self.relay_the_page(checks, &DAN)?;

        heading(checks, "Either way there is one contact, and it says why");
        self.expect_one_end(checks);
        self.expect_links(checks);
        self.expect_causes(checks);
        for buyer in [&CAI, &DAN] {
            self.show(checks, &["contact", "links", &address(&buyer.in_wecom())])?;
        }
        self.show(checks, &["explain", &address(&DAN.in_wecom()), AT_YOUZAN])
    }

    /// Both have what both must have, whatever identifier one asks by.
    pub(super) fn expect_one_end(&self, checks: &mut Checks) {
        for buyer in [&CAI, &DAN] {
            let what = format!(
                "{}: the same three identifiers as well known, tags, card, times and staff, by each of the three",
                buyer.name
            );
            checks.expect(&what, vec![one_end(); 3], || buyer.all().iter().map(|id| self.summary(id)).collect());
        }
    }

    /// What the read side says of both.
    pub(super) fn answers_of_buyers(&self) -> Result<Vec<Json>> {
        let mut answers = Vec::new();
        for id in CAI.all().iter().chain(&DAN.all()) {
            answers.push(self.found_by(id)?);
            answers.push(one(self.server.json(&["contact", "links", &address(id)])?)?);
        }
        Ok(answers)
    }

    /// Somebody takes a link back, and gives it again.
    pub(super) fn part_and_join(&self, checks: &mut Checks) -> Result<()> {
        heading(checks, "Staff part Dan from his Youzan account, and find that it was his");
        let bought = || -> Result<Json> {
            let (here, there) = (self.found_by(&DAN.in_wecom())?, self.found_by(&DAN.at_youzan())?);
            let is_one = here["contact_id"] == there["contact_id"];
            Ok(json!({"one": is_one, "in WeCom": bought_at(&here), "at Youzan": bought_at(&there)}))
        };
        self.say_of_dan(checks, "unlink", "另有其人")?;
        let two = json!({"one": false, "in WeCom": ["天猫"], "at Youzan": ["有赞"]});
        checks.expect("two contacts, each with the tag that its own payment had set", two, bought);
        self.say_of_dan(checks, "link", "本人确认")?;
        let both = ["天猫", "有赞"];
        let again = json!({"one": true, "in WeCom": both, "at Youzan": both});
        checks.expect("one contact again, with both", again, bought);
        checks.expect("because zhangsan says so", json!(["manual", "command.link", STAFF, "本人确认"]), || {
            let link = self.link(&DAN, &DAN.at_youzan())?;
            Ok(json!([link["evidence"], link["said_by"], link["actor"], link["reason"]]))
        });
        Ok(())
    }

    fn say_of_dan(&self, checks: &Checks, what: &str, reason: &str) -> Result<()> {
        let (contact, youzan) = (address(&DAN.in_wecom()), address(&DAN.at_youzan()));
        self.show(checks, &["contact", what, &contact, &youzan, "--reason", reason, "--actor", STAFF])
    }

    /// All messages of the sample; of Dan one of them is a repeat.
    fn relay_the_page(&self, checks: &mut Checks, buyer: &Buyer) -> Result<()> {
        let answer = self.accounts.relay_page(&self.server, &buyer.tmall)?;
        let reply: Json = serde_json::from_str(&answer.body).unwrap_or(Json::Null);
        let name = buyer.name;
        checks.expect(
            &format!("the relay posts {name}'s page of Tmall messages: seven accepted"),
            json!([200, 7, 0, 0]),
            || Ok(json!([answer.status, reply["accepted"], reply["rejected"], reply["failed"]])),
        );
        let kinds = [
            "order.closed",
            "order.completed",
            "order.created",
            "order.paid",
            "refund.requested",
            "refund.succeeded",
            "review.posted",
        ];
        checks.expect(&format!("each is a fact about {name}, under the buyer's open uid"), json!(kinds), || {
            let contact = self.found_by(&buyer.at_tmall())?;
            let names = contact["last_times"].as_object().context("no times")?.keys();
            let trade = |name: &&String| ["order.", "refund.", "review."].iter().any(|start| name.starts_with(start));
            Ok(names.filter(trade).cloned().collect())
        });
        Ok(())
    }

    /// One message alone, as a relay may post it: the queue keeps no order.
    fn relay_the_payment(&self, checks: &mut Checks, buyer: &Buyer) -> Result<()> {
        let answer = self.accounts.relay_payment(&self.server, &buyer.tmall)?;
        checks.expect("of Tmall's messages the payment comes first: accepted", 200, || Ok(answer.status));
        Ok(())
    }

    fn add_by_the_card(&self, checks: &mut Checks, buyer: &Buyer) -> Result<()> {
        let order = address(&buyer.order());
        let mint = ["token", "mint", "--for", &order, "--expires", CARDS_EXPIRE, "--actor", "warehouse"];
        if !checks.is_quiet() {
            println!("  $ touchline {}", mint.join(" "));
        }
        let minted = one(self.server.json(&mint)?)?;
        let Some(state) = minted["state"].as_str() else { bail!("token mint gives no state: {minted}") };
        let added = Added { staff: STAFF, customer: buyer.external_userid, state, at: at(ADDED) };
        let answer = self.accounts.add_contact(&self.server, &added, false)?;
        let name = buyer.name;
        checks.expect(
            &format!("{name} adds {STAFF} by the code of that state: the callback is answered 200"),
            200,
            || Ok(answer.status),
        );
        checks.expect(&format!("{name} belongs to {STAFF}"), json!(STAFF), || {
            Ok(self.found_by(&buyer.in_wecom())?["owner"].clone())
        });
        Ok(())
    }

    fn pay_at_youzan(&self, checks: &mut Checks, buyer: &Buyer) -> Result<()> {
        let answer = self.accounts.pay_order(&self.server, buyer.yz_open_id, buyer.yz_order, at(YOUZAN_PAID))?;
        let what = format!("{}'s signed Youzan order is answered 200, and sets {AT_YOUZAN}", buyer.name);
        checks.expect(&what, json!([200, true]), || {
            let is_set = bought_at(&self.found_by(&buyer.at_youzan())?).contains(&json!("有赞"));
            Ok(json!([answer.status, is_set]))
        });
        Ok(())
    }

    /// Whoever connects the shop with WeCom knows both, and says so.
    fn link_youzan(&self, buyer: &Buyer) -> Result<()> {
        let subject = [json_id(&buyer.in_wecom()), json_id(&buyer.at_youzan())];
        let id = format!("bridge-{}", buyer.external_userid);
        post_event(
            &self.server,
            &json!({
                "kind": "identity.linked", "tenant": TENANT, "source": "bridge", "id": id, "occurred_at": ADDED,
                "subject": subject, "fields": {"evidence": "strong"},
            }),
        )
    }

    fn expect_joined(&self, checks: &mut Checks, what: &str, buyer: &Buyer, other: &IdKey) {
        let (wecom, kind) = (buyer.in_wecom(), other.kind.name());
        checks.expect(&format!("{what}: {} is one contact by {} and {kind}", buyer.name, wecom.kind), true, || {
            Ok(self.found_by(&wecom)?["contact_id"] == self.found_by(other)?["contact_id"])
        });
    }

    fn expect_links(&self, checks: &mut Checks) {
        // Both were logged under the identifier in WeCom.
        let said = |buyer: &Buyer, by: &str, channel: &str, evidence: &str| {
            json!([by, channel, partition_of(&buyer.in_wecom()), evidence])
        };
        let told = |link: Json| {
            let partition = &link["joined"]["by"]["partition"];
            json!([link["said_by"], link["channel"], partition, link["evidence"]])
        };
        for buyer in [&CAI, &DAN] {
            let what = format!(
                "links: {}'s Tmall id because of the add by the card, where that is logged, medium evidence",
                buyer.name
            );
            checks.expect(&what, said(buyer, "contact.added", "wecom", "medium"), || {
                Ok(told(self.link(buyer, &buyer.at_tmall())?))
            });
        }
        for buyer in [&CAI, &DAN] {
            let what = format!(
                "links: {}'s Youzan id because of the bridge's event, where that is logged, strong evidence",
                buyer.name
            );
            checks.expect(&what, said(buyer, "identity.linked", "api", "strong"), || {
                Ok(told(self.link(buyer, &buyer.at_youzan())?))
            });
        }
    }

    fn expect_causes(&self, checks: &mut Checks) {
        for buyer in [&CAI, &DAN] {
            for (tag, native) in [(AT_TMALL, buyer.at_tmall()), (AT_YOUZAN, buyer.at_youzan())] {
                let (name, partition) = (buyer.name, partition_of(&native));
                let what = format!("explain: {name} carries {tag}, by a payment logged under {}", native.kind);
                let expected = json!(["order.paid", "buyers", json_id(&native), partition]);
                checks.expect(&what, expected, || {
                    let why = one(self.server.json(&["explain", &address(&buyer.in_wecom()), tag])?)?;
                    let cause = &why["cause"];
                    // The record that decided is the event itself until it is passed on.
                    let logged = if cause["origin"].is_null() { &cause["position"] } else { &cause["origin"] };
                    Ok(json!([cause["kind"], cause["playbook"], cause["native"], logged["partition"]]))
                });
            }
        }
    }

    fn summary(&self, id: &IdKey) -> Result<Json> {
        let contact = self.found_by(id)?;
        let list = |name: &str, of: fn(&Json) -> Json| {
            sorted(contact[name].as_array().into_iter().flatten().map(of).collect())
        };
        Ok(json!({
            "identities": list("identities", |known| json!([known["id"]["kind"], known["evidence"]])),
            "tags": list("tags", |tag| json!([tag["group"], tag["tag"], tag["set_at"]])),
            "stages": list("stages", |stage| json!([stage["board"], stage["column"], stage["entered_at"]])),
            "seen": [contact["first_seen"], contact["last_seen"]],
            "owner": contact["owner"],
        }))
    }

    fn link(&self, buyer: &Buyer, id: &IdKey) -> Result<Json> {
        let links = one(self.server.json(&["contact", "links", &address(&buyer.in_wecom())])?)?;
        let mut links = links["links"].as_array().into_iter().flatten();
        links.find(|link| link["id"] == json_id(id)).cloned().with_context(|| format!("no link to {}", id.kind))
    }

    fn found_by(&self, id: &IdKey) -> Result<Json> {
        one(self.server.json(&["contact", &address(id)])?)
    }
}

/// What either contact comes to. Paid at Youzan last: from then on the card is where it is.
fn one_end() -> Json {
    let identities =
        [(IdKind::TbOpenUid, "medium"), (IdKind::WecomExternalUserid, "strong"), (IdKind::YzOpenId, "strong")];
    json!({
        "identities": identities.map(|(kind, evidence)| json!([kind.name(), evidence])),
        "tags": [
            ["客户阶段", "已成交", utc(YOUZAN_PAID)],
            ["购买渠道", "天猫", utc(TMALL_PAID)],
            ["购买渠道", "有赞", utc(YOUZAN_PAID)],
        ],
        "stages": [["客户看板", "已成交", utc(YOUZAN_PAID)]],
        "seen": [utc(TMALL_CREATED), utc(ADDED)],
        "owner": STAFF,
    })
}

/// The tags that say where a contact has bought.
fn bought_at(contact: &Json) -> Vec<Json> {
    let tags = contact["tags"].as_array().into_iter().flatten();
    sorted(tags.filter(|tag| tag["group"] == "购买渠道").map(|tag| tag["tag"].clone()).collect())
}

fn partition_of(id: &IdKey) -> u32 {
    CellKey::of(TENANT, id).partition(super::PARTITIONS)
}

/// `kind/scope/value`, as the command line takes it.
fn address(id: &IdKey) -> String {
    format!("{}/{}/{}", id.kind, id.scope, id.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_share_no_identifier() {
        let ids = |buyer: &Buyer| buyer.all().into_iter().chain([buyer.order()]).collect::<Vec<_>>();
        assert!(ids(&CAI).iter().all(|id| !ids(&DAN).contains(id)));
        assert_ne!(CAI.yz_order, DAN.yz_order);
    }

    #[test]
    fn what_happened_lies_before_it_is_told() {
        let moments = [super::super::AFTER_P3, TMALL_CREATED, TMALL_PAID, YOUZAN_PAID, ADDED, CARDS_EXPIRE];
        assert!(moments.map(at).is_sorted());
    }

    #[test]
    fn the_identifiers_of_either_lie_in_several_partitions() {
        for buyer in [CAI, DAN] {
            let mut partitions: Vec<u32> = buyer.all().iter().map(partition_of).collect();
            partitions.sort_unstable();
            partitions.dedup();
            assert!(partitions.len() > 1, "{}", buyer.name);
        }
    }
}
