//! Why a connection was not made.

use crate::topics::Report;
use rdkafka::error::KafkaError;
use thiserror::Error;
use touchline_log::Error as LogError;

/// Why the log on Kafka cannot be used as it is set up.
#[derive(Debug, Error)]
pub enum Error {
    /// A property that the protocol depends on, or one that must not lie in a settings file.
    #[error("property {name} cannot be set: {reason}\nhint: {hint}")]
    Property {
        /// Its name.
        name: String,
        /// Why not.
        reason: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A secret that is not where the settings say.
    #[error("property {name} cannot be read from {place}: {reason}")]
    Secret {
        /// The property.
        name: String,
        /// The file, or the environment variable.
        place: String,
        /// Why not.
        reason: String,
    },
    /// librdkafka refused the settings.
    #[error("kafka client cannot be made: {0}")]
    Client(#[source] KafkaError),
    /// No broker answers.
    #[error(
        "no answer from kafka at {brokers}: {reason}\nhint: check `brokers`, and that this machine may connect to it"
    )]
    Unreachable {
        /// Where.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// Topics or brokers are not set up as the protocol needs them.
    #[error(
        "kafka is not set up for touchline\n{0}hint: `touchline topics apply` sets what it can, `check` says the rest"
    )]
    Topics(Report),
    /// The specification of topics cannot be read.
    #[error("topics cannot be read: {0}")]
    Spec(String),
    /// A request of the administration failed.
    #[error("{action} failed: {reason}")]
    Admin {
        /// What was tried.
        action: String,
        /// What the broker says.
        reason: String,
    },
}

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// An error of a client as the log says it.
pub(crate) fn io(error: &KafkaError) -> LogError {
    LogError::Unavailable(error.to_string())
}
