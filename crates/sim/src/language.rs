//! The playbook language against a naive reading of its description: random playbooks, random histories.
//!
//! ```text
//!   book    a playbook as a small tree, and the same as YAML for the real compiler
//!   make    playbooks and histories by seed
//!   oracle  the description, read naively: it keeps every event of everybody and counts anew each time it is asked
//!   judge   one engine over a map, the same history for both; after each record they must agree
//! ```
//! The oracle shares nothing with `touchline-playbook` and `touchline-engine` but the types of the model: no tallies, no
//! timers, no moment of the next change. Where time alone changes something it tries every moment at which it could:
//! each event's time shifted by each span that the playbook names, and each midnight.
//!
//! **Left open by the description**, and so avoided or settled here:
//! * Two things that rules listen to at the same moment by time alone have no order: the run ends there
//!   ([`Report::tied`]).
//! * A contact enters the segments that it is in after its first event.
//! * Whether a person who sets a tag that is there already has set it: not here.
//! * A moment that had passed when it became known has its own event time, but conditions are judged by the latest event.
//! * Who is in which segment is judged when a record comes, also where the event of that record is older.
//! * What counts as the latest change of a tag that staff change on the phone: the one said last, by its own time, but nothing
//!   is taken off before it was set; what is
//!   taken back was never a change.
//! * Whether `has` holds of a value of another type than declared: not asked.
//! * Whose turn it is when several people are given to somebody at the same moment: the run ends there. In one that
//!   goes on in leaps, so it does where several are within one leap.
//! * Whom an assignment that is taken back had made the owner: still the owner. Only what there was to do is cancelled.
//! * A removal that is known before the relation that it ends is nothing.
//! * Each playbook counts by the days of its own time zone; an attribute by that of the playbook that declares it.
//! * Days by lines are whole, rounded down. Of a line that is several products the first by id that lasts counts.
//!
//! **Known to differ** (seed 19728, one of twenty thousand): the engine keeps as many of the newest times as a count needs
//! now. A late event that shows that time alone concluded wrongly about a segment is not seen where a newer one came first
//! and has taken its place.
//!
//! Two metrics of each playbook are counted too, and compared after each record.
//!
//! **What is not here**: journeys and their touches, links and merges, `replied`, what staff report on
//! what they were given, and changes of the playbook or of the directory under way.

mod book;
mod judge;
mod make;
mod oracle;

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// How the oracle misreads the description: the judge has to see it.
    pub plant: Option<Plant>,
}

/// A misreading that must not go unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// What happened exactly a span ago counts as within it.
    WindowInclusive,
    /// `distinct` is not looked at.
    DistinctIgnored,
    /// Rules move cards backward.
    BackwardAllowed,
    /// Nobody leaves a segment by time alone.
    SegmentLeftLate,
    /// A silence runs on over what breaks it.
    SilenceUnbroken,
    /// Rules change what a person has set.
    ManualIgnored,
    /// What a person took off may come back by a rule, and by a retraction.
    TakenOffIgnored,
    /// What a retraction gives back counts from then on.
    GivenBackAsNew,
    /// A late event is judged at its own time.
    LateAtOwnTime,
    /// A month is complete on the last day of a shorter one.
    MonthsByLastDay,
    /// What a late event disproves stands.
    NothingTakenBack,
    /// Only waits are disproved, not who left a segment.
    SegmentStands,
    /// A phone that shows what we wrote has been changed by somebody.
    EchoIsNews,
    /// One staff member who takes a tag off takes it off for all.
    OneForAll,
    /// The platform's code of a line goes before the merchant's.
    PlatformSku,
    /// A line that is not so is enough where no line may be.
    AnyOtherLine,
    /// How many there are of a line is not looked at.
    OneUnitPerLine,
    /// A rule with a list is one rule, of its first row.
    FirstRowOnly,
    /// Staff are called for what is history.
    HistoryGiven,
    /// What a disproved conclusion gave to do stays to be done.
    TasksStand,
    /// The first of a pool takes everybody.
    NoTurns,
    /// Who is away takes their turn.
    AwayChosen,
    /// No rule hears of a hand-over.
    HandoffUnheard,
    /// The keywords of a used playbook go before the playbook's own.
    UsedKeywords,
    /// The rules of a used playbook run before those of who uses it.
    UsedFirst,
    /// All playbooks count by the days of the first.
    OneZone,
}

impl Plant {
    /// Every one.
    pub const ALL: [Self; 26] = [
        Self::WindowInclusive,
        Self::DistinctIgnored,
        Self::BackwardAllowed,
        Self::SegmentLeftLate,
        Self::SilenceUnbroken,
        Self::ManualIgnored,
        Self::TakenOffIgnored,
        Self::GivenBackAsNew,
        Self::LateAtOwnTime,
        Self::MonthsByLastDay,
        Self::NothingTakenBack,
        Self::SegmentStands,
        Self::EchoIsNews,
        Self::OneForAll,
        Self::PlatformSku,
        Self::AnyOtherLine,
        Self::OneUnitPerLine,
        Self::FirstRowOnly,
        Self::HistoryGiven,
        Self::TasksStand,
        Self::NoTurns,
        Self::AwayChosen,
        Self::HandoffUnheard,
        Self::UsedKeywords,
        Self::UsedFirst,
        Self::OneZone,
    ];
}

/// What a run led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// The compiler took the playbook; otherwise nothing else happened.
    pub compiled: bool,
    /// Records after which both were compared.
    pub records: u64,
    /// Changes of tags that were said.
    pub changes: u64,
    /// Of these by time alone.
    pub by_time: u64,
    /// Of these taken back.
    pub retracted: u64,
    /// Of these because of what staff did on their phones.
    pub on_phones: u64,
    /// Moves on phones that no card makes.
    pub refused: u64,
    /// What staff were given to do.
    pub given: u64,
    /// What they would have been given.
    pub skipped: u64,
    /// The run ended before its history, at a moment that has no order.
    pub tied: bool,
}

/// Makes a run and judges it.
///
/// # Errors
/// Where engine and oracle differ, in words, with the playbook and the history.
pub fn run(options: &Options) -> Result<Report, String> {
    judge::judge(&make::plan(options.seed), options.plant).map_err(|error| {
        format!(
            "seed {}: {error}\nrepeat: TOUCHLINE_SEED={} cargo test -p touchline-sim --test language",
            options.seed, options.seed
        )
    })
}
