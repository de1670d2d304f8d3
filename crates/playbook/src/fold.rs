//! Folding of texts before keywords are looked for: NFKC, traditional→simplified, lower case.
//!
//! The tables are compiled in and belong to the logic version. `t2s.txt` holds the single-character part of OpenCC's
//! dictionary TSCharacters (Apache-2.0, <https://github.com/BYVoid/OpenCC>, commit cf0e4b6c): pairs of a
//! traditional character and its first simplified candidate, sorted; a character that is also the target of another
//! (坏, the simplified 壞) stays what it is. Characters are enough here, since keyword and text are folded alike; words (乾坤 against 乾燥) are not told apart. Crates with the
//! same table were left aside: fast2s and character_converter are not kept up, zhhz brings three megabytes of phrases.

use std::sync::LazyLock;
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Spaces without width, joiners and byte order marks. Whatever is folded, they are left out: what nobody sees, nobody
/// means, and between two characters it would only keep a keyword from being found.
const INVISIBLE: [char; 5] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];

/// Which foldings apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fold {
    pub(crate) nfkc: bool,
    pub(crate) t2s: bool,
    pub(crate) lower: bool,
}

impl Fold {
    /// What a keyword set gets when it names none.
    pub(crate) const ALL: Self = Self { nfkc: true, t2s: true, lower: true };
    pub(crate) const NONE: Self = Self { nfkc: false, t2s: false, lower: false };

    /// The folded text.
    pub(crate) fn text(self, text: &str) -> String {
        self.map(text).text
    }

    /// The folded text, with the way back.
    pub(crate) fn map(self, text: &str) -> Folded {
        let mut folded = Folded { text: String::with_capacity(text.len()), origins: Vec::new() };
        let mut segment = String::new();
        let (mut start, mut end) = (0, 0);
        for (at, c) in (0..).zip(text.chars()).filter(|(_, c)| !INVISIBLE.contains(c)) {
            if !segment.is_empty() && (!self.nfkc || begins_segment(c)) {
                self.segment(&segment, (start, end), &mut folded);
                segment.clear();
            }
            if segment.is_empty() {
                start = at;
            }
            segment.push(c);
            end = at + 1;
        }
        self.segment(&segment, (start, end), &mut folded);
        folded
    }

    fn segment(self, segment: &str, origin: (u32, u32), out: &mut Folded) {
        // Most characters stand for themselves.
        if !self.nfkc || segment.is_ascii() {
            segment.chars().for_each(|c| self.push(c, origin, out));
        } else {
            segment.nfkc().for_each(|c| self.push(c, origin, out));
        }
    }

    fn push(self, c: char, origin: (u32, u32), out: &mut Folded) {
        let c = if self.t2s { simplified(c) } else { c };
        if !self.lower {
            return out.push(c, origin);
        }
        for c in c.to_lowercase() {
            out.push(c, origin);
        }
    }
}

/// A folded text that knows where each byte comes from.
pub(crate) struct Folded {
    pub(crate) text: String,
    /// Per byte of `text`: the range of original characters it stands for.
    origins: Vec<(u32, u32)>,
}

impl Folded {
    /// The original characters behind a non-empty byte range of the folded text.
    pub(crate) fn origin(&self, start: usize, end: usize) -> (u32, u32) {
        (self.origins[start].0, self.origins[end - 1].1)
    }

    fn push(&mut self, c: char, origin: (u32, u32)) {
        self.text.push(c);
        self.origins.resize(self.text.len(), origin);
    }
}

/// Whether normalising what stands before `c` and what begins with it separately gives the same as together.
fn begins_segment(c: char) -> bool {
    if c.is_ascii() {
        return true;
    }
    let mut first = None;
    decompose_compatible(c, |part| {
        first.get_or_insert(part);
    });
    let first = first.unwrap_or(c);
    canonical_combining_class(first) == 0 && is_nfkc_quick(std::iter::once(first)) != IsNormalized::Maybe
}

fn simplified(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    match T2S.binary_search_by_key(&c, |pair| pair.0) {
        Ok(at) => T2S[at].1,
        Err(_) => c,
    }
}

static T2S: LazyLock<Vec<(char, char)>> = LazyLock::new(|| {
    let chars: Vec<char> = include_str!("t2s.txt").chars().filter(|c| !c.is_whitespace()).collect();
    chars.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folds_by_the_tables() {
        for (text, expected) in [
            ("多少錢", "多少钱"),
            ("ＡＢＣ", "abc"),
            ("㍿", "株式会社"),
            ("ﬁn", "fin"),
            ("e\u{301}", "é"),
            ("ｶﾞ", "ガ"),
            ("각", "각"),
            ("報價單", "报价单"),
            ("壞", "坏"),
        ] {
            assert_eq!(Fold::ALL.text(text), expected, "{text}");
        }
        assert_eq!(Fold { t2s: false, ..Fold::ALL }.text("報價Ａ"), "報價a");
        assert_eq!(Fold::NONE.text("報價Ａ"), "報價Ａ");
    }

    #[test]
    fn what_has_no_width_is_left_out() {
        for fold in [Fold::ALL, Fold::NONE] {
            let folded = fold.map("\u{feff}多\u{200b}\u{200d}少\u{2060}钱\u{200c}");
            assert_eq!(folded.text, "多少钱");
            // Each comes from its own character, all together from what lies between, too.
            assert_eq!(
                [(0, 3), (3, 6), (6, 9), (0, 9)].map(|(from, to)| folded.origin(from, to)),
                [(1, 2), (4, 5), (6, 7), (1, 7)]
            );
        }
        assert_eq!(Fold::ALL.text("e\u{200b}\u{301}"), "é");
    }

    #[test]
    fn the_table_is_sorted_and_needs_one_step() {
        assert_eq!(T2S.len(), 3_216);
        assert!(T2S.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(T2S.iter().all(|&(from, to)| from != to && simplified(to) == to));
    }

    proptest! {
        #[test]
        fn pieces_normalise_like_the_whole(text in "[a-zé\u{300}-\u{310}\u{1100}-\u{11ff}가-힣ｦ-ﾟ㍿ﬁ钱錢😀\u{200b}\u{feff}]{0,24}") {
            let seen: String = text.chars().filter(|c| !INVISIBLE.contains(c)).collect();
            let folded = Fold { nfkc: true, t2s: false, lower: false }.map(&text);
            prop_assert_eq!(&folded.text, &seen.nfkc().collect::<String>());
            let count = u32::try_from(text.chars().count()).unwrap();
            prop_assert!(folded.origins.iter().all(|&(start, end)| start < end && end <= count));
        }
    }
}
