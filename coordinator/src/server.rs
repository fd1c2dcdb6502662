//! One coordinator from start to end: disk, listener, membership, services, shutdown.

use std::future::Future;
use std::io;
use std::time::Duration;

use tidewire_proto::FILE_DESCRIPTOR_SET;
use tidewire_proto::admin::v1::admin_service_server::AdminServiceServer;
use tidewire_proto::node::v1::node_service_server::NodeServiceServer;
use tidewire_proto::raft::v1::raft_service_server::RaftServiceServer;
use tidewire_shared::{Fault, FaultKind};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

use crate::api::{Door, Place, admin, node, raft};
use crate::config::Config;
use crate::formation;
use crate::leader::Leader;
use crate::raft::network::MESSAGE_BYTES_MAX;
use crate::raft::start::Stores;

/// A peer or node whose host vanished is noticed after twice this.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// What calls under way get to end when the coordinator stops.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// Runs one coordinator until `shutdown` resolves; call it on a multi-thread runtime of its own.
///
/// # Errors
/// When the configuration makes no sense, the address is taken, the disk is damaged or fails, or the
/// group refuses this coordinator. Each fault says what to do.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send) -> Result<(), Fault> {
    config.validate()?;
    let listener = listen(&config.listen).await?;
    let address = advertised(&config, &listener)?;
    tracing::info!(name = config.name, listen = config.listen, %address, "coordinator starts");
    let (place, watcher) = watch::channel(Place::Opening);
    let stop = CancellationToken::new();
    let (mut server, health) = serve(listener, Door::new(watcher), stop.clone())?;
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        result = live(&config, &address, &place, health) => result,
        result = &mut server => Err(ended(result)),
    };
    let last = place.borrow().clone();
    if let Place::Member(leader) = last {
        leader.handle().shut_down().await;
        leader.resign();
    }
    stop.cancel();
    if tokio::time::timeout(LAST_CALLS, &mut server).await.is_err() {
        server.abort();
    }
    tracing::info!(name = config.name, "coordinator ended");
    ended
}

async fn listen(address: &str) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|error| {
        let fault = |message: &str| Fault::new(FaultKind::Configuration, address, message);
        match error.kind() {
            io::ErrorKind::AddrInUse => fault("the port is in use").remedy(
                "stop the process that listens there, or choose another port with --listen",
            ),
            io::ErrorKind::AddrNotAvailable => fault("this machine has no such address")
                .remedy("listen on an address of this machine, like 127.0.0.1:7400"),
            _ => fault(&format!("cannot listen: {error}"))
                .remedy("choose another address with --listen"),
        }
    })
}

/// Where the others reach this coordinator.
fn advertised(config: &Config, listener: &TcpListener) -> Result<String, Fault> {
    if let Some(address) = &config.advertise {
        return Ok(address.clone());
    }
    let local = listener
        .local_addr()
        .map_err(|error| Fault::new(FaultKind::Internal, config.listen.clone(), error))?;
    if local.ip().is_unspecified() {
        return Err(Fault::new(
            FaultKind::Configuration,
            config.listen.clone(),
            "every address of the machine is listened on, so none is known to the others",
        )
        .remedy("give the one that the others shall use with --advertise HOST:PORT"));
    }
    Ok(local.to_string())
}

/// Opens the disk, becomes a member, and works until something fails.
async fn live(
    config: &Config,
    address: &str,
    place: &watch::Sender<Place>,
    health: HealthReporter,
) -> Result<(), Fault> {
    let directory = config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Stores::open(&directory)).await;
    let mut stores = opened.map_err(|error| Fault::new(FaultKind::Internal, "disk", error))??;
    let identity = match stores.identity().cloned() {
        Some(identity) => identity,
        None => {
            place.send_replace(Place::Homeless);
            let identity = formation::join_or_make(config, address).await?;
            stores.become_member(identity.clone()).await?;
            identity
        }
    };
    if identity.name != config.name {
        let message = format!("it belongs to coordinator {}", identity.name);
        let object = format!("directory {}", config.data_dir.display());
        return Err(Fault::new(FaultKind::Configuration, object, message)
            .remedy("start it under that name, or give this one a data directory of its own"));
    }
    tracing::info!(id = identity.id, cluster = %identity.cluster, "member of the group");
    let handle = stores.start(identity, address, &config.timing).await?;
    let leader = Leader::new(handle.clone(), config.timing.timing());
    place.send_replace(Place::Member(Box::new(leader.clone())));
    // Ends with this function: everything below belongs to the member.
    let mut tasks = JoinSet::new();
    tasks.spawn(handle.clone().keep_membership());
    tasks.spawn(leader.clone().run());
    tasks.spawn(leader.clone().weigh_idle_wal());
    tasks.spawn(leader.clone().note_indicators());
    tasks.spawn(leader.clone().watch_alerts());
    tasks.spawn(leader.clone().deliver_alerts());
    tasks.spawn(report_health(leader, health));
    let reason = handle.failed().await;
    Err(Fault::new(FaultKind::Internal, "raft", format!("it cannot go on: {reason}"))
        .remedy("check the disk of the data directory, then start the coordinator again"))
}

/// Nodes and balancers see by the health service which coordinator takes sessions.
async fn report_health(leader: Leader, health: HealthReporter) {
    health.set_serving::<AdminServiceServer<admin::Service>>().await;
    health.set_serving::<RaftServiceServer<raft::Service>>().await;
    let mut changes = leader.handle().watch_raft();
    loop {
        if leader.leads() {
            health.set_serving::<NodeServiceServer<node::Service>>().await;
        } else {
            health.set_not_serving::<NodeServiceServer<node::Service>>().await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

type Serving = JoinHandle<Result<(), tonic::transport::Error>>;

fn serve(
    listener: TcpListener,
    door: Door,
    stop: CancellationToken,
) -> Result<(Serving, HealthReporter), Fault> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| Fault::new(FaultKind::Internal, "reflection", error))?;
    let raft = RaftServiceServer::new(raft::Service::new(door.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(raft)
        .add_service(NodeServiceServer::new(node::Service::new(door.clone())))
        .add_service(AdminServiceServer::new(admin::Service::new(door)));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    Ok((tokio::spawn(serving), health))
}

fn ended(result: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>) -> Fault {
    let why = match result {
        Ok(Ok(())) => "it ended by itself".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Fault::new(FaultKind::Internal, "listener", why).remedy("start the coordinator again")
}
