//! The way to the coordinators: any of them answers, so the next is asked when one does not.
//!
//! A call is repeated under the same request id, which the cluster applies once, so that repeating
//! never does anything twice.

use std::future::Future;
use std::time::{Duration, Instant};

use tidewire_proto::admin::v1::admin_service_client::AdminServiceClient;
use tidewire_proto::convert::{CALLER_METADATA, detail_of};
use tonic::metadata::AsciiMetadataValue;
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::args::Common;
use crate::failure::{Exit, Failure};

/// How long one coordinator may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Pause before all coordinators are asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// What most calls get when the user names no time.
pub(crate) const CALL: Duration = Duration::from_secs(30);

/// The coordinators as they were named.
#[derive(Debug)]
pub(crate) struct Client {
    coordinators: Vec<Channel>,
    names: String,
    timeout: Duration,
    /// Who asks; goes along with every call, and into the history of what is changed.
    caller: Option<AsciiMetadataValue>,
}

impl Client {
    /// A way to `common.endpoint`; each call may take `common.timeout`, or `default`.
    pub(crate) fn new(common: &Common, default: Duration) -> Result<Self, Failure> {
        let timeout = common.timeout.map_or(default, tidewire_shared::Period::duration);
        Self::to(&common.endpoint, timeout)
    }

    /// A way to `endpoints`.
    pub(crate) fn to(endpoints: &[String], timeout: Duration) -> Result<Self, Failure> {
        let coordinators = endpoints.iter().map(|text| channel(text)).collect::<Result<_, _>>()?;
        Ok(Self { coordinators, names: endpoints.join(", "), timeout, caller: caller().ok() })
    }

    /// Until when a call that begins now may go on.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Makes one call about `object`, from the first coordinator that can answer.
    pub(crate) async fn call<M, R, F, Made>(
        &self,
        object: &str,
        message: M,
        make: F,
    ) -> Result<R, Failure>
    where
        M: Clone,
        F: Fn(AdminServiceClient<Channel>, Request<M>) -> Made,
        Made: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = self.deadline();
        loop {
            let mut last = None;
            let mut reached = false;
            for coordinator in &self.coordinators {
                let left = deadline.saturating_duration_since(Instant::now());
                let mut request = Request::new(message.clone());
                request.set_timeout(left);
                if let Some(caller) = &self.caller {
                    request.metadata_mut().insert(CALLER_METADATA, caller.clone());
                }
                let called = make(AdminServiceClient::new(coordinator.clone()), request);
                let status = match tokio::time::timeout(left, called).await {
                    Ok(Ok(response)) => return Ok(response.into_inner()),
                    Ok(Err(status)) => status,
                    Err(_) => Status::deadline_exceeded("no answer in time"),
                };
                if !worth_another(&status) {
                    return Err(Failure::from_status(&status, object));
                }
                reached |= !refused_connection(&status);
                last = Some(status);
            }
            // Nobody listens anywhere: waiting for an election would be waiting for nothing.
            if !reached || Instant::now() + PAUSE >= deadline {
                return Err(self.gave_up(object, reached, last));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn gave_up(&self, object: &str, reached: bool, last: Option<Status>) -> Failure {
        match last {
            Some(status) if reached => Failure::from_status(&status, object),
            _ => Failure::new(
                Exit::Unreachable,
                "unreachable",
                object,
                format_args!("no coordinator listens at {}", self.names),
            )
            .remedy("start one, or name one that runs with --endpoint or TIDEWIRE_ENDPOINT"),
        }
    }
}

/// `user@host`, as the operating system has them.
fn caller() -> Result<AsciiMetadataValue, InvalidMetadataValue> {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::geteuid().as_raw()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    AsciiMetadataValue::try_from(format!("{user}@{}", host.trim()))
}

fn channel(text: &str) -> Result<Channel, Failure> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let endpoint = Endpoint::from_shared(url).map_err(|error| {
        Failure::new(Exit::Usage, "invalid", format!("endpoint {text}"), error)
            .remedy("write it as http://HOST:PORT")
    })?;
    Ok(endpoint.connect_timeout(CONNECT).connect_lazy())
}

/// Whether another coordinator, or the same one a little later, may answer otherwise.
fn worth_another(status: &Status) -> bool {
    match detail_of(status) {
        Some(detail) => matches!(detail.code.as_str(), "unavailable" | "unknown_outcome"),
        None => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled
        ),
    }
}

/// Whether the call never left: nobody listens there.
fn refused_connection(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

/// A request id that no other wish has.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
