//! `cargo xtask demo`: the main job on a fresh directory with a virtual clock.

pub(crate) mod checks;
pub(crate) mod payloads;
pub(crate) mod story;

use crate::cargo;
use crate::live::Server;
use crate::setup::{self, Need};
use anyhow::{Context, Result};
use checks::Checks;
use std::path::{Path, PathBuf};

/// How to run the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave the server running until Ctrl-C, and say what to try next
    #[arg(long)]
    serve: bool,
    /// Keep the directory with data, log and configuration
    #[arg(long)]
    keep: bool,
}

/// Sets up, compiles, runs the story. Errors: something of it was not observed.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::run(Need::Build)?;
    cargo::build_programs()?;
    let directory = fresh_directory("demo")?;
    println!("\nTouchline demo: all roles in one process, virtual clock, data in {}\n", directory.display());
    let mut checks = Checks::new();
    let outcome = play(&directory, &mut checks, args.serve);
    if outcome.is_ok() && !args.keep {
        std::fs::remove_dir_all(&directory).ok();
    } else {
        println!("data, configuration and the server's log stay in {}", directory.display());
    }
    outcome
}

fn play(directory: &Path, checks: &mut Checks, serve: bool) -> Result<()> {
    let story = story::Story::start(directory)?;
    if let Err(error) = story.tell(checks) {
        let log_end = story.server.log_end();
        return Err(error).with_context(|| format!("the story broke off; the end of the server's log:\n{log_end}"));
    }
    let story = story.lose_the_state(directory, checks)?;
    checks.conclude()?;
    if serve {
        println!("{}", what_next(&story.server));
        return story.server.wait();
    }
    story.server.stop()
}

/// An empty directory for one run, below the target directory.
pub(crate) fn fresh_directory(name: &str) -> Result<PathBuf> {
    let directory = cargo::target_dir().join("xtask").join(format!("{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&directory).ok();
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}

fn what_next(server: &Server) -> String {
    let bin = cargo::touchline_bin();
    format!(
        "\nThe server runs until Ctrl-C. In another terminal:\n\n\
         \x20 export TOUCHLINE_SERVER={} TOUCHLINE_HTTP={} TOUCHLINE_TENANT={}\n\
         \x20 alias touchline={}\n\
         \x20 touchline board show 商机看板\n\
         \x20 touchline contact {} --timeline\n\
         \x20 touchline segment count 'tag(商机/考虑价格)'\n\
         \x20 touchline touches\n\
         \x20 touchline send --example chat.message --send\n\
         \x20 touchline clock advance --to 2026-03-20T09:00:00+08:00\n\
         \x20 curl http://{}/metrics\n",
        server.grpc,
        server.http,
        payloads::TENANT,
        bin.display(),
        story::ANNA.address(),
        server.http
    )
}
