//! `touchline`: the server and the command line.
//!
//! `touchline dev` runs all roles in one process; every other command speaks to a server, except
//! `replay`, `playbook validate` and `playbook test`, which need none.

mod client;
mod clock;
mod cluster;
mod commands;
mod config;
mod dev;
mod embedded;
mod json;
mod listen;
mod roles;
mod schemas;
mod serve;
mod worlds;

use clap::{Parser, Subcommand};
use client::Server;
use commands::{board, contact, link, playbook, playbook_test, replay, segment, send, status, topics, touches, verify};

/// Records, headers and store values come and go by the dozen for each event.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns what customers say, view, buy and do into tags, board stages and due touches.
///
/// Start with `touchline dev`, then in another terminal:
///
///   touchline playbook activate tests/playbooks/a.yaml
///   touchline send --example contact.added
///   touchline board show 商机看板
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, verbatim_doc_comment)]
struct Cli {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all roles in one process on one data directory, listeners on loopback
    Dev(Box<dev::Options>),
    /// Run some or all roles over Kafka, next to any number of other processes
    Serve(Box<serve::Options>),
    /// Make or check the Kafka topics
    #[command(subcommand)]
    Topics(topics::Command),
    /// Send events, or print an example of one kind
    Send(send::Options),
    /// Count and list contacts by a condition
    #[command(subcommand)]
    Segment(segment::Command),
    /// Look at boards and move cards
    #[command(subcommand)]
    Board(board::Command),
    /// Show a contact: identifiers, tags, stages, journeys, timeline; link and unlink identifiers
    Contact(contact::Options),
    /// Say why a contact carries a tag: rule, bundle, event, keyword
    Explain(contact::ExplainOptions),
    /// List or follow due touches
    Touches(touches::Options),
    /// Report what became of a touch
    Report(touches::ReportOptions),
    /// Validate, test, activate and list playbooks
    #[command(subcommand)]
    Playbook(playbook::Command),
    /// Show what playbooks count per person and period, and whether targets are met
    #[command(subcommand)]
    Metric(commands::metric::Command),
    /// Load what playbooks look up: staff, stores, groups, products, WeCom tags
    #[command(subcommand)]
    Directory(commands::directory::Command),
    /// Run playbooks over recorded events with a virtual clock, without a server
    Replay(replay::Options),
    /// Mint tokens that join whoever brings them back: insert cards, landing pages, tracked links
    #[command(subcommand)]
    Token(commands::token::Command),
    /// Mint tracked links
    #[command(subcommand)]
    Link(link::Command),
    /// Move the clock of a server started with --clock manual
    #[command(subcommand)]
    Clock(commands::clock::Command),
    /// Show how far each partition has come
    Status,
    /// List records that could not be applied, with their reasons
    DeadLetters(status::DeadLetterOptions),
    /// Replay a log into empty stores and compare: outputs, contacts, state
    Verify(verify::Options),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Dev(options) => dev::run(*options),
        Command::Serve(options) => serve::run(*options),
        Command::Topics(command) => topics::run(&cli.server, &command),
        Command::Replay(options) => replay::run(&cli.server, &options),
        Command::Playbook(playbook::Command::Test(options)) => playbook_test::run(&cli.server, &options),
        Command::Link(command) => link::run(&cli.server, command),
        Command::Verify(options) => verify::run(&cli.server, &options),
        command => block_on(command, &cli.server),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "stderr is for errors")]
            {
                eprintln!("error: {error:#}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}

fn block_on(command: Command, server: &Server) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Send(options) => send::run(server, &options),
            Command::Segment(command) => segment::run(server, command).await,
            Command::Board(command) => board::run(server, command).await,
            Command::Contact(options) => contact::run(server, options).await,
            Command::Explain(options) => contact::explain(server, options).await,
            Command::Touches(options) => touches::run(server, options).await,
            Command::Report(options) => touches::report(server, options).await,
            Command::Playbook(command) => playbook::run(server, command).await,
            Command::Clock(command) => commands::clock::run(server, command).await,
            Command::Directory(command) => commands::directory::run(server, command).await,
            Command::Metric(command) => commands::metric::run(server, command).await,
            Command::Token(command) => commands::token::run(server, command).await,
            Command::Status => status::run(server).await,
            Command::DeadLetters(options) => status::dead_letters(server, options).await,
            Command::Dev(_)
            | Command::Serve(_)
            | Command::Topics(_)
            | Command::Replay(_)
            | Command::Link(_)
            | Command::Verify(_) => unreachable!("handled by the caller"),
        }
    })
}
