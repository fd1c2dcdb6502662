//! Coordinators as their users meet them: real gRPC on loopback, real files, nothing reached into.

mod alerts;
mod channels;
mod connections;
mod formation;
mod group;
mod life;
mod node_client;
mod nodes;
mod receiver;
mod tasks;
