//! Worlds in which scenarios are played besides the engines in memory: a replayed log, a running server.

mod live;
mod replayed;

pub(crate) use live::Live;
pub(crate) use replayed::Replayed;

use std::collections::BTreeMap;
use touchline_model::output::{Numbered, Stream};

/// What was said, in the order in which it was heard: an index into it stays good.
#[derive(Debug, Default)]
struct Heard {
    said: Vec<Numbered>,
    /// Last number heard, by partition and stream.
    last: BTreeMap<(u32, Stream), u64>,
}

impl Heard {
    /// Adds what was not heard before: by clock, so that what several partitions said of one contact reads in order.
    fn add(&mut self, outputs: impl IntoIterator<Item = Numbered>) {
        let place = |numbered: &Numbered| (numbered.source.partition, numbered.output.stream());
        let is_new = |numbered: &Numbered| self.last.get(&place(numbered)).is_none_or(|last| numbered.sequence > *last);
        let mut news: Vec<Numbered> = outputs.into_iter().filter(is_new).collect();
        news.sort_by_key(|numbered| (numbered.clock, numbered.source.partition, numbered.sequence));
        for numbered in &news {
            let last = self.last.entry(place(numbered)).or_default();
            *last = numbered.sequence.max(*last);
        }
        self.said.extend(news);
    }
}
