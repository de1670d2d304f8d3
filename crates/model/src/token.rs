//! Tokens that a `state` carries: made for one order or one person, brought back once.
//!
//! WeCom gives a contact way and a group code a `state` of at most 30 characters and repeats it when somebody comes by
//! it. What begins with [`PREFIX`] there is a token of ours; anything else is the tenant's own word.

use crate::id::{CellKey, IdKey, IdKind};

/// What a token begins with.
pub const PREFIX: &str = "t.";
/// Scope of the cells of tokens.
pub const SCOPE: &str = "state";
/// Characters of a token after its prefix, at most: what WeCom leaves room for.
pub const VALUE_CHARS_MAX: usize = 28;

/// The cell of the token that `state` carries, if it carries one: letters and digits after the prefix.
pub fn cell_of(tenant: &str, state: &str) -> Option<CellKey> {
    let value = state.strip_prefix(PREFIX)?;
    let sound = (1..=VALUE_CHARS_MAX).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    sound.then(|| CellKey::of(tenant, &IdKey::new(IdKind::Token, SCOPE, value)))
}

/// The `state` that carries the token of this cell.
pub fn state_of(token: &CellKey) -> String {
    format!("{PREFIX}{}", token.id().value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_made_is_a_token() {
        let cell = cell_of("acme", "t.k3Jq9").unwrap();
        assert_eq!(cell.as_str(), "acme/token/state/k3Jq9");
        assert_eq!(state_of(&cell), "t.k3Jq9");
        assert!(cell_of("acme", &format!("t.{}", "a".repeat(VALUE_CHARS_MAX))).is_some());
        for state in ["", "t.", "双十一", "t.a/b", "t.a b", "k3Jq9", &format!("t.{}", "a".repeat(VALUE_CHARS_MAX + 1))]
        {
            assert_eq!(cell_of("acme", state), None, "{state}");
        }
    }
}
