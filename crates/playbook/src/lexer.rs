//! Words, quotes and signs of the condition language, by the seven lexical rules of the playbook language.

use crate::codes;
use crate::syntax::SyntaxError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Word,
    Quoted,
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Slash,
    Star,
    /// `..`
    Range,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    /// A word or quoted text as meant, a sign as written.
    pub(crate) text: String,
    /// Offset of its first character.
    pub(crate) at: u32,
}

/// Longest expression, in characters: real ones have a few hundred.
pub(crate) const EXPRESSION_CHARS_MAX: usize = 16_384;

/// Splits an expression. Offsets count characters.
pub(crate) fn lex(text: &str) -> Result<Vec<Lexeme>, SyntaxError> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > EXPRESSION_CHARS_MAX {
        let message = format!("the expression has {} characters, at most {EXPRESSION_CHARS_MAX} are read", chars.len());
        return Err(SyntaxError::new(codes::TOO_LARGE, 0, message));
    }
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if chars[at].is_whitespace() {
            at += 1;
            continue;
        }
        let (lexeme, next) = lexeme(&chars, at)?;
        out.push(lexeme);
        at = next;
    }
    Ok(out)
}

fn lexeme(chars: &[char], at: usize) -> Result<(Lexeme, usize), SyntaxError> {
    let next = chars.get(at + 1).copied();
    let (token, length) = match (chars[at], next) {
        ('"', _) => return quoted(chars, at),
        ('(', _) => (Token::Open, 1),
        (')', _) => (Token::Close, 1),
        ('[', _) => (Token::OpenList, 1),
        (']', _) => (Token::CloseList, 1),
        (',', _) => (Token::Comma, 1),
        ('=', _) => (Token::Equal, 1),
        ('!', Some('=')) => (Token::NotEqual, 2),
        ('<', Some('=')) => (Token::LessOrEqual, 2),
        ('<', _) => (Token::Less, 1),
        ('>', Some('=')) => (Token::GreaterOrEqual, 2),
        ('>', _) => (Token::Greater, 1),
        ('/', _) => (Token::Slash, 1),
        ('*', _) => (Token::Star, 1),
        ('.', Some('.')) => (Token::Range, 2),
        _ => return word(chars, at),
    };
    let text = chars[at..at + length].iter().collect();
    Ok((Lexeme { token, text, at: offset(at) }, at + length))
}

fn quoted(chars: &[char], at: usize) -> Result<(Lexeme, usize), SyntaxError> {
    let Some(length) = chars[at + 1..].iter().position(|&c| c == '"') else {
        return Err(SyntaxError::new(codes::QUOTE, offset(at), "this quote is not closed".into())
            .hint("quotes have no escapes: a text cannot contain one"));
    };
    let text = chars[at + 1..at + 1 + length].iter().collect();
    Ok((Lexeme { token: Token::Quoted, text, at: offset(at) }, at + length + 2))
}

/// The longest run without space or sign; `${x}` belongs to it, a dot unless doubled.
fn word(chars: &[char], start: usize) -> Result<(Lexeme, usize), SyntaxError> {
    let mut text = String::new();
    let mut at = start;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        match (c, next) {
            ('$', Some('{')) => {
                let Some(length) = chars[at..].iter().position(|&c| c == '}') else {
                    return Err(SyntaxError::new(codes::CHARACTER, offset(at), "`${` without `}`".into()));
                };
                text.extend(&chars[at..=at + length]);
                at += length + 1;
                continue;
            }
            ('.', Some('.')) => break,
            _ if c.is_whitespace() || "()[],=<>/*\"".contains(c) => break,
            ('!', Some('=')) => break,
            _ if "!{}$".contains(c) => {
                return Err(SyntaxError::new(codes::CHARACTER, offset(at), format!("`{c}` has no meaning here"))
                    .hint("put the text in quotes"));
            }
            _ if FULL_WIDTH.contains(c) => {
                return Err(SyntaxError::new(codes::CHARACTER, offset(at), format!("full-width `{c}` outside quotes"))
                    .hint("write the half-width sign, or put the text in quotes"));
            }
            _ => text.push(c),
        }
        at += 1;
    }
    Ok((Lexeme { token: Token::Word, text, at: offset(start) }, at))
}

/// Signs that an input method types in place of ours.
const FULL_WIDTH: &str = "（）［］，＝＜＞！“”";

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("an expression is shorter than EXPRESSION_CHARS_MAX")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        lex(text).expect(text).into_iter().map(|lexeme| lexeme.text).collect()
    }

    #[test]
    fn words_run_to_the_next_sign() {
        for (text, expected) in [
            ("9.9元培育课", vec!["9.9元培育课"]),
            ("0-12月", vec!["0-12月"]),
            ("attr(x) in 0..11", vec!["attr", "(", "x", ")", "in", "0", "..", "11"]),
            ("9.5..10.25", vec!["9.5", "..", "10.25"]),
            ("a=${sku}-b", vec!["a", "=", "${sku}-b"]),
            ("x!=y", vec!["x", "!=", "y"]),
            ("n>=4", vec!["n", ">=", "4"]),
            ("预计用完日 - 3d", vec!["预计用完日", "-", "3d"]),
            ("tag(商机/*)", vec!["tag", "(", "商机", "/", "*", ")"]),
            ("\"a b，(c)\"", vec!["a b，(c)"]),
            ("a\u{3000}b", vec!["a", "b"]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
        let lexemes = lex("价格 = \"是\"").expect("valid");
        assert_eq!(lexemes.iter().map(|lexeme| lexeme.at).collect::<Vec<_>>(), [0, 3, 5]);
        assert_eq!(lexemes[2].token, Token::Quoted);
    }

    #[test]
    fn what_is_no_sign_is_refused_where_it_stands() {
        for (text, code, at) in [
            ("tag（商机）", "PB029", 3),
            ("a ， b", "PB029", 2),
            ("a ! b", "PB029", 2),
            ("a{b", "PB029", 1),
            ("$x", "PB029", 0),
            ("a=${x", "PB029", 2),
            ("a = \"b", "PB030", 4),
        ] {
            let error = lex(text).expect_err(text);
            assert_eq!((error.code.code, error.at), (code, at), "{text}");
        }
        assert_eq!(lex(&"x".repeat(EXPRESSION_CHARS_MAX + 1)).expect_err("too long").code, codes::TOO_LARGE);
    }
}
