//! `touchline board`: columns, cards, moves.

use crate::client::{ContactArg, Server, full, local, patiently, print_json, print_line, refusal};
use crate::commands::contact;
use crate::json;
use clap::Subcommand;
use serde_json::{Value, json};
use touchline_proto::v1::board_service_client::BoardServiceClient;
use touchline_proto::v1::{GetBoardViewRequest, ListBoardsRequest, MoveCardRequest};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the boards of the active playbooks
    List,
    /// Show a board: exact counts and the first cards of each column
    Show {
        /// Board id
        board: String,
        /// Cards per column
        #[arg(long, default_value_t = 5)]
        cards: u32,
        /// Only contacts for whom this condition holds
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// Move a card; refused when it is not where you saw it
    Move {
        /// Contact id, or kind/scope/value
        contact: ContactArg,
        /// Board id
        board: String,
        /// Column you saw the card in; leave out when it was not on the board
        #[arg(long)]
        from: Option<String>,
        /// Column to move it to; leave out to take it off the board
        #[arg(long)]
        to: Option<String>,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// Who moves it
        #[arg(long, env = "USER", default_value = "")]
        actor: String,
        /// Repeat with the same id to be sure that it happens once
        #[arg(long)]
        request_id: Option<String>,
    },
}

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    let channel = server.connect().await?;
    let mut client = BoardServiceClient::new(channel.clone());
    match command {
        Command::List => {
            let request = ListBoardsRequest { parent: server.parent() };
            for board in client.list_boards(request).await.map_err(refusal)?.into_inner().boards {
                if server.json {
                    print_json(&json!({
                        "id": board.id, "playbook": board.playbook, "group": board.group, "columns": board.columns,
                    }));
                } else {
                    print_line(format!("{}\t{}\t{}", board.id, board.columns.join(" → "), board.playbook));
                }
            }
        }
        Command::Show { board, cards, filter } => show(server, &mut client, &board, cards, filter).await?,
        Command::Move { contact, board, from, to, reason, actor, request_id } => {
            let request = MoveCardRequest {
                contact: contact::resolve(server, channel, contact).await?,
                board,
                expected_stage: from,
                to_stage: to,
                reason,
                request_id: request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
                actor,
            };
            let card =
                client.move_card(patiently(request)).await.map_err(refusal)?.into_inner().card.unwrap_or_default();
            if server.json {
                print_json(&json::card(&card));
            } else {
                let stage = card.stage.as_deref().unwrap_or("off the board");
                print_line(format!("{} is now in {stage} on {}", card.contact, card.board));
            }
        }
    }
    Ok(())
}

async fn show(
    server: &Server,
    client: &mut BoardServiceClient<tonic::transport::Channel>,
    board: &str,
    cards: u32,
    filter: String,
) -> anyhow::Result<()> {
    let request = GetBoardViewRequest {
        name: format!("{}/boards/{board}", server.parent()),
        columns: Vec::new(),
        cards_per_column: cards,
        filter,
        counts_only: cards == 0,
        read: full(),
    };
    let view = client.get_board_view(patiently(request)).await.map_err(refusal)?.into_inner();
    if server.json {
        let columns: Vec<Value> = view
            .columns
            .iter()
            .map(|column| {
                let cards: Vec<Value> = column.cards.iter().map(json::card).collect();
                json!({"id": column.id, "label": column.label, "count": column.count, "cards": cards})
            })
            .collect();
        print_json(&json!({"board": board, "columns": columns}));
        return Ok(());
    }
    for column in &view.columns {
        print_line(format!("{} ({})", column.label, column.count));
        for card in &column.cards {
            let owner = card.owner.as_deref().unwrap_or("-");
            print_line(format!("  {}  since {}  {owner}", card.contact, local(card.entered_at_ms)));
        }
    }
    Ok(())
}
