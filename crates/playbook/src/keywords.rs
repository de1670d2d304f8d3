//! All keywords of a bundle in one automaton over folded text.
/// The automaton.
#[derive(Debug, Clone, Default)]
pub struct Automaton {}
