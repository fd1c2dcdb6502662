//! `tidewire nodes …`.

use tidewire_proto::admin::v1 as pb;

use crate::args::{Format, NodesArgs, NodesCommand};
use crate::client::{CALL, Client, request_id};
use crate::failure::Failure;
use crate::output::cluster::{NodeView, node_table};
use crate::output::print;

pub(super) async fn run(args: NodesArgs) -> Result<(), Failure> {
    let client = Client::new(&args.common, CALL)?;
    let format = args.common.output;
    match args.command {
        NodesCommand::List => list(&client, format).await,
        NodesCommand::Drain { name } => {
            let object = format!("node {name}");
            let request = pb::NodeRequest { request_id: request_id(), name: name.to_string() };
            let answer = client
                .call(&object, request, |mut service, request| async move {
                    service.drain_node(request).await
                })
                .await?;
            show(answer, format)
        }
        NodesCommand::Remove { name } => {
            let object = format!("node {name}");
            let request = pb::NodeRequest { request_id: request_id(), name: name.to_string() };
            client
                .call(&object, request, |mut service, request| async move {
                    service.remove_node(request).await
                })
                .await?;
            let view = serde_json::json!({"name": name.as_str()});
            print(format, &view, |_| format!("node {name} removed"))
        }
        NodesCommand::Resume { name } => {
            let object = format!("node {name}");
            let request = pb::NodeRequest { request_id: request_id(), name: name.to_string() };
            let answer = client
                .call(&object, request, |mut service, request| async move {
                    service.resume_node(request).await
                })
                .await?;
            show(answer, format)
        }
    }
}

async fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let answer = client
        .call("nodes", pb::ListNodesRequest {}, |mut service, request| async move {
            service.list_nodes(request).await
        })
        .await?;
    let nodes: Vec<_> = answer.nodes.into_iter().map(NodeView::from).collect();
    print(format, &nodes, |wide| node_table(&nodes, wide))
}

fn show(answer: pb::NodeResponse, format: Format) -> Result<(), Failure> {
    let node = NodeView::from(answer.node.unwrap_or_default());
    print(format, &node, |wide| node_table(std::slice::from_ref(&node), wide))
}
