//! One condition against the names of a bundle: for segments, boards, API and command line.

use crate::bundle::{Bundle, Condition};
use crate::clocks::Clocks;
use crate::codes::{self, Severity};
use crate::diagnostic::{Diagnostic, Place, Sink};
use crate::resolve::{Names, Owners, Replies, Resolver, Tallies};
use crate::syntax::{self, SyntaxError};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::time::Zone;

/// What [`Diagnostic::source_id`] says for a single expression.
pub const SOURCE_ID: &str = "condition";

/// Parses a condition and resolves its names in the whole bundle. The first problem is given, with line and column
/// in `text`.
///
/// ```
/// use touchline_playbook::{compile::compile, condition};
/// let bundle = compile(&[], 0).expect("an empty bundle");
/// let error = condition::parse("tag(商机/赢单)", &bundle).expect_err("no such group");
/// assert_eq!((error.code, error.line, error.column), ("PB017", 1, 5));
/// ```
#[allow(clippy::result_large_err, reason = "an error is made once per request, and callers want it whole")]
pub fn parse(text: &str, bundle: &Bundle) -> Result<Condition, Diagnostic> {
    if let Some((before, _)) = text.split_once("${") {
        let at = u32::try_from(before.chars().count()).unwrap_or(u32::MAX);
        let message = "a placeholder `${…}` stands only in a rule with for_each".to_owned();
        return Err(locate(text, SyntaxError { code: codes::PLACEHOLDER, at, message, hint: None }));
    }
    let expression = syntax::condition(text).map_err(|error| locate(text, error))?;
    let keyword_sets: BTreeSet<String> = bundle.keywords.sets().iter().cloned().collect();
    let declared = bundle.playbooks.iter().flat_map(|playbook| playbook.events.clone());
    let events: BTreeMap<_, _> = declared.collect();
    let product_of = |(id, content): (&String, &crate::bundle::Content)| Some((id.clone(), content.product.clone()?));
    let contents = bundle.contents.iter().filter_map(product_of).collect();
    let steps = |journey: &crate::bundle::Journey| {
        let touch = |step: &crate::bundle::Step| (format!("{}/{}", journey.id, step.id), journey.playbook.clone());
        journey.steps.iter().map(touch).collect::<Vec<_>>()
    };
    let touches = bundle.journeys.iter().flat_map(steps).collect();
    let names = Names {
        playbook: None,
        uses: &[],
        zone: Zone::SHANGHAI,
        clocks: &Clocks::new(Zone::SHANGHAI),
        groups: &bundle.groups,
        boards: &bundle.boards,
        segments: &bundle.segments,
        segment_owners: None,
        keyword_sets: &keyword_sets,
        events: &events,
        attributes: &bundle.attributes,
        contents: &contents,
        tallies: Tallies::Known(&bundle.tallies),
        waits: None,
        replies: Replies::Known(&bundle.replies),
        touches: &touches,
        owners: &Owners::default(),
        put_in: &std::cell::Cell::new(0),
    };
    let mut resolver = Resolver::new(&names);
    match resolver.condition(&expression) {
        Some(condition) => Ok(condition),
        None => {
            let problem = resolver.problems.into_iter().find(|problem| problem.code.severity == Severity::Error);
            Err(locate(text, problem.expect("without owners and uses every refusal leaves its reason")))
        }
    }
}

fn locate(text: &str, error: SyntaxError) -> Diagnostic {
    let mut at = Place { line: 1, column: 1 };
    for c in text.chars().take(usize::try_from(error.at).unwrap_or(usize::MAX)) {
        at = if c == '\n' { Place { line: at.line + 1, column: 1 } } else { Place { column: at.column + 1, ..at } };
    }
    let mut sink = Sink::new(SOURCE_ID);
    sink.report(error.code, at, "", error.message, error.hint);
    sink.into_found().into_iter().next().expect("just reported")
}
