//! Everything the log says came of the story, in a form that does not depend on how it was run.

use super::payloads::TENANT;
use super::story::Place;
use crate::live::touchline;
use anyhow::{Context, Result};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use touchline_model::token;

/// Where a record lies and which number it has there: other processes, other places.
const PLACES: [&str; 6] = ["sequence", "source", "position", "origin", "version", "by"];
/// Numbers that a command line draws for itself, in answers to commands.
const DRAWN: [&str; 1] = ["request_id"];
/// What stands for every token: each is drawn.
const A_TOKEN: &str = "a token";

/// What `touchline verify` says of a log at rest and of the stores in these directories. `outputs`: where it is to
/// write every record.
pub(crate) fn verify(place: &Place, data_dirs: &[PathBuf], outputs: Option<&Path>) -> Result<Json> {
    let mut arguments = vec!["verify".to_owned(), "--json".to_owned()];
    if let Place::Kafka(kafka) = place {
        arguments.extend(kafka.arguments().map(str::to_owned));
        arguments.extend(["--clock", "manual"].map(str::to_owned));
    }
    let named = data_dirs.iter().map(|directory| ("--data-dir", directory.as_path()));
    for (name, path) in named.chain(outputs.map(|path| ("--outputs", path))) {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    let report = touchline(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    serde_json::from_str(&report).with_context(|| format!("no report: {report}"))
}

/// Every output, and every contact as it is at the end: topic, whose, what, when on the virtual clock, and why; one
/// line each, sorted. Errors: the log is not what a replay of its events says.
pub(crate) fn read(place: &Place, data_dirs: &[PathBuf], directory: &Path) -> Result<Vec<String>> {
    let file = directory.join("outputs.ndjson");
    verify(place, data_dirs, Some(&file))?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("no outputs in {}", file.display()))?;
    canonical(&text)
}

fn canonical(text: &str) -> Result<Vec<String>> {
    let record = |line: &str| -> Result<String> {
        let mut record: Json = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        forget_places(&mut record);
        forget_tokens(&mut record);
        if record["topic"] == "command-results" {
            DRAWN.iter().for_each(|name| record[name] = Json::Null);
        }
        Ok(record.to_string())
    };
    let mut records = text.lines().map(record).collect::<Result<Vec<_>>>()?;
    records.sort_unstable();
    Ok(records)
}

fn forget_places(value: &mut Json) {
    match value {
        Json::Object(fields) => {
            fields.retain(|name, _| !PLACES.contains(&name.as_str()));
            fields.values_mut().for_each(forget_places);
        }
        Json::Array(values) => values.iter_mut().for_each(forget_places),
        _ => {}
    }
}

/// As a `state`, and as the key of its cell.
fn forget_tokens(value: &mut Json) {
    let is_token = |text: &str| text.starts_with(token::PREFIX) || text.starts_with(&format!("{TENANT}/token/"));
    match value {
        Json::Object(fields) => fields.values_mut().for_each(forget_tokens),
        Json::Array(values) => values.iter_mut().for_each(forget_tokens),
        Json::String(text) if is_token(text) => *value = A_TOKEN.into(),
        _ => {}
    }
}

/// Records of one list that the other lacks, one sentence each; as often as one lacks them.
pub(crate) fn differences(expected: &[String], found: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for (records, step) in [(expected, -1), (found, 1)] {
        records.iter().for_each(|record| *counts.entry(record).or_default() += step);
    }
    let sentence = |(record, count): (&str, i64)| match count {
        0 => None,
        ..0 => Some(format!("missing {} times: {record}", -count)),
        1.. => Some(format!("{count} times too often: {record}")),
    };
    counts.into_iter().filter_map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn where_a_record_lies_does_not_count_and_all_else_does() {
        let here = r#"{"topic":"touches","sequence":1,"source":{"partition":0,"offset":7},"clock":"t",
            "cause":{"kind":"timer","position":{"partition":0,"offset":7}},"steps":[{"version":1,"id":"a"}]}"#;
        let there = r#"{"topic":"touches","sequence":2,"source":{"partition":3,"offset":9},"clock":"t",
            "cause":{"kind":"timer","position":{"partition":3,"offset":9}},"steps":[{"version":2,"id":"a"}]}"#;
        let one_line = |text: &str| canonical(&text.replace('\n', "")).unwrap();
        assert_eq!(one_line(here), one_line(there));
        assert_ne!(one_line(here), one_line(&there.replace("\"t\"", "\"u\"")));
        assert_ne!(one_line(here), one_line(&there.replace("timer", "goal")));
        assert!(canonical("no JSON").is_err());
    }

    #[test]
    fn only_answers_to_commands_have_drawn_numbers() {
        let of =
            |topic: &str, id: u8| canonical(&format!("{{\"topic\":\"{topic}\",\"request_id\":\"{id}\"}}")).unwrap();
        assert_eq!(of("command-results", 1), of("command-results", 2));
        assert_ne!(of("touches", 1), of("touches", 2));
    }

    #[test]
    fn tokens_are_drawn_and_other_states_are_not() {
        let of = |name: &str, text: &str| canonical(&json!({"topic": "contacts", name: text}).to_string()).unwrap();
        assert_eq!(of("state", "t.k3Jq9"), of("state", "t.m4Kr0"));
        assert_eq!(of("contact", "demo/token/state/k3Jq9"), of("contact", "demo/token/state/m4Kr0"));
        assert_ne!(of("state", "官网"), of("state", "门店"));
        assert_ne!(of("contact", "demo/yz_open_id/youzan/a"), of("contact", "demo/yz_open_id/youzan/b"));
    }

    #[test]
    fn a_record_too_few_or_too_often_is_told() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(differences(&list("a b b c"), &list("c b a b")), Vec::<String>::new());
        let told = differences(&list("a b c"), &list("a a d c"));
        assert_eq!(told, ["1 times too often: a", "missing 1 times: b", "1 times too often: d"]);
    }
}
