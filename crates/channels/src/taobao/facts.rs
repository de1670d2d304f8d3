//! What a message tells: kind, subject, fields, and what makes a second one the same. Topics not known here become
//! notices.

use super::{basis, id};
use crate::account::Taobao;
use crate::decoded::{Fact, account_cell, put, put_text, sha256};
use crate::{Error, json};
use serde_json::Value as Json;
use touchline_model::event::Actor;
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::value::{Fields, Number, Value};

/// Scope of the account cell, and prefix of the scope of orders.
const SCOPE: &str = "taobao";

/// States of a trade that was paid. `TRADE_CLOSED` is closed after payment, `TRADE_CLOSED_BY_TAOBAO` before.
const PAID: [&str; 7] = [
    "PAID_FORBID_CONSIGN",
    "SELLER_CONSIGNED_PART",
    "WAIT_SELLER_SEND_GOODS",
    "WAIT_BUYER_CONFIRM_GOODS",
    "TRADE_BUYER_SIGNED",
    "TRADE_FINISHED",
    "TRADE_CLOSED",
];

/// A message, told.
pub(super) struct Told {
    pub(super) fact: Fact,
    /// What makes a second message of the topic the same event. Not the message id: one change may come under two.
    pub(super) basis: Vec<u8>,
}

/// Tells one message by its topic and its parsed content.
pub(super) fn tell(account: &Taobao, seller: &str, topic: &str, content: &Json) -> Result<Told, Error> {
    let teller = Teller {
        account,
        seller,
        topic,
        content,
        tid: id(content, "tid")?,
        oid: id(content, "oid")?,
        refund_id: id(content, "refund_id")?,
    };
    Ok(Told { fact: teller.fact(), basis: teller.basis() })
}

fn order_kind(topic: &str) -> Option<Kind> {
    Some(match topic.strip_prefix("taobao_trade_")? {
        "TradeCreate" => Kind::OrderCreated,
        "TradeBuyerPay" => Kind::OrderPaid,
        "TradeSellerShip" | "TradePartlySellerShip" => Kind::OrderShipped,
        "TradeSuccess" => Kind::OrderCompleted,
        "TradeClose" => Kind::OrderClosed,
        "TradeRated" => Kind::ReviewPosted,
        _ => Kind::OrderChanged,
    })
}

fn refund_kind(topic: &str) -> Option<Kind> {
    Some(match topic.strip_prefix("taobao_refund_")? {
        "RefundCreated" => Kind::RefundRequested,
        "RefundSellerAgreeAgreement" => Kind::RefundAgreed,
        "RefundSellerRefuseAgreement" => Kind::RefundRefused,
        "RefundBuyerReturnGoods" => Kind::RefundReturned,
        "RefundSuccess" => Kind::RefundSucceeded,
        "RefundClosed" => Kind::RefundClosed,
        _ => return None,
    })
}

struct Teller<'a> {
    account: &'a Taobao,
    seller: &'a str,
    topic: &'a str,
    content: &'a Json,
    /// The trade.
    tid: Option<String>,
    /// The line of the trade; a trade of one line has the trade's number.
    oid: Option<String>,
    refund_id: Option<String>,
}

impl Teller<'_> {
    fn fact(&self) -> Fact {
        match (refund_kind(self.topic), order_kind(self.topic), &self.refund_id, &self.tid) {
            (Some(kind), _, Some(refund_id), _) => self.refund(kind, refund_id),
            (_, Some(Kind::ReviewPosted), _, Some(tid)) => self.review(tid),
            (_, Some(kind), _, Some(tid)) => self.order(kind, tid),
            _ => self.notice(),
        }
    }

    fn basis(&self) -> Vec<u8> {
        let text = |name| json::text(self.content, name).unwrap_or_default();
        let (status, modified) = (text("status"), text("modified"));
        let [tid, oid, refund_id] =
            [&self.tid, &self.oid, &self.refund_id].map(|id| id.as_deref().unwrap_or_default().as_bytes());
        let content = sha256(json::canonical(self.content).as_bytes());
        basis(&[tid, oid, refund_id, status.as_bytes(), modified.as_bytes(), &content])
    }

    fn order(&self, kind: Kind, tid: &str) -> Fact {
        let status = json::text(self.content, "status");
        let is_paid = match kind {
            Kind::OrderPaid | Kind::OrderShipped | Kind::OrderCompleted => true,
            Kind::OrderCreated => false,
            _ => status.as_deref().is_some_and(|status| PAID.contains(&status)),
        };
        // What a deposit leaves to be paid is not said.
        let payment = fen(self.content, "payment").filter(|_| self.topic != "taobao_trade_TradeBuyerStepPay");
        // One payment is told by trade and by line: the money is the order's only where the message is about the trade.
        let of_line = self.oid.as_deref().is_some_and(|oid| oid != tid);
        let of_order = |fen: Option<Value>| fen.filter(|_| !of_line);
        let mut body = Fields::new();
        put_text(&mut body, "order_id", Some(tid));
        put_text(&mut body, "shop", Some(self.seller));
        put(&mut body, "lines", self.line(payment.clone().filter(|_| of_line && is_paid)));
        put(&mut body, "paid_fen", of_order(payment.clone()).filter(|_| is_paid));
        put(&mut body, "total_fen", of_order(payment));
        put(&mut body, "post_fen", of_order(fen(self.content, "post_fee")));
        put_text(&mut body, "status_native", status.as_deref());
        match kind {
            Kind::OrderShipped => {
                body.set("partial", Value::Bool(self.topic == "taobao_trade_TradePartlySellerShip"));
            }
            Kind::OrderClosed => {
                let before_pay = match status.as_deref() {
                    Some("TRADE_CLOSED_BY_TAOBAO") => Some(true),
                    Some("TRADE_CLOSED") => Some(false),
                    _ => None,
                };
                put(&mut body, "before_pay", before_pay.map(Value::Bool));
            }
            _ => {}
        }
        let actor = match kind {
            Kind::OrderCreated | Kind::OrderPaid => Actor::Customer,
            _ => Actor::Unknown,
        };
        Fact { kind, subject: self.order_subject(tid), actor, body }
    }

    /// The one line that the message names, as far as it describes it.
    fn line(&self, paid_fen: Option<Value>) -> Option<Value> {
        let oid = self.oid.as_deref()?;
        let text = |name| json::text(self.content, name);
        let mut line = Fields::new();
        put_text(&mut line, "line_id", Some(oid));
        put_text(&mut line, "item_id", text("num_iid").or_else(|| text("iid")).as_deref());
        // Items without variants say 0, where they say anything.
        put_text(&mut line, "sku_id", text("sku_id").filter(|id| id != "0").as_deref());
        let qty = text("num").and_then(|qty| Number::parse(&qty));
        put(&mut line, "qty", qty.map(Value::Number));
        put(&mut line, "unit_price_fen", fen(self.content, "price"));
        put(&mut line, "paid_fen", paid_fen);
        Some(Value::List(vec![Value::Record(line)]))
    }

    fn review(&self, tid: &str) -> Fact {
        let rater = json::text(self.content, "rater");
        let actor = if rater.as_deref() == Some("buyer") { Actor::Customer } else { Actor::Unknown };
        let mut body = Fields::new();
        put_text(&mut body, "order", Some(tid));
        put_text(&mut body, "rater", rater.as_deref());
        Fact { kind: Kind::ReviewPosted, subject: self.order_subject(tid), actor, body }
    }

    fn refund(&self, kind: Kind, refund_id: &str) -> Fact {
        let mut body = Fields::new();
        put_text(&mut body, "refund_id", Some(refund_id));
        put_text(&mut body, "order_id", self.tid.as_deref());
        put(&mut body, "line_ids", self.oid.as_deref().map(|oid| Value::List(vec![Value::text(oid)])));
        put(&mut body, "amount_fen", fen(self.content, "refund_fee"));
        put_text(&mut body, "type", json::text(self.content, "bill_type").as_deref());
        put_text(&mut body, "phase", json::text(self.content, "refund_phase").as_deref());
        let subject = match &self.tid {
            Some(tid) => self.order_subject(tid),
            None => vec![self.buyer().unwrap_or_else(|| self.shop_cell())],
        };
        let actor = if kind == Kind::RefundRequested { Actor::Customer } else { Actor::Unknown };
        Fact { kind, subject, actor, body }
    }

    /// Kept raw under the closest cell: the buyer's, the order's, the shop's.
    fn notice(&self) -> Fact {
        let body = Fields::new().with("notice", Value::text(self.topic));
        let by_order = || self.tid.as_deref().map(|tid| self.order_cell(tid));
        let subject = self.buyer().or_else(by_order).unwrap_or_else(|| self.shop_cell());
        Fact { kind: Kind::ChannelNotice, subject: vec![subject], actor: Actor::System, body }
    }

    /// The buyer and the order; where the message names no buyer the order alone, which learns him from another.
    fn order_subject(&self, tid: &str) -> Vec<IdKey> {
        self.buyer().into_iter().chain([self.order_cell(tid)]).collect()
    }

    fn buyer(&self) -> Option<IdKey> {
        let open_uid = json::text(self.content, "buyer_open_uid")?;
        Some(IdKey::new(IdKind::TbOpenUid, &self.account.app_key, open_uid))
    }

    fn order_cell(&self, tid: &str) -> IdKey {
        IdKey::new(IdKind::Order, format!("{SCOPE}:{}", self.seller), tid)
    }

    fn shop_cell(&self) -> IdKey {
        account_cell(SCOPE, self.seller)
    }
}

fn fen(object: &Json, name: &str) -> Option<Value> {
    json::fen(object, name).and_then(Number::from_integer).map(Value::Number)
}
