//! What came of a scenario, for people and as data.

use serde::Serialize;
use std::fmt;
use touchline_playbook::diagnostic::{Diagnostic, Place};

/// What came of one scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// Its file, as given.
    pub file: String,
    /// Expectations compared.
    pub checks: usize,
    /// Passed, or why not.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Passed, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Everything is as expected.
    Passed,
    /// Something is not.
    Failed {
        /// Every difference, in order.
        failures: Vec<Failure>,
    },
    /// The playbooks do not compile.
    Refused {
        /// What the compiler says, located in the scenario where the playbook is written in it.
        findings: Vec<Finding>,
    },
}

/// One difference between what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The scenario's file.
    pub file: String,
    /// Line, 1-based.
    pub line: u32,
    /// Column, 1-based, in characters.
    pub column: u32,
    /// Who and what: `小王 tags`.
    pub what: String,
    /// As the file says.
    pub expected: String,
    /// As it is.
    pub found: String,
    /// Why it is so.
    pub because: Vec<String>,
}

/// A mistake in a scenario or a playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line, 1-based.
    pub line: u32,
    /// Column, 1-based, in characters.
    pub column: u32,
    /// The compiler's code; `None` for mistakes of the scenario itself.
    pub code: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding of the compiler in a text that begins at `begins` in `file`.
    pub(crate) fn of(found: &Diagnostic, file: &str, begins: Place) -> Self {
        Self {
            file: file.to_owned(),
            line: found.line.saturating_add(begins.line - 1),
            column: found.column.saturating_add(begins.column - 1),
            code: Some(found.code),
            message: found.message.clone(),
            hint: found.hint.clone(),
        }
    }
}

impl Report {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "passed: {} ({} checks)", self.scenario, self.checks),
            Outcome::Failed { failures } => {
                write!(f, "failed: {}", self.scenario)?;
                failures.iter().try_for_each(|failure| write!(f, "\n{failure}"))
            }
            Outcome::Refused { findings } => {
                write!(f, "refused: {}", self.scenario)?;
                findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, what, expected, found, because } = self;
        write!(f, "{file}:{line}:{column}: {what}\n  expected: {expected}\n  found:    {found}")?;
        because.iter().try_for_each(|reason| write!(f, "\n  because:  {reason}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map(|code| format!("[{code}]")).unwrap_or_default();
        write!(f, "error{code}: {}\n --> {}:{}:{}", self.message, self.file, self.line, self.column)?;
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}
