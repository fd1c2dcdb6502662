//! `tidewire cluster …`.

use tidewire_proto::admin::v1 as pb;

use crate::args::{ClusterArgs, ClusterCommand};
use crate::client::{CALL, Client};
use crate::failure::Failure;
use crate::output::cluster::{ClusterView, cluster_table};
use crate::output::print;

pub(super) async fn run(args: ClusterArgs) -> Result<(), Failure> {
    let ClusterCommand::Status = args.command;
    let client = Client::new(&args.common, CALL)?;
    let view = ClusterView::from(status(&client).await?);
    print(args.common.output, &view, |wide| cluster_table(&view, wide))
}

/// What the cluster says about itself.
pub(super) async fn status(client: &Client) -> Result<pb::ClusterStatusResponse, Failure> {
    client
        .call("cluster", pb::ClusterStatusRequest {}, |mut service, request| async move {
            service.cluster_status(request).await
        })
        .await
}
