//! The brokers that lead the partitions, as one client comes to know them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::Fault;

use super::{SourcePartition, object, slots};
use crate::config::Side;
use crate::fault::{KafkaError, is_unknown, not_known_yet};
use crate::ffi::{Asked, Client};

/// How long a topic that was just listed may be unknown to the broker that is asked for its leaders.
const SPREADING: Duration = Duration::from_secs(5);

/// Between two questions for the leaders of topics that no broker leads yet.
const PAUSE: Duration = Duration::from_millis(100);

/// What asks for the leaders; it may do so on a thread of its own.
#[derive(Debug)]
pub(super) struct Leaders {
    pub(super) client: Arc<Client>,
    /// What faults call all brokers.
    pub(super) cluster: String,
}

impl Leaders {
    /// Has the handle learn who leads the partitions, so that positions can be checked before anything
    /// is read, and says of those that are not there.
    pub(super) fn learn(
        &self,
        partitions: &[SourcePartition],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let patience = deadline.min(Instant::now() + SPREADING);
        loop {
            let told = self.client.told_topics(Asked::Known, left(deadline));
            self.client.poll(Duration::ZERO);
            let told = told.map_err(|error| self.unanswered(&error))?;
            let Some((partition, code)) = slots::missing(partitions, &told) else { return Ok(()) };
            if !may_appear(code) || Instant::now() >= patience {
                let object = object(partition);
                let error = KafkaError { code, text: code.to_string() };
                return Err(match is_unknown(code) {
                    true => not_known_yet(Side::Source, object),
                    false => error.fault_at(Side::Source, object),
                });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Has the handle learn who leads the partitions, and connects to each of them.
    pub(super) fn reach(
        &self,
        partitions: &[SourcePartition],
        deadline: Instant,
    ) -> Result<(), Fault> {
        self.learn(partitions, deadline)?;
        for partition in partitions {
            let number = i32::try_from(partition.partition).unwrap_or(i32::MAX);
            let ends = self.client.watermarks(&partition.topic, number, left(deadline));
            ends.map_err(|error| self.unanswered(&error))?;
        }
        Ok(())
    }

    /// The fault of a question that got no answer, explained by what the connection reported.
    pub(super) fn unanswered(&self, error: &KafkaError) -> Fault {
        self.client.poll(Duration::ZERO);
        let late = matches!(
            error.code,
            Code::OperationTimedOut | Code::RequestTimedOut | Code::BrokerTransportFailure
        );
        let told = match self.client.trouble() {
            Some(trouble) if late => trouble,
            _ if late => {
                KafkaError { code: Code::BrokerTransportFailure, text: error.text.clone() }
            }
            _ => return error.fault_at(Side::Source, self.cluster.clone()),
        };
        told.fault_at(Side::Source, self.cluster.clone())
    }
}

/// Whether what is missing may be there a moment later.
fn may_appear(code: Code) -> bool {
    is_unknown(code) || code == Code::LeaderNotAvailable
}

/// The time until a deadline.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
