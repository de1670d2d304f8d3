//! The syntax tree of the whole condition language, and the parser that makes it.
//!
//! Names are not resolved here: that is the compiler's, which also refuses what is not evaluated yet.

use crate::codes::{self, Code};
use crate::diagnostic::did_you_mean;
use crate::lexer::{Lexeme, Token, lex};
use touchline_model::time::Span;

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Which kind.
    pub code: Code,
    /// Offset in characters.
    pub at: u32,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl SyntaxError {
    pub(crate) fn new(code: Code, at: u32, message: String) -> Self {
        Self { code, at, message, hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        self.maybe_hint(Some(hint.into()))
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// A name or value as written; position decides which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without quotes.
    pub text: String,
    /// Offset in characters.
    pub at: u32,
}

impl Word {
    /// Whether it holds a `${…}`, to be expanded by `for_each`.
    pub fn has_placeholder(&self) -> bool {
        self.text.contains("${")
    }
}

/// Something that holds or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// All of these.
    And(Vec<Expression>),
    /// Any of these.
    Or(Vec<Expression>),
    /// Not this.
    Not(Box<Expression>),
    /// A function, with a comparison where it gives more than yes or no.
    Term(Call, Option<Test>),
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// An event that fits.
    Event(EventPattern),
    /// A function such as `tag_set(…)`.
    Call(Call),
}

/// An event kind with tests of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPattern {
    /// The event's name.
    pub event: Word,
    /// All must hold.
    pub tests: Vec<FieldTest>,
}

/// A test of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTest {
    /// Dotted path.
    pub field: Word,
    /// What is asked of it.
    pub test: Test,
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// A comparison with one value.
    Compare(crate::bundle::Operator, Word),
    /// Any of these values.
    In(Vec<Word>),
    /// Within, both ends included.
    Range(Word, Word),
    /// The field is there and not empty.
    Present,
    /// The text has a keyword of this set.
    Keywords(Word),
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub signature: &'static Signature,
    /// Offset of its name.
    pub at: u32,
    /// In order.
    pub arguments: Vec<Argument>,
    /// By name.
    pub options: Vec<(Word, OptionValue)>,
    /// `text has …` among the options.
    pub text: Option<FieldTest>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `group/tag`, `board/column`, `journey/step`; `None` for `group/*`.
    Path(Word, Option<Word>),
    /// A name, or a touch that is a whole broadcast.
    Name(Word),
    /// One event pattern or several.
    Patterns(Vec<EventPattern>),
    /// `last(…)`, `first(…)`.
    Inner(Box<Call>),
    /// `attribute - 3d`: the sign and the span.
    Shifted(Word, Option<(char, Word)>),
    /// `qty * product.days_per_unit`.
    Product(Vec<Word>),
}

/// What an option is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// A span or a name.
    Word(Word),
    /// An event.
    Event(EventPattern),
}

/// What a function takes and gives.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub stands: Stands,
    /// Whether a comparison follows it in a condition.
    pub compared: bool,
    /// What it takes.
    pub takes: Takes,
    /// Options with their shapes, and whether they must be given.
    pub options: &'static [(&'static str, OptionShape, bool)],
}

/// Where a function may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// In a condition.
    Condition,
    /// As a trigger.
    Trigger,
    /// As either.
    Both,
    /// Inside another function or an attribute.
    Inside,
}

/// The shape of a function's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// `group/tag`, or `group/*`.
    Tag,
    /// `board/column`.
    Path,
    /// A name.
    Name,
    /// A name, unless an option says it.
    NameOrOption,
    /// A broadcast, or `journey/step`.
    Touch,
    /// One event pattern.
    Pattern,
    /// One event pattern or a list of them.
    Patterns,
    /// A field, then an event pattern.
    FieldAndPattern,
    /// `last(…)` or `first(…)`.
    Moment,
    /// An attribute, moved by a span or not.
    Shifted,
    /// Fields multiplied.
    Product,
}

/// The shape of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionShape {
    /// `30d`.
    Span,
    /// A name.
    Name,
    /// An event pattern.
    Event,
}

const WITHIN: &[(&str, OptionShape, bool)] = &[("within", OptionShape::Span, false)];
const WINDOW: &[(&str, OptionShape, bool)] = &[
    ("within", OptionShape::Span, false),
    ("since", OptionShape::Event, false),
    ("distinct", OptionShape::Name, false),
];

/// Every function of the language.
pub const FUNCTIONS: &[Signature] = &[
    function("tag", Stands::Condition, false, Takes::Tag, &[]),
    function("stage", Stands::Condition, true, Takes::Name, &[]),
    function("segment", Stands::Condition, false, Takes::Name, &[]),
    function("attr", Stands::Condition, true, Takes::Name, &[]),
    function("count", Stands::Condition, true, Takes::Pattern, WINDOW),
    function("sum", Stands::Condition, true, Takes::FieldAndPattern, WITHIN),
    function("none", Stands::Condition, false, Takes::Pattern, WITHIN),
    function("age", Stands::Condition, true, Takes::Moment, &[]),
    function("in_group", Stands::Condition, false, Takes::NameOrOption, &[("kind", OptionShape::Name, false)]),
    function("replied", Stands::Both, false, Takes::Touch, &[("within", OptionShape::Span, false)]),
    function("not_replied", Stands::Trigger, false, Takes::Touch, &[("after", OptionShape::Span, true)]),
    function("tag_set", Stands::Trigger, false, Takes::Tag, &[]),
    function("tag_unset", Stands::Trigger, false, Takes::Tag, &[]),
    function("stage_entered", Stands::Trigger, false, Takes::Path, &[]),
    function("stage_left", Stands::Trigger, false, Takes::Path, &[]),
    function("segment_entered", Stands::Trigger, false, Takes::Name, &[]),
    function("segment_left", Stands::Trigger, false, Takes::Name, &[]),
    function(
        "silence",
        Stands::Trigger,
        false,
        Takes::Patterns,
        &[("for", OptionShape::Span, true), ("since", OptionShape::Event, true)],
    ),
    function("reached", Stands::Trigger, false, Takes::Shifted, &[]),
    function("last", Stands::Inside, false, Takes::Pattern, &[]),
    function("first", Stands::Inside, false, Takes::Pattern, &[]),
    function("sum_lines", Stands::Inside, false, Takes::Product, &[]),
];

const fn function(
    name: &'static str,
    stands: Stands,
    compared: bool,
    takes: Takes,
    options: &'static [(&'static str, OptionShape, bool)],
) -> Signature {
    Signature { name, stands, compared, takes, options }
}

/// Parses a condition.
pub fn condition(text: &str) -> Result<Expression, SyntaxError> {
    Parser::whole(text, Parser::expression)
}

/// Parses a trigger.
pub fn trigger(text: &str) -> Result<Happening, SyntaxError> {
    Parser::whole(text, Parser::happening)
}

/// Parses what an attribute is computed from: `last(order.paid)`, `profile.baby_birthday`, `sum_lines(…)`.
/// `None` for a plain field or number.
pub fn attribute(text: &str) -> Result<Option<Call>, SyntaxError> {
    Parser::whole(text, |parser| {
        let word = parser.word("a field or a function")?;
        if parser.peek() == Some(Token::Open) { parser.call(&word, Stands::Inside).map(Some) } else { Ok(None) }
    })
}

/// Parses a count or a sum that nothing is compared with: `count(order.paid, within=30d)`.
pub fn measure(text: &str) -> Result<Call, SyntaxError> {
    Parser::whole(text, |parser| {
        let word = parser.word("count(…) or sum(…)")?;
        parser.call(&word, Stands::Condition)
    })
}

/// Parses a bound such as `> 20`.
pub fn bound(text: &str) -> Result<Test, SyntaxError> {
    Parser::whole(text, Parser::test)
}

/// Deepest nesting of parentheses and `not`.
const DEPTH_MAX: usize = 64;
/// Most functions and field tests in one expression.
pub(crate) const TERMS_MAX: usize = 1_000;

struct Parser {
    lexemes: Vec<Lexeme>,
    next: usize,
    end: u32,
    depth: usize,
    terms: usize,
}

impl Parser {
    fn whole<T>(text: &str, parse: impl Fn(&mut Self) -> Result<T, SyntaxError>) -> Result<T, SyntaxError> {
        let lexemes = lex(text)?;
        let end = u32::try_from(text.chars().count()).expect("bounded by the lexer");
        let mut parser = Self { lexemes, next: 0, end, depth: 0, terms: 0 };
        let out = parse(&mut parser)?;
        match parser.peek() {
            None => Ok(out),
            Some(_) => Err(parser.unexpected("the end")),
        }
    }

    fn expression(&mut self) -> Result<Expression, SyntaxError> {
        let first = self.factor()?;
        let Some(joiner) = self.joiner() else { return Ok(first) };
        let mut terms = vec![first];
        while let Some(next) = self.joiner() {
            if next != joiner {
                let message = "`and` and `or` mixed without parentheses".into();
                return Err(SyntaxError::new(codes::MIXED, self.at(), message)
                    .hint("put parentheses around what belongs together"));
            }
            self.next += 1;
            terms.push(self.factor()?);
        }
        Ok(if joiner == Joiner::And { Expression::And(terms) } else { Expression::Or(terms) })
    }

    /// `not` binds looser than a comparison and tighter than `and`.
    fn factor(&mut self) -> Result<Expression, SyntaxError> {
        self.deeper()?;
        let out = if self.keyword("not") {
            self.next += 1;
            Expression::Not(Box::new(self.factor()?))
        } else if self.take(Token::Open) {
            let inner = self.expression()?;
            self.expect(Token::Close, "`)`")?;
            inner
        } else {
            self.term()?
        };
        self.depth -= 1;
        Ok(out)
    }

    fn term(&mut self) -> Result<Expression, SyntaxError> {
        let name = self.word("a condition such as tag(…)")?;
        if self.peek() != Some(Token::Open) || name.text.contains('.') {
            if name.text.contains('.') {
                let message = format!("`{}` happens: it is a trigger, not a condition", name.text);
                return Err(SyntaxError::new(codes::PLACE, name.at, message)
                    .hint(format!("ask count({}, within=30d) >= 1", name.text)));
            }
            let message = format!("expected a condition such as tag(…), found `{}`", name.text);
            return Err(SyntaxError::new(codes::UNEXPECTED, name.at, message));
        }
        let call = self.call(&name, Stands::Condition)?;
        let test = if call.signature.compared { Some(self.test()?) } else { None };
        if !call.signature.compared && self.is_comparison() {
            let message = format!("{}() is already true or false", call.signature.name);
            return Err(SyntaxError::new(codes::UNEXPECTED, self.at(), message)
                .hint("leave the comparison out; put `not` before it for the opposite"));
        }
        Ok(Expression::Term(call, test))
    }

    fn happening(&mut self) -> Result<Happening, SyntaxError> {
        let name = self.word("an event or a trigger such as tag_set(…)")?;
        if name.text.contains('.') {
            return self.pattern(name).map(Happening::Event);
        }
        if self.peek() != Some(Token::Open) {
            let message = format!("expected an event or a trigger, found `{}`", name.text);
            return Err(SyntaxError::new(codes::UNEXPECTED, name.at, message).hint("the name of an event has a dot"));
        }
        self.call(&name, Stands::Trigger).map(Happening::Call)
    }

    fn pattern(&mut self, event: Word) -> Result<EventPattern, SyntaxError> {
        if !event.text.contains('.') {
            let message = format!("expected an event, found `{}`", event.text);
            return Err(SyntaxError::new(codes::UNEXPECTED, event.at, message).hint("the name of an event has a dot"));
        }
        let mut tests = Vec::new();
        if self.take(Token::Open) {
            loop {
                tests.push(self.field_test()?);
                if !self.take(Token::Comma) {
                    break;
                }
            }
            self.expect(Token::Close, "`,` or `)`")?;
        }
        Ok(EventPattern { event, tests })
    }

    fn field_test(&mut self) -> Result<FieldTest, SyntaxError> {
        self.counted()?;
        if self.keyword("has") && self.peek_at(1) == Some(Token::Word) {
            self.next += 1;
            let field = self.word("a field")?;
            return Ok(FieldTest { field, test: Test::Present });
        }
        let field = self.word("a test of a field")?;
        if self.keyword("has") {
            self.next += 1;
            let keywords = self.word("a keyword set")?;
            return Ok(FieldTest { field, test: Test::Keywords(keywords) });
        }
        let test = self.test()?;
        Ok(FieldTest { field, test })
    }

    fn test(&mut self) -> Result<Test, SyntaxError> {
        if self.keyword("in") {
            self.next += 1;
            if self.take(Token::OpenList) {
                let mut values = vec![self.word("a value")?];
                while self.take(Token::Comma) {
                    values.push(self.word("a value")?);
                }
                self.expect(Token::CloseList, "`,` or `]`")?;
                return Ok(Test::In(values));
            }
            let low = self.word("`[` or the low end of a range")?;
            self.expect(Token::Range, "`..`")?;
            return Ok(Test::Range(low, self.word("the high end of the range")?));
        }
        use crate::bundle::Operator;
        let operator = match self.peek() {
            Some(Token::Equal) => Operator::Equal,
            Some(Token::NotEqual) => Operator::NotEqual,
            Some(Token::Less) => Operator::Less,
            Some(Token::LessOrEqual) => Operator::LessOrEqual,
            Some(Token::Greater) => Operator::Greater,
            Some(Token::GreaterOrEqual) => Operator::GreaterOrEqual,
            _ => return Err(self.unexpected("a comparison")),
        };
        self.next += 1;
        Ok(Test::Compare(operator, self.word("a value")?))
    }

    fn call(&mut self, name: &Word, place: Stands) -> Result<Call, SyntaxError> {
        self.counted()?;
        self.deeper()?;
        let Some(signature) = FUNCTIONS.iter().find(|signature| signature.name == name.text) else {
            let hint = did_you_mean(&name.text, FUNCTIONS.iter().map(|signature| signature.name));
            let message = format!("there is no function `{}`", name.text);
            return Err(SyntaxError::new(codes::FUNCTION, name.at, message).maybe_hint(hint));
        };
        check_place(signature, place, name.at)?;
        self.expect(Token::Open, "`(`")?;
        let mut call = Call { signature, at: name.at, arguments: Vec::new(), options: Vec::new(), text: None };
        if !(signature.takes == Takes::NameOrOption && self.peek_at(1) == Some(Token::Equal)) {
            self.arguments(&mut call)?;
            while self.take(Token::Comma) {
                self.option(&mut call)?;
            }
        } else {
            self.option(&mut call)?;
        }
        self.expect(Token::Close, "`,` or `)`")?;
        for (option, _, required) in signature.options {
            if *required && !call.options.iter().any(|(given, _)| given.text == *option) {
                let message = format!("{}() needs `{option}=`", signature.name);
                return Err(SyntaxError::new(codes::OPTION, name.at, message));
            }
        }
        self.depth -= 1;
        Ok(call)
    }

    fn arguments(&mut self, call: &mut Call) -> Result<(), SyntaxError> {
        let argument = match call.signature.takes {
            Takes::Tag => self.path(true)?,
            Takes::Path => self.path(false)?,
            Takes::Name | Takes::NameOrOption => Argument::Name(self.word("a name")?),
            Takes::Touch => {
                if self.peek_at(1) == Some(Token::Slash) || self.quoted_path() {
                    self.path(false)?
                } else {
                    Argument::Name(self.word("a broadcast or journey/step")?)
                }
            }
            Takes::Pattern => Argument::Patterns(vec![self.event()?]),
            Takes::Patterns => Argument::Patterns(self.events()?),
            Takes::FieldAndPattern => {
                call.arguments.push(Argument::Name(self.word("a field")?));
                self.expect(Token::Comma, "`,` and an event")?;
                Argument::Patterns(vec![self.event()?])
            }
            Takes::Moment => {
                let name = self.word("last(…) or first(…)")?;
                if !matches!(name.text.as_str(), "last" | "first") {
                    let message = format!("expected last(…) or first(…), found `{}`", name.text);
                    return Err(SyntaxError::new(codes::UNEXPECTED, name.at, message));
                }
                Argument::Inner(Box::new(self.call(&name, Stands::Inside)?))
            }
            Takes::Shifted => self.shifted()?,
            Takes::Product => {
                let mut factors = vec![self.word("a field")?];
                while self.take(Token::Star) {
                    factors.push(self.word("a field")?);
                }
                Argument::Product(factors)
            }
        };
        call.arguments.push(argument);
        Ok(())
    }

    fn event(&mut self) -> Result<EventPattern, SyntaxError> {
        let name = self.word("an event")?;
        self.pattern(name)
    }

    fn events(&mut self) -> Result<Vec<EventPattern>, SyntaxError> {
        if !self.take(Token::OpenList) {
            return Ok(vec![self.event()?]);
        }
        let mut events = vec![self.event()?];
        while self.take(Token::Comma) {
            events.push(self.event()?);
        }
        self.expect(Token::CloseList, "`,` or `]`")?;
        Ok(events)
    }

    fn option(&mut self, call: &mut Call) -> Result<(), SyntaxError> {
        let name = self.word("an option")?;
        let signature = call.signature;
        if name.text == "text" && self.keyword("has") && signature.name == "replied" {
            self.next += 1;
            let keywords = self.word("a keyword set")?;
            call.text = Some(FieldTest { field: name, test: Test::Keywords(keywords) });
            return Ok(());
        }
        let Some((_, shape, _)) = signature.options.iter().find(|(option, ..)| *option == name.text) else {
            let hint = match (signature.name, name.text.as_str()) {
                ("none", "since") => Some("write count(…, since=…) = 0".to_owned()),
                ("none", "distinct") => Some("none is none, however they are told apart: leave it out".to_owned()),
                ("sum", "since" | "distinct") => Some("a sum is kept by the day: it has only `within`".to_owned()),
                _ => did_you_mean(&name.text, signature.options.iter().map(|(option, ..)| *option)),
            };
            let message = format!("{}() has no option `{}`", signature.name, name.text);
            return Err(SyntaxError::new(codes::OPTION, name.at, message).maybe_hint(hint));
        };
        if call.options.iter().any(|(given, _)| given.text == name.text) {
            return Err(SyntaxError::new(codes::OPTION, name.at, format!("`{}` is given twice", name.text)));
        }
        self.expect(Token::Equal, "`=`")?;
        let value = match shape {
            OptionShape::Event => OptionValue::Event(self.event()?),
            OptionShape::Name => OptionValue::Word(self.word("a name")?),
            OptionShape::Span => OptionValue::Word(self.span()?),
        };
        call.options.push((name, value));
        Ok(())
    }

    fn span(&mut self) -> Result<Word, SyntaxError> {
        let word = self.word("a duration")?;
        if Span::parse(&word.text).is_none() && !word.has_placeholder() {
            return Err(SyntaxError::new(codes::VALUE, word.at, format!("`{}` is not a duration", word.text))
                .hint("durations are 30s, 5m, 2h, 3d"));
        }
        Ok(word)
    }

    /// `a/b`, `a/*` or one quoted text that splits at its `/`.
    fn path(&mut self, any: bool) -> Result<Argument, SyntaxError> {
        if self.quoted_path() {
            let whole = self.word("a path")?;
            let (head, item) = whole.text.split_once('/').expect("quoted_path looked for it");
            let offset = u32::try_from(head.chars().count()).expect("bounded by the lexer");
            let head = Word { text: head.to_owned(), at: whole.at + 1 };
            let item = Word { text: item.to_owned(), at: whole.at + 2 + offset };
            if head.text.is_empty() || item.text.is_empty() || item.text.contains('/') {
                let message = "a path has two parts, separated by one `/`".into();
                return Err(SyntaxError::new(codes::UNEXPECTED, whole.at, message));
            }
            let item = (!(any && item.text == "*")).then_some(item);
            return Ok(Argument::Path(head, item));
        }
        let head = self.word("a path such as group/tag")?;
        if !self.take(Token::Slash) {
            return Err(self.unexpected("`/`"));
        }
        if any && self.take(Token::Star) {
            return Ok(Argument::Path(head, None));
        }
        Ok(Argument::Path(head, Some(self.word("what comes after `/`")?)))
    }

    fn quoted_path(&self) -> bool {
        self.lexemes.get(self.next).is_some_and(|lexeme| lexeme.token == Token::Quoted && lexeme.text.contains('/'))
    }

    fn shifted(&mut self) -> Result<Argument, SyntaxError> {
        let name = self.word("an attribute")?;
        let glued = name.text.rsplit_once(['-', '+']).filter(|(_, span)| Span::parse(span).is_some());
        if let Some((attribute, span)) = glued {
            let message = format!("`{}` is one name: arithmetic needs spaces", name.text);
            return Err(
                SyntaxError::new(codes::ARITHMETIC, name.at, message).hint(format!("write `{attribute} - {span}`"))
            );
        }
        let sign = self.lexemes.get(self.next).filter(|lexeme| matches!(lexeme.text.as_str(), "-" | "+"));
        let Some(sign) = sign.and_then(|lexeme| lexeme.text.chars().next()) else {
            return Ok(Argument::Shifted(name, None));
        };
        self.next += 1;
        let span = self.span()?;
        Ok(Argument::Shifted(name, Some((sign, span))))
    }

    fn joiner(&self) -> Option<Joiner> {
        if self.keyword("and") {
            Some(Joiner::And)
        } else if self.keyword("or") {
            Some(Joiner::Or)
        } else {
            None
        }
    }

    fn is_comparison(&self) -> bool {
        let sign = matches!(
            self.peek(),
            Some(
                Token::Equal
                    | Token::NotEqual
                    | Token::Less
                    | Token::LessOrEqual
                    | Token::Greater
                    | Token::GreaterOrEqual
            )
        );
        sign || self.keyword("in") || self.keyword("has")
    }

    /// Whether the next lexeme is this keyword, asked only where an operator or prefix may stand.
    fn keyword(&self, keyword: &str) -> bool {
        self.lexemes
            .get(self.next)
            .is_some_and(|lexeme| lexeme.token == Token::Word && lexeme.text.eq_ignore_ascii_case(keyword))
    }

    fn word(&mut self, expected: &str) -> Result<Word, SyntaxError> {
        match self.lexemes.get(self.next) {
            Some(Lexeme { token: Token::Word | Token::Quoted, text, at }) => {
                let word = Word { text: text.clone(), at: *at };
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn expect(&mut self, token: Token, expected: &str) -> Result<(), SyntaxError> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn take(&mut self, token: Token) -> bool {
        let fits = self.peek() == Some(token);
        self.next += usize::from(fits);
        fits
    }

    fn peek(&self) -> Option<Token> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<Token> {
        self.lexemes.get(self.next + ahead).map(|lexeme| lexeme.token)
    }

    fn at(&self) -> u32 {
        self.lexemes.get(self.next).map_or(self.end, |lexeme| lexeme.at)
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        let Some(found) = self.lexemes.get(self.next) else {
            return SyntaxError::new(codes::UNEXPECTED, self.end, format!("expected {expected}, found the end"));
        };
        let error =
            SyntaxError::new(codes::UNEXPECTED, found.at, format!("expected {expected}, found `{}`", found.text));
        let before = self.next.checked_sub(1).and_then(|at| self.lexemes.get(at));
        let two_words = found.token == Token::Word && before.is_some_and(|lexeme| lexeme.token == Token::Word);
        if two_words { error.hint("a name with spaces needs quotes") } else { error }
    }

    fn deeper(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            return Ok(());
        }
        Err(SyntaxError::new(codes::TOO_DEEP, self.at(), format!("nested deeper than {DEPTH_MAX}")))
    }

    fn counted(&mut self) -> Result<(), SyntaxError> {
        self.terms += 1;
        if self.terms <= TERMS_MAX {
            return Ok(());
        }
        Err(SyntaxError::new(codes::TOO_DEEP, self.at(), format!("more than {TERMS_MAX} terms")))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Joiner {
    And,
    Or,
}

fn check_place(signature: &Signature, place: Stands, at: u32) -> Result<(), SyntaxError> {
    if signature.stands == place || (signature.stands == Stands::Both && place != Stands::Inside) {
        return Ok(());
    }
    let name = signature.name;
    let message = match (signature.stands, place) {
        (Stands::Trigger, Stands::Condition) => format!("{name}() happens: it is a trigger, not a condition"),
        (Stands::Condition, Stands::Trigger) => format!("{name}() holds: it is a condition, not a trigger"),
        (Stands::Inside, _) => format!("{name}() stands only inside age() and in attributes"),
        _ => format!("{name}() cannot stand here"),
    };
    let hint = match (name, place) {
        ("tag_set", Stands::Condition) => Some("ask tag(…)"),
        ("stage_entered", Stands::Condition) => Some("ask stage(board) = column"),
        ("tag", Stands::Trigger) => Some("use tag_set(…)"),
        ("stage", Stands::Trigger) => Some("use stage_entered(board/column)"),
        ("segment", Stands::Trigger) => Some("use segment_entered(…)"),
        _ => None,
    };
    Err(SyntaxError::new(codes::PLACE, at, message).maybe_hint(hint.map(str::to_owned)))
}
