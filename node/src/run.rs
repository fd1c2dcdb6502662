//! One node from start to exit.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tidewire_shared::{Fault, FaultKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Leader, OUTBOX};
use crate::arbiters::Arbiters;
use crate::config::NodeConfig;
use crate::lease::Lease;
use crate::shard::ReportBoard;
use crate::shard::manager::{COMMANDS, Manager};
use crate::shard::supervisor::Surroundings;
use crate::task_log::TaskLog;

/// Threads for what is neither a stage nor a blocking call: status replies, watchers.
const WORKERS: usize = 2;

/// Runs a node until it is dismissed or told to stop: SIGTERM and SIGINT hand the shards over first,
/// a second one stops at once.
///
/// # Errors
/// When the node cannot start.
pub fn run_blocking(config: NodeConfig) -> Result<(), Fault> {
    let system = actix_rt::System::with_tokio_rt(|| {
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build();
        // Without threads there is no node; the system has no way to report it otherwise.
        built.unwrap_or_else(|error| panic!("cannot start the node's threads: {error}"))
    });
    system.block_on(run(config))
}

async fn run(config: NodeConfig) -> Result<(), Fault> {
    if config.coordinators.is_empty() {
        return Err(Fault::new(FaultKind::Configuration, "coordinators", "none was named")
            .remedy("name at least one as http://host:port"));
    }
    let (commands, orders) = mpsc::channel(COMMANDS);
    let (words, outbox) = mpsc::channel(OUTBOX);
    let (cluster, cluster_seen) = watch::channel(None);
    let (leaving, ended) = (CancellationToken::new(), CancellationToken::new());
    let (board, leader) = (ReportBoard::default(), Leader::new());
    let (instance, lease) = (rand::rng().random(), Lease::default());
    let log = TaskLog::new();
    let surroundings = Surroundings {
        node: config.name.clone(),
        instance,
        cluster: cluster_seen,
        leader: leader.clone(),
        board: board.clone(),
        arbiters: Arbiters::start(),
        lease: lease.clone(),
        log: log.clone(),
    };
    let agent = Agent {
        config: config.clone(),
        instance,
        lease,
        board: board.clone(),
        log,
        commands,
        outbox,
        cluster: Arc::new(cluster),
        leader,
        leaving: leaving.clone(),
        ended: ended.clone(),
    };
    let agent = agent.start()?;
    let manager = actix_rt::spawn(Manager::new(surroundings, words).run(orders, ended.clone()));
    tracing::info!(node = %config.name, "the node is up");
    leave_on_signal(&config, &board, &leaving, &ended).await?;
    drop(manager.await);
    drop(tokio::task::spawn_blocking(move || agent.join()).await);
    tracing::info!(node = %config.name, "the node is down");
    Ok(())
}

/// Waits for a signal, then for the hand-over of every shard.
async fn leave_on_signal(
    config: &NodeConfig,
    board: &ReportBoard,
    leaving: &CancellationToken,
    ended: &CancellationToken,
) -> Result<(), Fault> {
    let listen = |kind| {
        signal(kind).map_err(|error| Fault::new(FaultKind::Internal, "signal handler", error))
    };
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = ended.cancelled() => return Ok(()),
    }
    tracing::info!(node = %config.name, "asked to stop: handing the shards over");
    leaving.cancel();
    let handed_over = async {
        // With nothing running there is nothing to hand over: the leader need not be waited for.
        while !board.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = handed_over => {}
        () = ended.cancelled() => {}
        () = tokio::time::sleep(config.drain.duration()) => {
            tracing::warn!("the shards were not taken over in time");
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    ended.cancel();
    Ok(())
}
