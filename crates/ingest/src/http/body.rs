//! Bodies within bounds: so many bytes, within so much time, line by line where they are long.

use super::answer::Refusal;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::StatusCode;
use futures::StreamExt;
use std::time::Duration;

/// Reads a whole body.
pub(super) async fn read(body: Body, bytes_max: usize, timeout: Duration) -> Result<Vec<u8>, Refusal> {
    tokio::time::timeout(timeout, collect(body, bytes_max)).await.unwrap_or_else(|_| Err(slow()))
}

async fn collect(body: Body, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut pieces = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| broken())?;
        if whole.len() + piece.len() > bytes_max {
            return Err(oversized(bytes_max));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// A body as lines. Holds one line and one piece of the body in memory.
pub(super) struct Lines {
    pieces: BodyDataStream,
    piece: Bytes,
    line_bytes_max: usize,
    bytes_left: usize,
    bytes_max: usize,
    timeout: Duration,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Within the bound.
    Whole(Vec<u8>),
    /// Longer than the bound: read over.
    TooLong,
}

impl Lines {
    pub(super) fn new(body: Body, line_bytes_max: usize, bytes_max: usize, timeout: Duration) -> Self {
        let pieces = body.into_data_stream();
        Self { pieces, piece: Bytes::new(), line_bytes_max, bytes_left: bytes_max, bytes_max, timeout }
    }

    /// The next line; `None` at the end. A last line needs no line end.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Refusal> {
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let end = self.piece.iter().position(|byte| *byte == b'\n');
            let part = self.piece.split_to(end.unwrap_or(self.piece.len()));
            too_long |= line.len() + part.len() > self.line_bytes_max;
            if too_long {
                line.clear();
            } else {
                line.extend_from_slice(&part);
            }
            if end.is_some() {
                let _line_end = self.piece.split_to(1);
                return Ok(Some(if too_long { Line::TooLong } else { Line::Whole(line) }));
            }
            match self.piece().await? {
                Some(piece) => self.piece = piece,
                None if too_long => return Ok(Some(Line::TooLong)),
                None if line.is_empty() => return Ok(None),
                None => return Ok(Some(Line::Whole(line))),
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(piece) = tokio::time::timeout(self.timeout, self.pieces.next()).await.map_err(|_| slow())? else {
            return Ok(None);
        };
        let piece = piece.map_err(|_| broken())?;
        self.bytes_left = self.bytes_left.checked_sub(piece.len()).ok_or_else(|| oversized(self.bytes_max))?;
        Ok(Some(piece))
    }
}

fn slow() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body did not arrive in time; hint: send it at once")
}

fn broken() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended early; hint: send it again")
}

fn oversized(bytes_max: usize) -> Refusal {
    let detail = format!("the body is longer than {bytes_max} bytes; hint: send it in parts");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "oversized", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn lines(pieces: &'static [&'static str], bytes_max: usize) -> Lines {
        let stream = futures::stream::iter(pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from(*piece))));
        Lines::new(Body::from_stream(stream), 4, bytes_max, Duration::from_secs(5))
    }

    #[tokio::test]
    async fn lines_end_anywhere_and_long_ones_are_read_over() {
        let mut lines = lines(&["a", "b\n\nabcd\nabcd", "e", "\nx\n", "12345\nlast"], 1_000);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(line);
        }
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        let expected = [whole("ab"), whole(""), whole("abcd"), Line::TooLong, whole("x"), Line::TooLong, whole("last")];
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn a_body_over_its_bound_or_without_end_is_refused() {
        let mut lines = lines(&["a\n", "b\n"], 3);
        assert_eq!(lines.next().await.unwrap(), Some(Line::Whole(b"a".to_vec())));
        assert_eq!(lines.next().await.unwrap_err().reason, "oversized");
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
        let refusal = read(never, 10, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!((refusal.status, refusal.reason), (StatusCode::REQUEST_TIMEOUT, "slow_body"));
    }
}
