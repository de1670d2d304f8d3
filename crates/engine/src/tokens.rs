//! Tokens: made for one order or one person, brought back once.
//!
//! An insert card in a parcel shows a code whose `state` is a token made for the order; a landing page shows one made
//! for its visitor. Whoever adds staff with it, or opens a tracked link that carries it, is the buyer or the visitor:
//! medium evidence. A token used, expired or never made proves nothing, and that is said.

use crate::cell::{Cell, Contact};
use crate::commands::{Refusal, refusal};
use crate::keys;
use crate::links;
use crate::overlay::ViewError;
use crate::work::Work;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::DeadReason;
use touchline_model::record::{Evidence, LoopBody};
use touchline_model::time::Time;
use touchline_model::token;

/// A token is made.
pub(crate) fn mint(
    work: &mut Work<'_, '_>,
    token: &CellKey,
    bearer: &IdKey,
    expires_at: Time,
) -> Result<Result<(), Refusal>, ViewError> {
    if token.kind() != IdKind::Token {
        return Ok(Err(refusal("misplaced", "the key is not one of a token", "")));
    }
    if let Some(known) = work.cell(token)? {
        work.keep(token, Some(known));
        return Ok(Err(refusal("token_taken", "there is such a token", "")));
    }
    let bearer = CellKey::of(&token.tenant(), bearer);
    work.put_cell(token, Cell::Token { bearer, expires_at, used_by: None });
    Ok(Ok(()))
}

/// An event that carries a token: the token is told who brings it. Who adds or joins does so on purpose and may bring
/// again what was refused; a link is opened often, and told less and less often.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &Contact,
    event: &Event,
    (at, origin): (Time, Position),
) -> Result<(), ViewError> {
    if !matches!(event.kind, Kind::ContactAdded | Kind::ChatStarted | Kind::GroupJoined | Kind::ContentClicked) {
        return Ok(());
    }
    let Some(target) = event.fields.text("state").and_then(|state| token::cell_of(&event.tenant, state)) else {
        return Ok(());
    };
    // The identifier that brought it, not the contact it is part of by now: brought twice it is the same one.
    let from = event.key();
    let key = keys::told(&from, &target);
    let told: Option<u32> = work.get(&key)?;
    let brought = told.unwrap_or_default().saturating_add(1);
    work.put(key, &brought);
    if event.kind != Kind::ContentClicked || links::is_due(brought) {
        let exclusive = contact.exclusive(cell);
        work.tell(LoopBody::Redeem { target, from, exclusive, at, origin });
    }
    Ok(())
}

/// `from` brings the token back.
pub(crate) fn redeem(
    work: &mut Work<'_, '_>,
    token: &CellKey,
    (from, exclusive): (&CellKey, &[IdKey]),
    at: Time,
    origin: Position,
) -> Result<(), ViewError> {
    let found = work.cell(token)?;
    let refused = match &found {
        Some(Cell::Token { used_by: Some(other), .. }) if other != from => Some("it was used by somebody else"),
        // What it proved still holds: said again, for it may have been refused.
        Some(Cell::Token { used_by: Some(_), .. }) => None,
        Some(Cell::Token { expires_at, .. }) if at > *expires_at => Some("it has expired"),
        Some(Cell::Token { .. }) => None,
        _ => Some("there is no such token"),
    };
    match (refused, found) {
        (None, Some(Cell::Token { bearer, expires_at, .. })) => {
            let (evidence, exclusive) = (Evidence::Medium, exclusive.to_vec());
            work.put_cell(token, Cell::Token { bearer: bearer.clone(), expires_at, used_by: Some(from.clone()) });
            work.tell(LoopBody::Link { target: bearer, from: from.clone(), exclusive, evidence, origin });
        }
        (why, found) => {
            work.keep(token, found);
            let detail = why.unwrap_or_default().to_owned();
            work.dead_link(DeadReason::TokenRefused, detail, token, from);
        }
    }
    Ok(())
}
