//! The words of Tidewire: what every room must mean by the same name.
//!
//! Nothing here does I/O, reads a clock or knows a wire format. A type belongs here when at least two
//! rooms must agree on it; everything else stays in the room that needs it.

pub mod alert;
pub mod channel;
pub mod connection;
pub mod epoch;
pub mod fault;
pub mod id;
pub mod lsn;
pub mod phase;
pub mod place;
pub mod position;
pub mod precheck;
pub mod publication_mark;
pub mod report;
pub mod secret;
pub mod spec;
pub mod unit;

pub use alert::AlertRule;
pub use channel::Channel;
pub use connection::Connection;
pub use epoch::Epoch;
pub use fault::{Fault, FaultKind, Persistence};
pub use id::{
    AlertName, ChannelName, ClusterId, ConnectionName, NodeName, ShardId, TaskId, TaskName,
};
pub use lsn::Lsn;
pub use phase::{Desired, Phase};
pub use place::{LogPlace, Place, PlaceAt};
pub use position::{
    Clearing, InTransaction, KafkaPosition, PartitionPosition, PgPosition, TopicPosition,
};
pub use publication_mark::{CatalogRow, PublicationMark};
pub use report::{Counters, PartitionProgress, PositionHint, RetryWindow, ShardPhase, ShardReport};
pub use secret::{Secret, SecretRef};
pub use spec::TaskSpec;
pub use unit::{ByteSize, Period};
