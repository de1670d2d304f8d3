//! The `attributes` section: what is known of a contact beyond tags, and how it comes about.

use crate::bundle::Pattern;
use crate::codes;
use crate::compile::Scope;
use crate::diagnostic::{Sink, did_you_mean};
use crate::documents;
use crate::measure::{End, Reading, Unit};
use crate::reader::{self, Mapping};
use crate::resolve::{Resolver, line_number_field};
use crate::syntax::{self, Argument, Call};
use crate::yaml::{Node, NodeKind, Scalar};
use touchline_model::directory::Directory;
use touchline_model::event::{Event, FieldRef};
use touchline_model::time::{Time, Zone};
use touchline_model::value::{Number, Value};

/// An attribute of contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The playbook that declares it.
    pub playbook: String,
    /// What it holds.
    pub ty: AttributeType,
    /// How its value comes about.
    pub reading: Reading,
    /// What an event leads to.
    pub computed: Option<DateAdd>,
    /// Whether an action may set it.
    pub is_set: bool,
}

/// What an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AttributeType {
    Text,
    Number,
    Bool,
    Time,
    /// Whatever the profile says: text for equality, number for order.
    Untyped,
}

/// A date computed when an event comes: its calendar day and so many days more, at the same clock time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateAdd {
    /// The event.
    pub from: Pattern,
    /// The first of them, or each new one.
    pub end: End,
    /// How many days.
    pub days: Days,
    /// Whose calendar.
    pub zone: Zone,
}

/// How many days are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Days {
    /// So many.
    Fixed(i64),
    /// The sum over the order's lines of these, multiplied.
    Lines(Vec<Factor>),
}

/// What is multiplied for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Factor {
    /// A number of the line.
    Field(String),
    /// How long a unit of the line's product lasts, by the directory.
    DaysPerUnit,
}

/// Most days that are added.
const DAYS_MAX: i64 = 36_500;

impl DateAdd {
    /// Whether an event at `at` counts, when the date is of one at `known`.
    pub fn takes(&self, known: Option<Time>, at: Time) -> bool {
        match self.end {
            End::First => known.is_none_or(|known| at < known),
            End::Last => known.is_none_or(|known| known <= at),
        }
    }

    /// The date that an event at `at` gives; `None` when nothing is known of its lines.
    pub fn date(&self, event: &Event, at: Time, directory: &Directory) -> Option<Time> {
        let days = match &self.days {
            Days::Fixed(days) => *days,
            Days::Lines(factors) => sum_of_lines(event, factors, directory)?,
        };
        Some(self.zone.plus_days(at, days.clamp(-DAYS_MAX, DAYS_MAX)))
    }
}

/// Whole days, rounded down; a line of which a factor is not known adds nothing.
fn sum_of_lines(event: &Event, factors: &[Factor], directory: &Directory) -> Option<i64> {
    let Some(FieldRef::Value(Value::List(lines))) = event.field("lines") else { return None };
    let mut sum: Option<i64> = None;
    for line in lines {
        let Value::Record(line) = line else { continue };
        let item = line.text("item_id").unwrap_or_default();
        let sku = line.text("outer_sku").filter(|sku| !sku.is_empty()).or_else(|| line.text("sku_id"));
        let mut products = directory.products_of(item, sku.unwrap_or_default());
        let per_unit = products.find_map(|(_, product)| product.days_per_unit);
        let product = factors.iter().try_fold(i128::from(Number::ONE), |product, factor| {
            let factor = match factor {
                Factor::DaysPerUnit => per_unit?,
                Factor::Field(name) => match line.get(name)? {
                    Value::Number(number) => *number,
                    _ => return None,
                },
            };
            product.checked_mul(i128::from(factor.0)).map(|product| product / i128::from(Number::ONE))
        });
        if let Some(product) = product {
            let product = i64::try_from(product).unwrap_or(i64::MAX);
            sum = Some(sum.unwrap_or(0).saturating_add(product));
        }
    }
    sum.map(|sum| sum.div_euclid(Number::ONE))
}

/// Reads the section: name and attribute, in order.
pub(crate) fn read<'n>(node: &'n Node, scope: &Scope<'_>, sink: &mut Sink) -> Vec<(&'n Scalar, Attribute)> {
    let mut attributes = Vec::new();
    for (name, node) in reader::named(node, "attributes", sink) {
        let path = reader::join("attributes", &name.text);
        if name.text.starts_with("profile.") {
            let message = "names that begin with `profile.` are those of profile fields".to_owned();
            sink.report(codes::ID, name.place, &path, message, None);
        } else if reader::check_id(name, &path, sink)
            && let Some(attribute) = attribute(name, node, &path, scope, sink)
        {
            attributes.push((name, attribute));
        }
    }
    attributes
}

fn attribute(name: &Scalar, node: &Node, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Option<Attribute> {
    let playbook = scope.document.id.clone();
    let of = |ty, reading| Some(Attribute { playbook: playbook.clone(), ty, reading, computed: None, is_set: false });
    if let NodeKind::Scalar(scalar) = &node.kind {
        let (call, _) = reader::expression(node, path, false, sink, syntax::attribute)?;
        return match call {
            None => of(AttributeType::Untyped, Reading::Kept(profile_field(scalar, path, sink)?)),
            Some(call) => of(AttributeType::Time, moment(&call, scalar, path, scope, sink)?),
        };
    }
    let mut map = Mapping::open(node, &documents::ATTRIBUTE, path, sink)?;
    let place = map.place();
    if let NodeKind::Map(entries) = &node.kind
        && entries.iter().filter(|(key, _)| documents::ATTRIBUTE.key(&key.text).is_some()).count() > 1
    {
        let message = "an attribute has one definition".to_owned();
        sink.report(codes::SHAPE, place, path, message, None);
        return None;
    }
    let elapsed = [("months_since", Unit::Months), ("days_since", Unit::Days), ("years_since", Unit::Years)];
    let mut found = None;
    for (key, unit) in elapsed {
        if let Some(field) = map.text(key, sink) {
            let from = profile_field(field, path, sink)?;
            let zone = scope.document.zone;
            found = of(AttributeType::Number, Reading::Elapsed { from, unit, zone });
        }
    }
    if let Some(node) = map.take("date_add") {
        let computed = date_add(node, &reader::join(path, "date_add"), scope, sink)?;
        let kept = of(AttributeType::Time, Reading::Kept(name.text.clone()))?;
        found = Some(Attribute { computed: Some(computed), ..kept });
    }
    if let Some(ty) = map.text("type", sink) {
        let ty = type_of(ty, path, sink)?;
        let kept = of(ty, Reading::Kept(name.text.clone()))?;
        found = Some(Attribute { is_set: true, ..kept });
    }
    map.done(sink);
    if found.is_none() {
        let hint = "write a field (profile.city), last(…), {months_since: …}, {date_add: …} or {type: text}".to_owned();
        sink.report(codes::MISSING_KEY, place, path, "the attribute has no definition".into(), Some(hint));
    }
    found
}

fn type_of(ty: &Scalar, path: &str, sink: &mut Sink) -> Option<AttributeType> {
    Some(match ty.text.as_str() {
        "text" => AttributeType::Text,
        "number" => AttributeType::Number,
        "bool" => AttributeType::Bool,
        "time" => AttributeType::Time,
        other => {
            let hint = did_you_mean(other, documents::TYPES)
                .or_else(|| Some("types are text, number, bool and time".to_owned()));
            sink.report(codes::VALUE, ty.place, path, format!("there is no type `{other}`"), hint);
            return None;
        }
    })
}

/// `profile.city`: what `profile.updated` says of `city`, under the name it is kept.
fn profile_field(field: &Scalar, path: &str, sink: &mut Sink) -> Option<String> {
    let is_one = field.text.strip_prefix("profile.").is_some_and(|name| !name.is_empty() && !name.contains("${"));
    if !is_one {
        let hint = Some("write profile.city, for the field `city` of profile.updated".to_owned());
        sink.report(codes::UNDEFINED_FIELD, field.place, path, format!("`{}` is no profile field", field.text), hint);
    }
    is_one.then(|| field.text.clone())
}

fn moment(call: &Call, scalar: &Scalar, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Option<Reading> {
    let mut resolver = Resolver::new(scope.names);
    let out = resolver.moment(call);
    resolver.problems.into_iter().for_each(|problem| reader::syntax_error(scalar, path, problem, sink));
    out.map(|(of, end)| Reading::Moment { of, end })
}

fn date_add(node: &Node, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Option<DateAdd> {
    let mut map = Mapping::open(node, &documents::DATE_ADD, path, sink)?;
    let from = map.require("from", sink);
    let days = map.require("days", sink);
    map.done(sink);
    let (from, from_scalar) = reader::expression(from?, path, false, sink, syntax::attribute)?;
    let Some(from) = from else {
        let hint = Some("write from: last(order.paid)".to_owned());
        sink.report(codes::VALUE, from_scalar.place, path, "`from` is a moment: last(…) or first(…)".into(), hint);
        return None;
    };
    let mut resolver = Resolver::new(scope.names);
    let pattern = resolver.moment_pattern(&from);
    resolver.problems.into_iter().for_each(|problem| reader::syntax_error(from_scalar, path, problem, sink));
    let (pattern, end) = pattern?;
    let days = days_of(days?, path, &pattern, sink)?;
    Some(DateAdd { from: pattern, end, days, zone: scope.document.zone })
}

fn days_of(node: &Node, path: &str, from: &Pattern, sink: &mut Sink) -> Option<Days> {
    let scalar = reader::text(node, path, sink)?;
    if let Ok(days) = scalar.text.parse::<i64>() {
        if !(-DAYS_MAX..=DAYS_MAX).contains(&days) {
            sink.report(codes::VALUE, scalar.place, path, format!("at most {DAYS_MAX} days are added"), None);
            return None;
        }
        return Some(Days::Fixed(days));
    }
    let (call, scalar) = reader::expression(node, path, false, sink, syntax::attribute)?;
    let factors = match call.as_ref().map(|call| (call.signature.name, call.arguments.first())) {
        Some(("sum_lines", Some(Argument::Product(factors)))) => factors,
        _ => {
            let hint = Some("write a whole number, or sum_lines(qty * product.days_per_unit)".to_owned());
            sink.report(codes::VALUE, scalar.place, path, "these are no days".into(), hint);
            return None;
        }
    };
    if !from.event.starts_with("order.") {
        sink.report(codes::TYPE, scalar.place, path, format!("events `{}` have no lines", from.event), None);
        return None;
    }
    let mut out = Vec::new();
    for factor in factors {
        if factor.text == "product.days_per_unit" {
            out.push(Factor::DaysPerUnit);
        } else if line_number_field(&factor.text) {
            out.push(Factor::Field(factor.text.clone()));
        } else {
            let hint = Some("numbers of a line are qty, unit_price_fen and paid_fen; product.days_per_unit".to_owned());
            let message = format!("`{}` is no number of an order line", factor.text);
            sink.report(codes::UNDEFINED_FIELD, scalar.place_of(factor.at), path, message, hint);
            return None;
        }
    }
    Some(Days::Lines(out))
}
