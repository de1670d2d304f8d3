//! The clock of a partition: append times, believed with care.

use crate::CLOCK_JUMP_MAX;
use touchline_model::record::Input;
use touchline_model::time::Time;

/// The clock after a record, and whether a part of its jump was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Advance {
    pub(crate) clock: Time,
    pub(crate) refused: bool,
}

/// The clock never goes back. A jump above [`CLOCK_JUMP_MAX`] is believed only up to the witness:
/// one broker with a wrong date must not fire a year of timers.
pub(crate) fn advance(clock: Option<Time>, append_time: Time, witness: Option<Time>) -> Advance {
    let Some(clock) = clock else { return Advance { clock: append_time, refused: false } };
    if append_time <= clock.plus(CLOCK_JUMP_MAX) {
        return Advance { clock: clock.max(append_time), refused: false };
    }
    let believed = witness.map_or(clock, |witness| witness.min(append_time)).max(clock);
    Advance { clock: believed, refused: believed < append_time }
}

/// What else says how late it is: another machine's clock inside the record.
pub(crate) fn witness(input: &Input) -> Time {
    match input {
        Input::Event(event) => event.received_at,
        Input::Tick { wall } => *wall,
        Input::Command(command) => command.received_at,
        Input::Loop(record) => record.clock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use touchline_model::time::Span;

    #[test]
    fn a_jump_needs_a_witness() {
        let noon = Time(1_772_000_000_000);
        let after = |hours| noon.plus(Span::hours(hours));
        for (append, witness, clock, refused) in [
            (after(1), None, after(1), false),
            (after(-3), None, noon, false),
            (after(2), None, noon, true),
            (after(2), Some(after(2)), after(2), false),
            (after(9000), Some(after(2)), after(2), true),
            (after(2), Some(after(9000)), after(2), false),
            (after(2), Some(after(-9)), noon, true),
        ] {
            assert_eq!(advance(Some(noon), append, witness), Advance { clock, refused });
        }
        assert_eq!(advance(None, noon, None), Advance { clock: noon, refused: false });
    }
}
