//! Page tokens: where a list goes on, bound to what was asked. Opaque to clients; they grant nothing.

use crate::error;
use data_encoding::HEXLOWER;
use tonic::Status;

/// Items per page when none is asked for.
const SIZE_DEFAULT: usize = 50;
/// Items per page at most.
const SIZE_MAX: usize = 1_000;
/// A page ends early at this many bytes: gRPC clients refuse messages above 4 MiB.
pub(crate) const BYTES_MAX: usize = 3 << 20;
/// Hex characters of the hash that binds a token to its question.
const HASH_CHARS: usize = 16;

/// What a list was asked: a token of one question does not go on with another.
pub(crate) struct Question(String);

impl Question {
    /// The hash of everything that decides what is listed and in which order.
    pub(crate) fn new(parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut hash = hasher.finalize().to_hex().to_string();
        hash.truncate(HASH_CHARS);
        Self(hash)
    }

    /// The token that goes on after `last`.
    pub(crate) fn token(&self, last: &str) -> String {
        format!("{}{}", self.0, HEXLOWER.encode(last.as_bytes()))
    }

    /// What a token goes on after; `None` for the first page.
    pub(crate) fn last(&self, token: &str) -> Result<Option<String>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let foreign = || error::invalid("page_token", "is not one of this list; start again without it");
        let last = token.strip_prefix(&self.0).ok_or_else(foreign)?;
        let last = HEXLOWER.decode(last.as_bytes()).map_err(|_| foreign())?;
        String::from_utf8(last).map(Some).map_err(|_| foreign())
    }

    /// What a token goes on after, as numbers separated by commas.
    pub(crate) fn last_numbers<const N: usize>(&self, token: &str) -> Result<Option<[i64; N]>, Status> {
        let Some(last) = self.last(token)? else { return Ok(None) };
        let numbers: Option<Vec<i64>> = last.split(',').map(|number| number.parse().ok()).collect();
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        numbers.map(Some).ok_or_else(|| error::invalid("page_token", "is damaged; start again without it"))
    }
}

/// How many items a page has.
pub(crate) fn size(asked: u32) -> usize {
    match asked as usize {
        0 => SIZE_DEFAULT,
        asked => asked.min(SIZE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_with_its_own_question_only() {
        let question = Question::new(&["members", "acme", "tag(a/b)"]);
        let token = question.token("1,-2");
        assert_eq!(question.last(&token).unwrap().as_deref(), Some("1,-2"));
        assert_eq!(question.last_numbers(&token).unwrap(), Some([1, -2]));
        assert_eq!(question.last("").unwrap(), None);
        assert!(Question::new(&["members", "acme", "tag(a/c)"]).last(&token).is_err());
        assert!(Question::new(&["members", "acmet", "ag(a/b)"]).last(&token).is_err());
        let mut cut = token.clone();
        cut.pop();
        for bad in ["x", &cut, &format!("{token}zz")] {
            assert!(question.last(bad).is_err(), "{bad}");
        }
        assert!(question.last_numbers::<3>(&token).is_err());
        assert_eq!((size(0), size(7), size(5_000)), (50, 7, 1_000));
    }
}
