//! The life of one shard under one epoch: start, stream, fail, wait, start again.

use std::time::Duration;

use actix::prelude::ArbiterHandle;
use tidewire_shared::report::{Counters, ShardPhase, ShardReport};
use tidewire_shared::{ClusterId, Fault, FaultKind, Lsn, NodeName, TaskSpec};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::meter::Meter;
use super::start;
use super::{Assignment, ReportBoard};
use crate::agent::Leader;
use crate::arbiters::Arbiters;
use crate::clock::{mono_ms, now_ms};
use crate::lease::Lease;
use crate::pipeline::{self, Parts, Pipeline};
use crate::task_log::TaskLog;

/// What every shard of a node works with.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) node: NodeName,
    pub(crate) instance: u64,
    pub(crate) cluster: watch::Receiver<Option<ClusterId>>,
    pub(crate) leader: Leader,
    pub(crate) board: ReportBoard,
    pub(crate) arbiters: Arbiters,
    pub(crate) lease: Lease,
    pub(crate) log: TaskLog,
}

impl Surroundings {
    /// Warms what an assignment will need: names resolved, brokers and database reached once.
    pub(crate) fn prepare(&self, spec: TaskSpec) {
        actix_rt::spawn(async move { start::prepare(&spec).await });
    }

    /// Two arbiters for the pipeline of a shard: the source waits on one while the codec works on the other.
    fn two_arbiters(&self) -> (ArbiterHandle, ArbiterHandle) {
        (self.arbiters.next(), self.arbiters.next())
    }
}

/// Runs one shard until it is stopped, superseded or beyond help.
pub(crate) struct Supervisor {
    assignment: Assignment,
    surroundings: Surroundings,
    stop: CancellationToken,
    meter: Meter,
}

/// How one attempt ended.
enum Ended {
    /// Asked to stop.
    Stopped,
    /// To be built anew: the task has other tables now.
    Rebuild,
    /// Another owner has a higher epoch.
    Superseded,
    /// Trouble; whether data had become durable before it.
    Trouble { fault: Fault, flowed: bool },
}

/// A pipeline that produced nothing for so long did start well all the same.
const SETTLED: Duration = Duration::from_secs(30);

impl Supervisor {
    pub(crate) fn new(
        assignment: Assignment,
        surroundings: Surroundings,
        stop: CancellationToken,
    ) -> Self {
        let log = surroundings.log.of(&assignment.shard, assignment.epoch);
        let meter = Meter::new(first_report(&assignment), log);
        Self { assignment, surroundings, stop, meter }
    }

    pub(crate) async fn run(self) {
        let shard = &self.assignment.shard;
        self.surroundings.board.put(shard.clone(), self.meter.clone());
        self.meter.log().info(format!("assigned to {}", self.surroundings.node));
        let mut backoff = Backoff::new(self.assignment.spec.retry());
        let mut again = false;
        loop {
            match self.attempt(std::mem::replace(&mut again, true)).await {
                Ended::Stopped => return self.meter.log().info("stopped"),
                Ended::Rebuild => backoff.recovered(),
                Ended::Superseded => {
                    tracing::info!(%shard, epoch = %self.assignment.epoch, "superseded");
                    self.meter.log().info("another node has it under a later epoch");
                    self.surroundings.board.remove(shard, self.assignment.epoch);
                    return;
                }
                Ended::Trouble { fault, flowed } => {
                    if flowed {
                        backoff.recovered();
                    }
                    if !self.wait_after(fault, &mut backoff).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for the next attempt; false when there is none.
    async fn wait_after(&self, fault: Fault, backoff: &mut Backoff) -> bool {
        let shard = &self.assignment.shard;
        let clock = i64::try_from(mono_ms()).unwrap_or(i64::MAX);
        let Some((wait, window)) = backoff.after(&fault, clock) else {
            tracing::error!(%shard, kind = ?fault.kind, %fault, "the shard has failed");
            self.meter.log().error(&fault, "failed");
            self.meter.failed(fault);
            return false;
        };
        tracing::warn!(%shard, kind = ?fault.kind, %fault, ?wait, "the shard is retried");
        self.meter.log().warn(&fault, &format!("trying again in {} ms", wait.as_millis()));
        self.meter.update(|report| {
            report.phase = ShardPhase::Retrying;
            report.fault = Some(fault);
            report.retry = Some(window.later(now_ms() - clock));
            report.caught_up = false;
            report.restarts += 1;
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// One walk through the order of a start, and the pipeline after it.
    async fn attempt(&self, again: bool) -> Ended {
        let start = start::start(&self.assignment, &self.surroundings, &self.meter, again);
        let started = tokio::select! {
            // A shard that was revoked before it began must not fence its next owner.
            biased;
            () = self.stop.cancelled() => return Ended::Stopped,
            started = start => started,
        };
        let parts: Parts = match started {
            Ok(parts) => parts,
            Err(start::NoStart::Superseded) => return Ended::Superseded,
            Err(start::NoStart::Fault(fault)) => return Ended::Trouble { fault, flowed: false },
        };
        let before = self.meter.report().counters.records;
        let (source, codec) = self.surroundings.two_arbiters();
        let began = tokio::time::Instant::now();
        let pipeline = match pipeline::build(parts, &source, &codec) {
            Ok(pipeline) => pipeline,
            Err(fault) => return Ended::Trouble { fault, flowed: false },
        };
        let kill = pipeline.kill.clone();
        let fault = self.watch(pipeline).await;
        let flowed = self.meter.report().counters.records > before || began.elapsed() > SETTLED;
        match fault {
            None if kill.is_rebuilt() && !self.stop.is_cancelled() => Ended::Rebuild,
            None => Ended::Stopped,
            // Whether someone else owns the shard now is for the coordinators to say, at the next start.
            Some(fault) => Ended::Trouble { fault, flowed },
        }
    }

    /// Lets the pipeline run until it dies or is to be stopped; returns when nothing of it is left.
    async fn watch(&self, pipeline: Pipeline) -> Option<Fault> {
        tokio::select! {
            () = pipeline.kill.tripped() => {}
            () = self.stop.cancelled() => pipeline.kill.stop(),
        }
        pipeline.ended().await
    }
}

impl Drop for Supervisor {
    /// A panic must not leave a report behind that looks alive.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let object = format!("shard {}", self.assignment.shard);
            let fault = Fault::new(FaultKind::Internal, object, "its supervisor panicked");
            self.meter.failed(fault.remedy("look for the panic in the node's log and report it"));
        }
    }
}

fn first_report(assignment: &Assignment) -> ShardReport {
    ShardReport {
        shard: assignment.shard.clone(),
        epoch: assignment.epoch,
        phase: ShardPhase::Initializing,
        fault: None,
        retry: None,
        source_lsn: Lsn::ZERO,
        durable_lsn: Lsn::ZERO,
        confirmed_lsn: Lsn::ZERO,
        position: None,
        record: Vec::new(),
        caught_up: false,
        delay_ms: 0,
        counters: Counters::default(),
        records_per_second: 0.0,
        wal_retained_bytes: 0,
        predicted_failover_ms: 0,
        restarts: 0,
        partitions: Vec::new(),
    }
}

/// The fault of a node that is not in a cluster yet.
pub(crate) fn no_cluster() -> Fault {
    Fault::new(FaultKind::Coordination, "coordinators", "the node has not registered yet")
}
