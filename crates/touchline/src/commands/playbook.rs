//! `touchline playbook`: validate, test, activate, list.

use crate::client::{Server, full, patiently, print_json, print_line, refusal};
use crate::commands::{directory, playbook_plan, playbook_test};
use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use touchline_model::command::{Migration, PlaybookSource};
use touchline_playbook::diagnostic::Diagnostic;
use touchline_playbook::documents::DOCUMENTS;
use touchline_playbook::{codes, compile, diagnostic, reference, schema, yaml};
use touchline_proto::v1;
use touchline_proto::v1::playbook_service_client::PlaybookServiceClient;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check playbooks without a server
    Validate {
        /// YAML files, in the order of the bundle
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Directory files: warn of pools, contents, products and groups that they do not have
        #[arg(long)]
        directory: Vec<PathBuf>,
    },
    Test(playbook_test::Options),
    /// Put playbooks in force; those with a known id are replaced. What it changes is shown first
    Activate {
        /// YAML files; a new id comes last in the bundle, in the order given here
        #[arg(required_unless_present = "remove")]
        files: Vec<PathBuf>,
        /// Bundle number you saw as active; default: what is active now
        #[arg(long)]
        expect: Option<u64>,
        /// Ids of playbooks to take out; one that is among the files too comes last: rules run in the order of the bundle
        #[arg(long)]
        remove: Vec<String>,
        /// What becomes of a tag that goes: OLD=NEW, or OLD=none to take it off; needed while somebody carries it
        #[arg(long, value_parser = playbook_plan::migration, value_name = "OLD=NEW")]
        migrate: Vec<Migration>,
        /// Who activates
        #[arg(long, env = "USER", default_value = "")]
        actor: String,
    },
    /// Show what playbooks would change in those in force: rules, tags, boards, segments; and who carries tags that go
    Diff {
        /// YAML files; a new id comes last in the bundle, in the order given here
        #[arg(required_unless_present = "remove")]
        files: Vec<PathBuf>,
        /// Ids of playbooks that would be taken out
        #[arg(long)]
        remove: Vec<String>,
        /// Compare with these files instead of with what is in force
        #[arg(long)]
        with: Vec<PathBuf>,
    },
    /// List the playbooks in force
    List,
    /// Print the reference of the language as Markdown: keys, limits, functions, events, diagnostics
    Reference,
    /// Print a JSON Schema, by which editors complete and check
    #[command(after_help = SCHEMA)]
    Schema {
        /// Of which kind of document
        #[arg(long, default_value = "playbook", value_parser = ["playbook", "directory"])]
        kind: String,
    },
}

const SCHEMA: &str = "\
Where an editor's language server for YAML finds it, the first line of a playbook can name it:
  # yaml-language-server: $schema=playbook.schema.json
A running server answers the same at /v1/schema/playbook and /v1/schema/directory.";

/// Reads playbook files; the id of a source is the playbook's own, else the file's name.
pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<PlaybookSource>> {
    files.iter().map(|file| read_one(file)).collect()
}

/// The text of a file that is compiled.
pub(crate) fn text_of(file: &Path) -> anyhow::Result<String> {
    let shown = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| format!("reading {shown}"))?;
    yaml::decode(&shown, bytes).map_err(|found| {
        let Diagnostic { code, line, column, message, hint, .. } = found;
        anyhow!("{message} [{code}]\n --> {shown}:{line}:{column}\nhint: {}", hint.unwrap_or_default())
    })
}

fn read_one(file: &Path) -> anyhow::Result<PlaybookSource> {
    let yaml = text_of(file)?;
    // A text without an id is compiled under the file's name: the compiler then says what is missing where.
    let named = compile::playbook_id(&yaml).ok();
    let id = named.unwrap_or_else(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    Ok(PlaybookSource { id, yaml })
}

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Validate { files, directory } => validate(server, &files, &directory),
        Command::Reference => {
            print_line(reference::markdown().trim_end());
            Ok(())
        }
        Command::Schema { kind } => {
            let document = DOCUMENTS.iter().find(|document| document.kind == kind).context("no such kind")?;
            print_line(format!("{:#}", schema::of(document)));
            Ok(())
        }
        Command::Test(_) => unreachable!("handled by the caller"),
        Command::Activate { files, expect, remove, migrate, actor } => {
            playbook_plan::activate(server, (&files, remove, migrate), expect, actor).await
        }
        Command::Diff { files, remove, with } => playbook_plan::diff(server, &files, &remove, &with).await,
        Command::List => {
            let mut client = PlaybookServiceClient::new(server.connect().await?);
            let request = v1::ListPlaybooksRequest { parent: server.parent(), read: full() };
            let reply = client.list_playbooks(patiently(request)).await.map_err(refusal)?.into_inner();
            let ids: Vec<&str> = reply.playbooks.iter().map(|source| source.id.as_str()).collect();
            if server.json {
                print_json(&json!({"bundle": reply.bundle, "playbooks": ids}));
            } else {
                print_line(format!("bundle {}: {}", reply.bundle, ids.join(", ")));
            }
            Ok(())
        }
    }
}

fn validate(server: &Server, files: &[PathBuf], directory: &[PathBuf]) -> anyhow::Result<()> {
    let sources = read(files)?;
    let compiled = if directory.is_empty() {
        compile::compile_with_warnings(&sources, 0)
    } else {
        compile::compile_beside(&sources, 0, &directory::whole(directory)?)
    };
    let (bundle, mut found) = match compiled {
        Ok((bundle, warnings)) => (Some(bundle), warnings),
        Err(found) => (None, found),
    };
    let file = |id: &str| sources.iter().zip(files).find(|(source, _)| source.id == id).map(|(_, file)| file);
    let file = |id: &str| file(id).map_or_else(|| id.to_owned(), |file| file.display().to_string());
    if server.json {
        let list: Vec<Value> = found
            .iter()
            .map(|found| {
                json!({
                    "code": found.code, "playbook": found.source_id, "file": file(&found.source_id), "line": found.line,
                    "column": found.column, "message": found.message, "hint": found.hint,
                })
            })
            .collect();
        print_json(&json!({"valid": bundle.is_some(), "diagnostics": list}));
    } else if !found.is_empty() {
        found.iter_mut().for_each(|found| found.source_id = file(&found.source_id));
        print_line(diagnostic::render(&found));
    }
    let Some(bundle) = bundle else {
        let is_more = |found: &&Diagnostic| [codes::MORE.code, codes::MORE_WARNINGS.code].contains(&found.code);
        let more = found.iter().filter(is_more).count();
        let least = if more > 0 { "more than " } else { "" };
        bail!("{least}{} found in {} playbooks", found.len() - more, sources.len())
    };
    if !server.json {
        let (rules, journeys) = (bundle.rules.len(), bundle.journeys.len());
        print_line(format!("valid: {} playbooks, {rules} rules, {journeys} journeys", sources.len()));
    }
    Ok(())
}
