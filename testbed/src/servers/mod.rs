//! Real servers as child processes, fetched once into a cache outside the checkout.

use std::net::TcpListener;

use anyhow::{Result, bail};
use rand::Rng as _;

pub mod cache;
pub mod connect;
pub mod java;
pub mod kafka;
pub mod kafka_admin;
pub mod kafka_security;
pub mod mail;
pub mod maven;
pub mod mirror;
pub mod old_kafka;
pub mod postgres;
mod postgres_security;

pub use connect::{Connect, DebeziumConnector};
pub use kafka::{Kafka, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions};

/// A port of the loopback interface on which nobody listens.
///
/// It lies below the range from which the system takes the ports of outgoing connections: a server
/// that is restarted finds it still free.
///
/// # Errors
/// When a hundred tries meet only used ports.
pub fn free_port() -> Result<u16> {
    Ok(free_listener()?.local_addr()?.port())
}

/// Listens on a free port, for whoever serves it in this process: one that is only told of it may find
/// it taken still by a child of another thread that has not left our sockets behind yet.
pub fn free_listener() -> Result<TcpListener> {
    let mut random = rand::rng();
    for _ in 0..100 {
        let port: u16 = random.random_range(15_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener);
        }
    }
    bail!("no free port on the loopback interface")
}
