//! Work that must not delay the life line: prechecks, and the clean-up after a deleted task.

use std::sync::Arc;
use std::time::Duration;

use tidewire_proto::node::v1 as pb;
use tidewire_proto::node::v1::node_service_client::NodeServiceClient;
use tidewire_shared::{ClusterId, NodeName};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::leader::Leader;
use crate::errand;
use crate::task_log::TaskLog;

/// Answers waiting to go out; orders come one at a time per task.
const ANSWERS: usize = 16;
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Keeps the work stream open for as long as there is a leader.
pub(crate) async fn serve(
    name: NodeName,
    instance: u64,
    leader: Leader,
    cluster: Arc<watch::Sender<Option<ClusterId>>>,
    log: TaskLog,
    ended: CancellationToken,
) {
    loop {
        let streamed = tokio::select! {
            () = ended.cancelled() => return,
            streamed = stream(&name, instance, &leader, &cluster, &log) => streamed,
        };
        if let Err(status) = streamed {
            tracing::debug!(reason = status.message(), "the work stream broke");
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn stream(
    name: &NodeName,
    instance: u64,
    leader: &Leader,
    cluster: &watch::Sender<Option<ClusterId>>,
    log: &TaskLog,
) -> Result<(), tonic::Status> {
    let Some(channel) = leader.channel().await else { return Ok(()) };
    let (answers, outgoing) = mpsc::channel(ANSWERS);
    let hello = pb::WorkDone { id: 0, node: name.to_string(), instance, outcome: None };
    if answers.send(hello).await.is_err() {
        return Ok(());
    }
    let mut orders =
        NodeServiceClient::new(channel).work(ReceiverStream::new(outgoing)).await?.into_inner();
    let telling = tell(log.clone(), name.to_string(), instance, answers.clone());
    let _telling = AbortOnDropHandle::new(tokio::spawn(telling));
    while let Some(order) = orders.message().await? {
        let (answers, node, log) = (answers.clone(), name.clone(), log.clone());
        let Some(cluster) = cluster.borrow().clone() else { continue };
        tokio::spawn(async move {
            let outcome = Some(errand::run(&node, &cluster, &log, order.work).await);
            let done = pb::WorkDone { id: order.id, node: node.into(), instance, outcome };
            // A closed stream means another leader, which orders anew.
            drop(answers.send(done).await);
        });
    }
    Ok(())
}

/// Tells this leader every line there is and those that come, until the stream closes.
async fn tell(log: TaskLog, node: String, instance: u64, answers: mpsc::Sender<pb::WorkDone>) {
    let mut told = 0;
    loop {
        let lines = log.after(told).await;
        told = lines.last().map_or(told, |line| line.serial);
        let outcome = Some(pb::work_done::Outcome::Log(pb::LogLines { lines }));
        let done = pb::WorkDone { id: 0, node: node.clone(), instance, outcome };
        if answers.send(done).await.is_err() {
            return;
        }
    }
}
