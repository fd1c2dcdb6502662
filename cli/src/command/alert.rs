//! `tidewire alert …`.

use std::path::Path;
use std::time::Duration;

use tidewire_proto::admin::v1 as pb;
use tidewire_proto::admin::v1::test_channel_request::Subject;
use tidewire_shared::{Channel, ChannelName, TaskName};

use super::task::read_text;
use crate::args::Format;
use crate::args::alert::{AlertArgs, AlertCommand, ChannelTestArgs};
use crate::client::{CALL, Client, request_id};
use crate::document::ChannelDocument;
use crate::failure::{Exit, Failure, of_document};
use crate::output::alert::{
    AlertsView, ChannelView, MessageView, PushView, alerts_table, channel_table, history_table,
};
use crate::output::{note, print, warn, write};

/// A receiver may be slow, or away.
const SEND: Duration = Duration::from_secs(30);

pub(super) async fn run(args: AlertArgs) -> Result<(), Failure> {
    let format = args.common.output;
    let client = |default| Client::new(&args.common, default);
    match args.command {
        AlertCommand::Apply { file } => apply(&client(CALL)?, &file, format).await,
        AlertCommand::List => list(&client(CALL)?, format).await,
        AlertCommand::Get { name } => get(&client(CALL)?, &name, format).await,
        AlertCommand::Delete { name } => delete(&client(CALL)?, &name, format).await,
        AlertCommand::History { task, last } => {
            history(&client(CALL)?, task.as_ref(), last, format).await
        }
        AlertCommand::Test(subject) => test(&client(SEND)?, subject, format).await,
    }
}

async fn apply(client: &Client, file: &Path, format: Format) -> Result<(), Failure> {
    let channel = read_document(file, format)?;
    let (name, object) = (channel.name.clone(), about(&channel.name));
    let request =
        pb::ApplyChannelRequest { request_id: request_id(), channel: Some(channel.into()) };
    let answer = client
        .call(&object, request, |mut service, request| async move {
            service.apply_channel(request).await
        })
        .await?;
    if format != Format::Json {
        note(&format!("channel {name} {}", answer.outcome));
    }
    show(answer.channel.unwrap_or_default().try_into()?, format)
}

async fn get(client: &Client, name: &ChannelName, format: Format) -> Result<(), Failure> {
    let request = pb::GetChannelRequest { name: name.to_string() };
    let answer = client
        .call(&about(name), request, |mut service, request| async move {
            service.get_channel(request).await
        })
        .await?;
    show(answer.channel.unwrap_or_default().try_into()?, format)
}

/// YAML is the document, so that it can be changed and applied again.
fn show(view: ChannelView, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print(format, &view, |_| String::new()),
        Format::Yaml => write(&view.yaml()?),
        Format::Table | Format::Wide => {
            print(format, &view, |wide| channel_table(std::slice::from_ref(&view), wide))
        }
    }
}

async fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let answer = client
        .call("alerts", pb::ListAlertsRequest {}, |mut service, request| async move {
            service.list_alerts(request).await
        })
        .await?;
    let view = AlertsView::try_from(answer)?;
    print(format, &view, |wide| alerts_table(&view, wide))
}

async fn delete(client: &Client, name: &ChannelName, format: Format) -> Result<(), Failure> {
    let request = pb::ChannelRequest { request_id: request_id(), name: name.to_string() };
    client
        .call(&about(name), request, |mut service, request| async move {
            service.delete_channel(request).await
        })
        .await?;
    let view = serde_json::json!({"name": name.as_str()});
    print(format, &view, |_| format!("channel {name} deleted"))
}

async fn history(
    client: &Client,
    task: Option<&TaskName>,
    last: usize,
    format: Format,
) -> Result<(), Failure> {
    let task = task.map_or_else(String::new, TaskName::to_string);
    let answer = client
        .call("alerts", pb::AlertHistoryRequest { task }, |mut service, request| async move {
            service.alert_history(request).await
        })
        .await?;
    let skipped = answer.messages.len().saturating_sub(last);
    let views: Vec<MessageView> =
        answer.messages.into_iter().skip(skipped).map(MessageView::from).collect();
    print(format, &views, |wide| history_table(&views, wide))
}

async fn test(client: &Client, args: ChannelTestArgs, format: Format) -> Result<(), Failure> {
    let (object, subject) = match (args.name, &args.file) {
        (Some(name), _) => (about(&name), Subject::Name(name.to_string())),
        (None, Some(file)) => {
            let channel = read_document(file, format)?;
            (about(&channel.name), Subject::Channel(channel.into()))
        }
        (None, None) => {
            return Err(Failure::new(Exit::Usage, "invalid", "test", "names no channel")
                .remedy("give a name or -f FILE"));
        }
    };
    let request = pb::TestChannelRequest { subject: Some(subject) };
    let answer = client
        .call(&object, request, |mut service, request| async move {
            service.test_channel(request).await
        })
        .await?;
    let view = PushView::from(answer.push.unwrap_or_default());
    print(format, &view, |_| view.line())?;
    if view.is_delivered() {
        return Ok(());
    }
    let why = view.why.unwrap_or_default();
    Err(Failure::new(Exit::Failed, "not_delivered", object, why)
        .remedy("correct the channel, or its receiver, and try it again"))
}

fn about(name: &ChannelName) -> String {
    format!("channel {name}")
}

/// Reads the channel in `file` (`-`: stdin) and says its warnings.
fn read_document(file: &Path, format: Format) -> Result<Channel, Failure> {
    let text = read_text(file)?;
    let document = ChannelDocument::parse(&text).map_err(|error| of_document(file, error))?;
    for warning in &document.warnings {
        warn(format, warning);
    }
    Ok(document.channel)
}
