//! One record in, effects out: dispatch, clock, dedupe, ownership.

/// What one record led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Outputs in order, numbered.
    pub outputs: Vec<touchline_model::output::Numbered>,
    /// Loopback records in order, numbered per destination: (destination partition, record).
    pub loops: Vec<(u32, touchline_model::record::Loop)>,
    /// Cells whose public record changed, in key order.
    pub dirty: Vec<touchline_model::id::CellKey>,
    /// What happened, for metrics; no part of the state.
    pub notes: Notes,
}

/// What happened while applying one record, for metrics.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Notes {
    /// The event's id had been applied within the horizon.
    pub duplicate: bool,
    /// A loopback record that was not last + 1.
    pub loop_ignored: bool,
    /// Timers fired.
    pub timers_fired: u32,
    /// More timers are due than one record fires.
    pub timers_left: bool,
    /// The append time jumped and no witness confirmed it: the owner should append a tick.
    pub clock_refused: bool,
}
/// The engine.
pub struct Engine {}
