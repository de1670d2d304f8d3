//! Where a scenario is played.

use touchline_model::command::Command;
use touchline_model::event::Event;
use touchline_model::id::CellKey;
use touchline_model::output::{Contact, Numbered, Outcome, Output};
use touchline_model::time::Time;
use touchline_playbook::metrics::{Metric, Row};

/// Merges followed to find a contact: no real chain is that long.
const MERGES_MAX: usize = 64;

/// Why a run cannot go on. None of it is the playbook's fault.
pub type Broken = String;

/// A command that was refused: code and detail.
pub type Refusal = (String, String);

/// Engines in memory, a log that is replayed, or a running server: whatever takes events and commands, has a clock that
/// only moves when it is told to, and says what came of it.
pub trait World {
    /// Lets time pass until `to`, through every due moment on the way. Never back: a moment that is past is no error.
    fn advance(&mut self, to: Time) -> Result<(), Broken>;
    /// Lets happen what is due now.
    fn settle(&mut self) -> Result<(), Broken>;
    /// Appends an event under its native key, now.
    fn event(&mut self, event: Event) -> Result<(), Broken>;
    /// Gives a command; how it was answered.
    fn command(&mut self, command: Command) -> Result<Result<(), Refusal>, Broken>;
    /// Number of the bundle in force, 0 for none.
    fn active(&mut self, tenant: &str) -> Result<u64, Broken>;
    /// The contact that one of these cells stands for, if anything is known of them, and every cell that does: these
    /// and those they were merged into.
    fn contact(&mut self, cells: Vec<CellKey>) -> Result<(Option<Contact>, Vec<CellKey>), Broken>;
    /// What is counted of a metric.
    fn numbers(&mut self, tenant: &str, metric: &Metric) -> Result<Vec<Row>, Broken>;
    /// Everything said so far, in order; of other tenants, too, where several share the world.
    fn said(&mut self) -> Result<&[Numbered], Broken>;
}

/// Follows merges from cell to cell: the contact of the first that ends at one, and every cell on the ways.
pub fn follow(
    mut cells: Vec<CellKey>,
    mut look: impl FnMut(&CellKey) -> Result<Option<Contact>, Broken>,
) -> Result<(Option<Contact>, Vec<CellKey>), Broken> {
    let mut found = None;
    for mut cell in cells.clone() {
        for _ in 0..MERGES_MAX {
            let Some(contact) = look(&cell)? else { break };
            let Some(to) = contact.merged_into.clone() else {
                found.get_or_insert(contact);
                break;
            };
            cells.push(to.clone());
            cell = to;
        }
    }
    cells.sort();
    cells.dedup();
    Ok((found, cells))
}

/// How a command was answered.
pub fn answer(said: &[Numbered], request_id: &str) -> Option<Result<(), Refusal>> {
    said.iter().rev().find_map(|said| match &said.output {
        Output::CommandResult(result) if result.request_id == request_id => Some(match &result.outcome {
            Outcome::Accepted => Ok(()),
            Outcome::Refused { code, detail, .. } => Err((code.clone(), detail.clone())),
        }),
        _ => None,
    })
}
