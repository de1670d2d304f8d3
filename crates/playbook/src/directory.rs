//! Documents of `kind: directory`: what rules look up, loaded without a new version of any playbook.

use crate::codes;
use crate::compile::BUNDLE_BYTES_MAX;
use crate::diagnostic::{Diagnostic, Place, Sink};
use crate::documents::{self, Keys};
use crate::reader::{self, Mapping};
use crate::yaml::{self, Node, Scalar};
use std::collections::BTreeSet;
use touchline_model::command::TagRef;
use touchline_model::directory::{Body, Entry, Group, Product, Staff};
use touchline_model::value::Number;

/// What diagnostics of a directory say as their source.
pub const SOURCE_ID: &str = "directory";

/// The entries of a document, in order; each takes the place of the one with its id.
///
/// ```
/// use touchline_playbook::directory;
/// let entries = directory::parse("kind: directory\nstaff: [{staff: li, pools: [sales]}]\n").expect("valid");
/// assert_eq!(entries.len(), 1);
/// ```
pub fn parse(text: &str) -> Result<Vec<Entry>, Vec<Diagnostic>> {
    let mut sink = Sink::new(SOURCE_ID);
    if text.len() > BUNDLE_BYTES_MAX {
        let message = format!("the directory has {} bytes, at most {BUNDLE_BYTES_MAX} are accepted", text.len());
        sink.report(codes::TOO_LARGE, Place { line: 1, column: 1 }, "", message, Some("load it in parts".to_owned()));
        return Err(sink.into_found());
    }
    let root = yaml::parse(text, &mut sink);
    let entries = root.as_ref().and_then(|root| document(root, &mut sink)).unwrap_or_default();
    if sink.has_errors() { Err(sink.into_found()) } else { Ok(entries) }
}

fn document(root: &Node, sink: &mut Sink) -> Option<Vec<Entry>> {
    let mut map = Mapping::open(root, &documents::DIRECTORY, "", sink)?;
    let kind = map.require("kind", sink).and_then(|node| reader::text(node, "kind", sink))?;
    if kind.text != "directory" {
        let message = format!("this is no directory but `{}`", kind.text);
        sink.report(codes::VALUE, kind.place, "kind", message, Some("say `kind: directory`".to_owned()));
        return None;
    }
    let mut entries = Vec::new();
    let sections: [(&'static str, &'static Keys, Read); 6] = [
        ("staff", &documents::STAFF, staff),
        ("stores", &documents::STORE, store),
        ("groups", &documents::GROUP, group),
        ("products", &documents::PRODUCT, product),
        ("wecom_tags", &documents::WECOM_TAG, tag),
        ("contents", &documents::BODY, body),
    ];
    for (section, keys, read) in sections {
        let Some(node) = map.take(section) else { continue };
        for node in reader::list(node, section, sink) {
            let Some(mut entry) = Mapping::open(node, keys, section, sink) else { continue };
            entries.extend(read(&mut entry, sink));
            entry.done(sink);
        }
    }
    map.done(sink);
    Some(entries)
}

type Read = fn(&mut Mapping<'_>, &mut Sink) -> Option<Entry>;

fn staff(map: &mut Mapping<'_>, sink: &mut Sink) -> Option<Entry> {
    let id = map.id("staff", sink);
    let pools = texts(map, "pools", sink);
    let store = map.text("store", sink).map(|store| store.text.clone()).unwrap_or_default();
    // Who is listed works, unless it says otherwise.
    let active = map.entry("active").is_none() || map.flag("active", sink);
    // A name helps whoever reads the file.
    map.text("name", sink);
    Some(Entry::Staff(id?.text.clone(), Staff { pools, store, active }))
}

fn store(map: &mut Mapping<'_>, sink: &mut Sink) -> Option<Entry> {
    let id = map.id("store", sink);
    let name = map.text("name", sink).map(|name| name.text.clone()).unwrap_or_default();
    Some(Entry::Store(id?.text.clone(), name))
}

fn group(map: &mut Mapping<'_>, sink: &mut Sink) -> Option<Entry> {
    let id = map.id("group", sink);
    let text = |scalar: Option<&Scalar>| scalar.map(|scalar| scalar.text.clone()).unwrap_or_default();
    let name = text(map.text("name", sink));
    let kind = text(map.text("kind", sink));
    Some(Entry::Group(id?.text.clone(), Group { name, kind }))
}

fn product(map: &mut Mapping<'_>, sink: &mut Sink) -> Option<Entry> {
    let id = map.id("product", sink);
    map.text("name", sink);
    let (items, skus) = (texts(map, "item_ids", sink), texts(map, "skus", sink));
    let days = map.text("days_per_unit", sink);
    let days_per_unit = days.and_then(|days| {
        let number = Number::parse(&days.text).filter(|number| number.0 > 0);
        if number.is_none() {
            let message = format!("`{}` is no number of days", days.text);
            sink.report(codes::VALUE, days.place, "products", message, None);
        }
        number
    });
    Some(Entry::Product(id?.text.clone(), Product { items, skus, days_per_unit }))
}

fn tag(map: &mut Mapping<'_>, sink: &mut Sink) -> Option<Entry> {
    let id = map.id("native_id", sink);
    let tag = map.text("tag", sink);
    let parsed = tag.map(|tag| (tag, TagRef::parse(&tag.text)));
    if let Some((tag, None)) = &parsed {
        let message = format!("`{}` is not a tag", tag.text);
        sink.report(codes::VALUE, tag.place, "wecom_tags", message, Some("tags are written group/tag".to_owned()));
        return None;
    }
    Some(Entry::Tag(id?.text.clone(), parsed.and_then(|(_, tag)| tag)))
}

/// Longest text of a content, in characters: what channels send at once.
const TEXT_CHARS_MAX: usize = 4_000;
/// Media of a content: what channels send at once.
const MEDIA_MAX: usize = 9;

fn body(map: &mut Mapping<'_>, sink: &mut Sink) -> Option<Entry> {
    let id = map.id("content", sink);
    let text = map.text("text", sink);
    let path = map.path("media");
    let media = map.take("media").map(|node| reader::list(node, &path, sink)).unwrap_or_default();
    let media: Vec<String> =
        media.iter().filter_map(|node| reader::text(node, &path, sink)).map(|media| media.text.clone()).collect();
    let place = text.map_or(map.place(), |text| text.place);
    let text = text.map(|text| text.text.clone()).unwrap_or_default();
    let mut wrong = |message: String, hint: &str| {
        sink.report(codes::VALUE, place, "contents", message, Some(hint.to_owned()));
    };
    if text.chars().nth(TEXT_CHARS_MAX).is_some() || media.len() > MEDIA_MAX {
        let message = format!("more than {TEXT_CHARS_MAX} characters or {MEDIA_MAX} media");
        wrong(message, "make two contents of it");
    }
    // What comes before the first brace needs no end.
    let is_closed = |part: &str| part.split_once('}').is_some_and(|(name, _)| !name.trim().is_empty());
    if text.split('{').skip(1).any(|part| !is_closed(part)) {
        wrong("a `{` without a name and a `}`".to_owned(), "variables are written {昵称}");
    }
    Some(Entry::Content(id?.text.clone(), Body { text, media }))
}

fn texts(map: &mut Mapping<'_>, key: &'static str, sink: &mut Sink) -> BTreeSet<String> {
    let path = map.path(key);
    let Some(node) = map.take(key) else { return BTreeSet::new() };
    let items = reader::list(node, &path, sink);
    items.iter().filter_map(|node| reader::text(node, &path, sink).map(|text| text.text.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_and_mistakes_say_where() {
        let text = "kind: directory
staff: [{staff: li, pools: [dcc, sales], store: s1}, {staff: old, active: false}]
stores: [{store: s1, name: 杭州店}]
groups: [{group: wr1, name: 复利闪购群, kind: 妈妈群}]
products: [{product: A, item_ids: ['1'], skus: [a1], days_per_unit: 0.5}]
wecom_tags: [{native_id: et1, tag: 商机/考虑价格}, {native_id: et2}]
contents: [{content: 报价案例, text: '{昵称}您好，{门店}见', media: [m1, m2]}, {content: 旧, media: []}]
";
        let mut directory = touchline_model::directory::Directory::default();
        parse(text).expect("valid").into_iter().for_each(|entry| directory.set(entry));
        assert_eq!(directory.pool("dcc").collect::<Vec<_>>(), ["li"]);
        assert_eq!(directory.store_staff("s1").collect::<Vec<_>>(), ["li"]);
        assert!(!directory.staff["old"].active);
        assert!(directory.is_group("wr1", "复利闪购群") && directory.is_group("wr1", "wr1"));
        assert_eq!(directory.group_kind("wr1"), Some("妈妈群"));
        assert_eq!(directory.products_of("1", "").map(|(id, _)| id).collect::<Vec<_>>(), ["A"]);
        assert_eq!(directory.products_of("", "a1").map(|(id, _)| id).collect::<Vec<_>>(), ["A"]);
        assert_eq!(directory.products_of("", "").count(), 0);
        assert_eq!(directory.products["A"].days_per_unit, Some(Number(500_000)));
        assert_eq!(directory.tags.keys().collect::<Vec<_>>(), ["et1"]);
        let is_there = |content: &str| directory.contents[content].is_there();
        assert_eq!((directory.contents["报价案例"].media.join(" "), is_there("旧")), ("m1 m2".to_owned(), false));
        for (text, code, line, column) in [
            ("staff: []\n", "PB007", 1, 1),
            ("kind: playbook\n", "PB009", 1, 7),
            ("kind: directory\nstuff: []\n", "PB005", 2, 1),
            ("kind: directory\nstaff: [{pools: [a]}]\n", "PB007", 2, 9),
            ("kind: directory\nproducts: [{product: A, days_per_unit: 0}]\n", "PB009", 2, 40),
            ("kind: directory\nwecom_tags: [{native_id: et1, tag: 商机}]\n", "PB009", 2, 36),
            ("kind: directory\ncontents: [{content: c, text: 'a{b'}]\n", "PB009", 2, 31),
            ("kind: directory\ncontents: [{content: c, text: '{ }'}]\n", "PB009", 2, 31),
            ("kind: directory\ncontents: [{content: c, media: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}]\n", "PB009", 2, 12),
        ] {
            let found = parse(text).expect_err(text);
            assert_eq!((found[0].code, found[0].line, found[0].column), (code, line, column), "{text}");
        }
    }
}
