//! Who leads, as far as this node knows, and the channel to ask it over.

use std::sync::Arc;
use std::time::Duration;

use tidewire_proto::node::v1::node_service_client::NodeServiceClient;
use tidewire_proto::node::v1::{ConfirmOwnershipRequest, ConfirmOwnershipResponse};
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// Long enough for a busy loopback or a near data centre, short enough to try the next one soon.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// A question that is not answered by then is asked again, of whoever leads by then.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// What the node knows of the leader; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Leader(Arc<watch::Sender<Known>>);

#[derive(Clone, Debug, Default)]
struct Known {
    /// Named by another coordinator, not yet tried.
    named: Option<String>,
    /// The channel of the running session.
    channel: Option<Channel>,
}

impl Leader {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Known::default())))
    }

    pub(crate) fn named(&self) -> Option<String> {
        self.0.borrow().named.clone()
    }

    pub(crate) fn point_to(&self, leader: String) {
        self.0.send_replace(Known { named: Some(leader), channel: None });
    }

    pub(crate) fn found(&self, endpoint: &str, channel: Channel) {
        self.0.send_replace(Known { named: Some(endpoint.to_owned()), channel: Some(channel) });
    }

    pub(crate) fn lost(&self) {
        self.0.send_replace(Known::default());
    }

    /// The channel of a running session, waiting for one.
    pub(crate) async fn channel(&self) -> Option<Channel> {
        let mut known = self.0.subscribe();
        let known = known.wait_for(|known| known.channel.is_some()).await.ok()?;
        known.channel.clone()
    }

    /// Asks whether an epoch is still current, by a linearizable read.
    ///
    /// # Errors
    /// [`FaultKind::Coordination`] while no leader answers.
    pub(crate) async fn confirm(
        &self,
        request: ConfirmOwnershipRequest,
    ) -> Result<ConfirmOwnershipResponse, Fault> {
        let unreachable =
            |why: String| Fault::new(FaultKind::Coordination, "coordinators", why).remedy(REMEDY);
        let ask = async {
            let channel = self.channel().await?;
            Some(NodeServiceClient::new(channel).confirm_ownership(request).await)
        };
        match tokio::time::timeout(ASK_TIMEOUT, ask).await {
            Ok(Some(Ok(answer))) => Ok(answer.into_inner()),
            Ok(Some(Err(status))) => Err(unreachable(format!(
                "the leader did not confirm the assignment: {}",
                status.message()
            ))),
            Ok(None) => Err(unreachable("the node is stopping".to_owned())),
            Err(_) => Err(unreachable("no leader answered within 3 s".to_owned())),
        }
    }
}

const REMEDY: &str = "see that a majority of the coordinators runs: `tidewire cluster status`";

/// Opens a channel that notices a silent peer.
pub(crate) async fn connect(endpoint: &str) -> Result<Channel, String> {
    Endpoint::from_shared(endpoint.to_owned())
        .map_err(|error| format!("`{endpoint}` is not an endpoint: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(|error| format!("cannot connect: {error}"))
}
