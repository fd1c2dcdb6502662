//! `tidewire connection …`.

use std::path::Path;
use std::time::Duration;

use tidewire_proto::admin::v1 as pb;
use tidewire_proto::admin::v1::test_connection_request::Subject;
use tidewire_proto::convert::required;
use tidewire_shared::connection::{ConnectionTest, Discovery};
use tidewire_shared::{Connection, ConnectionName};

use super::task::read_text;
use crate::args::{ConnectionArgs, ConnectionCommand, Format, TestArgs};
use crate::client::{CALL, Client, request_id};
use crate::document::ConnectionDocument;
use crate::failure::{Exit, Failure, of_document};
use crate::output::connection::{
    ConnectionView, DiscoveryView, TestView, connection_list, discovery_table, test_table,
};
use crate::output::{note, print, warn, write};

/// A test and a discovery ask servers that may be slow or away.
const LOOK: Duration = Duration::from_secs(60);

pub(super) async fn run(args: ConnectionArgs) -> Result<(), Failure> {
    let format = args.common.output;
    let client = |default| Client::new(&args.common, default);
    match args.command {
        ConnectionCommand::Apply { file } => apply(&client(CALL)?, &file, format).await,
        ConnectionCommand::Test(subject) => test(&client(LOOK)?, subject, format).await,
        ConnectionCommand::Discover { name, database } => {
            discover(&client(LOOK)?, &name, database, format).await
        }
        ConnectionCommand::List => list(&client(CALL)?, format).await,
        ConnectionCommand::Get { name } => show(get(&client(CALL)?, &name).await?, format),
        ConnectionCommand::Delete { name } => delete(&client(CALL)?, &name, format).await,
    }
}

async fn apply(client: &Client, file: &Path, format: Format) -> Result<(), Failure> {
    let connection = read_document(file, format)?;
    let object = about(&connection.name);
    let name = connection.name.clone();
    let request = pb::ApplyConnectionRequest {
        request_id: request_id(),
        connection: Some(connection.into()),
    };
    let answer = client
        .call(&object, request, |mut service, request| async move {
            service.apply_connection(request).await
        })
        .await?;
    if format != Format::Json {
        note(&format!("connection {name} {}", answer.outcome));
    }
    show(answer.connection.unwrap_or_default(), format)
}

/// The connection as the coordinators know it, secrets that stand in it hidden.
pub(super) async fn get(
    client: &Client,
    name: &ConnectionName,
) -> Result<pb::RegisteredConnection, Failure> {
    let request = pb::GetConnectionRequest { name: name.to_string() };
    let answer = client
        .call(&about(name), request, |mut service, request| async move {
            service.get_connection(request).await
        })
        .await?;
    Ok(answer.connection.unwrap_or_default())
}

async fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let answer = client
        .call("connections", pb::ListConnectionsRequest {}, |mut service, request| async move {
            service.list_connections(request).await
        })
        .await?;
    let views = answer.connections.into_iter().map(ConnectionView::try_from);
    let views = views.collect::<Result<Vec<_>, _>>()?;
    print(format, &views, |wide| connection_list(&views, wide))
}

async fn delete(client: &Client, name: &ConnectionName, format: Format) -> Result<(), Failure> {
    let request = pb::ConnectionRequest { request_id: request_id(), name: name.to_string() };
    client
        .call(&about(name), request, |mut service, request| async move {
            service.delete_connection(request).await
        })
        .await?;
    let view = serde_json::json!({"name": name.as_str()});
    print(format, &view, |_| format!("connection {name} deleted"))
}

async fn test(client: &Client, args: TestArgs, format: Format) -> Result<(), Failure> {
    let (object, subject) = match (args.name, &args.file) {
        (Some(name), _) => (about(&name), Subject::Name(name.to_string())),
        (None, Some(file)) => {
            let connection = read_document(file, format)?;
            (about(&connection.name), Subject::Connection(connection.into()))
        }
        (None, None) => {
            return Err(Failure::new(Exit::Usage, "invalid", "test", "names no connection")
                .remedy("give a name or -f FILE"));
        }
    };
    let request = pb::TestConnectionRequest { subject: Some(subject) };
    let answer = client
        .call(&object, request, |mut service, request| async move {
            service.test_connection(request).await
        })
        .await?;
    let test: ConnectionTest = required("test", answer.test)?;
    let passed = test.passed();
    let fault = test.hosts.iter().find_map(|host| host.fault.clone());
    let view = TestView::from(test);
    print(format, &view, |_| test_table(&view))?;
    if passed {
        return Ok(());
    }
    let failure = match fault {
        Some(fault) => Failure::new(Exit::PrecheckFailed, "test_failed", object, fault.to_string())
            .remedy(fault.remedy),
        None => Failure::new(Exit::PrecheckFailed, "test_failed", object, "no host takes writes")
            .remedy("name the primary, or promote a standby"),
    };
    Err(failure)
}

async fn discover(
    client: &Client,
    name: &ConnectionName,
    database: Option<String>,
    format: Format,
) -> Result<(), Failure> {
    let request = pb::DiscoverConnectionRequest {
        name: name.to_string(),
        database: database.unwrap_or_default(),
    };
    let answer = client
        .call(&about(name), request, |mut service, request| async move {
            service.discover_connection(request).await
        })
        .await?;
    let found = Discovery::from(answer.discovery.unwrap_or_default());
    if found.truncated {
        warn(format, "there is more than is listed: 10,000 rows of each kind are");
    }
    let view = DiscoveryView::from(found);
    print(format, &view, |_| discovery_table(&view))
}

/// YAML is the document, so that it can be changed and applied again.
fn show(connection: pb::RegisteredConnection, format: Format) -> Result<(), Failure> {
    let view = ConnectionView::try_from(connection)?;
    match format {
        Format::Json => print(format, &view, |_| String::new()),
        Format::Yaml => write(&view.yaml()?),
        Format::Table | Format::Wide => {
            print(format, &view, |wide| connection_list(std::slice::from_ref(&view), wide))
        }
    }
}

fn about(name: &ConnectionName) -> String {
    format!("connection {name}")
}

/// Reads the connection in `file` (`-`: stdin) and says its warnings.
fn read_document(file: &Path, format: Format) -> Result<Connection, Failure> {
    let text = read_text(file)?;
    let document = ConnectionDocument::parse(&text).map_err(|error| of_document(file, error))?;
    for warning in &document.warnings {
        warn(format, warning);
    }
    Ok(document.connection)
}
