//! The JSON schema of the open door and one example per kind, both made from the taxonomy.

use super::{BATCH_EVENTS_MAX, MEMBERS, admit};
use serde_json::{Map, Value as Json, json};
use touchline_model::event::Channel;
use touchline_model::id::IdKind;
use touchline_model::kind::Kind;
use touchline_model::taxonomy::{self, Field, FieldType, OpenSet};

/// An event of `kind` that is accepted as it stands, with every field set; `None` for kinds that do not come from
/// outside.
pub fn example(kind: Kind) -> Option<Json> {
    admit(kind).ok()?;
    let mut fields: Map<String, Json> =
        taxonomy::fields(kind).iter().map(|field| (field.name.to_owned(), sample(field.name, field.ty))).collect();
    match kind {
        Kind::Custom => fields.extend(object(json!({"course": "入门课", "score": 92.5}))),
        Kind::ProfileUpdated => fields.extend(object(json!({"baby_birthday": "2026-01-15", "city": "杭州"}))),
        Kind::FormSubmitted => fields.extend(object(json!({"budget": "5000", "interests": ["面霜", "精华"]}))),
        _ => {}
    }
    let mut event = json!({
        "kind": kind.name(), "tenant": "acme", "source": "example", "id": format!("example-{kind}"),
        "occurred_at": "2026-03-02T10:00:00+08:00", "subject": subject(kind), "fields": fields,
    });
    if kind == Kind::Custom {
        event["name"] = json!("lesson.finished");
    }
    Some(event)
}

/// JSON schema (draft 2020-12) of a request: an event, an array of events, or `{"events": […]}`.
pub fn json_schema() -> Json {
    let admitted = || Kind::ALL.iter().filter(|kind| admit(**kind).is_ok());
    let mut definitions: Map<String, Json> =
        admitted().map(|kind| (kind.name().to_owned(), kind_schema(*kind))).collect();
    let of_kind: Vec<Json> = admitted().map(|kind| json!({"$ref": format!("#/$defs/{kind}")})).collect();
    definitions
        .insert("time".into(), json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}]}));
    definitions.insert("envelope".into(), envelope_schema());
    definitions.insert("event".into(), json!({"allOf": [{"$ref": "#/$defs/envelope"}, {"oneOf": of_kind}]}));
    let events = json!({"type": "array", "items": {"$ref": "#/$defs/event"}, "maxItems": BATCH_EVENTS_MAX});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Touchline events: POST /v1/events",
        "anyOf": [
            {"$ref": "#/$defs/event"},
            events,
            {"type": "object", "properties": {"events": events}, "required": ["events"], "additionalProperties": false},
        ],
        "$defs": definitions,
    })
}

fn envelope_schema() -> Json {
    let name = json!({"type": "string", "minLength": 1, "maxLength": 256});
    let kinds: Vec<&str> = Kind::ALL.iter().filter(|kind| admit(**kind).is_ok()).map(|kind| kind.name()).collect();
    let channels: Vec<&str> =
        Channel::ALL.into_iter().filter(|channel| *channel != Channel::Internal).map(Channel::name).collect();
    let id_kinds: Vec<&str> = IdKind::ALL.into_iter().map(IdKind::name).collect();
    let id = json!({
        "type": "object", "additionalProperties": false, "required": ["kind", "scope", "value"],
        "properties": {
            "kind": {"enum": id_kinds}, "scope": {"type": "string"}, "value": {"type": "string", "minLength": 1},
        },
    });
    let mut properties: Map<String, Json> = MEMBERS.iter().map(|member| ((*member).to_owned(), name.clone())).collect();
    properties.extend(object(json!({
        "kind": {"enum": kinds},
        "channel": {"enum": channels, "default": Channel::Api.name()},
        "occurred_at": {"$ref": "#/$defs/time"},
        "append_time": {"$ref": "#/$defs/time"},
        "subject": {"type": "array", "items": id, "minItems": 1, "maxItems": 16},
        "actor": {
            "type": "object", "required": ["type"],
            "properties": {
                "type": {"enum": ["customer", "staff", "system", "api", "unknown"]}, "id": {"type": "string"},
            },
        },
        "fields": {"type": "object"},
    })));
    json!({
        "type": "object", "additionalProperties": false, "properties": properties,
        "required": ["kind", "tenant", "source", "subject"],
    })
}

fn kind_schema(kind: Kind) -> Json {
    let mut fields = record_schema(taxonomy::fields(kind));
    fields["additionalProperties"] = json!(taxonomy::open(kind) != OpenSet::Closed);
    let mut required = vec![json!("kind")];
    if kind == Kind::Custom {
        required.push(json!("name"));
    }
    let mut properties = json!({"kind": {"const": kind.name()}, "fields": fields});
    if matches!(kind, Kind::IdentityLinked | Kind::IdentityUnlinked) {
        properties["subject"] = json!({"minItems": 2});
    }
    json!({"properties": properties, "required": required})
}

fn record_schema(fields: &[Field]) -> Json {
    let properties: Map<String, Json> =
        fields.iter().map(|field| (field.name.to_owned(), type_schema(field.ty))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn type_schema(ty: FieldType) -> Json {
    match ty {
        FieldType::Text => json!({"type": "string"}),
        FieldType::Word(words) => json!({"enum": words}),
        FieldType::Number => json!({"type": "number"}),
        FieldType::Bool => json!({"type": "boolean"}),
        FieldType::Time => json!({"$ref": "#/$defs/time"}),
        FieldType::List(inner) => json!({"type": "array", "items": type_schema(*inner), "maxItems": 1_000}),
        FieldType::Record(fields) => record_schema(fields),
        FieldType::Open => json!({"type": "object"}),
    }
}

/// Whom an example is about: the group for what befalls a group, order and buyer for orders, else a customer.
fn subject(kind: Kind) -> Json {
    let customer = json!({"kind": "wecom_external_userid", "scope": "wwcorp", "value": "wmXYZ"});
    let buyer = json!({"kind": "yz_open_id", "scope": "youzan", "value": "yz-open-1"});
    let group = json!({"kind": "group", "scope": "wwcorp", "value": "wrABC"});
    match kind {
        Kind::IdentityLinked | Kind::IdentityUnlinked => json!([customer, buyer]),
        Kind::GroupJoined | Kind::GroupLeft => json!([customer, group]),
        _ => match kind.name().split('.').next().unwrap_or_default() {
            "group" => json!([group]),
            "order" | "refund" => {
                json!([buyer, {"kind": "order", "scope": "youzan:111301484", "value": "E20260302100000000000001"}])
            }
            _ => json!([customer]),
        },
    }
}

fn sample(name: &str, ty: FieldType) -> Json {
    match ty {
        FieldType::Text => json!(sample_text(name)),
        FieldType::Word(words) => json!(words[0]),
        FieldType::Number => json!(sample_number(name)),
        FieldType::Bool => json!(true),
        FieldType::Time => json!("2026-03-02T10:00:00+08:00"),
        FieldType::List(inner) => json!([sample(name, *inner)]),
        FieldType::Record(fields) => fields
            .iter()
            .map(|field| (field.name.to_owned(), sample(field.name, field.ty)))
            .collect::<Map<_, _>>()
            .into(),
        FieldType::Open => json!({"text": "转发的一句话"}),
    }
}

/// A value that reads like a real one; names not listed stand for themselves.
fn sample_text(name: &str) -> &str {
    match name {
        "staff" | "owner" | "inviter" => "zhangsan",
        "member" => "wmXYZ",
        "text" => "你们产品多少钱",
        "remark" => "请周末送货",
        "title" => "保湿面霜 50g",
        "url" => "https://shop.example/price-list",
        "msg_type" => "text",
        "order_id" | "order" => "E20260302100000000000001",
        "shop" => "111301484",
        "line_ids" | "line_id" => "2893201869893533901",
        "item_id" => "2019949394",
        "source" => "wx",
        "status_native" => "TRADE_PAID",
        "content_id" | "content" => "price-list",
        "touch_id" => "acme/welcome/1/2/1",
        "name" => "王小姐",
        "state" => "store-7-qr",
        "phase" => "requested",
        "type" => "REFUND_ONLY",
        "reason" => "customer_refused",
        other => other,
    }
}

fn sample_number(name: &str) -> i64 {
    match name {
        "qty" | "count" => 1,
        "errcode" => 0,
        "dwell_ms" => 12_000,
        "progress" => 80,
        "size" => 70_961,
        "post_fen" | "discount_fen" => 0,
        _ => 9_900,
    }
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(members) => members,
        _ => Map::new(),
    }
}
