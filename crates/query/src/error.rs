//! Statuses with details: always exactly one `ErrorInfo` whose reason programs can act on.

use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use touchline_playbook::diagnostic::Diagnostic;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "touchline";

/// When to try again what was not there yet: a few publications later.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A status with its reason.
pub(crate) fn status(code: Code, reason: &'static str, message: impl Into<String>) -> Status {
    with_metadata(code, reason, message, [])
}

/// A status with its reason and facts a program needs.
pub(crate) fn with_metadata<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, facts(metadata));
    Status::with_error_details(code, message, details)
}

/// A field of the request that is wrong.
pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_FIELD", DOMAIN, facts([("field", field.to_owned())]));
    details.add_bad_request_violation(field, &message);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {message}"), details)
}

/// A command that breaks a bound which every command in the log keeps; the text names field and bound.
pub(crate) fn too_long(refused: &touchline_model::record::Undecodable) -> Status {
    status(Code::InvalidArgument, "TOO_LONG", format!("{refused}\nhint: shorten it; nothing was done"))
}

/// Not there yet, or not known whether it was done: safe to repeat.
pub(crate) fn unavailable(reason: &'static str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// A condition that is wrong, or that this version does not evaluate yet, with its place.
pub(crate) fn filter(field: &str, diagnostic: &Diagnostic) -> Status {
    let (code, reason) = if diagnostic.code.starts_with("NY") {
        (Code::Unimplemented, "NOT_YET")
    } else {
        (Code::InvalidArgument, "INVALID_FILTER")
    };
    let text = located(diagnostic);
    let mut details = ErrorDetails::new();
    let metadata = [
        ("code", diagnostic.code.to_owned()),
        ("line", diagnostic.line.to_string()),
        ("column", diagnostic.column.to_string()),
        ("hint", diagnostic.hint.clone().unwrap_or_default()),
    ];
    details.set_error_info(reason, DOMAIN, facts(metadata));
    details.add_bad_request_violation(field, &text);
    Status::with_error_details(code, format!("{field}: {text}"), details)
}

/// Playbooks that do not compile; the message holds every finding.
pub(crate) fn playbook(diagnostics: &[Diagnostic]) -> Status {
    let not_yet = diagnostics.iter().all(|diagnostic| !diagnostic.code.starts_with("PB"));
    let (code, reason) =
        if not_yet { (Code::Unimplemented, "NOT_YET") } else { (Code::InvalidArgument, "INVALID_PLAYBOOK") };
    let mut details = ErrorDetails::new();
    let first = diagnostics.first().map_or("", |diagnostic| diagnostic.code);
    details.set_error_info(reason, DOMAIN, facts([("code", first.to_owned())]));
    for diagnostic in diagnostics {
        details.add_bad_request_violation(format!("sources/{}", diagnostic.source_id), located(diagnostic));
    }
    Status::with_error_details(code, touchline_playbook::diagnostic::render(diagnostics), details)
}

fn located(diagnostic: &Diagnostic) -> String {
    let Diagnostic { code, line, column, message, hint, .. } = diagnostic;
    let hint = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("line {line}, column {column}: {message} [{code}]{hint}")
}

fn facts<const N: usize>(metadata: [(&str, String); N]) -> HashMap<String, String> {
    metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the log says when it cannot read or append.
pub(crate) fn log(error: &touchline_log::Error) -> Status {
    use touchline_log::Error;
    match error {
        Error::Io(_) | Error::Unavailable(_) | Error::Closed | Error::Busy { .. } => {
            unavailable("LOG_UNAVAILABLE", format!("{error}\nhint: repeat the request with the same request_id"))
        }
        Error::TooLarge { .. } => status(Code::InvalidArgument, "TOO_LARGE", error.to_string()),
        Error::Truncated { .. } => status(Code::OutOfRange, "TRUNCATED", error.to_string()),
        Error::Damaged(_) => status(Code::DataLoss, "LOG_DAMAGED", error.to_string()),
        Error::Misconfigured(_) => status(Code::FailedPrecondition, "LOG_MISCONFIGURED", error.to_string()),
        Error::Empty | Error::NoPartition { .. } | Error::Fenced { .. } | Error::NotOwner { .. } => {
            status(Code::Internal, "LOG_REFUSED", error.to_string())
        }
    }
}
