//! A Tidewire node: takes assignments from the coordinators and carries data.
//!
//! * [`agent`]: the node's side of the control plane, on a thread of its own.
//! * [`shard`]: wanted against running; the order of a start; retry.
//! * [`pipeline`]: the actors that carry one shard, and the thread that ends Kafka transactions.
//! * [`errand`]: prechecks and clean-ups for the leader. [`task_log`]: what shards tell about themselves.
//!
//! Decisions are made in `tidewire-node-core`; here they are carried out.

mod agent;
mod arbiters;
mod clock;
mod config;
mod errand;
mod fault_point;
mod lease;
mod pipeline;
mod run;
mod shard;
mod task_log;
mod wal;

pub use config::NodeConfig;
pub use run::run_blocking;
