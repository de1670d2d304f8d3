//! Everything the log says came of the story, in a form that does not depend on how it was run.

use super::story::Place;
use crate::live::touchline;
use anyhow::{Context, Result};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Numbers that a command line draws for itself, in answers to commands.
const DRAWN: [&str; 1] = ["request_id"];

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
    if outputs.is_some() {
        arguments.push("--comparable".to_owned());
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
        if record["topic"] == "command-results" {
            DRAWN.iter().for_each(|name| record[name] = Json::Null);
        }
        Ok(record.to_string())
    };
    let mut records = text.lines().map(record).collect::<Result<Vec<_>>>()?;
    records.sort_unstable();
    Ok(records)
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

    #[test]
    fn only_answers_to_commands_have_drawn_numbers() {
        let of =
            |topic: &str, id: u8| canonical(&format!("{{\"topic\":\"{topic}\",\"request_id\":\"{id}\"}}")).unwrap();
        assert_eq!(of("command-results", 1), of("command-results", 2));
        assert_ne!(of("touches", 1), of("touches", 2));
    }

    #[test]
    fn a_record_too_few_or_too_often_is_told() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(differences(&list("a b b c"), &list("c b a b")), Vec::<String>::new());
        let told = differences(&list("a b c"), &list("a a d c"));
        assert_eq!(told, ["1 times too often: a", "missing 1 times: b", "1 times too often: d"]);
    }
}
