//! A crowd: as many people as a shop has, five identifiers each, linked in random order while things happen under them.
//!
//! Engines over maps, as in [`crate::identity`], but without crashes: here it is the number that counts, and what comes
//! out is compared with an oracle that knew from the start who is who.
//!
//! ```text
//!   people  who is who, what happens when, and the playbook
//!   world   eight engines; logs and lanes, each advanced at random   ─▶ watch   what was said on the way: refusals, touches
//!   judge   who is one contact (a union-find over the accepted links), and what an oracle holds of each
//! ```
//! First everything happens at once: links, messages, payments, entries into a journey. Then, with everything linked and
//! at rest, more happens to some, one thing at a time each: there the oracle must be met in everything.
//!
//! **Which links are accepted.** One event says a link. It is refused when a dead letter `link_refused` or `link_weak`
//! comes from a record that names this event as its origin; so of two links that contradict each other the one without
//! such a letter has won. Every other link is accepted. All links of the crowd together form a forest, so none of them is
//! skipped because another one has said the same.
//!
//! **Where an oracle that knew from the start may differ**, and what is asked for there instead:
//! * A tag that was set twice is there since the first time that *its* contact saw it, and merging keeps the later of two
//!   such moments: asked is that the moment is one of those.
//! * In an exclusive group, events under different identifiers count in order of arrival where the contact lives, for
//!   only the order of each identifier is kept on the way. Asked is the tag of the last event where nothing else of the
//!   person was on its way when it came, and otherwise the last tag of some identifier. Within one identifier's events
//!   it is always the last. (No tag of such a group is set twice before all is linked: a contact does not note that a
//!   tag it has was said again, so a swap between the two times elsewhere wins over the second.)
//! * An interest that was taken back has to be off where whoever took it back had said it, nothing else of the person was
//!   on its way, and nobody has said it since, whatever else is linked before or after; otherwise it may be. (A contact
//!   does not note that a tag was taken off that it did not have, nor that one it has was said again.) Of two who may be
//!   linked one does so, once.
//! * Who entered a journey under two identifiers before they were one has two enrolments, and both may have sent the same
//!   step by then. Asked is that every step is due, by one of the entries, and never again once the two are one.
//! * An exit or a goal seen by a contact that had not entered is not remembered for an entry that merges in later: exits
//!   only come once everything is linked.

mod judge;
mod people;
mod watch;
mod world;

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// People.
    pub contacts: u32,
    /// Everything else follows from it.
    pub seed: u64,
    /// What is falsified before it is judged: the judge has to see it.
    pub plant: Option<Plant>,
}

/// Something that must not go unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A contact lacks a tag.
    TagLost,
    /// A tag is there since another moment.
    TagMoved,
    /// A forward is gone.
    ForwardLost,
    /// The union-find knows an accepted link less.
    LinkForgotten,
    /// An event was applied once more.
    AppliedTwice,
    /// A touch was never due.
    TouchLost,
    /// A touch was planned for another moment.
    TouchMoved,
}

impl Plant {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::TagLost,
        Self::TagMoved,
        Self::ForwardLost,
        Self::LinkForgotten,
        Self::AppliedTwice,
        Self::TouchLost,
        Self::TouchMoved,
    ];
}

/// What a run led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Records applied, of every sort.
    pub records: u64,
    /// Events appended, links among them, repeats not.
    pub events: u64,
    /// Events passed from one cell to another.
    pub forwarded: u64,
    /// Links said.
    pub links: u64,
    /// Links refused because they would have joined two people.
    pub refused: u64,
    /// Links refused for weak evidence.
    pub weak: u64,
    /// Contacts that became forwards.
    pub merges: u64,
    /// Contacts left.
    pub contacts: u64,
    /// Forwards from an identifier to its contact, at most.
    pub chain_max: u32,
    /// Touches that fell due, those under a new name not counted.
    pub touches: u64,
    /// Touches that a merged contact says under a new name.
    pub renamed: u64,
    /// Contacts whose exclusive group of several identifiers is asked for exactly, and of the others those that hold what
    /// the oracle holds, and those that do not.
    pub stage: [u64; 3],
    /// Interests that were taken back: those that have to be off, and others.
    pub unsaid: [u64; 2],
    /// Contacts whose first journey is asked for exactly, and of those that entered twice before that was known: with the
    /// touches of the oracle, with each once at the moments of a later entry, and with some of them twice.
    pub journey: [u64; 4],
    /// Touches of a merged contact under a new name, of a step that the person had been sent in the other's name.
    pub said_again: u64,
    /// Reports of a touch by its second name when it waited under its third, which were not taken for it.
    pub reports_lost: u64,
}

/// Makes a run and judges it.
///
/// # Errors
/// What is not as it must be, in words.
pub fn run(options: &Options) -> Result<Report, String> {
    let mut world = world::World::new(options)?;
    world.mix()?;
    world.go_on()?;
    world.finish()?;
    judge::judge(&world, options.plant)
}
