//! Names in playbooks that the directory should have: pools, bodies of contents, products, groups of customers.
//!
//! The directory is loaded by itself, before a playbook or after it, so a name that it does not have is no mistake.

use crate::codes::{self, Code};
use crate::diagnostic::{Diagnostic, Sink, did_you_mean};
use std::collections::BTreeSet;
use touchline_model::directory::{Directory, Staff};

/// What is looked up.
pub(crate) const CODES: [Code; 4] = [codes::NO_POOL, codes::NO_BODY, codes::NO_PRODUCT, codes::NO_GROUP];

/// Native ids of WeCom's groups begin so; groups need not be listed to be named by those.
const NATIVE_GROUP: &str = "wr";

/// Warns, at its first place, of each name that the directory does not have; once only of a kind that it has nothing of.
pub(crate) fn warn(sink: &mut Sink, directory: &Directory) {
    let mentioned = sink.take_mentioned();
    for code in CODES {
        let (what, known) = listed(code, directory);
        let mut named = BTreeSet::new();
        let is_missing = |found: &Diagnostic| {
            let is_native = code == codes::NO_GROUP && found.message.starts_with(NATIVE_GROUP);
            !known.contains(found.message.as_str()) && !is_native
        };
        let of_code = mentioned.iter().filter(|(of, found)| *of == code && is_missing(found));
        let missing = of_code.filter(|(_, found)| named.insert(found.message.as_str()));
        let missing: Vec<&Diagnostic> = missing.map(|(_, found)| found).collect();
        let shown = if known.is_empty() { missing.len().min(1) } else { missing.len() };
        for found in &missing[..shown] {
            let name = &found.message;
            let (message, hint) = if known.is_empty() {
                let count = missing.len();
                let message = format!("the directory has no {what}; playbooks name {count}, `{name}` first");
                (message, Some("touchline directory load".to_owned()))
            } else {
                let hint = if sink.has_room() { did_you_mean(name, known.iter().copied()) } else { None };
                (format!("the directory has no {what} `{name}`"), hint)
            };
            sink.keep(code, Diagnostic { message, hint, ..(*found).clone() });
        }
    }
}

/// What it is called, and what the directory has of it.
fn listed(code: Code, directory: &Directory) -> (&'static str, BTreeSet<&str>) {
    let active = |staff: &&Staff| staff.active;
    match code {
        codes::NO_POOL => {
            let pools = directory.staff.values().filter(active).flat_map(|staff| &staff.pools);
            ("staff in a pool", pools.map(String::as_str).collect())
        }
        codes::NO_BODY => {
            let contents = directory.contents.iter().filter(|(_, body)| body.is_there());
            ("body of content", contents.map(|(id, _)| id.as_str()).collect())
        }
        codes::NO_PRODUCT => ("product", directory.products.keys().map(String::as_str).collect()),
        _ => {
            let groups = directory.groups.iter().flat_map(|(id, group)| [id, &group.name, &group.kind]);
            ("group, or kind of groups,", groups.map(String::as_str).filter(|name| !name.is_empty()).collect())
        }
    }
}
