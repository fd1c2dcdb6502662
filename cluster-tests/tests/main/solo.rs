//! Small tasks that share one cluster; each has a database, a topic and a table of its own.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::Value;
use tidewire_cluster_tests::{kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::oracle::dts_avro::{Delivered, DtsAvro};
use tidewire_testbed::oracle::{Datum, Operation, column};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::postgres::PostgresAddress;
use tidewire_testbed::servers::{Kafka, Postgres};
use tidewire_testbed::task::TaskDocument;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A variable in the environment of the nodes, with the password of the shared server.
pub(crate) const PASSWORD: &str = "TIDEWIRE_TEST_PASSWORD";

pub(crate) fn cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let env = vec![(PASSWORD.to_owned(), postgres().address().password.clone())];
        let few = ClusterOptions { coordinators: 1, nodes: 1, env, ..ClusterOptions::default() };
        Cluster::start(few).expect("the shared cluster starts")
    })
}

/// A document that names further servers.
pub(crate) fn hosts(yaml: &str, first: &PostgresAddress, ports: &[u16]) -> String {
    let first = format!("\"127.0.0.1:{}\"", first.port);
    let more: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    yaml.replace(&first, &format!("{first}, {}", more.join(", ")))
}

/// A running task on the table `public.t (id int PRIMARY KEY, note text)` of its own database.
pub(crate) struct Task {
    /// Also the name of its topic.
    pub(crate) name: &'static str,
    /// The identity: of slot and publication.
    pub(crate) slot: String,
    pub(crate) client: Client,
    pub(crate) address: PostgresAddress,
    /// The document that it was given last.
    pub(crate) document: String,
    kafka: &'static Kafka,
}

pub(crate) const TABLE: &str = "CREATE TABLE public.t (id int PRIMARY KEY, note text)";

impl Drop for Task {
    /// Those that come later shall have the machine to themselves.
    fn drop(&mut self) {
        drop(cluster().cli(&["task", "delete", self.name, "--yes", "--timeout", "10s"]));
    }
}

impl Task {
    pub(crate) fn start(name: &'static str, server: &Postgres) -> Self {
        Self::with(name, server, TABLE, |yaml| yaml)
    }

    /// As [`Task::start`], with a target of its own and a last word on the document.
    pub(crate) fn on_broker(
        kafka: &'static Kafka,
        name: &'static str,
        server: &Postgres,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        Self::made(kafka, name, server, TABLE, change)
    }

    /// `create` makes `public.t`; `change` has the last word on the document.
    pub(crate) fn with(
        name: &'static str,
        server: &Postgres,
        create: &str,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        Self::made(kafka(), name, server, create, change)
    }

    fn made(
        kafka: &'static Kafka,
        name: &'static str,
        server: &Postgres,
        create: &str,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let address = server.create_database(name).unwrap();
        let mut client = address.connect().unwrap();
        client.batch_execute(create).unwrap();
        kafka.create_topic(name, 1, &[]).unwrap();
        let document = TaskDocument {
            name,
            postgres: &address,
            bootstrap: &kafka.bootstrap(),
            objects: &[("public.t", name)],
            format: "dts_avro",
            partition: "by_primary_key",
        };
        let document = change(document.yaml());
        let file = cluster().document(name, &document).unwrap();
        let file = file.to_str().unwrap();
        let apply = ["task", "apply", "-f", file, "--start", "--wait", "--timeout", "60s"];
        cluster().done(&apply).unwrap();
        let id = cluster().task(name).unwrap()["id"].as_str().unwrap().to_owned();
        Self { name, slot: format!("tidewire_{id}"), client, address, document, kafka }
    }

    /// Gives it another document, and waits until that is taken.
    pub(crate) fn apply(&mut self, change: impl FnOnce(&str) -> String) {
        self.document = change(&self.document);
        let file = cluster().document(self.name, &self.document).unwrap();
        let apply = ["task", "apply", "-f", file.to_str().unwrap(), "--timeout", "60s"];
        cluster().done(&apply).unwrap();
    }

    pub(crate) fn sql(&mut self, statements: &str) {
        self.client.batch_execute(statements).unwrap();
    }

    pub(crate) fn insert(&mut self, ids: std::ops::RangeInclusive<i32>) {
        let (from, to) = (ids.start(), ids.end());
        let rows = format!("INSERT INTO t SELECT g, 'x' FROM generate_series({from}, {to}) g");
        self.sql(&rows);
    }

    pub(crate) fn reconnect(&mut self, address: &PostgresAddress) {
        self.address = PostgresAddress { database: self.name.to_owned(), ..address.clone() };
        self.client = self.address.connect().unwrap();
    }

    pub(crate) fn pause(&self) {
        cluster().done(&["task", "pause", self.name, "--wait", "--timeout", "30s"]).unwrap();
    }

    pub(crate) fn resume(&self) {
        cluster().done(&["task", "resume", self.name, "--wait", "--timeout", "30s"]).unwrap();
    }

    /// Resumes; what comes of it is not waited for.
    pub(crate) fn tries_to_resume(&self) {
        cluster().done(&["task", "resume", self.name]).unwrap();
    }

    /// A resume ends in a failure that holds `words`.
    pub(crate) fn refuses_to_resume(&self, words: &[&str]) {
        let resume = ["task", "resume", self.name, "--wait", "--timeout", "30s"];
        let output = cluster().cli(&resume).unwrap();
        eprintln!("{}", output.stderr);
        assert_eq!(output.code, 1, "{}", output.stderr);
        for word in [words, &["do: "]].concat() {
            assert!(output.stderr.contains(word), "{word:?} is not in {}", output.stderr);
        }
    }

    /// Does what the error of the failed task names to go on; gives what was said about it.
    pub(crate) fn goes_on_as_told(&self) -> String {
        let error = cluster().task(self.name).unwrap()["error"]["remedy"].to_string();
        let named = error.split('`').find(|it| it.starts_with("tidewire task rewind "));
        let command = named.unwrap_or_else(|| panic!("no command in {error}"));
        let command = command.replace("NAME", self.name);
        let words: Vec<_> = command.split_whitespace().skip(1).collect();
        let moved = cluster().cli(&words).unwrap();
        eprintln!("{command}: {}", moved.stderr);
        assert_eq!(moved.code, 0, "{}", moved.stderr);
        self.resume();
        moved.stderr
    }

    /// Waits until the task shows `phase` with an error that holds `words`, and a remedy.
    pub(crate) fn shows(&self, phase: &str, words: &[&str]) {
        let end = Instant::now() + LIMIT;
        loop {
            let task = cluster().task(self.name).unwrap();
            let error = task["error"].to_string();
            if task["phase"] == phase && words.iter().all(|word| error.contains(word)) {
                eprintln!("{}: {phase}: {error}", self.name);
                assert_ne!(task.pointer("/error/remedy"), Some(&Value::from("")), "{error}");
                return;
            }
            assert!(Instant::now() < end, "not {phase} with {words:?}: {} {error}", task["phase"]);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends the stream, as a broken connection does.
    pub(crate) fn cut(&mut self) {
        let slot = &self.slot;
        let cut = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
             WHERE slot_name = '{slot}'"
        );
        self.sql(&cut);
    }

    /// What was delivered: operation and id, in order.
    pub(crate) fn delivered(&self) -> Vec<(Operation, String)> {
        let waited = cluster().wait(self.name, "caught-up", LIMIT);
        waited.unwrap_or_else(|error| panic!("{error}: {}", cluster().task(self.name).unwrap()));
        self.read()
    }

    pub(crate) fn read(&self) -> Vec<(Operation, String)> {
        self.read_from(self.name)
    }

    /// What was delivered to a topic.
    pub(crate) fn read_from(&self, topic: &str) -> Vec<(Operation, String)> {
        let records = self.records_of(topic).into_iter().map(|record| {
            let row = record.after.as_ref().or(record.before.as_ref()).unwrap();
            let Some(Datum::Text(id)) = column(row, "id") else { panic!("no id: {row:?}") };
            (record.operation, id.to_string())
        });
        records.collect()
    }

    /// Everything that stands in its topic.
    pub(crate) fn records(&self) -> Vec<Delivered> {
        self.records_of(self.name)
    }

    fn records_of(&self, topic: &str) -> Vec<Delivered> {
        let avro = DtsAvro::new().unwrap();
        let decoder = avro.decoder().unwrap();
        let records = Reader::until_end(self.kafka, &[topic]).unwrap();
        let decode = |value: Option<Vec<u8>>| decoder.decode(value.as_deref().unwrap()).unwrap();
        records.map(|record| decode(record.unwrap().value)).collect()
    }

    /// A header of every record in its topic.
    pub(crate) fn headers(&self, name: &str) -> Vec<Option<String>> {
        let records = Reader::until_end(self.kafka, &[self.name]).unwrap();
        let of = |headers: Vec<(String, Option<Vec<u8>>)>| {
            let value = headers.into_iter().find(|(other, _)| other == name)?.1?;
            Some(String::from_utf8(value).unwrap())
        };
        records.map(|record| of(record.unwrap().headers)).collect()
    }

    /// Each row of the table was delivered once, as an insert, and nothing else.
    pub(crate) fn delivered_inserts_of_the_table(&mut self) -> usize {
        let rows = self.client.query("SELECT id FROM t ORDER BY id", &[]).unwrap();
        let expected: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let mut delivered = Vec::new();
        for (operation, id) in self.delivered() {
            assert_eq!(operation, Operation::Insert);
            delivered.push(id.parse::<i32>().unwrap());
        }
        delivered.sort_unstable();
        assert!(delivered == expected, "{} instead of {}", delivered.len(), expected.len());
        expected.len()
    }
}
