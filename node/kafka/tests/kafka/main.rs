//! The room against a real broker.

mod broker;
mod positions;
mod target;
mod transactions;
