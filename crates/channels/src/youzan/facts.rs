//! What a push tells: kind, subject, fields, time. Types not known here become notices.

use crate::account::Youzan;
use crate::decoded::{Fact, account_cell, hex, put, put_text};
use crate::json;
use md5::{Digest, Md5};
use serde_json::Value as Json;
use touchline_model::event::Actor;
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::time::{Time, Zone};
use touchline_model::value::{Fields, Number, Value};

/// Scope of Youzan's own user ids.
const SCOPE: &str = "youzan";

/// A push, told.
pub(super) struct Told {
    pub(super) fact: Fact,
    pub(super) occurred_at: Option<Time>,
    pub(super) dedupe: Dedupe,
}

/// What makes a second push the same event.
pub(super) enum Dedupe {
    /// The message id, else type, shop, id and version.
    Push,
    /// The refund and the phase, across both families of types.
    Refund { refund_id: String },
}

/// Tells one push. `msg` is decoded already.
pub(super) fn tell(account: &Youzan, shop: &str, push: &Json, msg: &Json) -> Told {
    let teller = Teller { account, shop, push, msg, order: msg.get("full_order_info").unwrap_or(&Json::Null) };
    let event_type = json::text(push, "type").unwrap_or_default();
    if let Some(kind) = refund_kind(&event_type).filter(|_| json::text(msg, "refund_id").is_some()) {
        return teller.refund(kind);
    }
    if let Some(kind) = order_kind(&event_type).filter(|_| teller.order_id().is_some()) {
        return teller.order(kind, &event_type);
    }
    let fact = match event_type.as_str() {
        "SCRM_CUSTOMER_EVENT" => teller.member(),
        "SCRM_CUSTOMER_CARD" => teller.card(),
        "POINTS" => teller.points(),
        "COUPON_CUSTOMER_PROMOTION" => teller.coupon(),
        _ => None,
    };
    let fact = fact.unwrap_or_else(|| teller.notice(&event_type));
    Told { fact, occurred_at: teller.time(msg, &["event_time", "update_time"]), dedupe: Dedupe::Push }
}

fn order_kind(event_type: &str) -> Option<Kind> {
    let name = event_type.strip_prefix("trade_Trade")?;
    Some(match name {
        "Create" => Kind::OrderCreated,
        "Paid" => Kind::OrderPaid,
        "BuyerPay" => Kind::OrderReadyToShip,
        "SellerShip" | "PartlySellerShip" => Kind::OrderShipped,
        "Success" => Kind::OrderCompleted,
        "Close" => Kind::OrderClosed,
        _ => Kind::OrderChanged,
    })
}

/// Both families: `trade_refund_*` and the newer `youzan_trade_Refund*`.
fn refund_kind(event_type: &str) -> Option<Kind> {
    let phase = event_type.strip_prefix("trade_refund_").or(event_type.strip_prefix("youzan_trade_"))?;
    Some(match phase {
        "BuyerCreated" | "RefundCreated" => Kind::RefundRequested,
        // The platform itself decided to refund; the money arrives with RefundSuccess.
        "RefundSellerAgree" | "SysRefund" => Kind::RefundAgreed,
        "RefundSellerRefuse" => Kind::RefundRefused,
        "RefundBuyerReturnGoods" => Kind::RefundReturned,
        "RefundSuccess" => Kind::RefundSucceeded,
        "RefundClosed" => Kind::RefundClosed,
        _ => return None,
    })
}

struct Teller<'a> {
    account: &'a Youzan,
    shop: &'a str,
    push: &'a Json,
    msg: &'a Json,
    /// `full_order_info`, where the type carries it.
    order: &'a Json,
}

impl Teller<'_> {
    fn order_id(&self) -> Option<String> {
        let info = self.order.get("order_info").and_then(|info| json::text(info, "tid"));
        info.or_else(|| json::text(self.msg, "tid")).or_else(|| json::text(self.push, "id"))
    }

    fn shop_scope(&self) -> String {
        format!("{SCOPE}:{}", self.shop)
    }

    fn order_cell(&self, tid: String) -> IdKey {
        IdKey::new(IdKind::Order, self.shop_scope(), tid)
    }

    /// The buyer, wherever the type puts it.
    fn buyer(&self) -> Option<IdKey> {
        let info = self.order.get("buyer_info").unwrap_or(&Json::Null);
        let open_id = [info, self.msg, self.push].into_iter().find_map(|part| json::text(part, "yz_open_id"))?;
        Some(IdKey::new(IdKind::YzOpenId, SCOPE, open_id))
    }

    /// Buyer, order, WeChat open id; without a buyer the order's own cell, which learns him from another push.
    fn order_subject(&self, tid: String) -> Vec<IdKey> {
        let mut subject: Vec<IdKey> = self.buyer().into_iter().collect();
        subject.push(self.order_cell(tid));
        let info = self.order.get("buyer_info").unwrap_or(&Json::Null);
        subject.extend(json::text(info, "outer_user_id").map(|id| IdKey::new(IdKind::WxOpenid, SCOPE, id)));
        subject
    }

    /// The first of these members that holds a time of China's clock. Absent ones come as `""` or `{}`.
    fn time(&self, object: &Json, names: &[&str]) -> Option<Time> {
        names.iter().find_map(|name| Zone::SHANGHAI.parse_local(&json::text(object, name)?))
    }

    fn order(&self, kind: Kind, event_type: &str) -> Told {
        let tid = self.order_id().unwrap_or_default();
        let part = |name| self.order.get(name).unwrap_or(&Json::Null);
        let (info, pay, address) = (part("order_info"), part("pay_info"), part("address_info"));
        let paid_at = self.time(info, &["pay_time"]);
        let tags = info.get("order_tags").unwrap_or(&Json::Null);
        let is_paid = paid_at.is_some() || json::flag(tags, "is_payed") == Some(true);
        let mut body = Fields::new();
        put_text(&mut body, "order_id", Some(&tid));
        put_text(&mut body, "shop", Some(self.shop));
        put(&mut body, "lines", lines(self.order, is_paid));
        put(&mut body, "total_fen", fen(pay, "total_fee"));
        put(&mut body, "post_fen", fen(pay, "post_fee"));
        // Before payment `payment` is what is to be paid.
        put(&mut body, "paid_fen", fen(pay, "payment").filter(|_| is_paid));
        put(&mut body, "created_at", self.time(info, &["created"]).map(Value::Time));
        put(&mut body, "paid_at", paid_at.map(Value::Time));
        put(&mut body, "completed_at", self.time(info, &["success_time"]).map(Value::Time));
        let status = json::text(info, "status").or_else(|| json::text(self.push, "status"));
        put_text(&mut body, "status_native", status.as_deref());
        let source = part("source_info").get("source").and_then(|source| json::text(source, "platform"));
        put_text(&mut body, "source", source.as_deref());
        // Ciphertext (`$…$1$`) as it came: this crate holds no key to it.
        put_text(&mut body, "receiver", json::text(address, "receiver_name").as_deref());
        put_text(&mut body, "address", json::text(address, "delivery_address").as_deref());
        put_text(&mut body, "remark", json::text(part("remark_info"), "buyer_message").as_deref());
        match kind {
            Kind::OrderShipped => body.set("partial", Value::Bool(event_type == "trade_TradePartlySellerShip")),
            Kind::OrderClosed => {
                put_text(&mut body, "reason", json::text(self.msg, "close_reason").as_deref());
                put(&mut body, "before_pay", self.before_pay(info, is_paid).map(Value::Bool));
            }
            _ => {}
        }
        let occurred_at = match kind {
            Kind::OrderCreated => self.time(info, &["created"]),
            Kind::OrderPaid | Kind::OrderReadyToShip => paid_at,
            Kind::OrderShipped => self.time(info, &["consign_time"]),
            Kind::OrderCompleted => self.time(info, &["success_time"]),
            _ => None,
        };
        let occurred_at = occurred_at.or_else(|| self.time(info, &["update_time"]));
        let occurred_at = occurred_at.or_else(|| self.time(self.msg, &["update_time"]));
        let actor = match kind {
            Kind::OrderCreated | Kind::OrderPaid | Kind::OrderReadyToShip => Actor::Customer,
            _ => Actor::Unknown,
        };
        let fact = Fact { kind, subject: self.order_subject(tid), actor, body };
        Told { fact, occurred_at, dedupe: Dedupe::Push }
    }

    /// Close types: 1 expired unpaid; 2 and 6 refunded; the others tell only by what the order shows.
    fn before_pay(&self, info: &Json, is_paid: bool) -> Option<bool> {
        let close_type = json::integer(self.msg, "close_type").or_else(|| json::integer(info, "close_type"));
        match close_type {
            Some(1) => Some(true),
            Some(2 | 6) => Some(false),
            _ if info.is_object() => Some(!is_paid),
            _ => None,
        }
    }

    fn refund(&self, kind: Kind) -> Told {
        let refund_id = json::text(self.msg, "refund_id").unwrap_or_default();
        let tid = self.order_id();
        let mut body = Fields::new().with("refund_id", Value::text(refund_id.as_str()));
        put_text(&mut body, "order_id", tid.as_deref());
        put(&mut body, "line_ids", line_ids(self.msg));
        put(&mut body, "amount_fen", fen(self.msg, "refunded_fee"));
        put_text(&mut body, "type", json::text(self.msg, "refund_type").as_deref());
        put_text(&mut body, "phase", kind.name().strip_prefix("refund."));
        put_text(&mut body, "remark", json::text(self.msg, "refund_reason_desc").as_deref());
        let actor = if kind == Kind::RefundRequested { Actor::Customer } else { Actor::Unknown };
        let subject = tid.map_or_else(|| vec![self.shop_cell()], |tid| self.order_subject(tid));
        let occurred_at = self.time(self.msg, &["update_time"]);
        Told { fact: Fact { kind, subject, actor, body }, occurred_at, dedupe: Dedupe::Refund { refund_id } }
    }

    fn shop_cell(&self) -> IdKey {
        account_cell(SCOPE, self.shop)
    }

    fn status(&self) -> String {
        json::text(self.push, "status").unwrap_or_default().to_ascii_uppercase()
    }

    fn member(&self) -> Option<Fact> {
        let kind = match self.status().as_str() {
            _ if json::flag(self.msg, "is_log_off") == Some(true) => Kind::MemberLoggedOff,
            "CUSTOMER_CREATED" => Kind::MemberRegistered,
            "CUSTOMER_UPDATED" => Kind::MemberUpdated,
            _ => return None,
        };
        let mut body = Fields::new();
        put_text(&mut body, "name", json::text(self.msg, "name").as_deref());
        // Old pushes name an account id instead of the open id; scoped by shop it cannot be taken for one.
        let account_id = json::text(self.msg, "account_id");
        let by_account = || account_id.map(|id| IdKey::new(IdKind::YzOpenId, self.shop_scope(), id));
        let subject = self.buyer().or_else(by_account)?;
        Some(Fact { kind, subject: vec![subject], actor: Actor::Unknown, body })
    }

    fn card(&self) -> Option<Fact> {
        let kind = match self.status().as_str() {
            "CUSTOMER_CARD_TAKEN" => Kind::CardTaken,
            "CUSTOMER_CARD_GIVEN" => Kind::CardGiven,
            "CUSTOMER_CARD_DELETED" => Kind::CardDeleted,
            _ => return None,
        };
        let card_no = json::text(self.msg, "card_no")?;
        let mut body = Fields::new();
        put_text(&mut body, "card_no", Some(&card_no));
        put_text(&mut body, "alias", json::text(self.msg, "card_alias").as_deref());
        let mut subject: Vec<IdKey> = self.buyer().into_iter().collect();
        subject.push(IdKey::new(IdKind::MemberCard, self.shop_scope(), card_no));
        Some(Fact { kind, subject, actor: Actor::Unknown, body })
    }

    fn points(&self) -> Option<Fact> {
        let mut body = Fields::new();
        put(&mut body, "delta", number(self.msg, "amount"));
        put(&mut body, "total", number(self.msg, "total"));
        // Our own writes come back with the digest of our client id.
        let ours = hex(&Md5::digest(&self.account.client_id));
        let by_us = json::text(self.msg, "client_hash").map(|hash| Value::Bool(hash == ours));
        put(&mut body, "by_us", by_us);
        Some(Fact { kind: Kind::PointsChanged, subject: vec![self.buyer()?], actor: Actor::System, body })
    }

    fn coupon(&self) -> Option<Fact> {
        let status = self.status();
        let kind = match status.as_str() {
            status if status.contains("TAKE") => Kind::CouponTaken,
            status if status.contains("CONSUME") => Kind::CouponUsed,
            status if status.contains("BACK") => Kind::CouponReturned,
            _ => return None,
        };
        let mut body = Fields::new();
        let coupon_id = json::text(self.msg, "id").or_else(|| json::text(self.push, "id"));
        put_text(&mut body, "coupon_id", coupon_id.as_deref());
        put_text(&mut body, "group", json::text(self.msg, "coupon_group_id").as_deref());
        Some(Fact { kind, subject: vec![self.buyer()?], actor: Actor::Customer, body })
    }

    /// Kept raw under the closest cell: the buyer's, the order's, the shop's.
    fn notice(&self, event_type: &str) -> Fact {
        let body = Fields::new().with("notice", Value::text(event_type));
        let by_order = || json::text(self.msg, "tid").map(|tid| self.order_cell(tid));
        let subject = self.buyer().or_else(by_order).unwrap_or_else(|| self.shop_cell());
        Fact { kind: Kind::ChannelNotice, subject: vec![subject], actor: Actor::System, body }
    }
}

fn lines(order: &Json, is_paid: bool) -> Option<Value> {
    let mut lines = Vec::new();
    for line in order.get("orders")?.as_array()? {
        let text = |name| json::text(line, name);
        let mut fields = Fields::new();
        put_text(&mut fields, "line_id", text("oid").as_deref());
        put_text(&mut fields, "item_id", text("item_id").as_deref());
        // Items without variants say 0.
        put_text(&mut fields, "sku_id", text("sku_id").filter(|id| id != "0").as_deref());
        put_text(&mut fields, "outer_sku", text("outer_sku_id").as_deref());
        put_text(&mut fields, "title", text("title").as_deref());
        put(&mut fields, "qty", number(line, "num"));
        put(&mut fields, "unit_price_fen", fen(line, "price"));
        put(&mut fields, "paid_fen", fen(line, "payment").filter(|_| is_paid));
        lines.push(Value::Record(fields));
    }
    Some(Value::List(lines))
}

/// An array of ids, or one text with commas.
fn line_ids(msg: &Json) -> Option<Value> {
    let ids: Vec<String> = match msg.get("oids")? {
        Json::Array(ids) => ids.iter().filter_map(json::as_text).collect(),
        other => json::as_text(other)?.split(',').map(|id| id.trim().to_owned()).collect(),
    };
    (!ids.is_empty()).then(|| Value::List(ids.into_iter().map(Value::text).collect()))
}

fn fen(object: &Json, name: &str) -> Option<Value> {
    json::fen(object, name).and_then(Number::from_integer).map(Value::Number)
}

fn number(object: &Json, name: &str) -> Option<Value> {
    json::text(object, name).and_then(|text| Number::parse(&text)).map(Value::Number)
}
