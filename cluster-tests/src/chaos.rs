//! All faults in random order under load, round after round; each round ends with a proof.

mod account;
mod fault;
mod kafka;
mod postgres;
mod round;
mod source;

pub use fault::{Fault, Kind, Lack, Side, SourceStop};
pub use kafka::KafkaRounds;
pub use postgres::{Plan, PostgresRounds, VERSIONS};
pub use round::{Made, Round, Verdict};
