//! Registered connections, what came of trying one, and what is behind one: as JSON and as tables.

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::convert::{ConvertError, required};
use tidewire_shared::connection::{
    Connection, ConnectionTest, Discovery, Endpoint, HostTest, Right, Verdict,
};
use tidewire_shared::connection::{DatabaseRow, TableRow, TopicRow};

use super::{drawn, rounded, table, time};
use crate::document::ExplainedConnection;
use crate::failure::{Exit, Failure};

/// A connection as scripts read it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionView {
    connection: Connection,
    revision: u64,
    created_at: Option<String>,
    updated_at: Option<String>,
    tasks: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    kind: &'static str,
    revision: u64,
    created_at: &'a Option<String>,
    updated_at: &'a Option<String>,
    tasks: &'a [String],
    document: ExplainedConnection<'a>,
}

impl Serialize for ConnectionView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown {
            name: self.connection.name.as_str(),
            kind: self.connection.kind(),
            revision: self.revision,
            created_at: &self.created_at,
            updated_at: &self.updated_at,
            tasks: &self.tasks,
            document: ExplainedConnection::new(&self.connection),
        }
        .serialize(serializer)
    }
}

impl TryFrom<pb::RegisteredConnection> for ConnectionView {
    type Error = ConvertError;

    fn try_from(registered: pb::RegisteredConnection) -> Result<Self, ConvertError> {
        Ok(Self {
            connection: required("connection", registered.connection)?,
            revision: registered.revision,
            created_at: time(registered.created_at_ms),
            updated_at: time(registered.updated_at_ms),
            tasks: registered.tasks,
        })
    }
}

impl ConnectionView {
    /// The document of the connection.
    pub(crate) fn yaml(&self) -> Result<String, Failure> {
        serde_saphyr::to_string(&ExplainedConnection::new(&self.connection)).map_err(|error| {
            Failure::new(Exit::Failed, "failed", "output", error).remedy("try another -o")
        })
    }
}

pub(crate) fn connection_list(views: &[ConnectionView], wide: bool) -> String {
    if views.is_empty() {
        return "no connections".to_owned();
    }
    let mut header = vec!["CONNECTION", "KIND", "ADDRESS", "USER", "DATABASE", "TASKS"];
    if wide {
        header.extend(["REVISION", "UPDATED"]);
    }
    let mut table = table(&header);
    for view in views {
        let (addresses, user, database) = match &view.connection.endpoint {
            Endpoint::Postgres(to) => {
                (&to.hosts, to.user.as_str(), to.database.as_deref().unwrap_or_default())
            }
            Endpoint::Kafka(to) => {
                let user = to.security.sasl.as_ref().map_or("", |sasl| sasl.user.as_str());
                (&to.brokers, user, "")
            }
        };
        let mut row = vec![
            view.connection.name.to_string(),
            view.connection.kind().to_owned(),
            addresses.join(","),
            user.to_owned(),
            database.to_owned(),
            if wide { view.tasks.join(",") } else { view.tasks.len().to_string() },
        ];
        if wide {
            row.push(view.revision.to_string());
            row.push(view.updated_at.clone().unwrap_or_default());
        }
        table.add_row(row);
    }
    drawn(&table)
}

/// What came of trying a connection, as scripts read it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TestView {
    result: &'static str,
    node: String,
    at: Option<String>,
    hosts: Vec<HostTest>,
    rights: Vec<Right>,
}

impl From<ConnectionTest> for TestView {
    fn from(test: ConnectionTest) -> Self {
        Self {
            result: if test.passed() { "passed" } else { "failed" },
            node: test.node,
            at: time(test.at_ms),
            hosts: test.hosts,
            rights: test.rights,
        }
    }
}

pub(crate) fn test_table(view: &TestView) -> String {
    let mut hosts = table(&["HOST", "RESULT", "VERSION", "ENCRYPTED", "TOOK", "WHY"]);
    for host in &view.hosts {
        let (took, encrypted) = match host.verdict {
            Verdict::Failed => (String::new(), ""),
            Verdict::Usable | Verdict::Standby => {
                (format!("{}ms", host.took_ms), if host.encrypted { "yes" } else { "no" })
            }
        };
        let why = host.fault.as_ref().map(|fault| match fault.remedy.as_str() {
            "" => fault.to_string(),
            remedy => format!("{fault}: {remedy}"),
        });
        let why = why.unwrap_or_default();
        let result = match host.verdict {
            Verdict::Usable => "usable",
            Verdict::Standby => "standby",
            Verdict::Failed => "FAILED",
        };
        hosts.add_row([&host.address, result, &host.version, encrypted, &took, &why]);
    }
    let mut text = drawn(&hosts);
    if !view.rights.is_empty() {
        let mut rights = table(&["RIGHT", "GRANTED", "NEEDED BY"]);
        for right in &view.rights {
            let granted = if right.granted { "yes" } else { "NO" };
            rights.add_row([right.name.as_str(), granted, &right.remark]);
        }
        text = format!("{text}\n\n{}", drawn(&rights));
    }
    format!("{text}\ntest {}, seen from {}", view.result, view.node)
}

/// What is behind a connection, as scripts read it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum DiscoveryView {
    Postgres {
        databases: Vec<DatabaseRow>,
        database: String,
        tables: Vec<TableRow>,
        truncated: bool,
    },
    Kafka {
        topics: Vec<TopicRow>,
        truncated: bool,
    },
}

impl From<Discovery> for DiscoveryView {
    fn from(found: Discovery) -> Self {
        let Discovery { databases, database, tables, topics, truncated } = found;
        if database.is_empty() {
            Self::Kafka { topics, truncated }
        } else {
            Self::Postgres { databases, database, tables, truncated }
        }
    }
}

pub(crate) fn discovery_table(view: &DiscoveryView) -> String {
    match view {
        DiscoveryView::Postgres { databases, database, tables, .. } => {
            format!("{}\n\n{}", database_table(databases), table_table(database, tables))
        }
        DiscoveryView::Kafka { topics, .. } => topic_table(topics),
    }
}

fn yes(truth: bool) -> &'static str {
    if truth { "yes" } else { "NO" }
}

fn database_table(databases: &[DatabaseRow]) -> String {
    let mut rows = table(&["DATABASE", "SIZE", "MAY CONNECT"]);
    for row in databases {
        let size = row.bytes.map_or_else(String::new, rounded);
        rows.add_row([row.name.as_str(), &size, yes(row.may_connect)]);
    }
    drawn(&rows)
}

fn table_table(database: &str, tables: &[TableRow]) -> String {
    if tables.is_empty() {
        return format!("no tables in database {database}");
    }
    let header =
        ["TABLE", "KIND", "KEY", "IDENTITY", "UPDATE AND DELETE", "SIZE", "ROWS", "MAY SELECT"];
    let mut rows = table(&header);
    for row in tables {
        rows.add_row([
            format!("{}.{}", row.schema, row.name).as_str(),
            &row.kind,
            &row.key.join(","),
            &row.identity,
            yes(row.keyed),
            &rounded(row.bytes),
            &row.rows.map_or_else(String::new, |rows| format!("~{rows}")),
            yes(row.may_select),
        ]);
    }
    format!("tables of database {database}\n{}", drawn(&rows))
}

fn topic_table(topics: &[TopicRow]) -> String {
    if topics.is_empty() {
        return "no topics".to_owned();
    }
    let mut rows = table(&["TOPIC", "PARTITIONS", "REPLICAS", "INTERNAL", "RIGHTS"]);
    for row in topics {
        let rights = row.rights.as_ref().map_or_else(|| "not said".to_owned(), |it| it.join(","));
        rows.add_row([
            row.name.as_str(),
            &row.partitions.to_string(),
            &row.replicas.to_string(),
            if row.internal { "yes" } else { "" },
            &rights,
        ]);
    }
    drawn(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_for_people() {
        let sizes = [0, 8_192, 81_920, 1_500_000, 30_000_000_000].map(rounded);
        assert_eq!(sizes, ["0", "8KiB", "80KiB", "1464KiB", "27GiB"]);
    }

    #[test]
    fn a_test_shows_why_a_host_is_of_no_use() {
        let fault = tidewire_shared::Fault::new(
            tidewire_shared::FaultKind::SourceUnreachable,
            "db2:5432",
            "connection refused",
        )
        .remedy("check that the server runs");
        let host = |address: &str, verdict, fault| HostTest {
            address: address.to_owned(),
            verdict,
            version: String::new(),
            encrypted: false,
            took_ms: 3,
            fault,
        };
        let view = TestView::from(ConnectionTest {
            node: "node-1".to_owned(),
            at_ms: 1_000,
            hosts: vec![
                host("db1:5432", Verdict::Standby, None),
                host("db2:5432", Verdict::Failed, Some(fault)),
            ],
            rights: Vec::new(),
        });
        let text = test_table(&view);
        assert!(
            text.contains("db2:5432: connection refused: check that the server runs"),
            "{text}"
        );
        assert!(text.ends_with("test failed, seen from node-1"), "{text}");
        let json = serde_json::to_value(&view).expect("JSON");
        assert_eq!(json["hosts"][0]["verdict"], "standby");
        assert_eq!(json["hosts"][1]["fault"]["remedy"], "check that the server runs");
    }
}
