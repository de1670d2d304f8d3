//! From playbook sources to a bundle, or to everything that is wrong with them.

use crate::attributes::Attribute;
use crate::bundle::{
    Board, Bundle, Condition, Content, CustomType, Journey, Metric, Playbook, ROUNDS_MAX, Rule, TagGroup, Trigger,
};
use crate::clocks::Clocks;
use crate::codes;
use crate::diagnostic::{Diagnostic, Place, Sink, did_you_mean, zone_hint};
use crate::fold::Fold;
use crate::keywords::{Automaton, KeywordSet};
use crate::listening::Listeners;
use crate::measure::Quantity;
use crate::reader::{self, Mapping};
use crate::resolve::{Names, Owners, Replies, Resolver, Tallies};
use crate::syntax::{self, Expression};
use crate::tally::Tallied;
use crate::waits::{Reply, Wait};
use crate::yaml::{self, Node, NodeKind, Scalar};
use crate::{attributes, cycles, documents, journeys, lookup, metrics, rules, sections};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use touchline_model::command::PlaybookSource;
use touchline_model::directory::Directory;
use touchline_model::time::Zone;

/// Most bytes of sources in one bundle: it lies whole in one record of the log.
pub const BUNDLE_BYTES_MAX: usize = 512 * 1024;

/// Compiles the sources, in order, under a bundle number. Errors come with the warnings, several at once.
pub fn compile(sources: &[PlaybookSource], number: u64) -> Result<Bundle, Vec<Diagnostic>> {
    compiled(sources, number).map(|(bundle, _)| bundle)
}

/// As [`compile`], but partitions that have the same bundle in force share it: compiled once, held once. It is the
/// memory of a pure function and changes no result.
pub fn compile_shared(sources: &[PlaybookSource], number: u64) -> Result<Arc<Bundle>, Vec<Diagnostic>> {
    static COMPILED: Mutex<Vec<Weak<Bundle>>> = Mutex::new(Vec::new());
    static LATEST: Mutex<Option<Arc<Bundle>>> = Mutex::new(None);
    let is_it = |bundle: &Arc<Bundle>| bundle.number == number && bundle.sources == sources;
    let known = COMPILED.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).find(is_it);
    if let Some(bundle) = known {
        return Ok(bundle);
    }
    let bundle = Arc::new(compile(sources, number)?);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled.retain(|bundle| bundle.strong_count() > 0);
    compiled.push(Arc::downgrade(&bundle));
    // Partition 0 compiles it before anybody has it in force.
    *LATEST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&bundle));
    Ok(bundle)
}

/// As [`compile`], with the warnings of what compiles.
pub fn compile_with_warnings(
    sources: &[PlaybookSource],
    number: u64,
) -> Result<(Bundle, Vec<Diagnostic>), Vec<Diagnostic>> {
    compiled(sources, number).map(|(bundle, sink)| (bundle, sink.into_found()))
}

/// The same, with warnings of names that this directory does not have.
pub fn compile_beside(
    sources: &[PlaybookSource],
    number: u64,
    directory: &Directory,
) -> Result<(Bundle, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (bundle, mut sink) = compiled(sources, number)?;
    lookup::warn(&mut sink, directory);
    Ok((bundle, sink.into_found()))
}

fn compiled(sources: &[PlaybookSource], number: u64) -> Result<(Bundle, Sink), Vec<Diagnostic>> {
    let mut sink = Sink::new(sources.first().map_or("bundle", |source| &source.id));
    let bytes: usize = sources.iter().map(|source| source.yaml.len()).sum();
    if bytes > BUNDLE_BYTES_MAX {
        let message = format!("the bundle has {bytes} bytes, at most {BUNDLE_BYTES_MAX} are accepted");
        sink.report(codes::TOO_LARGE, Place { line: 1, column: 1 }, "", message, None);
        return Err(sink.into_found());
    }
    let roots: Vec<Option<Node>> = sources
        .iter()
        .map(|source| {
            sink.enter(&source.id);
            yaml::parse(&source.yaml, &mut sink)
        })
        .collect();
    let mut compiler = Compiler { sink, ..Compiler::default() };
    let documents: Vec<Document<'_>> =
        sources.iter().zip(&roots).filter_map(|(source, root)| compiler.header(source, root.as_ref()?)).collect();
    for document in &documents {
        compiler.used(document);
        compiler.groups(document);
        compiler.keyword_sets(document);
        compiler.content_products(document);
        compiler.touches(document);
    }
    for document in &documents {
        compiler.boards(document);
        compiler.attributes(document);
    }
    compiler.segments(&documents);
    for document in &documents {
        compiler.behaviour(document);
    }
    compiler.finish(sources, number)
}

/// The playbook id that a YAML text gives itself: what its [`PlaybookSource::id`] has to be.
pub fn playbook_id(yaml: &str) -> Result<String, Vec<Diagnostic>> {
    let mut sink = Sink::new("playbook");
    let id = yaml::parse(yaml, &mut sink).and_then(|root| {
        let mut map = Mapping::open(&root, &documents::PLAYBOOK, "", &mut sink)?;
        map.id("playbook", &mut sink).map(|id| id.text.clone())
    });
    id.ok_or_else(|| sink.into_found())
}

/// One playbook with its sections still to be read.
pub(crate) struct Document<'n> {
    pub(crate) source_id: String,
    pub(crate) id: String,
    pub(crate) zone: Zone,
    pub(crate) clocks: Clocks,
    pub(crate) uses: Vec<String>,
    uses_node: Option<&'n Node>,
    groups: Option<&'n Node>,
    keywords: Option<&'n Node>,
    attributes: Option<&'n Node>,
    counters: Option<&'n Node>,
    contents: Option<&'n Node>,
    segments: Option<&'n Node>,
    boards: Option<&'n Node>,
    rules: Option<&'n Node>,
    journeys: Option<&'n Node>,
    metrics: Option<&'n Node>,
}

/// What is known so far.
#[derive(Default)]
struct Compiler {
    sink: Sink,
    playbooks: Vec<Playbook>,
    events: BTreeMap<String, BTreeMap<String, CustomType>>,
    groups: BTreeMap<String, TagGroup>,
    keyword_sets: BTreeMap<String, KeywordSet>,
    keyword_ids: BTreeSet<String>,
    boards: BTreeMap<String, Board>,
    attributes: BTreeMap<String, Attribute>,
    tallies: RefCell<BTreeMap<u64, Tallied>>,
    waits: RefCell<BTreeMap<u64, Wait>>,
    replies: RefCell<BTreeMap<u64, Reply>>,
    touches: BTreeMap<String, String>,
    owners: Owners,
    put_in: Cell<usize>,
    content_products: BTreeMap<String, String>,
    contents: BTreeMap<String, Content>,
    counters: BTreeMap<String, Quantity>,
    segment_owners: BTreeMap<String, String>,
    segments: BTreeMap<String, Condition>,
    rules: Vec<Rule>,
    rule_places: Vec<(String, Place)>,
    journeys: Vec<Journey>,
    metrics: Vec<Metric>,
}

/// The names of one playbook, borrowing the compiler's fields one by one so that the sink stays free.
macro_rules! names {
    ($compiler:ident, $document:expr) => {
        Names {
            playbook: Some(&$document.id),
            uses: &$document.uses,
            zone: $document.zone,
            clocks: &$document.clocks,
            groups: &$compiler.groups,
            boards: &$compiler.boards,
            segments: &$compiler.segments,
            segment_owners: Some(&$compiler.segment_owners),
            keyword_sets: &$compiler.keyword_ids,
            events: &$compiler.events,
            attributes: &$compiler.attributes,
            contents: &$compiler.content_products,
            tallies: Tallies::Collected(&$compiler.tallies),
            waits: Some(&$compiler.waits),
            replies: Replies::Collected(&$compiler.replies),
            touches: &$compiler.touches,
            owners: &$compiler.owners,
            put_in: &$compiler.put_in,
        }
    };
}

impl Compiler {
    fn header<'n>(&mut self, source: &PlaybookSource, root: &'n Node) -> Option<Document<'n>> {
        self.sink.enter(&source.id);
        let sink = &mut self.sink;
        let mut map = Mapping::open(root, &documents::PLAYBOOK, "", sink)?;
        if let Some(kind) = map.text("kind", sink) {
            match kind.text.as_str() {
                "playbook" => {}
                "policy" => return refuse(codes::NY_POLICY, kind, sink),
                "directory" => {
                    let message = "a directory is loaded by itself".to_owned();
                    let hint = Some("use `touchline directory load`".to_owned());
                    sink.report(codes::DOCUMENT, kind.place, "kind", message, hint);
                    return None;
                }
                other => {
                    let hint = did_you_mean(other, ["playbook", "policy", "directory"]);
                    sink.report(codes::VALUE, kind.place, "kind", format!("there is no kind `{other}`"), hint);
                    return None;
                }
            }
        }
        let id = map.id("playbook", sink)?;
        if id.text != source.id {
            let message = format!("the playbook calls itself `{}`, its source is kept as `{}`", id.text, source.id);
            sink.report(codes::SOURCE_ID, id.place, "playbook", message, None);
        }
        if self.playbooks.iter().any(|have| have.id == id.text) {
            let message = format!("the bundle has another playbook `{}`", id.text);
            sink.report(codes::DUPLICATE_ID, id.place, "playbook", message, None);
            return None;
        }
        let zone = map.text("timezone", sink).map_or(Zone::SHANGHAI, |name| {
            Zone::parse(&name.text).unwrap_or_else(|| {
                let message = format!("there is no time zone `{}`", name.text);
                let hint = (!sink.is_full()).then(|| zone_hint(&name.text));
                sink.report(codes::TIME_ZONE, name.place, "timezone", message, hint);
                Zone::SHANGHAI
            })
        });
        let version = map.text("version", sink).map_or(1, |version| {
            version.text.parse().unwrap_or_else(|_| {
                let message = format!("`{}` is not a whole number", version.text);
                sink.report(codes::VALUE, version.place, "version", message, None);
                1
            })
        });
        let uses_node = map.take("uses");
        let uses = uses_node.map_or_else(Vec::new, |node| sections::uses(node, sink));
        let events = map.take("events").map(|node| sections::events(node, sink)).unwrap_or_default();
        let document = Document {
            source_id: source.id.clone(),
            id: id.text.clone(),
            zone,
            clocks: Clocks::new(zone),
            uses,
            uses_node,
            groups: map.take("tag_groups"),
            keywords: map.take("keywords"),
            attributes: map.take("attributes"),
            counters: map.take("counters"),
            contents: map.take("contents"),
            segments: map.take("segments"),
            boards: map.take("boards"),
            rules: map.take("rules"),
            journeys: map.take("journeys"),
            metrics: map.take("metrics"),
        };
        sections::not_yet_sections(&mut map, sink);
        map.done(sink);
        for (name, fields) in &events {
            let same = self.events.get(name).is_none_or(|have| have == fields);
            if !same {
                let message = format!("another playbook declares the event `{name}` with other fields");
                sink.report(codes::EVENT_NAME, id.place, "events", message, None);
            }
            self.events.insert(name.clone(), fields.clone());
            self.owners.events.entry(name.clone()).or_default().insert(id.text.clone());
        }
        let uses = document.uses.clone();
        self.playbooks.push(Playbook { id: id.text.clone(), zone, version, uses, events });
        Some(document)
    }

    /// Whether the playbooks it takes names from are there, in the version it means.
    fn used(&mut self, document: &Document<'_>) {
        self.sink.enter(&document.source_id);
        let sink = &mut self.sink;
        let Some(node) = document.uses_node else { return };
        for node in reader::list(node, "uses", sink) {
            let NodeKind::Scalar(used) = &node.kind else { continue };
            let (id, version) = used.text.split_once('@').map_or((used.text.as_str(), None), |(id, n)| (id, Some(n)));
            let Some(found) = self.playbooks.iter().find(|playbook| playbook.id == id && id != document.id) else {
                let others = self.playbooks.iter().map(|playbook| playbook.id.as_str());
                let hint = did_you_mean(id, others.filter(|other| *other != document.id));
                sink.report(codes::USES, used.place, "uses", format!("the bundle has no other playbook `{id}`"), hint);
                continue;
            };
            if version.is_some_and(|version| version != found.version.to_string()) {
                let message = format!("playbook `{id}` has version {}, not {}", found.version, version.unwrap_or(""));
                sink.report(codes::USES, used.place, "uses", message, None);
            }
        }
    }

    fn groups(&mut self, document: &Document<'_>) {
        self.sink.enter(&document.source_id);
        let sink = &mut self.sink;
        let Some(node) = document.groups else { return };
        for node in reader::list(node, "tag_groups", sink) {
            let Some(mut map) = Mapping::open(node, &documents::TAG_GROUP, "tag_groups", sink) else { continue };
            let Some(id) = map.id("id", sink) else { continue };
            let exclusive = map.flag("exclusive", sink);
            let ordered = map.flag("ordered", sink);
            let path = reader::join("tag_groups", &id.text);
            let manual_wins = map.text("manual", sink).is_some_and(|manual| match manual.text.as_str() {
                "wins" => true,
                "equal" => false,
                other => {
                    let hint = Some("it is `wins` or `equal`, which is meant where it is absent".to_owned());
                    let message = format!("`{other}` says nothing about changes by hand");
                    sink.report(codes::VALUE, manual.place, &path, message, hint);
                    false
                }
            });
            let mut tags = Vec::new();
            if let Some(node) = map.require("tags", sink) {
                sections::labelled(node, &path, &mut tags, sink);
            }
            let ladder_len = tags.len();
            if let Some((key, node)) = map.entry("off_ladder") {
                sections::labelled(node, &path, &mut tags, sink);
                if !ordered {
                    let message = "`off_ladder` in a group that is not ordered".to_owned();
                    sink.report(codes::NOT_ORDERED, key.place, &path, message, Some("say `ordered: true`".to_owned()));
                }
            }
            if ordered && !exclusive {
                let message = format!("the tag group `{}` is ordered but not exclusive", id.text);
                let hint = Some("a ladder has one place at a time: say `exclusive: true`".to_owned());
                sink.report(codes::BOARD_NOT_EXCLUSIVE, id.place, &path, message, hint);
            }
            map.done(sink);
            if let Some(owner) = self.groups.get(&id.text) {
                let message = format!("the tag group `{}` already belongs to playbook `{}`", id.text, owner.playbook);
                sink.report(codes::GROUP_OWNER, id.place, &path, message, None);
                continue;
            }
            let (id_text, playbook) = (id.text.clone(), document.id.clone());
            let group = TagGroup { id: id_text, playbook, exclusive, ordered, manual_wins, tags, ladder_len };
            self.groups.insert(id.text.clone(), group);
        }
    }

    fn keyword_sets(&mut self, document: &Document<'_>) {
        self.sink.enter(&document.source_id);
        let sink = &mut self.sink;
        let Some(node) = document.keywords else { return };
        for (name, node) in reader::named(node, "keywords", sink) {
            let path = reader::join("keywords", &name.text);
            if !reader::check_id(name, &path, sink) {
                continue;
            }
            let Some(mut map) = Mapping::open(node, &documents::KEYWORDS, &path, sink) else { continue };
            let fold = map.take("fold").map_or(Fold::ALL, |node| sections::fold(node, &path, sink));
            let any = map.require("any", sink);
            map.done(sink);
            let Some(any) = any else { continue };
            let mut keywords = Vec::new();
            for node in reader::list(any, &path, sink) {
                let Some(keyword) = reader::text(node, &path, sink) else { continue };
                sections::check_keyword(keyword, fold, &path, sink);
                keywords.push(keyword.text.clone());
            }
            if keywords.is_empty() {
                sink.report(codes::KEYWORD, any.place, &path, "a keyword set has at least one keyword".into(), None);
            }
            let id = format!("{}/{}", document.id, name.text);
            self.keyword_ids.insert(id.clone());
            self.keyword_sets.insert(id, KeywordSet { fold, keywords });
        }
    }

    fn boards(&mut self, document: &Document<'_>) {
        self.sink.enter(&document.source_id);
        let Some(node) = document.boards else { return };
        for node in reader::list(node, "boards", &mut self.sink) {
            self.board(document, node);
        }
    }

    fn board(&mut self, document: &Document<'_>, node: &Node) -> Option<()> {
        let sink = &mut self.sink;
        let mut map = Mapping::open(node, &documents::BOARD, "boards", sink)?;
        let id = map.id("id", sink)?;
        let path = reader::join("boards", &id.text);
        let label = map.text("label", sink).map_or_else(|| id.text.clone(), |label| label.text.clone());
        let backward = map.text("backward", sink);
        let group = map.require("group", sink).and_then(|node| reader::text(node, &path, sink));
        let columns = map.take("columns");
        map.done(sink);
        let group = group?;
        let mine = self.groups.get(&group.text).filter(|found| found.playbook == document.id);
        let Some(found) = mine else {
            let hint = did_you_mean(&group.text, self.groups.keys().map(String::as_str));
            let message = format!("this playbook has no tag group `{}`", group.text);
            sink.report(codes::UNDEFINED_TAG, group.place, &path, message, hint);
            return None;
        };
        let backward = backward.is_none_or(|backward| sections::backward_of(backward, found, &path, sink));
        if !found.exclusive {
            let message = format!("the tag group `{}` is not exclusive", group.text);
            let hint = Some("a card is in one column: say `exclusive: true`".to_owned());
            sink.report(codes::BOARD_NOT_EXCLUSIVE, group.place, &path, message, hint);
        }
        if let Some(other) = self.boards.values().find(|board| board.group == group.text) {
            let message = format!("board `{}` already shows the tag group `{}`", other.id, group.text);
            sink.report(codes::BOARD_TWICE, group.place, &path, message, None);
        }
        if self.boards.contains_key(&id.text) {
            let message = format!("the bundle has another board `{}`", id.text);
            sink.report(codes::DUPLICATE_ID, id.place, &path, message, None);
        }
        let columns = match columns {
            None => found.tags.iter().map(|tag| tag.id.clone()).collect(),
            Some(node) => sections::columns_of(node, found, &path, sink),
        };
        let board = Board {
            id: id.text.clone(),
            label,
            playbook: document.id.clone(),
            group: group.text.clone(),
            columns,
            backward,
        };
        self.boards.insert(id.text.clone(), board);
        Some(())
    }

    /// Every step by its journey: asked for by answers everywhere.
    fn touches(&mut self, document: &Document<'_>) {
        for journey in document.journeys.map_or(&[][..], reader::one_or_many) {
            let NodeKind::Map(entries) = &journey.kind else { continue };
            let id = entries.iter().find(|(name, _)| name.text == "id").map(|(_, node)| &node.kind);
            let Some(NodeKind::Scalar(id)) = id else { continue };
            let steps = entries.iter().filter(|(name, _)| matches!(name.text.as_str(), "steps" | "tracks"));
            steps.for_each(|(_, node)| sections::step_ids(node, (&document.id, &id.text), &mut self.touches));
        }
    }

    /// Which contents stand for a product: asked for by patterns everywhere.
    fn content_products(&mut self, document: &Document<'_>) {
        self.sink.enter(&document.source_id);
        let Some(node) = document.contents else { return };
        for node in reader::list(node, "contents", &mut self.sink) {
            let NodeKind::Map(entries) = &node.kind else { continue };
            let text = |entries: &[(Scalar, Node)], key: &str| match &entries
                .iter()
                .find(|(name, _)| name.text == key)?
                .1
                .kind
            {
                NodeKind::Scalar(scalar) => Some(scalar.text.clone()),
                _ => None,
            };
            let matched = entries.iter().find(|(name, _)| name.text == "match");
            let product = match matched.map(|(_, node)| &node.kind) {
                Some(NodeKind::Map(inner)) => text(inner, "product"),
                _ => None,
            };
            let id = text(entries, "id");
            self.owners.contents.extend(id.clone().zip(Some(document.id.clone())));
            self.content_products.extend(id.zip(product));
        }
    }

    fn attributes(&mut self, document: &Document<'_>) {
        self.sink.enter(&document.source_id);
        let Some(node) = document.attributes else { return };
        let names = names!(self, document);
        for (name, attribute) in attributes::read(node, &Scope { document, names: &names }, &mut self.sink) {
            let path = reader::join("attributes", &name.text);
            if let Some(other) = self.attributes.get(&name.text) {
                let message = format!("playbook `{}` has an attribute `{}` too", other.playbook, name.text);
                self.sink.report(codes::DUPLICATE_ID, name.place, &path, message, None);
                continue;
            }
            self.attributes.insert(name.text.clone(), attribute);
        }
    }

    /// Segments may name each other in any order, so each is resolved after those it names.
    fn segments(&mut self, documents: &[Document<'_>]) {
        let mut declared: BTreeMap<&str, Declared<'_>> = BTreeMap::new();
        for document in documents {
            self.sink.enter(&document.source_id);
            let Some(node) = document.segments else { continue };
            for (name, node) in reader::named(node, "segments", &mut self.sink) {
                let path = reader::join("segments", &name.text);
                if !reader::check_id(name, &path, &mut self.sink) {
                    continue;
                }
                if self.segment_owners.insert(name.text.clone(), document.id.clone()).is_some() {
                    let message = format!("the bundle has another segment `{}`", name.text);
                    self.sink.report(codes::DUPLICATE_ID, name.place, &path, message, None);
                    continue;
                }
                let parsed = reader::expression(node, &path, false, &mut self.sink, syntax::condition);
                if let Some((expression, scalar)) = parsed {
                    declared.insert(&name.text, Declared { document, expression, scalar, state: State::New });
                }
            }
        }
        let names: Vec<&str> = declared.keys().copied().collect();
        for name in names {
            self.segment(name, &mut declared, 0);
        }
    }

    fn segment<'d>(&mut self, name: &str, declared: &mut BTreeMap<&str, Declared<'d>>, depth: usize) {
        let Some(segment) = declared.get_mut(name) else { return };
        let (document, scalar) = (segment.document, segment.scalar);
        let path = reader::join("segments", name);
        self.sink.enter(&document.source_id);
        match segment.state {
            State::Done => return,
            State::Open => {
                let message = format!("segment `{name}` is defined by itself");
                self.sink.report(codes::SEGMENT_CYCLE, scalar.place, &path, message, None);
                return;
            }
            State::New => segment.state = State::Open,
        }
        let expression = segment.expression.clone();
        if depth >= SEGMENT_DEPTH_MAX {
            let message = format!("segments name each other deeper than {SEGMENT_DEPTH_MAX}");
            self.sink.report(codes::TOO_DEEP, scalar.place, &path, message, None);
        } else {
            let mut inner = Vec::new();
            segments_named(&expression, &mut inner);
            for inner in inner {
                self.segment(&inner, declared, depth + 1);
            }
            self.sink.enter(&document.source_id);
            let names = names!(self, document);
            let mut resolver = Resolver::new(&names);
            let resolved = resolver.condition(&expression);
            for problem in resolver.problems {
                reader::syntax_error(scalar, &path, problem, &mut self.sink);
            }
            if let Some(condition) = resolved {
                self.segments.insert(name.to_owned(), condition);
            }
        }
        if let Some(segment) = declared.get_mut(name) {
            segment.state = State::Done;
        }
    }

    fn behaviour(&mut self, document: &Document<'_>) {
        self.sink.enter(&document.source_id);
        let names = names!(self, document);
        let scope = Scope { document, names: &names };
        if let Some(node) = document.contents {
            sections::contents(node, &scope, &mut self.sink, &mut self.contents);
        }
        if let Some(node) = document.counters {
            sections::counters(node, &scope, &mut self.sink, &mut self.counters);
        }
        if let Some(node) = document.rules {
            rules::read(node, &scope, &mut self.sink, &mut self.rules, &mut self.rule_places);
        }
        if let Some(node) = document.journeys {
            journeys::read(node, &scope, &mut self.sink, &mut self.journeys);
        }
        if let Some(node) = document.metrics {
            metrics::read(node, &scope, &mut self.sink, &mut self.metrics);
        }
    }

    /// Warns of rules that may not run, because what sets them off comes in the last round.
    fn long_chains(&mut self) {
        for chain in cycles::too_long(&self.rules, &self.groups, &self.boards, &self.segments) {
            let Some(&last) = chain.last() else { continue };
            let (path, place) = &self.rule_places[last];
            self.sink.enter(&self.rules[last].playbook);
            let ids: Vec<&str> = chain.iter().map(|rule| self.rules[*rule].id.as_str()).collect();
            let message = format!("this rule may not run: a record has {ROUNDS_MAX} rounds, and {}", ids.join(" → "));
            let hint = Some("let one rule of the chain do what two of them do".to_owned());
            self.sink.report(codes::ROUNDS, *place, path, message, hint);
        }
    }

    fn finish(mut self, sources: &[PlaybookSource], number: u64) -> Result<(Bundle, Sink), Vec<Diagnostic>> {
        if let Some(circle) =
            cycles::find(&self.rules, &self.groups, &self.boards, &self.segments, &self.waits.borrow())
        {
            let (path, place) = &self.rule_places[circle[0]];
            self.sink.enter(&self.rules[circle[0]].playbook);
            let shown = circle.iter().take(CIRCLE_SHOWN_MAX).map(|rule| self.rules[*rule].id.as_str());
            let mut ids: Vec<&str> = shown.collect();
            ids.extend((circle.len() > CIRCLE_SHOWN_MAX).then_some("…"));
            let message = format!("these rules set each other off: {}", ids.join(" → "));
            let hint = Some("let one of them act on what people do instead of on a tag".to_owned());
            self.sink.report(codes::RULE_CYCLE, *place, path, message, hint);
        }
        if !self.sink.has_errors() {
            self.long_chains();
        }
        let asked = self.tallies.borrow().len() + self.waits.borrow().len() + self.replies.borrow().len();
        if asked > ASKED_MAX {
            let message = format!("{asked} different counts, sums, moments, silences and answers: at most {ASKED_MAX}");
            let hint = Some("each is kept for every contact".to_owned());
            self.sink.report(codes::TOO_LARGE, Place { line: 1, column: 1 }, "", message, hint);
        }
        let keywords = Automaton::build(&self.keyword_sets).unwrap_or_else(|message| {
            self.sink.report(codes::TOO_LARGE, Place { line: 1, column: 1 }, "keywords", message, None);
            Automaton::default()
        });
        if self.sink.has_errors() {
            return Err(self.sink.into_found());
        }
        let mut bundle = Bundle {
            contents: self.contents,
            counters: self.counters,
            attributes: self.attributes,
            tallies: self.tallies.into_inner(),
            waits: self.waits.into_inner(),
            replies: self.replies.into_inner(),
            segments_by_input: BTreeMap::new(),
            dates: Vec::new(),
            waits_by_event: BTreeMap::new(),
            tallies_by_event: BTreeMap::new(),
            computed_by_event: BTreeMap::new(),
            profile_fields: BTreeSet::new(),
            number,
            sources: sources.to_vec(),
            playbooks: self.playbooks,
            groups: self.groups,
            boards: self.boards,
            segments: self.segments,
            rules: self.rules,
            journeys: self.journeys,
            metrics: self.metrics,
            metrics_by_event: BTreeMap::new(),
            rules_listening: Listeners::default(),
            journeys_listening: Listeners::default(),
            exits: BTreeMap::new(),
            keywords,
        };
        crate::index::index(&mut bundle);
        Ok((bundle, self.sink))
    }
}

/// What a section's reader needs to resolve names.
pub(crate) struct Scope<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) names: &'a Names<'a>,
}

impl Scope<'_> {
    /// A condition, parsed and resolved.
    pub(crate) fn condition(&self, node: &Node, path: &str, sink: &mut Sink) -> Option<Condition> {
        let (expression, scalar) = reader::expression(node, path, false, sink, syntax::condition)?;
        if sink.is_full() {
            return None;
        }
        let mut resolver = Resolver::new(self.names);
        let out = resolver.condition(&expression);
        resolver.problems.into_iter().for_each(|problem| reader::syntax_error(scalar, path, problem, sink));
        out
    }

    /// One trigger or a list of them; `None` when any is wrong.
    pub(crate) fn triggers(&self, node: &Node, path: &str, sink: &mut Sink) -> Option<Vec<Trigger>> {
        let nodes = reader::one_or_many(node);
        if nodes.is_empty() {
            reader::shape(node, "at least one trigger", path, sink);
            return None;
        }
        let triggers: Vec<Option<Trigger>> = nodes
            .iter()
            .map(|node| {
                let (happening, scalar) = reader::expression(node, path, false, sink, syntax::trigger)?;
                if sink.is_full() {
                    return None;
                }
                let mut resolver = Resolver::new(self.names);
                let out = resolver.trigger(&happening);
                resolver.problems.into_iter().for_each(|problem| reader::syntax_error(scalar, path, problem, sink));
                out
            })
            .collect();
        triggers.into_iter().collect()
    }
}

/// A single character is found in words that mean something else.
pub(crate) const KEYWORD_CHARS_MIN: usize = 2;
/// Longer ones are no words, and the automaton has a state for every byte.
pub(crate) const KEYWORD_CHARS_MAX: usize = 100;
/// Bounds the recursion from segment to segment.
const SEGMENT_DEPTH_MAX: usize = 64;

/// What a bundle may have counted and waited for: each is part of every contact.
pub(crate) const ASKED_MAX: usize = 500;

/// Rules of a circle named in its message.
const CIRCLE_SHOWN_MAX: usize = 10;

struct Declared<'n> {
    document: &'n Document<'n>,
    expression: Expression,
    scalar: &'n Scalar,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    New,
    Open,
    Done,
}

fn refuse<T>(code: codes::Code, scalar: &Scalar, sink: &mut Sink) -> Option<T> {
    reader::not_yet(code, scalar.place, "kind", sink);
    None
}

fn segments_named(expression: &Expression, out: &mut Vec<String>) {
    match expression {
        Expression::And(parts) | Expression::Or(parts) => parts.iter().for_each(|part| segments_named(part, out)),
        Expression::Not(part) => segments_named(part, out),
        Expression::Term(call, _) => {
            if let ("segment", Some(syntax::Argument::Name(name))) = (call.signature.name, call.arguments.first()) {
                out.push(name.text.clone());
            }
        }
    }
}
