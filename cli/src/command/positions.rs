//! `tidewire positions show`: what the target itself says; coordinators are asked for no more than
//! where that is.

use tidewire_kafka::Settings;
use tidewire_kafka::positions::show;
use tidewire_proto::convert::required;
use tidewire_shared::connection::Endpoint;
use tidewire_shared::spec::{KafkaSecurity, KafkaTarget};
use tidewire_shared::{Connection, Fault, FaultKind, Period, TaskSpec};

use super::connection;
use super::task::read_document;
use super::wait::get;
use crate::args::{PositionsArgs, PositionsCommand, ShowArgs};
use crate::client::{CALL, Client};
use crate::failure::{Exit, Failure};
use crate::output::positions::{PositionView, position_table};
use crate::output::print;

pub(super) async fn run(args: PositionsArgs) -> Result<(), Failure> {
    let PositionsCommand::Show(args) = args.command;
    let (brokers, security, name) = target(&args).await?;
    let settings = Settings::to_look(&brokers, &security)?;
    let shown =
        show(&settings, name.as_deref(), args.common.timeout.map_or(CALL, Period::duration))
            .map_err(not_yet)?;
    if let Some(name) = &name
        && shown.is_empty()
    {
        let object = format!("positions of task {name}");
        let why = format!("{} holds none", brokers.join(","));
        return Err(Failure::new(Exit::NotFound, "not_found", object, why)
            .remedy("check the brokers; a task has positions from its first start on"));
    }
    let views: Vec<_> = shown.into_iter().map(PositionView::from).collect();
    print(args.common.output, &views, |wide| position_table(&views, wide))
}

/// Before any task started there is no positions topic: nothing is broken, there is just nothing.
fn not_yet(fault: Fault) -> Failure {
    match fault.kind {
        FaultKind::TargetState => {
            Failure::new(Exit::NotFound, "not_found", fault.object, fault.message)
                .remedy("check the brokers; a task has positions from its first start on")
        }
        _ => fault.into(),
    }
}

/// The brokers to ask and how, and the task to show.
async fn target(args: &ShowArgs) -> Result<(Vec<String>, KafkaSecurity, Option<String>), Failure> {
    let name = args.name.as_ref().map(ToString::to_string);
    if let Some(file) = &args.file {
        let spec = read_document(file, args.common.output)?;
        let name = name.or_else(|| Some(spec.name().to_string()));
        let target = inline(args, spec.target().clone()).await?;
        return Ok((target.brokers, target.security, name));
    }
    match &args.name {
        Some(task) if args.brokers.is_empty() => {
            let shown = get(&Client::new(&args.common, CALL)?, task).await?;
            let spec: TaskSpec = required("spec", shown.spec).map_err(|error| {
                Failure::new(Exit::Failed, "unreadable", format!("task {task}"), error.to_string())
                    .remedy("use a tidewire of the coordinators' release")
            })?;
            let target = inline(args, spec.target().clone()).await?;
            Ok((target.brokers, target.security, name))
        }
        _ => Ok((args.brokers.clone(), KafkaSecurity::default(), name)),
    }
}

/// The target with the fields of the connection that it names, if it does.
async fn inline(args: &ShowArgs, mut target: KafkaTarget) -> Result<KafkaTarget, Failure> {
    let Some(name) = &target.connection else { return Ok(target) };
    let registered = connection::get(&Client::new(&args.common, CALL)?, name).await?;
    let connection: Connection = required("connection", registered.connection)?;
    if let Endpoint::Kafka(to) = connection.endpoint {
        to.fill(&mut target);
    }
    Ok(target)
}
