//! Everything the demo, the tests and the bench need around the `tidewire` binary.
//!
//! * [`authority`]: certificates for servers and clients.
//! * [`servers`]: a real PostgreSQL, a real Kafka and a real mail server, fetched once and started as
//!   processes.
//! * [`cluster`]: the binary itself, run as its users run it.
//! * [`corpus`]: values of every type of PostgreSQL.
//! * [`workload`], [`variety`]: changes that are made in PostgreSQL, repeatable from a seed.
//! * [`reader`], [`dts_reader`], [`format_reader`]: what independent consumers see in Kafka.
//! * [`writer`], [`copy_load`]: what an independent producer writes into Kafka.
//! * [`shards`]: which node copies what, and for how long nothing came of it.
//! * [`oracle`]: what PostgreSQL committed, compared with what Kafka holds.
//! * [`fault_points`]: places inside the binary where a test holds it.
//! * [`proxy`]: faults between a Kafka client and its brokers.
//!
//! All of it blocks and runs on threads: a test reads from top to bottom.

pub mod authority;
pub mod cluster;
pub mod copy_load;
pub mod corpus;
pub mod dts_reader;
pub mod fault_points;
pub mod format_reader;
pub mod live;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod reader;
pub mod servers;
pub mod shards;
pub mod task;
pub mod variety;
pub mod workload;
pub mod writer;

mod guard;
mod json_lines;
