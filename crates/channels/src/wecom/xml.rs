//! A small XML tree for signed envelopes: no document types, no entities but the five predefined, bounded.

use crate::Error;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// Callbacks nest four deep at most (`SelectedItems/SelectedItem/OpitonIds/OpitonId` below the root).
const DEPTH_MAX: usize = 8;
/// A group holds at most 500 members; anything near this bound is not a callback.
const NODES_MAX: usize = 10_000;

const MALFORMED: Error = Error::Malformed { what: "xml" };

/// An element: its name, its own text, its children in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    text: String,
    pub(super) children: Vec<Node>,
}

impl Node {
    /// The trimmed text of the first child of this name, if there is any text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let child = self.children.iter().find(|child| child.name == name)?;
        Some(child.text.trim()).filter(|text| !text.is_empty())
    }

    /// The trimmed texts of every descendant with one of these names, in document order.
    pub(super) fn texts_below<'a>(&'a self, names: &[&str], out: &mut Vec<&'a str>) {
        for child in &self.children {
            if names.contains(&child.name.as_str()) && !child.text.trim().is_empty() {
                out.push(child.text.trim());
            }
            child.texts_below(names, out);
        }
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Parses one document and returns its root.
pub(super) fn parse(text: &str) -> Result<Node, Error> {
    let mut reader = Reader::from_str(text);
    // The open elements from the outside in; the first is a stand-in above the root.
    let mut open = vec![Node::default()];
    let mut nodes = 0;
    loop {
        let event = reader.read_event().map_err(|_| MALFORMED)?;
        let innermost = open.last_mut().ok_or(MALFORMED)?;
        match event {
            Event::Start(start) => {
                nodes += 1;
                open.push(named(start.local_name().as_ref())?);
            }
            Event::Empty(start) => {
                nodes += 1;
                innermost.children.push(named(start.local_name().as_ref())?);
            }
            Event::End(_) => {
                let closed = open.pop().ok_or(MALFORMED)?;
                open.last_mut().ok_or(MALFORMED)?.children.push(closed);
            }
            Event::Text(text) => innermost.text.push_str(&text.decode().map_err(|_| MALFORMED)?),
            Event::CData(data) => innermost.text.push_str(&data.decode().map_err(|_| MALFORMED)?),
            Event::GeneralRef(reference) => {
                if let Some(letter) = reference.resolve_char_ref().map_err(|_| MALFORMED)? {
                    innermost.text.push(letter);
                } else {
                    let name = reference.decode().map_err(|_| MALFORMED)?;
                    innermost.text.push_str(resolve_predefined_entity(&name).ok_or(MALFORMED)?);
                }
            }
            Event::Decl(_) | Event::Comment(_) => {}
            Event::DocType(_) | Event::PI(_) => {
                return Err(Error::Malformed { what: "xml: document types are refused" });
            }
            Event::Eof => break,
        }
        if open.len() > DEPTH_MAX || nodes > NODES_MAX {
            return Err(MALFORMED);
        }
    }
    let [outside] = <[Node; 1]>::try_from(open).map_err(|_| MALFORMED)?;
    let [root] = <[Node; 1]>::try_from(outside.children).map_err(|_| MALFORMED)?;
    if outside.text.trim().is_empty() { Ok(root) } else { Err(MALFORMED) }
}

fn named(name: &[u8]) -> Result<Node, Error> {
    let name = std::str::from_utf8(name).map_err(|_| MALFORMED)?;
    Ok(Node { name: name.to_owned(), ..Node::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_text_and_cdata() {
        let root = parse("<?xml version=\"1.0\"?>\n<xml><A><![CDATA[a<b]]></A><B>1 &amp; &#50;</B><C/></xml>").unwrap();
        assert_eq!((root.text("A"), root.text("B"), root.text("C")), (Some("a<b"), Some("1 & 2"), None));
    }

    #[test]
    fn refuses_what_a_callback_never_holds() {
        let deep = format!("{}{}", "<a>".repeat(9), "</a>".repeat(9));
        let wide = format!("<xml>{}</xml>", "<a/>".repeat(10_001));
        for bad in [
            "",
            "text",
            "<a></b>",
            "<a>",
            "<a/><b/>",
            "<!DOCTYPE x [<!ENTITY e \"boom\">]><xml>&e;</xml>",
            "<!DOCTYPE xml><xml/>",
            "<xml>&unknown;</xml>",
            "<xml><?php x?></xml>",
            deep.as_str(),
            wide.as_str(),
        ] {
            assert!(parse(bad).is_err(), "{bad:.60}");
        }
    }
}
