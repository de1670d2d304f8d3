//! Where the characters of a scalar stand in the source: through folded lines, indentation, quotes and escapes.

use crate::diagnostic::Place;
use saphyr_parser::ScalarStyle;

/// The places of a text's characters.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// From which offset in the text, in characters, it stands side by side from which place; ascending.
    runs: Vec<(u32, Place)>,
    /// The offset after the last character that can be seen: what comes later is told to be there.
    end: u32,
}

impl Places {
    /// Where the character at this offset stands; `None` when that cannot be told.
    pub(super) fn of(&self, offset: u32) -> Option<Place> {
        let offset = offset.min(self.end);
        let after = self.runs.partition_point(|(from, _)| *from <= offset);
        let (from, place) = self.runs.get(after.checked_sub(1)?)?;
        Some(Place { column: place.column.saturating_add(offset - from), ..*place })
    }

    /// Finds a scalar's text in the source, of which the scalar begins at `index`, which is at `place`.
    ///
    /// Whatever a style folds, strips or indents is blank, and whatever is not blank is there as it is, or escaped. So the
    /// two can be walked side by side, and where they differ nothing is told.
    pub(super) fn trace(source: &[char], index: usize, place: Place, style: ScalarStyle, text: &str) -> Self {
        let mut cursor = Cursor { source, index, place, style };
        if let ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted = style {
            cursor.pass(1);
        }
        let mut places = Self { runs: vec![(0, cursor.place)], end: 0 };
        for (offset, c) in (0..).zip(text.chars()) {
            let Some((unit, length)) = cursor.find(c) else { return Self::default() };
            places.put(offset, cursor.place);
            if !is_blank(c) {
                cursor.pass(length);
                places.end = offset + 1;
            } else if unit.is_none_or(is_blank) {
                cursor.pass(length);
            }
            if places.end == offset + 1 {
                places.put(places.end, cursor.place);
            }
        }
        places
    }

    fn put(&mut self, offset: u32, place: Place) {
        if self.of_run(offset) == Some(place) {
            return;
        }
        self.runs.pop_if(|(from, _)| *from == offset);
        self.runs.push((offset, place));
    }

    /// Where the last run would have the character at this offset.
    fn of_run(&self, offset: u32) -> Option<Place> {
        let (from, place) = self.runs.last()?;
        Some(Place { column: place.column.saturating_add(offset.checked_sub(*from)?), ..*place })
    }
}

/// The place after a text that is the beginning of a source.
pub(super) fn end_of(text: &str) -> Place {
    let source: Vec<char> = text.chars().collect();
    let place = Place { line: 1, column: 1 };
    let mut cursor = Cursor { source: &source, index: 0, place, style: ScalarStyle::Plain };
    cursor.pass(source.len());
    cursor.place
}

struct Cursor<'s> {
    source: &'s [char],
    index: usize,
    place: Place,
    style: ScalarStyle,
}

impl Cursor<'_> {
    /// What stands where this character of the text has to stand, blanks before it passed; `None` if something else does.
    fn find(&mut self, c: char) -> Option<(Option<char>, usize)> {
        if is_blank(c) {
            return Some(self.unit().unwrap_or_default());
        }
        loop {
            let (unit, length) = self.unit()?;
            if unit == Some(c) {
                return Some((unit, length));
            }
            if !unit.is_none_or(is_blank) {
                return None;
            }
            self.pass(length);
        }
    }

    /// What stands here and its length: a character, or `None` for an escaped end of line.
    fn unit(&self) -> Option<(Option<char>, usize)> {
        let ahead = |by: usize| self.source.get(self.index + by).copied();
        let c = ahead(0)?;
        match self.style {
            ScalarStyle::SingleQuoted if c == '\'' => (ahead(1) == Some('\'')).then_some((Some(c), 2)),
            ScalarStyle::DoubleQuoted if c == '"' => None,
            ScalarStyle::DoubleQuoted if c == '\\' => self.escaped(ahead(1)?),
            _ => Some((Some(c), 1)),
        }
    }

    fn escaped(&self, letter: char) -> Option<(Option<char>, usize)> {
        let digits = match letter {
            '\r' | '\n' => return Some((None, 2)),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Some((Some(named(letter)), 2)),
        };
        let start = self.index + 2;
        let digits: String = self.source.get(start..start + digits)?.iter().collect();
        let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)?;
        Some((Some(c), 2 + digits.len()))
    }

    fn pass(&mut self, length: usize) {
        for _ in 0..length {
            let next = self.source.get(self.index + 1);
            let ends_line = match self.source.get(self.index) {
                Some('\n') => true,
                Some('\r') => next != Some(&'\n'),
                _ => false,
            };
            let Place { line, column } = self.place;
            self.place =
                if ends_line { Place { line: line + 1, column: 1 } } else { Place { line, column: column + 1 } };
            self.index += 1;
        }
    }
}

/// What `\letter` stands for.
const fn named(letter: char) -> char {
    match letter {
        '0' => '\0',
        'a' => '\x07',
        'b' => '\x08',
        't' => '\t',
        'n' => '\n',
        'v' => '\x0b',
        'f' => '\x0c',
        'r' => '\r',
        'e' => '\x1b',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        // A quote, a slash, a space.
        other => other,
    }
}

/// What folding may take away or put in.
const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}
