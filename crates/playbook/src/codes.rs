//! Every diagnostic code with one line of explanation. Codes are stable: never reuse or renumber one.

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is compiled.
    Error,
    /// Compiled, but probably not what is meant.
    Warning,
}

/// One kind of diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `PB…` for mistakes, `NY…` for what the language has and this version does not evaluate yet.
    pub code: &'static str,
    /// How grave.
    pub severity: Severity,
    /// What it is about, in one line.
    pub explanation: &'static str,
}

impl Code {
    /// Whether it says "not yet" rather than "wrong".
    pub fn is_not_yet(&self) -> bool {
        self.code.starts_with("NY")
    }
}

macro_rules! codes {
    ($($severity:ident $name:ident = $code:literal, $explanation:literal;)*) => {
        $(
            #[doc = $explanation]
            pub const $name: Code = Code { code: $code, severity: Severity::$severity, explanation: $explanation };
        )*
        /// Every code, in order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    Error YAML = "PB001", "The text is not YAML.";
    Error TOO_LARGE = "PB002", "A bundle is at most 512 KiB, an expression at most 16 384 characters.";
    Error TOO_DEEP = "PB003", "Nested deeper than 64, or a condition of more than 1 000 terms.";
    Error YAML_FEATURE = "PB004", "Anchors, aliases, tags and several documents in one text are not accepted.";
    Error UNKNOWN_KEY = "PB005", "A key that the language does not have.";
    Error DUPLICATE_KEY = "PB006", "A key given twice in one mapping.";
    Error MISSING_KEY = "PB007", "A key that must be given.";
    Error SHAPE = "PB008", "A list, a mapping or a text stands where something else is expected.";
    Error VALUE = "PB009", "A duration, clock time, number or word that is not one.";
    Error TIME_ZONE = "PB010", "A time zone that the IANA table does not have.";
    Error ID = "PB011", "Ids are not empty, have at most 100 characters, and no `/`, quote, `${` or surrounding space.";
    Error DUPLICATE_ID = "PB012", "An id used twice where it has to be unique.";
    Error GROUP_OWNER = "PB013", "A tag group has exactly one owner in the bundle.";
    Error BOARD_NOT_EXCLUSIVE = "PB014", "A board shows an exclusive tag group.";
    Error BOARD_TWICE = "PB015", "Two boards on one tag group.";
    Error KEYWORD = "PB016", "A keyword has 2 to 100 characters that are not all blank or invisible, a set at least one keyword.";
    Error UNDEFINED_TAG = "PB017", "A tag or tag group that is not defined.";
    Error UNDEFINED_BOARD = "PB018", "A board that is not defined.";
    Error UNDEFINED_COLUMN = "PB019", "A column that the board does not have.";
    Error UNDEFINED_SEGMENT = "PB020", "A segment that is not defined.";
    Error UNDEFINED_KEYWORDS = "PB021", "A keyword set that is not defined.";
    Error UNDEFINED_EVENT = "PB022", "An event that is neither built in nor declared under `events`.";
    Error UNDEFINED_FIELD = "PB023", "A field that the event does not have.";
    Error TYPE = "PB024", "A value or operator that does not fit the type of the left side.";
    Error RULE_CYCLE = "PB025", "Rules that set each other off in a circle.";
    Error SEGMENT_CYCLE = "PB026", "Segments that are defined by each other.";
    Error INCOMPLETE_STEP = "PB027", "A step names a touchpoint and a content.";
    Error TIMING = "PB028", "A step has either `after` or `day` with `at`.";
    Error CHARACTER = "PB029", "A character that has to stand in quotes, or has no meaning here.";
    Error QUOTE = "PB030", "A quote that is not closed.";
    Error UNEXPECTED = "PB031", "Something else is expected at this place of an expression.";
    Error MIXED = "PB032", "`and` and `or` mixed without parentheses.";
    Error FUNCTION = "PB033", "A function that the language does not have.";
    Error PLACE = "PB034", "A trigger happens, a condition holds: one does not stand in place of the other.";
    Error OPTION = "PB035", "An option of a function that it does not have, that is missing, or given twice.";
    Error PLACEHOLDER = "PB036", "A placeholder `${…}` outside a rule with `for_each`.";
    Error ARITHMETIC = "PB037", "Arithmetic needs spaces around its sign.";
    Error EVENT_NAME = "PB038", "A custom event's name has a dot, is not a built-in one, and has one declaration.";
    Error SOURCE_ID = "PB039", "The source is kept under another id than its `playbook` key says.";
    Error LOOSENED = "PB040", "A journey may tighten the policy, never loosen it.";
    Error FOREIGN = "PB041", "A name of another playbook, which `uses` does not list.";
    Error USES = "PB042", "`uses` names a playbook of the bundle, with `@` and the version it has.";
    Error NOT_ORDERED = "PB043", "An order comparison, `off_ladder`, `allow` or `backward` needs an ordered group.";
    Error FOR_EACH = "PB044", "`for_each` is a list of mappings with the same keys, each of which is used; at most 10 000.";
    Error UNDEFINED_ATTRIBUTE = "PB045", "An attribute that is not declared under `attributes`.";
    Error COUNT_BOUND = "PB046", "A count in a window is compared with at most 64, a sum with whole days, at most 730.";
    Error NOT_TRACKED = "PB047", "Nothing counts this: a playbook has to ask for it, or declare it under `counters`.";
    Error DOCUMENT = "PB048", "A directory is loaded by itself, not activated with playbooks.";
    Error UNDEFINED_STEP = "PB049", "A step, written journey/step, that no journey has.";
    Error STORE = "PB050", "`assign: {by: store}` needs triggers that are events with a field `store`.";
    Error ENCODING = "PB051", "The text is not UTF-8.";
    Error MORE = "PB099", "There are more mistakes than the 200 that are shown.";
    Warning TOUCHPOINT = "PW001", "A touchpoint that nothing here is known to send.";
    Warning STEP_ORDER = "PW002", "A step planned before the one above it: its moment has passed when its turn comes.";
    Warning CLOCK = "PW003", "A clock time, or a day's midnight, that a change of the clocks skips or doubles on some day.";
    Warning ROUNDS = "PW004", "A chain of rules that set each other off is longer than the 8 rounds of a record: the rest does not run.";
    Warning DECIDED = "PW005", "A comparison that never holds, or always does.";
    Warning NO_POOL = "PW006", "A pool that no active member of staff of the directory is in.";
    Warning NO_BODY = "PW007", "A content that the directory has no body of.";
    Warning NO_PRODUCT = "PW008", "A product that the directory does not have.";
    Warning NO_GROUP = "PW009", "A group of customers, or a kind of them, that the directory does not have.";
    Warning MORE_WARNINGS = "PW099", "There are more warnings than the 100 that are shown.";
    Error NY_POLICY = "NY001", "Not yet: `kind: policy`.";
    Error NY_REPLIED = "NY013", "Not yet: replied() and not_replied() of a broadcast.";
    Error NY_TRACKS = "NY023", "Not yet: `tracks`.";
    Error NY_REPEAT = "NY024", "Not yet: repeated steps (`every`, `count`, `content_series`, several clock times).";
    Error NY_WAIT_FOR = "NY025", "Not yet: `wait_for` with `then` and `else`.";
    Error NY_CHOOSE = "NY026", "Not yet: `choose`.";
    Error NY_SPLIT = "NY027", "Not yet: `split`.";
    Error NY_HOLDOUT = "NY028", "Not yet: `holdout`.";
    Error NY_GOAL_WHEN = "NY029", "Not yet: `goal` by a condition.";
    Error NY_BACKFILL = "NY030", "Not yet: `backfill` other than none.";
    Error NY_EXPECT = "NY031", "Not yet: `expect`.";
    Error NY_BROADCASTS = "NY032", "Not yet: `broadcasts`.";
    Error NY_STEP_TIME = "NY035", "Not yet: `from`, `window`, `min_gap` and a step's own `late`.";
    Error NY_MODE = "NY036", "Not yet: `mode`.";
    Error NY_HANDOFFS = "NY037", "Not yet: `handoff.created` anywhere but in metrics and as a trigger.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted_within_their_family() {
        let codes: Vec<&str> = ALL.iter().map(|code| code.code).collect();
        for family in ["PB", "PW", "NY"] {
            let mine: Vec<&str> = codes.iter().copied().filter(|code| code.starts_with(family)).collect();
            assert!(mine.windows(2).all(|pair| pair[0] < pair[1]), "{mine:?}");
        }
        assert!(ALL.iter().all(|code| (code.severity == Severity::Warning) == code.code.starts_with("PW")));
    }
}
