//! `tidewire positions show`: what the target itself says, without coordinators.

use tidewire_kafka::Settings;
use tidewire_kafka::positions::show;

use super::task::read_document;
use crate::args::{PositionsArgs, PositionsCommand, ShowArgs};
use crate::failure::{Exit, Failure};
use crate::output::positions::{PositionView, position_table};
use crate::output::print;

pub(super) fn run(args: PositionsArgs) -> Result<(), Failure> {
    let PositionsCommand::Show(args) = args.command;
    let (brokers, name) = target(&args)?;
    let settings = Settings::for_brokers(&brokers)?;
    let shown = show(&settings, name.as_deref(), args.timeout.duration())?;
    if let Some(name) = &name
        && shown.is_empty()
    {
        let object = format!("positions of task {name}");
        let why = format!("{} holds none", brokers.join(","));
        return Err(Failure::new(Exit::NotFound, "not_found", object, why)
            .remedy("check the brokers; a task has positions from its first start on"));
    }
    let views: Vec<_> = shown.into_iter().map(PositionView::from).collect();
    print(args.output, &views, |wide| position_table(&views, wide))
}

/// The brokers to ask, and the task to show.
fn target(args: &ShowArgs) -> Result<(Vec<String>, Option<String>), Failure> {
    let name = args.name.as_ref().map(ToString::to_string);
    let Some(file) = &args.file else { return Ok((args.brokers.clone(), name)) };
    let spec = read_document(file)?;
    Ok((spec.target.brokers, name.or_else(|| Some(spec.name.to_string()))))
}
