//! What joined the identifiers of a contact, and which links were refused.

use super::timeline::{event, event_name, record};
use crate::model::Location;
use crate::names;
use crate::server::contact;
use crate::shared::Shared;
use prost::Message;
use std::collections::HashSet;
use tonic::Status;
use touchline_log::Topic;
use touchline_model::id::CellKey;
use touchline_model::output::DeadReason;
use touchline_model::record::{Input, LoopBody};
use touchline_proto::{contact_to, decode_input, v1};

/// Refused links listed: the newest; all of them are in `dead-letters`.
const REFUSED_MAX: usize = 100;

/// Links of a contact: each read from the record that said so.
pub(crate) fn list(shared: &Shared, request: &v1::ListLinksRequest) -> Result<v1::ListLinksResponse, Status> {
    let (tenant, id) = names::contact("name", &request.name)?;
    let (found, letters, token) = {
        let model = shared.model();
        let found = std::sync::Arc::clone(&contact(&model, &tenant, &id)?.contact);
        let is_link = |reason| matches!(reason, DeadReason::LinkRefused | DeadReason::LinkWeak);
        let letters = model.dead_letters((0, 0)).filter(|(_, letter)| is_link(letter.reason));
        let letters: Vec<_> =
            letters.map(|(partition, letter)| Location { partition, offset: letter.offset }).collect();
        (found, letters, shared.token(&model))
    };
    let mut links = Vec::new();
    for identity in contact_to(&found).identities {
        let by = identity.joined.as_ref().and_then(|joined| joined.by);
        let said = match by {
            Some(v1::Position { partition, offset }) => said(shared, Location { partition, offset })?,
            None => v1::ContactLink::default(),
        };
        links.push(v1::ContactLink { identity: Some(identity), ..said });
    }
    let cells = found.identities.iter().map(|identity| CellKey::of(&tenant, &identity.id).to_string());
    let refused = refused(shared, &cells.collect(), letters)?;
    Ok(v1::ListLinksResponse { links, refused, token: Some(token) })
}

/// Who said it, from the record itself; empty where the log no longer has it.
fn said(shared: &Shared, location: Location) -> Result<v1::ContactLink, Status> {
    let Some(found) = record(shared, Topic::Events, location)? else { return Ok(v1::ContactLink::default()) };
    if let Some((_, event)) = event(&found, location) {
        return Ok(v1::ContactLink {
            said_by: event_name(&event),
            channel: event.channel,
            ..v1::ContactLink::default()
        });
    }
    let command = match decode_input(&found.value) {
        Ok(Input::Command(command)) => command,
        Ok(Input::Loop(told)) => match told.body {
            LoopBody::ForwardCommand { command, .. } => command,
            _ => return Ok(v1::ContactLink::default()),
        },
        _ => return Ok(v1::ContactLink::default()),
    };
    let (said_by, reason) = (command.body.name().to_owned(), command.body.reason().to_owned());
    Ok(v1::ContactLink { said_by, actor: command.actor, reason, ..v1::ContactLink::default() })
}

/// Letters that name one of `cells`, newest first.
fn refused(shared: &Shared, cells: &HashSet<String>, letters: Vec<Location>) -> Result<Vec<v1::DeadLetter>, Status> {
    let mut refused = Vec::new();
    for location in letters {
        let Some(found) = record(shared, Topic::DeadLetters, location)? else { continue };
        let Ok(letter) = v1::DeadLetter::decode(found.value.as_slice()) else { continue };
        if letter.cells.iter().any(|cell| cells.contains(cell)) {
            refused.push(v1::DeadLetter { record: None, ..letter });
        }
    }
    refused.sort_by_key(|letter| std::cmp::Reverse(letter.clock_ms));
    refused.truncate(REFUSED_MAX);
    Ok(refused)
}
