//! Whether an event fits a pattern, and what an order's lines say.

use super::Event;
use crate::language::Plant;
use crate::language::book::{CHATS, Compare, Days, Line, Literal, PRODUCTS, Pattern, Product, Test};

/// Whether an event fits a pattern.
pub(super) fn fits(pattern: &Pattern, event: &Event, plant: Option<Plant>) -> bool {
    event.name == pattern.event
        && pattern.tests.iter().all(|(field, test)| {
            if let Some(field) = field.strip_prefix("any_line.") {
                return has_line(event.lines(), field, test, plant);
            }
            if *field == "product" {
                let about = event.field("content_id").and_then(Literal::text).unwrap_or_default();
                return test.holds_of_any(products(about, about).map(|product| Literal::Text(product.id)));
            }
            if *field == "group_kind" {
                let kind = CHATS.iter().find(|chat| event.field("group") == Some(&Literal::Text(chat.0)));
                return test.holds(kind.map(|chat| Literal::Text(chat.2)).as_ref());
            }
            let value = event.field(field);
            // Declared as a number: of another type it fits no test.
            let is_other = *field == "score" && value.is_some_and(|value| value.number().is_none());
            !is_other && test.holds(value)
        })
}

/// Whether any line is so; that none is equal where it is asked for another value.
fn has_line(lines: &[Line], field: &str, test: &Test, plant: Option<Plant>) -> bool {
    if plant == Some(Plant::AnyOtherLine) && matches!(test, Test::Is(Compare::Ne, _)) {
        return lines.iter().any(|line| test.holds_of_any(values(line, field, plant).into_iter()));
    }
    test.holds_of_any(lines.iter().flat_map(|line| values(line, field, plant)))
}

/// What a line has where it is asked: one value, or none; every product that it is.
fn values(line: &Line, field: &str, plant: Option<Plant>) -> Vec<Literal> {
    match field {
        "sku" => sku(line, plant).map(Literal::Text).into_iter().collect(),
        "product" => products_of_line(line, plant).map(|product| Literal::Text(product.id)).collect(),
        field => of_line(line, field).cloned().into_iter().collect(),
    }
}

fn of_line<'a>(line: &'a Line, field: &str) -> Option<&'a Literal> {
    line.iter().find(|(known, _)| *known == field).map(|(_, value)| value)
}

/// The merchant's code, and only where there is none the platform's.
fn sku(line: &Line, plant: Option<Plant>) -> Option<&'static str> {
    let text = |field| of_line(line, field).and_then(Literal::text).filter(|text| !text.is_empty());
    let (merchant, platform) = (text("outer_sku"), text("sku_id"));
    if plant == Some(Plant::PlatformSku) { platform.or(merchant) } else { merchant.or(platform) }
}

fn products_of_line(line: &Line, plant: Option<Plant>) -> impl Iterator<Item = &'static Product> {
    let item = of_line(line, "item_id").and_then(Literal::text).unwrap_or_default();
    products(item, sku(line, plant).unwrap_or_default())
}

fn products(item: &str, sku: &str) -> impl Iterator<Item = &'static Product> {
    PRODUCTS.iter().filter(move |product| product.items.contains(&item) || product.skus.contains(&sku))
}

/// How many days are added for an event: none where nothing is known of its lines.
pub(super) fn days(days: Days, event: &Event, plant: Option<Plant>) -> Option<i64> {
    let by_quantity = match days {
        Days::Fixed(days) => return Some(days),
        Days::Lines { by_quantity } => by_quantity && plant != Some(Plant::OneUnitPerLine),
    };
    let of_line = |line: &Line| {
        let half_days = products_of_line(line, plant).find_map(|product| product.half_days)?;
        let quantity = if by_quantity { of_line(line, "qty")?.number()? } else { 1 };
        Some(half_days * quantity)
    };
    let known: Vec<i64> = event.lines().iter().filter_map(of_line).collect();
    (!known.is_empty()).then(|| known.iter().sum::<i64>().div_euclid(2))
}

impl Event {
    pub(super) fn field(&self, name: &str) -> Option<&Literal> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn lines(&self) -> &[Line] {
        if let Some(Literal::Lines(lines)) = self.field("lines") { lines } else { &[] }
    }
}

impl Literal {
    pub(super) const fn number(&self) -> Option<i64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(super) const fn text(&self) -> Option<&'static str> {
        if let Self::Text(text) = self { Some(*text) } else { None }
    }
}

impl Test {
    pub(super) fn holds(&self, value: Option<&Literal>) -> bool {
        match (self, value) {
            (Self::Has, value) => value.is_some(),
            (Self::Is(Compare::Ne, wanted), value) => value != Some(wanted),
            (_, None) => false,
            (Self::Is(Compare::Eq, wanted), Some(value)) => value == wanted,
            (Self::Is(compare, Literal::Number(wanted)), Some(Literal::Number(value))) => compare.holds(value, wanted),
            (Self::In(wanted), Some(Literal::Text(value))) => wanted.contains(value),
            (Self::Range(from, to), Some(Literal::Number(value))) => (from..=to).contains(&value),
            (Self::Words(words), Some(Literal::Text(text))) => words.iter().any(|word| text.contains(word)),
            _ => false,
        }
    }

    /// Of several values any; `!=` is the opposite of `=` here too.
    fn holds_of_any(&self, mut values: impl Iterator<Item = Literal>) -> bool {
        match self {
            Self::Is(Compare::Ne, wanted) => !values.any(|value| value == *wanted),
            test => values.any(|value| test.holds(Some(&value))),
        }
    }
}

impl Compare {
    pub(super) fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ne => left != right,
            Self::Lt => left < right,
            Self::Le => left <= right,
            Self::Gt => left > right,
            Self::Ge => left >= right,
        }
    }
}
