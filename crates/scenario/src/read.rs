//! From the text of a scenario file to a [`Scenario`], or to everything that is wrong with it.

mod expect;
mod nodes;
mod steps;

use crate::format::{Document, Doing, Proof, Scenario};
use crate::memory::{PARTITIONS, PARTITIONS_MAX};
use crate::report::Finding;
use nodes::Entries;
use touchline_model::id::{IdKey, IdKind};
use touchline_model::time::Zone;
use touchline_playbook::compile::BUNDLE_BYTES_MAX;
use touchline_playbook::diagnostic::{Place, did_you_mean, zone_hint};
use touchline_playbook::yaml::{self, Node, NodeKind, Scalar};

impl Scenario {
    /// Reads the text of `file`, whose name is only for messages.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let mut reader = Reader { file, zone: Zone::SHANGHAI, people: Vec::new(), findings: Vec::new() };
        if text.len() > BUNDLE_BYTES_MAX {
            let message = format!("a scenario has at most {BUNDLE_BYTES_MAX} bytes");
            reader.wrong(Place { line: 1, column: 1 }, message, None);
            return Err(reader.findings);
        }
        let root = yaml::read(file, text).map_err(|found| {
            found.iter().map(|found| Finding::of(found, file, Place { line: 1, column: 1 })).collect::<Vec<_>>()
        })?;
        match reader.scenario(&root) {
            Some(scenario) if reader.findings.is_empty() => Ok(scenario),
            _ => Err(reader.findings),
        }
    }

    /// Whether a text is meant to be a scenario: a mapping with the key `scenario`.
    pub fn is_one(text: &str) -> bool {
        let Ok(Node { kind: NodeKind::Map(entries), .. }) = yaml::read("", text) else { return false };
        entries.iter().any(|(key, _)| key.text == "scenario")
    }
}

/// What is known while reading.
struct Reader<'f> {
    file: &'f str,
    zone: Zone,
    people: Vec<(String, Vec<IdKey>)>,
    findings: Vec<Finding>,
}

const KEYS: [&str; 10] = [
    "scenario",
    "playbook",
    "playbooks",
    "directory",
    "leave_out",
    "timezone",
    "partitions",
    "contacts",
    "steps",
    "proves",
];

impl Reader<'_> {
    fn scenario(&mut self, root: &Node) -> Option<Scenario> {
        let map = Entries::open(self, root)?;
        let name = map.take("scenario").and_then(|node| self.text(node)).map(|name| name.text.clone());
        let zone = map.take("timezone").and_then(|node| self.text(node));
        if let Some(name) = zone {
            match Zone::parse(&name.text) {
                Some(zone) => self.zone = zone,
                None => self.wrong(
                    name.place,
                    format!("there is no time zone `{}`", name.text),
                    Some(zone_hint(&name.text)),
                ),
            }
        }
        if let Some(node) = map.take("contacts") {
            self.contacts(node);
        }
        let partitions = map.take("partitions").map_or(Some(PARTITIONS), |node| self.partitions(node));
        let mut documents = Vec::new();
        for key in ["playbook", "playbooks", "directory"] {
            documents.extend(map.take(key).map(|node| self.documents(node)).unwrap_or_default());
        }
        if documents.is_empty() {
            let hint = Some("say `playbooks: [file.yaml]`, or write it out under `playbook: |`".to_owned());
            self.wrong(root.place, "a scenario has a playbook".to_owned(), hint);
        }
        let leave_out = map.take("leave_out").map(|node| self.texts(node)).unwrap_or_default();
        let steps = map.take("steps").map(|node| self.steps(node)).unwrap_or_default();
        if !steps.iter().any(|step| matches!(step.doing, Doing::Expect(_) | Doing::Count(_))) {
            self.wrong(root.place, "a scenario expects something: `- expect: {…}`".to_owned(), None);
        }
        let proofs = map.take("proves").map(|node| self.proofs(node)).unwrap_or_default();
        map.done(self, &KEYS);
        if name.is_none() {
            self.wrong(root.place, "the key `scenario` is missing".to_owned(), None);
        }
        let people = std::mem::take(&mut self.people);
        let leave_out = leave_out.into_iter().map(|section| section.text.clone()).collect();
        Some(Scenario {
            name: name?,
            file: self.file.to_owned(),
            zone: self.zone,
            partitions: partitions?,
            documents,
            leave_out,
            people,
            steps,
            proofs,
        })
    }

    fn partitions(&mut self, node: &Node) -> Option<u32> {
        let scalar = self.text(node)?;
        let number = scalar.text.parse().ok().filter(|number| (1..=PARTITIONS_MAX).contains(number));
        if number.is_none() {
            self.wrong(scalar.place, format!("`{}` is not a number from 1 to {PARTITIONS_MAX}", scalar.text), None);
        }
        number
    }

    /// `{小王: {wecom_external_userid: wmA, yz_open_id: y1}}`
    fn contacts(&mut self, node: &Node) {
        for (name, node) in self.entries(node) {
            let mut ids = Vec::new();
            for (kind, value) in self.entries(node) {
                let Some(value) = self.text(value) else { continue };
                ids.extend(self.id_kind(kind).map(|kind| IdKey::new(kind, scope(kind), value.text.as_str())));
            }
            if ids.is_empty() {
                self.wrong(name.place, format!("`{}` has no identifier", name.text), None);
            }
            self.people.push((name.text.clone(), ids));
        }
    }

    fn id_kind(&mut self, word: &Scalar) -> Option<IdKind> {
        let kind = IdKind::parse(&word.text).filter(|kind| kind.is_contact() && kind.is_public());
        if kind.is_none() {
            let known = IdKind::ALL.into_iter().filter(|kind| kind.is_contact()).map(IdKind::name);
            let hint = did_you_mean(&word.text, known);
            self.wrong(word.place, format!("there is no identifier of kind `{}`", word.text), hint);
        }
        kind
    }

    /// The person of this name, who exists from now on.
    fn person(&mut self, name: &Scalar) -> String {
        if !self.people.iter().any(|(known, _)| *known == name.text) {
            let kind = IdKind::WecomExternalUserid;
            let id = IdKey::new(kind, scope(kind), format!("wm-{}", name.text));
            self.people.push((name.text.clone(), vec![id]));
        }
        name.text.clone()
    }

    /// Texts written out, or paths that end in `.yaml`.
    fn documents(&mut self, node: &Node) -> Vec<Document> {
        let texts = self.texts(node);
        let document = |scalar: &Scalar| {
            let path = scalar.text.trim();
            if path.ends_with(".yaml") || path.ends_with(".yml") {
                Document::File { path: path.to_owned(), place: scalar.place }
            } else {
                Document::Inline { text: scalar.text.clone(), place: scalar.place }
            }
        };
        texts.into_iter().map(document).collect()
    }

    fn proofs(&mut self, node: &Node) -> Vec<Proof> {
        let items = self.list(node);
        items.iter().filter_map(|node| self.proof(node)).collect()
    }

    /// `{key: count.within, without: ", within=30d"}` or `{key: …, replace: [30d, 90d]}`
    fn proof(&mut self, node: &Node) -> Option<Proof> {
        let map = Entries::open(self, node)?;
        let key = map.take("key").and_then(|node| self.text(node));
        let without = map.take("without").and_then(|node| self.text(node));
        let replace = map.take("replace").map(|node| self.texts(node));
        let refused = map.take("refused").and_then(|node| self.text(node)).is_some_and(|flag| flag.text == "true");
        map.done(self, &["key", "without", "replace", "refused"]);
        let change = match (without, replace.as_deref()) {
            (Some(from), None) => Some((from.text.clone(), String::new())),
            (None, Some([from, to])) => Some((from.text.clone(), to.text.clone())),
            _ => None,
        };
        match (key, change) {
            (Some(key), Some((from, to))) if !from.is_empty() => {
                Some(Proof { key: key.text.clone(), from, to, refused, line: node.place.line })
            }
            _ => {
                let hint = "write {key: count.within, without: \", within=30d\"} or {key: …, replace: [from, to]}";
                self.wrong(node.place, "a proof names a key and a text to take out".to_owned(), Some(hint.to_owned()));
                None
            }
        }
    }
}

/// Who issues the identifiers of a kind, in scenarios.
pub(crate) const fn scope(kind: IdKind) -> &'static str {
    match kind {
        IdKind::YzOpenId => "youzan",
        IdKind::TbOpenUid | IdKind::WxOpenid => "app",
        IdKind::WxUnionid => "open",
        IdKind::MemberCard | IdKind::ClickVisitor => "shop",
        _ => CORP,
    }
}

/// The corp whose customers the people of a scenario are.
pub(crate) const CORP: &str = "wwcorp";
