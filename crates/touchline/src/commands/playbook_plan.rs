//! `touchline playbook diff` and `activate`: what would change in what is in force, whom it concerns, and then doing it.

use crate::client::{Server, full, patiently, print_json, print_line, refusal};
use crate::commands::playbook::read;
use crate::json;
use anyhow::bail;
use serde_json::{Value, json};
use std::path::PathBuf;
use tonic::transport::Channel;
use touchline_model::command::{Migration, PlaybookSource, TagRef, replaced};
use touchline_playbook::bundle::Bundle;
use touchline_playbook::diagnostic::Diagnostic;
use touchline_playbook::diff::{Change, Difference};
use touchline_playbook::{compile, diagnostic, diff};
use touchline_proto::v1::playbook_service_client::PlaybookServiceClient;
use touchline_proto::v1::segment_service_client::SegmentServiceClient;
use touchline_proto::{migrations_to, v1};

/// What says that a tag is taken off; tags have a slash.
const NONE: &str = "none";

/// Reads `OLD=NEW` or `OLD=none`.
pub(crate) fn migration(text: &str) -> Result<Migration, String> {
    let wrong = || "expected group/tag=group/tag, or group/tag=none, e.g. 商机/考虑价格=商机/询价".to_owned();
    let (from, to) = text.split_once('=').ok_or_else(wrong)?;
    let from = TagRef::parse(from).ok_or_else(wrong)?;
    if to == NONE {
        return Ok(Migration { from, to: None });
    }
    Ok(Migration { from, to: Some(TagRef::parse(to).ok_or_else(wrong)?) })
}

/// What new playbooks change in those in force.
struct Plan {
    /// With the contacts each concerns, where that can be asked and is known.
    differences: Vec<(Difference, Option<u64>)>,
    /// Tags that go, and how many carry each.
    orphans: Vec<(TagRef, Option<u64>)>,
    /// What the compiler warns of.
    warnings: Vec<Diagnostic>,
}

impl Plan {
    /// Compares; `channel`: the server to ask whom it concerns.
    async fn new(
        server: &Server,
        channel: Option<&Channel>,
        now: &[PlaybookSource],
        after: &[PlaybookSource],
    ) -> anyhow::Result<Self> {
        let compiled = |sources: &[PlaybookSource]| {
            let compiled = compile::compile_with_warnings(sources, 0);
            compiled.map_err(|found| anyhow::anyhow!("{}", diagnostic::render(&found)))
        };
        let ((old, _), (new, warnings)) = (compiled(now)?, compiled(after)?);
        let (mut differences, mut orphans) = (Vec::new(), Vec::new());
        for one in diff::between(&old, &new) {
            let concerned = match (concerning(&old, &one), channel) {
                (Some(filter), Some(channel)) => Some(count(server, channel, filter).await?),
                _ => None,
            };
            differences.push((one, concerned));
        }
        for tag in diff::orphans(&old, &new) {
            let carried = match channel {
                Some(channel) => Some(count(server, channel, format!("tag(\"{tag}\")")).await?),
                None => None,
            };
            orphans.push((tag, carried));
        }
        Ok(Self { differences, orphans, warnings })
    }

    fn print(&self) {
        if !self.warnings.is_empty() {
            print_line(diagnostic::render(&self.warnings));
        }
        if self.differences.is_empty() {
            print_line("nothing changes");
        }
        for (one, concerned) in &self.differences {
            let concerned = concerned.map(|count| format!("  ({count} contacts)")).unwrap_or_default();
            print_line(format!("{:<8} {} {}{concerned}", one.change.name(), one.what, one.id));
        }
    }

    fn json(&self) -> (Vec<Value>, Vec<Value>) {
        let difference = |(one, concerned): &(Difference, Option<u64>)| json!({"what": one.what, "id": one.id, "change": one.change.name(), "contacts": concerned});
        let orphan = |(tag, carried): &(TagRef, Option<u64>)| json!({"tag": tag.to_string(), "contacts": carried});
        (self.differences.iter().map(difference).collect(), self.orphans.iter().map(orphan).collect())
    }
}

/// A condition that holds for whoever is concerned when this changes or goes.
fn concerning(old: &Bundle, one: &Difference) -> Option<String> {
    match (one.what, one.change) {
        (_, Change::Added) => None,
        ("tag", _) => Some(format!("tag(\"{}\")", one.id)),
        ("group", _) => Some(format!("tag(\"{}/*\")", one.id)),
        ("board", _) => old.boards.get(&one.id).map(|board| format!("tag(\"{}/*\")", board.group)),
        ("segment", _) => Some(format!("segment(\"{}\")", one.id)),
        _ => None,
    }
}

async fn count(server: &Server, channel: &Channel, filter: String) -> anyhow::Result<u64> {
    let of = Some(v1::count_segment_request::Of::Filter(filter));
    let request = v1::CountSegmentRequest { parent: server.parent(), of, read: full() };
    let answer = SegmentServiceClient::new(channel.clone()).count_segment(patiently(request)).await.map_err(refusal)?;
    Ok(answer.into_inner().count)
}

/// The sources of what is in force, and its number.
async fn in_force(server: &Server, channel: &Channel) -> anyhow::Result<(Vec<PlaybookSource>, u64)> {
    let request = v1::ListPlaybooksRequest { parent: server.parent(), read: full() };
    let listed =
        PlaybookServiceClient::new(channel.clone()).list_playbooks(patiently(request)).await.map_err(refusal)?;
    let v1::ListPlaybooksResponse { playbooks, bundle, .. } = listed.into_inner();
    Ok((playbooks.into_iter().map(|source| PlaybookSource { id: source.id, yaml: source.yaml }).collect(), bundle))
}

/// Only what is in force can be taken out: a slip would go unseen.
fn are_there(now: &[PlaybookSource], remove: &[String]) -> anyhow::Result<()> {
    let Some(unknown) = remove.iter().find(|id| !now.iter().any(|known| known.id == **id)) else { return Ok(()) };
    let known: Vec<&str> = now.iter().map(|known| known.id.as_str()).collect();
    bail!("no playbook `{unknown}` to take out\nhint: there are: {}", known.join(", "));
}

/// Shows what would change; against files no server is asked.
pub(crate) async fn diff(
    server: &Server,
    files: &[PathBuf],
    remove: &[String],
    with: &[PathBuf],
) -> anyhow::Result<()> {
    let channel = if with.is_empty() { Some(server.connect().await?) } else { None };
    let now = match &channel {
        Some(channel) => in_force(server, channel).await?.0,
        None => read(with)?,
    };
    are_there(&now, remove)?;
    let plan = Plan::new(server, channel.as_ref(), &now, &replaced(&now, &read(files)?, remove)).await?;
    if server.json {
        let (differences, orphans) = plan.json();
        print_json(&json!({"differences": differences, "orphans": orphans}));
        return Ok(());
    }
    plan.print();
    for (tag, carried) in &plan.orphans {
        match carried {
            Some(0) => {}
            Some(count) => print_line(format!("warning: {count} contacts carry {tag}, which goes: --migrate {tag}=…")),
            None => print_line(format!("warning: {tag} goes: whoever carries it needs --migrate {tag}=…")),
        }
    }
    Ok(())
}

/// Shows what changes, then puts it in force. A tag that somebody carries only goes where `migrate` says what becomes of
/// it; what nobody carries is taken off whoever should get it in this moment.
pub(crate) async fn activate(
    server: &Server,
    (files, remove, mut migrate): (&[PathBuf], Vec<String>, Vec<Migration>),
    expect: Option<u64>,
    actor: String,
) -> anyhow::Result<()> {
    let sources = read(files)?;
    let channel = server.connect().await?;
    let (now, bundle) = in_force(server, &channel).await?;
    are_there(&now, &remove)?;
    let plan = Plan::new(server, Some(&channel), &now, &replaced(&now, &sources, &remove)).await?;
    if !server.json {
        // Before anything is asked for: it says what a refusal is about, too.
        plan.print();
    }
    let unnamed: Vec<&(TagRef, Option<u64>)> =
        plan.orphans.iter().filter(|(tag, _)| !migrate.iter().any(|one| one.from == *tag)).collect();
    let carried: Vec<String> = unnamed
        .iter()
        .filter_map(|(tag, carried)| {
            carried.filter(|count| *count > 0).map(|count| format!("{tag} ({count} contacts)"))
        })
        .collect();
    if !carried.is_empty() {
        bail!(
            "these tags go, and whoever carries one would keep it for good: {}\nhint: add --migrate OLD=NEW for each, or \
             --migrate OLD={NONE} to take it off",
            carried.join(", ")
        );
    }
    migrate.extend(unnamed.into_iter().map(|(tag, _)| Migration { from: tag.clone(), to: None }));
    let request = v1::ActivatePlaybookRequest {
        parent: server.parent(),
        sources: sources.into_iter().map(|source| source.yaml).collect(),
        remove,
        expected_active: expect.unwrap_or(bundle),
        request_id: uuid::Uuid::new_v4().to_string(),
        actor,
        migrations: migrations_to(&migrate),
    };
    let answer =
        PlaybookServiceClient::new(channel).activate_playbook(patiently(request)).await.map_err(refusal)?.into_inner();
    if server.json {
        let diagnostics: Vec<Value> = answer.diagnostics.iter().map(json::diagnostic).collect();
        let (differences, _) = plan.json();
        print_json(&json!({"bundle": answer.bundle, "differences": differences, "diagnostics": diagnostics}));
        return Ok(());
    }
    for one in &migrate {
        let to = one.to.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string);
        print_line(format!("migrated {} to {to}", one.from));
    }
    // The plan has shown the others; these the server alone can see, which has the directory.
    let is_shown = |found: &v1::Diagnostic| {
        plan.warnings
            .iter()
            .any(|shown| (shown.code, shown.line, &*shown.source_id) == (&*found.code, found.line, &*found.playbook))
    };
    for found in answer.diagnostics.iter().filter(|found| !is_shown(found)) {
        let v1::Diagnostic { code, message, playbook, line, column, hint, .. } = found;
        let hint = if hint.is_empty() { String::new() } else { format!("\n hint: {hint}") };
        print_line(format!("warning[{code}]: {message}\n --> {playbook}:{line}:{column}{hint}"));
    }
    print_line(format!("bundle {} is in force", answer.bundle));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_name_two_tags_or_none() {
        let old = TagRef::new("商机", "考虑价格");
        let read = |text: &str| migration(text).ok();
        let new = Some(TagRef::new("商机", "询价"));
        assert_eq!(read("商机/考虑价格=商机/询价"), Some(Migration { from: old.clone(), to: new }));
        assert_eq!(read("商机/考虑价格=none"), Some(Migration { from: old, to: None }));
        assert_eq!([read("商机/考虑价格"), read("商机=none"), read("商机/考虑价格=没有")], [None, None, None]);
    }
}
