//! Scenarios: what a playbook is to do, in the operators' words, and whether it does.
//!
//! ```
//! use touchline_scenario::{Outcome, Scenario, Sources, run};
//!
//! let text = r#"
//! scenario: 询价的人进入考虑价格
//! playbook: |
//!   playbook: p
//!   tag_groups: [{id: 商机, exclusive: true, tags: [初步沟通, 考虑价格]}]
//!   keywords: {价格: {any: [多少钱]}}
//!   rules: [{id: asks-price, trigger: "chat.message(text has 价格)", do: [{set_tag: 商机/考虑价格}]}]
//! steps:
//!   - {at: "2026-12-01 09:00", 小王: "chat.message(direction=in, text=\"你们产品多少钱\")"}
//!   - expect: {小王: {tags: [商机/考虑价格], why: {商机/考虑价格: rules/asks-price}}}
//! "#;
//! let scenario = Scenario::read("price.yaml", text).expect("a scenario");
//! let report = run(&scenario, &Sources::new());
//! assert_eq!(report.outcome, Outcome::Passed, "{report}");
//! ```
//!
//! What it is: a reader of scenario files ([`Scenario::read`]), a world of four engines in memory in which time passes
//! from due moment to due moment ([`run`]), and a comparison that says where the file expects something else, what was
//! found and why it is so ([`Report`]). Other worlds, a replayed log or a running server, are entered by [`Play`].
//! What it is not: it opens no files (their texts are given, [`Sources`]), and it decides nothing: whatever it shows,
//! the engine decided.
//!
//! A scenario may also say what it proves ([`Proof`]): a text that is taken out of the playbook, after which the
//! scenario must no longer hold ([`Scenario::without`]).

mod compare;
mod counts;
mod format;
mod found;
mod memory;
mod proof;
mod read;
mod report;
mod run;
mod values;
mod world;

pub use format::{Proof, Scenario, Sources};
pub use report::{Failure, Finding, Outcome, Report};
pub use run::{Play, run, run_as};
pub use world::{Broken, Refusal, World, answer, follow};
