//! Trials of the pure control plane: commands alone, a simulated cluster, and single scenarios in it.

mod alerts;
mod commands;
mod connections;
mod convergence;
mod life;
mod reshard;
mod sample;
mod scenarios;
mod simulation;
