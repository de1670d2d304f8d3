//! Publishing: who takes a partition over learns what is published of it, and fences whoever published before.

use crate::{Ack, Error, Headers, Log, NewRecord, Topic, wait};
use touchline_model::output::Stream;

/// Header of a numbered output: its sequence, in decimal.
pub const SEQUENCE_HEADER: &str = "touchline-sequence";
/// Header of Progress, the last record of a publication: next offset and the sequences as of there, in decimal,
/// separated by commas. What a log needs to find the end of what is published without knowing the values.
pub const MARKER_HEADER: &str = "touchline-marker";

/// What a publisher lane hands over at once: outputs of one partition, ending at a mark.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    /// Records in order, each for the same partition of its topic. Numbered ones carry [`SEQUENCE_HEADER`]; the last
    /// one lies in `contacts` and carries the marker as [`MARKER_HEADER`].
    pub records: Vec<(Topic, NewRecord)>,
    /// How far the partition has come with them.
    pub marker: Marker,
}

/// How far a partition is published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marker {
    /// Next offset of `events`: everything below is applied and its outputs are published.
    pub offset: u64,
    /// Last published sequence of each numbered stream, by [`Stream::index`].
    pub sequences: [u64; 4],
}

/// What is published of a partition, as its new owner finds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// The last one that lies in the log.
    pub marker: Marker,
    /// Last contiguous sequence of each stream in its topic. The marker's, except where a publication was torn: a log
    /// without transactions may hold the beginning of one that has no marker yet.
    pub tails: [u64; 4],
}

/// A partition taken over.
pub struct TakenOver {
    /// The only publisher of the partition from now on.
    pub publisher: Box<dyn Publisher>,
    /// What is published; nothing can be added to it behind the publisher's back any more.
    pub published: Published,
}

/// Publishes outputs of one partition.
///
/// * Records and marker together, all or nothing (`publish: sequenced` on Kafka excepted: there a prefix may be found,
///   see [`Published::tails`]), in order of calls.
/// * After an error the publisher is of no use: whether the publication lies in the log is unknown, every later call
///   fails, and [`Log::take_over`] finds out. [`Error::Fenced`]: somebody else has taken the partition over.
pub trait Publisher: Send {
    /// Appends outputs and marker together. Never blocks on the medium.
    fn publish(&mut self, publication: Publication) -> Ack<()>;
}

/// Takes a partition over and publishes once, for tests and tools that copy logs.
pub fn publish_once(log: &dyn Log, partition: u32, publication: Publication) -> Result<(), Error> {
    let mut taken = wait(log.take_over(partition))?;
    wait(taken.publisher.publish(publication))
}

impl Marker {
    /// The value of [`MARKER_HEADER`].
    pub fn to_header(&self) -> (&'static str, Vec<u8>) {
        let [tag_changes, touches, results, letters] = self.sequences;
        let text = format!("{},{tag_changes},{touches},{results},{letters}", self.offset);
        (MARKER_HEADER, text.into_bytes())
    }

    /// The marker in a record's headers, if it carries one.
    pub fn in_headers(headers: &Headers) -> Option<Self> {
        let mut numbers = text_of(headers, MARKER_HEADER)?.split(',').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let marker = Self { offset: next()?, sequences: [next()?, next()?, next()?, next()?] };
        numbers.next().is_none().then_some(marker)
    }
}

impl Published {
    /// What an untorn publication leaves.
    pub const fn whole(marker: Marker) -> Self {
        let tails = marker.sequences;
        Self { marker, tails }
    }
}

/// The sequence in a numbered output's headers.
pub fn sequence_in(headers: &Headers) -> Option<u64> {
    text_of(headers, SEQUENCE_HEADER)?.parse().ok()
}

/// The stream whose records lie in `topic`, if they are numbered.
pub fn stream_of(topic: Topic) -> Option<Stream> {
    Stream::ALL.into_iter().find(|stream| Topic::from(*stream) == topic)
}

fn text_of<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_goes_through_a_header() {
        let marker = Marker { offset: 7, sequences: [1, 0, u64::MAX, 3] };
        let header = marker.to_header();
        assert_eq!(header, (MARKER_HEADER, b"7,1,0,18446744073709551615,3".to_vec()));
        assert_eq!(Marker::in_headers(&Headers::from([("x", vec![]), header])), Some(marker));
        for broken in ["", "1,2,3,4", "1,2,3,4,5,6", "1,2,x,4,5", "-1,2,3,4,5"] {
            let headers = Headers::from([(MARKER_HEADER, broken)]);
            assert_eq!(Marker::in_headers(&headers), None, "{broken}");
        }
        assert_eq!(Marker::in_headers(&Headers::new()), None);
    }
}
