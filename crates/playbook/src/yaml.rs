//! YAML as a small tree that knows where everything stands.

mod places;

use crate::codes;
use crate::diagnostic::{Diagnostic, Place, Sink};
use places::Places;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// Deepest nesting of a document.
pub(crate) const DEPTH_MAX: usize = 64;

/// One value of a document.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins; of nothing, where its key does.
    pub place: Place,
    /// What it is.
    pub kind: NodeKind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// A text.
    Scalar(Scalar),
    /// Values in order.
    List(Vec<Node>),
    /// Keys with their values, in order; a key may be there twice.
    Map(Vec<(Scalar, Node)>),
}

/// A text. Types are decided by whoever reads it.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// Without quotes.
    pub text: String,
    /// Where it begins, at its quote if it has one.
    pub place: Place,
    /// Whether it is written in quotes or as a block, so that it can only be meant as a text.
    pub quoted: bool,
    places: Places,
}

impl Scalar {
    /// Where the character at this offset stands; the start of the value when that cannot be told.
    pub fn place_of(&self, offset: u32) -> Place {
        self.places.of(offset).unwrap_or(self.place)
    }
}

impl Node {
    /// The same with every text replaced by `replace`; keys stay.
    pub(crate) fn map_texts(&self, replace: &dyn Fn(&str) -> String) -> Self {
        let kind = match &self.kind {
            NodeKind::Null => NodeKind::Null,
            NodeKind::Scalar(scalar) => {
                let text = replace(&scalar.text);
                // Offsets in what is put in are none in the source.
                let places = if text == scalar.text { scalar.places.clone() } else { Places::default() };
                NodeKind::Scalar(Scalar { text, place: scalar.place, quoted: scalar.quoted, places })
            }
            NodeKind::List(items) => NodeKind::List(items.iter().map(|item| item.map_texts(replace)).collect()),
            NodeKind::Map(entries) => {
                NodeKind::Map(entries.iter().map(|(key, node)| (key.clone(), node.map_texts(replace))).collect())
            }
        };
        Self { place: self.place, kind }
    }

    /// What it is, for messages: `a list`.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Scalar(_) => "a text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}

/// What a file holds, as text. The error says where it stops being UTF-8.
///
/// ```
/// use touchline_playbook::yaml;
/// let found = yaml::decode("a.yaml", b"playbook: \xbc\xdb".to_vec()).expect_err("that is GBK");
/// assert_eq!((found.code, found.line, found.column), ("PB051", 1, 11));
/// ```
#[allow(clippy::result_large_err, reason = "an error is made once per file, and callers want it whole")]
pub fn decode(source_id: &str, bytes: Vec<u8>) -> Result<String, Diagnostic> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let mut sink = Sink::new(source_id);
        let hint = Some("save it as UTF-8, not as GBK (ANSI) or UTF-16".to_owned());
        sink.report(codes::ENCODING, places::end_of(&valid), "", "the text is not UTF-8".to_owned(), hint);
        sink.into_found().remove(0)
    })
}

/// Reads one document as it stands. Errors say where it is no YAML, or uses anchors, aliases or tags.
pub fn read(source_id: &str, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let mut sink = Sink::new(source_id);
    parse(text, &mut sink).ok_or_else(|| sink.into_found())
}

/// Parses one document. `None` after an error, which is in the sink.
pub(crate) fn parse(text: &str, sink: &mut Sink) -> Option<Node> {
    let mut builder = Builder { source: text.chars().collect(), stack: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let message = format!("not YAML: {}", error.info());
                sink.report(codes::YAML, within(text, place(*error.marker())), "", message, None);
                return None;
            }
        };
        if let Err((code, message)) = builder.take(event, span) {
            sink.report(code, within(text, place(span.start)), "", message, None);
            return None;
        }
    }
    builder.root.or(Some(Node { place: Place { line: 1, column: 1 }, kind: NodeKind::Null }))
}

struct Builder {
    source: Vec<char>,
    stack: Vec<Open>,
    root: Option<Node>,
}

/// A collection whose end has not come.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<(Scalar, Node)>, Option<Scalar>),
}

type Refusal = (codes::Code, String);

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        let at = place(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err((codes::YAML_FEATURE, "a second document begins here".into()))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(_) => Err((codes::YAML_FEATURE, "aliases are not accepted: write the value out".into())),
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                let scalar = self.scalar(text.into_owned(), style, span);
                let null = style == ScalarStyle::Plain && matches!(scalar.text.as_str(), "" | "~" | "null");
                let kind = if null { NodeKind::Null } else { NodeKind::Scalar(scalar) };
                self.put(Node { place: at, kind })
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.open(Open::List(at, Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.open(Open::Map(at, Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.stack.pop() {
                    Some(Open::List(place, items)) => Node { place, kind: NodeKind::List(items) },
                    Some(Open::Map(place, entries, _)) => Node { place, kind: NodeKind::Map(entries) },
                    None => return Err((codes::YAML, "a collection ends that never began".into())),
                };
                self.put(node)
            }
        }
    }

    fn open(&mut self, open: Open) -> Result<(), Refusal> {
        if self.stack.len() >= DEPTH_MAX {
            return Err((codes::TOO_DEEP, format!("nested deeper than {DEPTH_MAX}")));
        }
        if let Some(Open::Map(_, _, None)) = self.stack.last() {
            return Err((codes::SHAPE, "a key must be a text".into()));
        }
        self.stack.push(open);
        Ok(())
    }

    fn put(&mut self, mut node: Node) -> Result<(), Refusal> {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => match key.take() {
                Some(key) => {
                    // Nothing stands nowhere: its key is what people look for.
                    if let NodeKind::Null = node.kind {
                        node.place = key.place;
                    }
                    entries.push((key, node));
                }
                None => match node.kind {
                    NodeKind::Scalar(scalar) => *key = Some(scalar),
                    _ => return Err((codes::SHAPE, "a key must be a text".into())),
                },
            },
        }
        Ok(())
    }

    fn scalar(&self, text: String, style: ScalarStyle, span: Span) -> Scalar {
        let place = place(span.start);
        let places = Places::trace(&self.source, span.start.index(), place, style, &text);
        Scalar { text, place, quoted: style != ScalarStyle::Plain, places }
    }
}

fn plain(anchor: usize, tagged: bool) -> Result<(), Refusal> {
    match (anchor, tagged) {
        (0, false) => Ok(()),
        (_, true) => Err((codes::YAML_FEATURE, "YAML tags (`!…`) are not accepted".into())),
        _ => Err((codes::YAML_FEATURE, "anchors (`&…`) are not accepted: write the value out".into())),
    }
}

/// The end of a text that does not end its last line lies on the line after, to the parser; people look on that line.
fn within(text: &str, at: Place) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let last = number(text.split('\n').count());
    let line = at.line.min(last);
    let length = text.split('\n').nth(line as usize - 1).map_or(0, |line| number(line.chars().count()));
    let column = if at.line > last { length + 1 } else { at.column.min(length + 1) };
    Place { line, column }
}

fn place(marker: Marker) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}
