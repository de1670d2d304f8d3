//! A contact's past, in snapshots and in the public record.

use crate::v1;
use crate::v1::tally::Kept;
use crate::value::{required, value_in, value_out};
use std::collections::BTreeMap;
use touchline_model::command::TagRef;
use touchline_model::past::{Attribute, Consent, Gone, Happened, Membership, Observed, Occurrence, Past, Sent, Tally};
use touchline_model::record::Undecodable;
use touchline_model::time::Time;
use touchline_model::value::Number;

/// The times of events, and the rest; the second is `None` when there is nothing to say.
pub(crate) fn past_to(past: &Past) -> (Vec<v1::LastTime>, Option<v1::Past>) {
    let Past { happened, tallies, attributes, groups, segments, silences, sent, received, consents, observed, gone } =
        past;
    let observed = observed.iter().flat_map(|(staff, of)| of.iter().map(move |known| observed_to(staff, known)));
    let gone = gone.iter().flat_map(|(group, tags)| {
        tags.iter().map(move |(tag, gone)| v1::GoneTag {
            group: group.clone(),
            tag: tag.clone(),
            at_ms: gone.at.0,
            by_hand: gone.by_hand,
        })
    });
    let sent = sent.iter().map(|sent| v1::SentTouch {
        at_ms: sent.at.0,
        touch: sent.touch.clone(),
        touchpoint: sent.touchpoint.clone(),
    });
    let received = received.iter();
    let consents = consents.iter().map(|(scope, consent)| v1::Consent {
        scope: scope.clone(),
        granted: consent.granted,
        at_ms: consent.at.0,
    });
    let times = happened.iter().map(|(name, happened)| v1::LastTime {
        name: name.clone(),
        at_ms: happened.last.0,
        first_ms: happened.first.0,
        count: happened.count,
    });
    let attributes = attributes.iter().map(|(name, attribute)| v1::Attribute {
        name: name.clone(),
        value: Some(value_out(&attribute.value)),
        at_ms: attribute.at.0,
    });
    let groups = groups.iter().map(|(group, known)| v1::Membership {
        group: group.clone(),
        at_ms: known.at.0,
        inside: known.inside,
    });
    let rest = v1::Past {
        tallies: tallies.iter().map(tally_to).collect(),
        attributes: attributes.collect(),
        groups: groups.collect(),
        segments: segments.iter().cloned().collect(),
        silences: silences.iter().map(|(key, since)| v1::SilenceSince { key: *key, since_ms: since.0 }).collect(),
        sent: sent.collect(),
        received: received.map(|(content, at)| v1::ReceivedContent { content: content.clone(), at_ms: at.0 }).collect(),
        consents: consents.collect(),
        observed: observed.collect(),
        gone: gone.collect(),
    };
    (times.collect(), (rest != v1::Past::default()).then_some(rest))
}

pub(crate) fn past_in(times: Vec<v1::LastTime>, wire: Option<v1::Past>) -> Result<Past, Undecodable> {
    let happened = times.into_iter().map(|wire| {
        let last = Time(wire.at_ms);
        // Before it was counted, only the latest was known.
        let (first, count) = if wire.count == 0 { (last, 1) } else { (Time(wire.first_ms), wire.count) };
        (wire.name, Happened { first, last, count })
    });
    let wire = wire.unwrap_or_default();
    let attributes = wire.attributes.into_iter().map(|wire| {
        let value = required("attribute.value", wire.value)?;
        let value = value_in(required("attribute.value", value.value)?)?;
        Ok((wire.name, Attribute { value, at: Time(wire.at_ms) }))
    });
    let groups = wire.groups.into_iter();
    let mut observed: BTreeMap<String, BTreeMap<String, Observed>> = BTreeMap::new();
    for wire in wire.observed {
        let tag = (!wire.group.is_empty()).then(|| TagRef::new(wire.group, wire.tag));
        let known = Observed { at: Time(wire.at_ms), carried: wire.carried, tag, ours: wire.ours };
        observed.entry(wire.staff).or_default().insert(wire.native_id, known);
    }
    let mut gone: BTreeMap<String, BTreeMap<String, Gone>> = BTreeMap::new();
    for wire in wire.gone {
        let lost = Gone { at: Time(wire.at_ms), by_hand: wire.by_hand };
        gone.entry(wire.group).or_default().insert(wire.tag, lost);
    }
    Ok(Past {
        happened: happened.collect(),
        tallies: wire.tallies.into_iter().map(tally_in).collect::<Result<_, _>>()?,
        attributes: attributes.collect::<Result<_, Undecodable>>()?,
        groups: groups.map(|wire| (wire.group, Membership { at: Time(wire.at_ms), inside: wire.inside })).collect(),
        segments: wire.segments.into_iter().collect(),
        sent: wire.sent.into_iter().map(sent_in).collect(),
        received: wire.received.into_iter().map(|wire| (wire.content, Time(wire.at_ms))).collect(),
        consents: wire.consents.into_iter().map(consent_in).collect(),
        silences: wire.silences.into_iter().map(|wire| (wire.key, Time(wire.since_ms))).collect(),
        observed,
        gone,
    })
}

fn observed_to(staff: &str, (native_id, known): (&String, &Observed)) -> v1::ObservedTag {
    let (group, tag) = known.tag.as_ref().map(|tag| (tag.group.clone(), tag.tag.clone())).unwrap_or_default();
    v1::ObservedTag {
        staff: staff.to_owned(),
        native_id: native_id.clone(),
        at_ms: known.at.0,
        carried: known.carried,
        group,
        tag,
        ours: known.ours,
    }
}

fn sent_in(wire: v1::SentTouch) -> Sent {
    Sent { at: Time(wire.at_ms), touch: wire.touch, touchpoint: wire.touchpoint }
}

fn consent_in(wire: v1::Consent) -> (String, Consent) {
    (wire.scope, Consent { granted: wire.granted, at: Time(wire.at_ms) })
}

fn tally_to((key, tally): (&u64, &Tally)) -> v1::Tally {
    let kept = match tally {
        Tally::Count(count) => Kept::Count(*count),
        Tally::Ends { first, last } => Kept::Ends(v1::Ends { first_ms: first.0, last_ms: last.0 }),
        Tally::Newest(newest) => Kept::Newest(v1::Newest {
            at_ms: newest.iter().map(|occurrence| occurrence.at.0).collect(),
            by: newest.iter().map(|occurrence| occurrence.by.unwrap_or(0)).collect(),
        }),
        Tally::Sum(sum) => Kept::SumMicros(sum.0),
        Tally::Days(days) => Kept::Days(v1::DaySums {
            day: days.keys().copied().collect(),
            sum_micros: days.values().map(|sum| sum.0).collect(),
        }),
    };
    v1::Tally { key: *key, kept: Some(kept) }
}

fn tally_in(wire: v1::Tally) -> Result<(u64, Tally), Undecodable> {
    let tally = match required("tally.kept", wire.kept)? {
        Kept::Count(count) => Tally::Count(count),
        Kept::Ends(ends) => Tally::Ends { first: Time(ends.first_ms), last: Time(ends.last_ms) },
        Kept::Newest(newest) => {
            let by = newest.by.into_iter().map(|by| (by != 0).then_some(by));
            let times = newest.at_ms.into_iter().zip(by);
            Tally::Newest(times.map(|(at, by)| Occurrence { at: Time(at), by }).collect())
        }
        Kept::SumMicros(sum) => Tally::Sum(Number(sum)),
        Kept::Days(days) => Tally::Days(days.day.into_iter().zip(days.sum_micros.into_iter().map(Number)).collect()),
    };
    Ok((wire.key, tally))
}
