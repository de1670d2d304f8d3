//! `touchline directory`: what rules look up, loaded without a new version of any playbook.

use crate::client::{Server, patiently, print_json, print_line, refusal};
use crate::commands::playbook;
use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use touchline_model::directory::{Directory, Entry};
use touchline_playbook::{diagnostic, directory};
use touchline_proto::v1;
use touchline_proto::v1::playbook_service_client::PlaybookServiceClient;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check directory files without a server
    Validate {
        /// YAML files of `kind: directory`
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Load entries; each takes the place of the one with its id, in every partition
    Load(LoadOptions),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct LoadOptions {
    /// YAML files of `kind: directory`, in order
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Who loads
    #[arg(long, env = "USER", default_value = "")]
    actor: String,
}

const EXAMPLE: &str = "\
A file:
  kind: directory
  staff:       [{staff: zhang, pools: [sales], store: s1}, {staff: old, active: false}]
  stores:      [{store: s1, name: 杭州店}]
  groups:      [{group: wrABC, name: 复利闪购群, kind: 妈妈群}]
  products:    [{product: A, item_ids: ['42'], skus: [a-1], days_per_unit: 30}]
  wecom_tags:  [{native_id: etXYZ, tag: 商机/考虑价格}]
  contents:    [{content: 报价案例, text: '{昵称}您好'}]

An entry stays until one with its id takes its place; `active: false` takes a member of staff out.";

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Validate { files } => {
            let entries = read(&files)?.iter().map(|(_, entries)| entries.len()).sum::<usize>();
            said(server, entries, "valid");
            Ok(())
        }
        Command::Load(options) => {
            // Everything is read and checked before anything is loaded.
            let documents = read(&options.files)?;
            let mut client = PlaybookServiceClient::new(server.connect().await?);
            let mut entries = 0;
            for (yaml, _) in documents {
                let (request_id, actor) = (uuid::Uuid::new_v4().to_string(), options.actor.clone());
                let request = v1::SetDirectoryRequest { parent: server.parent(), yaml, request_id, actor };
                entries +=
                    client.set_directory(patiently(request)).await.map_err(refusal)?.into_inner().entries as usize;
            }
            said(server, entries, "loaded");
            Ok(())
        }
    }
}

fn said(server: &Server, entries: usize, what: &str) {
    if server.json {
        print_json(&json!({"entries": entries}));
    } else {
        print_line(format!("{what}: {entries} entries"));
    }
}

/// The directory that the files make together.
pub(crate) fn whole(files: &[PathBuf]) -> anyhow::Result<Directory> {
    let mut directory = Directory::default();
    read(files)?.into_iter().flat_map(|(_, entries)| entries).for_each(|entry| directory.set(entry));
    Ok(directory)
}

/// Texts with the entries that each holds.
fn read(files: &[PathBuf]) -> anyhow::Result<Vec<(String, Vec<Entry>)>> {
    let mut documents = Vec::new();
    for file in files {
        let yaml = playbook::text_of(file)?;
        match directory::parse(&yaml) {
            Ok(entries) => documents.push((yaml, entries)),
            Err(mut diagnostics) => {
                diagnostics.iter_mut().for_each(|found| found.source_id = file.display().to_string());
                print_line(diagnostic::render(&diagnostics));
                bail!("{} found in {}", diagnostics.len(), file.display());
            }
        }
    }
    Ok(documents)
}
