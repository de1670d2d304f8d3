//! `touchline send`: events as JSON, over HTTP.

use crate::client::{Server, print_json, print_line};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use std::io::Read;
use touchline_channels::api;
use touchline_model::kind::Kind;

/// Sends events in the form of `POST /v1/events`: one, an array, or one per line (NDJSON).
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// File to send; `-` or nothing reads stdin
    file: Option<String>,
    /// Print an example of this kind instead of sending (try: chat.message, order.paid); with --send, send it
    #[arg(long, value_name = "KIND")]
    example: Option<String>,
    /// With --example: send it
    #[arg(long, requires = "example")]
    send: bool,
    /// List the kinds --example knows
    #[arg(long)]
    kinds: bool,
}

pub(crate) fn run(server: &Server, options: &Options) -> anyhow::Result<()> {
    if options.kinds {
        for kind in Kind::ALL {
            if api::example(*kind).is_some() {
                print_line(kind.name());
            }
        }
        return Ok(());
    }
    let events = match &options.example {
        Some(name) => {
            let known = Kind::parse(name).and_then(api::example);
            let mut example =
                known.with_context(|| format!("no kind {name}\nhint: touchline send --kinds lists them"))?;
            if let Some(event) = example.as_object_mut() {
                event.insert("tenant".to_owned(), Value::String(server.tenant.clone()));
            }
            if !options.send {
                print_line(serde_json::to_string_pretty(&example)?);
                return Ok(());
            }
            vec![example]
        }
        None => read(options.file.as_deref().unwrap_or("-"))?,
    };
    // A batch the server takes in one request.
    for batch in events.chunks(500) {
        post(server, batch)?;
    }
    Ok(())
}

fn read(file: &str) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    match file {
        "-" => std::io::stdin().read_to_string(&mut text).context("reading stdin")?,
        path => std::fs::File::open(path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .with_context(|| format!("reading {path}"))?,
    };
    let mut events = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        match value.with_context(|| format!("{file} is not JSON"))? {
            Value::Array(many) => events.extend(many),
            one => events.push(one),
        }
    }
    if events.is_empty() {
        bail!("{file} holds no event\nhint: touchline send --example chat.message shows one");
    }
    Ok(events)
}

fn post(server: &Server, batch: &[Value]) -> anyhow::Result<()> {
    let url = format!("{}/v1/events", server.http());
    let body = serde_json::to_vec(batch)?;
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent
        .post(&url)
        .header("content-type", "application/json")
        .send(&body)
        .with_context(|| format!("no answer from {url}\nhint: start a server with `touchline dev`"))?;
    let status = response.status();
    let text = response.body_mut().read_to_string()?;
    let answer: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let results = answer.get("results").and_then(Value::as_array).cloned().unwrap_or_default();
    let rejected = results.iter().filter(|result| result["status"] != "accepted").count();
    if server.json {
        print_json(&answer);
    } else {
        for (index, result) in results.iter().enumerate() {
            let shown = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
            match shown("status").as_str() {
                "accepted" => {
                    let (at, id) = (&result["position"], shown("event_id"));
                    print_line(format!(
                        "event {}: accepted at {}@{}, id {id}",
                        index + 1,
                        at["partition"],
                        at["offset"]
                    ));
                }
                _ => print_line(format!("event {}: rejected, {}: {}", index + 1, shown("reason"), shown("detail"))),
            }
        }
    }
    if !status.is_success() || rejected > 0 {
        bail!(
            "{} of {} events were not accepted (HTTP {status})",
            rejected.max(usize::from(results.is_empty())),
            batch.len()
        );
    }
    Ok(())
}
