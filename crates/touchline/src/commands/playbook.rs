//! `touchline playbook`: validate, test, activate, list.

use crate::client::{Server, full, print_json, print_line, refusal};
use crate::commands::playbook_test;
use crate::json;
use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use touchline_model::command::PlaybookSource;
use touchline_playbook::{compile, diagnostic, diff, reference};
use touchline_proto::v1;
use touchline_proto::v1::playbook_service_client::PlaybookServiceClient;
use touchline_proto::v1::segment_service_client::SegmentServiceClient;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check playbooks without a server
    Validate {
        /// YAML files, in the order of the bundle
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    Test(playbook_test::Options),
    /// Put playbooks in force; those with a known id are replaced
    Activate {
        /// YAML files, in the order of the bundle
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Bundle number you saw as active; default: what is active now
        #[arg(long)]
        expect: Option<u64>,
        /// Ids of playbooks to take out
        #[arg(long)]
        remove: Vec<String>,
        /// Who activates
        #[arg(long, env = "USER", default_value = "")]
        actor: String,
    },
    /// Show what playbooks would change in those in force: rules, tags, boards, segments; and who carries tags that go
    Diff {
        /// YAML files, in the order of the bundle
        #[arg(required = true)]
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
    /// Print the reference of the language as Markdown: functions, events, diagnostics
    Reference,
}

/// Reads playbook files; the id of a source is the playbook's own, else the file's name.
pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<PlaybookSource>> {
    files.iter().map(|file| read_one(file)).collect()
}

fn read_one(file: &Path) -> anyhow::Result<PlaybookSource> {
    let yaml = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    // A text without an id is compiled under the file's name: the compiler then says what is missing where.
    let named = compile::playbook_id(&yaml).ok();
    let id = named.unwrap_or_else(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    Ok(PlaybookSource { id, yaml })
}

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Validate { files } => validate(server, &files),
        Command::Reference => {
            print_line(reference::markdown().trim_end());
            Ok(())
        }
        Command::Test(options) => playbook_test::run(server, &options),
        Command::Activate { files, expect, remove, actor } => activate(server, &files, expect, remove, actor).await,
        Command::Diff { files, remove, with } => diff(server, &files, &remove, &with).await,
        Command::List => {
            let mut client = PlaybookServiceClient::new(server.connect().await?);
            let request = v1::ListPlaybooksRequest { parent: server.parent(), read: full() };
            let reply = client.list_playbooks(request).await.map_err(refusal)?.into_inner();
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

fn validate(server: &Server, files: &[PathBuf]) -> anyhow::Result<()> {
    let sources = read(files)?;
    match compile::compile(&sources, 0) {
        Ok(bundle) => {
            if server.json {
                print_json(&json!({"valid": true, "diagnostics": []}));
            } else {
                let (rules, journeys) = (bundle.rules.len(), bundle.journeys.len());
                print_line(format!("valid: {} playbooks, {rules} rules, {journeys} journeys", sources.len()));
            }
            Ok(())
        }
        Err(diagnostics) => {
            if server.json {
                let list: Vec<Value> = diagnostics
                    .iter()
                    .map(|found| {
                        json!({
                            "code": found.code, "playbook": found.source_id, "line": found.line,
                            "column": found.column, "message": found.message, "hint": found.hint,
                        })
                    })
                    .collect();
                print_json(&json!({"valid": false, "diagnostics": list}));
            } else {
                print_line(diagnostic::render(&diagnostics));
            }
            bail!("{} found in {} playbooks", diagnostics.len(), sources.len())
        }
    }
}

/// What would change; against files no server is asked.
async fn diff(server: &Server, files: &[PathBuf], remove: &[String], with: &[PathBuf]) -> anyhow::Result<()> {
    let (now, client) = if with.is_empty() {
        let mut client = PlaybookServiceClient::new(server.connect().await?);
        let request = v1::ListPlaybooksRequest { parent: server.parent(), read: full() };
        let listed = client.list_playbooks(request).await.map_err(refusal)?.into_inner().playbooks;
        let now = listed.into_iter().map(|source| PlaybookSource { id: source.id, yaml: source.yaml }).collect();
        (now, Some(server.connect().await?))
    } else {
        (read(with)?, None)
    };
    let mut after: Vec<PlaybookSource> = now.iter().filter(|source| !remove.contains(&source.id)).cloned().collect();
    for source in read(files)? {
        match after.iter_mut().find(|known| known.id == source.id) {
            Some(known) => *known = source,
            None => after.push(source),
        }
    }
    let compiled = |sources: &[PlaybookSource]| {
        compile::compile(sources, 0).map_err(|found| anyhow::anyhow!("{}", diagnostic::render(&found)))
    };
    let (old, new) = (compiled(&now)?, compiled(&after)?);
    let differences = diff::between(&old, &new);
    let mut orphans = Vec::new();
    if let Some(channel) = client {
        let mut segments = SegmentServiceClient::new(channel);
        for tag in diff::orphans(&old, &new) {
            let of = Some(v1::count_segment_request::Of::Filter(format!("tag(\"{tag}\")")));
            let request = v1::CountSegmentRequest { parent: server.parent(), of, read: full() };
            let count = segments.count_segment(request).await.map_err(refusal)?.into_inner().count;
            orphans.push((tag.to_string(), count));
        }
    }
    if server.json {
        let all: Vec<Value> = differences
            .iter()
            .map(|one| json!({"what": one.what, "id": one.id, "change": one.change.name()}))
            .collect();
        let carried: Vec<Value> = orphans.iter().map(|(tag, count)| json!({"tag": tag, "contacts": count})).collect();
        print_json(&json!({"differences": all, "orphans": carried}));
        return Ok(());
    }
    if differences.is_empty() {
        print_line("nothing changes");
    }
    for one in &differences {
        print_line(format!("{:<8} {} {}", one.change.name(), one.what, one.id));
    }
    for (tag, count) in orphans.iter().filter(|(_, count)| *count > 0) {
        print_line(format!("warning: {count} contacts carry {tag}, which goes"));
    }
    Ok(())
}

async fn activate(
    server: &Server,
    files: &[PathBuf],
    expect: Option<u64>,
    remove: Vec<String>,
    actor: String,
) -> anyhow::Result<()> {
    let sources = read(files)?;
    let mut client = PlaybookServiceClient::new(server.connect().await?);
    let expected_active = match expect {
        Some(number) => number,
        None => {
            let request = v1::ListPlaybooksRequest { parent: server.parent(), read: full() };
            client.list_playbooks(request).await.map_err(refusal)?.into_inner().bundle
        }
    };
    let request = v1::ActivatePlaybookRequest {
        parent: server.parent(),
        sources: sources.into_iter().map(|source| source.yaml).collect(),
        remove,
        expected_active,
        request_id: uuid::Uuid::new_v4().to_string(),
        actor,
    };
    let reply = client.activate_playbook(request).await.map_err(refusal)?.into_inner();
    let diagnostics: Vec<Value> = reply.diagnostics.iter().map(json::diagnostic).collect();
    if server.json {
        print_json(&json!({"bundle": reply.bundle, "diagnostics": diagnostics}));
    } else {
        print_line(format!("bundle {} is in force", reply.bundle));
    }
    Ok(())
}
