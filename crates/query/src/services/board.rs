//! Boards: views of exclusive tag groups.

use crate::commands::{self, Asked};
use crate::error;
use crate::model::{Entry, Tenant};
use crate::names;
use crate::server::{Server, answer, contact, evaluate, filter_condition};
use crate::sets;
use roaring::RoaringBitmap;
use std::cmp::Reverse;
use tonic::{Code, Request, Response, Status};
use touchline_model::command::CommandBody;
use touchline_model::id::CellKey;
use touchline_model::output::Contact;
use touchline_model::time::Time;
use touchline_playbook::bundle::{Board, Bundle};
use touchline_proto::v1;
use v1::board_service_server::BoardService;

/// Cards per column when none are asked for.
const CARDS_DEFAULT: usize = 50;
/// Cards per column at most.
const CARDS_MAX: usize = 1_000;

#[tonic::async_trait]
impl BoardService for Server {
    async fn list_boards(
        &self,
        request: Request<v1::ListBoardsRequest>,
    ) -> Result<Response<v1::ListBoardsResponse>, Status> {
        answer("ListBoards", async {
            let name = names::tenant("parent", &request.get_ref().parent)?;
            let bundle = self.shared.model().tenant(&name).and_then(|tenant| tenant.bundle().cloned());
            let boards = bundle.map(|bundle| boards(&name, &bundle)).unwrap_or_default();
            Ok(v1::ListBoardsResponse { boards })
        })
        .await
    }

    async fn get_board_view(
        &self,
        request: Request<v1::GetBoardViewRequest>,
    ) -> Result<Response<v1::GetBoardViewResponse>, Status> {
        answer("GetBoardView", async {
            let deadline = self.deadline(&request);
            let mut request = request.into_inner();
            let (name, id) = names::parse("name", "boards", &request.name)?;
            self.shared.fresh(request.read.take(), deadline).await?;
            self.read(move |shared| {
                let model = shared.model();
                let tenant = model.tenant(&name).ok_or_else(|| no_board(&id))?;
                let board = board(tenant, &id)?;
                let columns = columns(&name, tenant, &board, (&request, model.as_of()))?;
                let board = Some(board_to(&name, &board));
                Ok(v1::GetBoardViewResponse { board, columns, token: Some(shared.token(&model)) })
            })
            .await
        })
        .await
    }

    async fn move_card(&self, request: Request<v1::MoveCardRequest>) -> Result<Response<v1::MoveCardResponse>, Status> {
        answer("MoveCard", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let (tenant, id) = names::contact("contact", &request.contact)?;
            let key = contact(&self.shared.model(), &tenant, &id)?.contact.key.clone();
            let body = CommandBody::MoveCard {
                contact: key,
                board: request.board.clone(),
                expected_stage: request.expected_stage,
                to: request.to_stage,
                reason: request.reason,
            };
            let (request_id, actor) = (request.request_id, request.actor);
            let asked = Asked { tenant: tenant.clone(), request_id, actor, body };
            let answer = commands::carry_out(&self.shared, asked, deadline).await?;
            let model = self.shared.model();
            let id = answer.result.contact.as_ref().map_or(id, CellKey::contact_id);
            let entry = contact(&model, &tenant, &id)?;
            let of = model.tenant(&tenant).ok_or_else(|| no_board(&request.board))?;
            let board = board(of, &request.board)?;
            let card = Some(card(&tenant, &board, &entry.contact));
            Ok(v1::MoveCardResponse { card, token: Some(self.shared.token(&model)) })
        })
        .await
    }
}

/// Boards in the order of their playbooks, then by id.
fn boards(tenant: &str, bundle: &Bundle) -> Vec<v1::Board> {
    let place = |board: &&Board| bundle.playbooks.iter().position(|playbook| playbook.id == board.playbook);
    let mut boards: Vec<&Board> = bundle.boards.values().collect();
    boards.sort_by_key(place);
    boards.into_iter().map(|board| board_to(tenant, board)).collect()
}

fn board_to(tenant: &str, board: &Board) -> v1::Board {
    v1::Board {
        name: names::child(tenant, "boards", &board.id),
        id: board.id.clone(),
        playbook: board.playbook.clone(),
        group: board.group.clone(),
        columns: board.columns.clone(),
    }
}

fn board(tenant: &Tenant, id: &str) -> Result<Board, Status> {
    let bundle = tenant.bundle().ok_or_else(|| no_board(id))?;
    bundle.boards.get(id).cloned().ok_or_else(|| no_board(id))
}

fn no_board(id: &str) -> Status {
    let message = format!("no board {id} in the active playbooks\nhint: see ListBoards");
    error::status(Code::NotFound, "NO_BOARD", message)
}

fn columns(
    name: &str,
    tenant: &Tenant,
    board: &Board,
    (request, at): (&v1::GetBoardViewRequest, Time),
) -> Result<Vec<v1::BoardColumn>, Status> {
    if let Some(unknown) = request.columns.iter().find(|column| !board.columns.contains(column)) {
        return Err(error::invalid("columns", format!("board {} has no column {unknown}", board.id)));
    }
    let wanted = |column: &&String| request.columns.is_empty() || request.columns.contains(column);
    let (members, _) = evaluate("board", &filter_condition(tenant, "filter", &request.filter)?, tenant, at);
    let limit = match (request.counts_only, request.cards_per_column as usize) {
        (true, _) => 0,
        (false, 0) => CARDS_DEFAULT,
        (false, asked) => asked.min(CARDS_MAX),
    };
    let column = |id: &String| {
        let inside = tenant.with_tag(&board.group, id).map(|with| with & &members).unwrap_or_default();
        v1::BoardColumn {
            id: id.clone(),
            label: tenant.label(&board.group, id).to_owned(),
            count: inside.len(),
            cards: cards(name, tenant, board, &inside, limit),
        }
    };
    Ok(board.columns.iter().filter(wanted).map(column).collect())
}

/// The latest entered first, contact id as tie-break.
fn cards(name: &str, tenant: &Tenant, board: &Board, inside: &RoaringBitmap, limit: usize) -> Vec<v1::Card> {
    if limit == 0 {
        return Vec::new();
    }
    let entries = inside.iter().filter_map(|ordinal| tenant.by_ordinal(ordinal));
    let ranked = entries.map(|Entry { ordinal, contact }| {
        let entered_at = stage(board, contact).map(|(_, at)| at);
        (Reverse(entered_at), contact.id(), *ordinal)
    });
    let first = sets::smallest(ranked, limit).into_iter();
    first
        .filter_map(|(_, _, ordinal)| tenant.by_ordinal(ordinal))
        .map(|entry| card(name, board, &entry.contact))
        .collect()
}

/// The column a contact is in, and since when: a stage is a tag.
fn stage<'a>(board: &Board, contact: &'a Contact) -> Option<(&'a str, i64)> {
    let tag = contact.tags.iter().find(|tag| tag.group == board.group && board.columns.contains(&tag.tag))?;
    Some((&tag.tag, tag.set_at.0))
}

fn card(tenant: &str, board: &Board, contact: &Contact) -> v1::Card {
    let stage = stage(board, contact);
    let id = contact.key.id();
    v1::Card {
        contact: names::child(tenant, "contacts", contact.id().as_str()),
        board: board.id.clone(),
        stage: stage.map(|(column, _)| column.to_owned()),
        entered_at_ms: stage.map_or(0, |(_, at)| at),
        owner: contact.owner.clone(),
        id: Some(v1::IdKey { kind: id.kind.name().to_owned(), scope: id.scope, value: id.value }),
    }
}
