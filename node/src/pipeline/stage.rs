//! The one actor that carries every stage.
//!
//! A stage is a plain struct; the actor receives, runs it, and passes on. It answers its sender when
//! it *takes* a batch, not when it is done with it: the stage before can work on the next batch
//! meanwhile, one more waits in the mailbox, and nothing can overtake.

use std::future::Future;

use actix::prelude::*;
use tidewire_shared::{Fault, FaultKind};

use super::kill::{KillSwitch, PanicGuard};

/// What a stage does with one batch.
pub(crate) trait Stage: Unpin + 'static {
    /// What it receives.
    type Batch: Send + 'static;

    /// Works on the batch and hands the result to the next stage; returns when that one has taken it.
    fn run(&mut self, batch: Self::Batch) -> impl Future<Output = Result<(), Fault>>;
}

/// A batch on its way between two actors.
#[derive(Debug)]
pub(crate) struct Batch<T>(pub(crate) T);

impl<T: 'static> Message for Batch<T> {
    type Result = ();
}

/// Batches waiting in front of a stage. One is enough to keep it busy; more would only be memory.
const MAILBOX: usize = 1;

/// Carries a stage on an arbiter.
pub(crate) struct StageActor<S: Stage> {
    /// Away while it works.
    stage: Option<S>,
    kill: KillSwitch,
    _guard: PanicGuard,
}

impl<S: Stage + Send> StageActor<S> {
    /// Starts the stage on an arbiter.
    pub(crate) fn start(
        name: &'static str,
        arbiter: &ArbiterHandle,
        kill: &KillSwitch,
        stage: S,
    ) -> Recipient<Batch<S::Batch>> {
        let (kill, guard) = (kill.clone(), kill.guard(name));
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self { stage: Some(stage), kill, _guard: guard }
        })
        .recipient()
    }
}

impl<S: Stage> Actor for StageActor<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let kill = self.kill.clone();
        ctx.spawn(
            async move { kill.tripped().await }
                .into_actor(self)
                .map(|(), _, ctx: &mut Context<Self>| ctx.stop()),
        );
    }
}

impl<S: Stage> Handler<Batch<S::Batch>> for StageActor<S> {
    type Result = ();

    fn handle(&mut self, Batch(batch): Batch<S::Batch>, ctx: &mut Self::Context) {
        let Some(mut stage) = self.stage.take() else { return };
        let kill = self.kill.clone();
        let work = async move {
            let outcome = tokio::select! {
                outcome = stage.run(batch) => outcome,
                () = kill.tripped() => Err(closed()),
            };
            (stage, outcome)
        };
        ctx.wait(work.into_actor(self).map(|(stage, outcome), actor, ctx| match outcome {
            Ok(()) => actor.stage = Some(stage),
            Err(fault) => {
                actor.kill.trip(fault);
                ctx.stop();
            }
        }));
    }
}

/// Hands a batch to the next stage; returns when that one has taken it.
pub(crate) async fn pass<T: Send + 'static>(
    next: &Recipient<Batch<T>>,
    batch: T,
) -> Result<(), Fault> {
    next.send(Batch(batch)).await.map_err(|_| closed())
}

/// What a stage sees when its neighbour is gone; the switch has the reason already.
fn closed() -> Fault {
    Fault::new(FaultKind::Internal, "pipeline", "the next stage has stopped")
}
