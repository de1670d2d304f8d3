//! The one place where a process may be killed on purpose while it takes events in: for crash tests, off otherwise.

use std::sync::atomic::{AtomicU64, Ordering};

/// Environment variable shared with other parts of the process: `after_append_before_ack:7` aborts at the seventh
/// passage. Names of other points count as off here.
pub const KILL_AT: &str = "TOUCHLINE_KILL_AT";

const POINT: &str = "after_append_before_ack";

/// Aborts the process at a counted passage: events are durable, their sender has no answer.
#[derive(Debug)]
pub(crate) struct KillPoint(Option<AtomicU64>);

impl KillPoint {
    /// What [`KILL_AT`] says.
    pub(crate) fn from_env() -> Self {
        Self::parse(&std::env::var(KILL_AT).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let count = count.parse::<u64>().ok().filter(|_| name == POINT);
        Self(count.map(|count| AtomicU64::new(count.max(1))))
    }

    /// Called once per request whose events are durable.
    pub(crate) fn reached(&self) {
        if let Some(left) = &self.0
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_point_with_a_count_is_armed() {
        for (text, left) in [
            ("after_append_before_ack:3", Some(3)),
            ("after_append_before_ack", Some(1)),
            ("after_append_before_ack:0", Some(1)),
            ("after_append_before_ack:x", None),
            ("after_apply:3", None),
            ("", None),
        ] {
            assert_eq!(KillPoint::parse(text).0.map(AtomicU64::into_inner), left, "{text}");
        }
        let point = KillPoint::parse("after_append_before_ack:3");
        point.reached();
        point.reached();
        assert_eq!(point.0.map(AtomicU64::into_inner), Some(1));
    }
}
