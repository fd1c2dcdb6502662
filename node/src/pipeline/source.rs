//! Source stage: reads the replication stream and hands on whole frames as they came.
//!
//! It is the only stage that nobody sends to: it runs until the stream breaks or the pipeline stops.
//! While the next stage is busy it does not read, so that backpressure reaches the socket; status
//! replies go on, from a task of their own.

use actix::prelude::*;
use tidewire_postgres::{RawBatch, StreamReader};

use super::kill::{KillSwitch, PanicGuard};
use super::stage::{Batch, pass};

pub(super) struct SourceActor {
    reader: Option<StreamReader>,
    next: Recipient<Batch<RawBatch>>,
    kill: KillSwitch,
    _guard: PanicGuard,
}

impl SourceActor {
    pub(super) fn start(
        arbiter: &ArbiterHandle,
        kill: &KillSwitch,
        reader: StreamReader,
        next: Recipient<Batch<RawBatch>>,
    ) {
        let (kill, guard) = (kill.clone(), kill.guard("source"));
        Self::start_in_arbiter(arbiter, move |_| Self {
            reader: Some(reader),
            next,
            kill,
            _guard: guard,
        });
    }
}

impl Actor for SourceActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(mut reader) = self.reader.take() else { return };
        let (next, kill) = (self.next.clone(), self.kill.clone());
        let read = async move {
            let flow = async {
                loop {
                    let batch = reader.next().await?;
                    pass(&next, batch).await?;
                }
            };
            tokio::select! {
                outcome = flow => {
                    let Err::<std::convert::Infallible, _>(fault) = outcome;
                    kill.trip(fault);
                }
                () = kill.tripped() => {}
            }
        };
        ctx.spawn(read.into_actor(self).map(|(), _, ctx: &mut Context<Self>| ctx.stop()));
    }
}
