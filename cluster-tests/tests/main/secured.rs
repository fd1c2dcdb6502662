//! Whole tasks between servers that let in nobody else: TLS that is verified, certificates of clients, SCRAM
//! at both ends; also over a takeover, which logs in anew, nothing is lost.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use postgres::Client;
use tidewire_testbed::authority::{Authority, Identity};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::oracle::truth::keys;
use tidewire_testbed::oracle::{Format, TruthSlot, prove};
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::kafka_security::{PASSWORD, SecuredKafka, USER};
use tidewire_testbed::servers::postgres::PostgresAddress;
use tidewire_testbed::servers::{Postgres, PostgresOptions};
use tidewire_testbed::task::TaskDocument;
use tidewire_testbed::workload::{self, TABLES, Workload, WorkloadOptions};

const LIMIT: Duration = Duration::from_secs(120);

/// Writes the files that a document names; gives the keys for them.
fn files(folder: &Path, name: &str, authority: &Authority, client: Option<&Identity>) -> String {
    let file = |what: &str, pem: &str| {
        let path = folder.join(format!("{name}-{what}.pem"));
        fs::write(&path, pem).unwrap();
        format!("{what}: {{file: {}}}", path.display())
    };
    let mut keys = vec![file("ca", &authority.pem())];
    keys.extend(client.map(|it| format!("{}, {}", file("cert", &it.cert), file("key", &it.key))));
    keys.join(", ")
}

/// A task on the workload's tables, under proof.
struct Task {
    name: &'static str,
    address: PostgresAddress,
    client: Client,
    truth: TruthSlot,
}

impl Task {
    fn start(
        name: &'static str,
        (server, tls): (&Postgres, &str),
        (kafka, port, security): (&SecuredKafka, u16, &str),
        cluster: &Cluster,
    ) -> Self {
        let address = server.create_database(name).unwrap();
        let mut client = address.connect().unwrap();
        workload::create_tables(&mut client).unwrap();
        let truth = TruthSlot::create(&mut client, &format!("truth_{name}"), &TABLES).unwrap();
        kafka.kafka.create_topic(name, 4, &[]).unwrap();
        let objects: Vec<_> = TABLES.iter().map(|table| (*table, name)).collect();
        let document = TaskDocument {
            name,
            postgres: &address,
            bootstrap: &format!("127.0.0.1:{port}"),
            objects: &objects,
            format: "dts_avro",
            partition: "by_primary_key",
        };
        let yaml = document.yaml().replace("{mode: disable}", tls);
        let yaml = yaml.replace("target:\n", &format!("target:\n  security: {security}\n"));
        let file = cluster.document(name, &yaml).unwrap();
        let apply = ["task", "apply", "-f", file.to_str().unwrap(), "--start", "--wait"];
        cluster.done(&[&apply[..], &["--timeout", "120s"]].concat()).unwrap();
        Self { name, address, client, truth }
    }

    /// All sessions of tasks came with a certificate, over TLS.
    fn came_encrypted(&mut self) {
        let query = "SELECT count(*), count(*) FILTER (WHERE ssl AND client_dn LIKE '%postgres%') \
                     FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name LIKE 'tidewire/%'";
        let row = self.client.query_one(query, &[]).unwrap();
        let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
        assert!(all > 0 && all == encrypted, "{encrypted} of {all} sessions");
    }

    fn moves_over_under_load(&mut self, cluster: &mut Cluster) {
        let load = Workload::start(&self.address, &WorkloadOptions::default()).unwrap();
        thread::sleep(Duration::from_secs(2));
        let owner = cluster.owner(self.name).unwrap();
        process::signal(owner.pid, Signal::KILL).unwrap();
        let taken_over = (0..600).any(|_| {
            thread::sleep(Duration::from_millis(100));
            cluster.owner(self.name).is_ok_and(|next| next.name != owner.name)
        });
        assert!(taken_over, "nobody took over: {}", cluster.task(self.name).unwrap());
        cluster.restart(&owner.name).unwrap();
        thread::sleep(Duration::from_secs(2));
        let written = load.stop().unwrap();
        assert!(written.rows > 100, "no load: {written:?}");
    }

    fn proves(mut self, cluster: &Cluster, kafka: &SecuredKafka) {
        cluster.wait(self.name, "caught-up", LIMIT).unwrap();
        self.came_encrypted();
        let changes = self.truth.take(&mut self.client).unwrap();
        let keys = keys(&mut self.client, &TABLES).unwrap();
        let records = Reader::until_end(&kafka.kafka, &[self.name]).unwrap();
        let proof = prove(&changes, &keys, Format::DtsAvro, 4, records).unwrap();
        eprintln!("{}: {} records", self.name, proof.records);
        assert!(proof.records > 100 && proof.holds(), "{proof}");
        self.truth.drop(&mut self.client).unwrap();
    }
}

#[test]
fn tasks_between_servers_that_verify_who_comes_lose_nothing() {
    let kafka = SecuredKafka::start().unwrap();
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let authority = Authority::new("postgres authority").unwrap();
    server.encrypt(&authority, &authority.server(&["127.0.0.1"]).unwrap()).unwrap();
    // Over TLS with a certificate and the password; the testbed's own sessions come without TLS.
    server
        .admit(&[
            "hostssl {} all 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
            "hostnossl {} all 127.0.0.1/32 scram-sha-256",
        ])
        .unwrap();
    let few = ClusterOptions { coordinators: 1, nodes: 2, ..ClusterOptions::default() };
    let mut cluster = Cluster::start(few).unwrap();
    let folder = cluster.folder().to_owned();
    let who = authority.client("postgres").unwrap();
    let tls = files(&folder, "source", &authority, Some(&who));
    let tls = format!("{{mode: verify-full, {tls}}}");
    let carrier = kafka.authority.client(USER).unwrap();
    let login = files(&folder, "login", &kafka.authority, None);
    let login = format!(
        "{{protocol: sasl_ssl, mechanism: SCRAM-SHA-512, user: {USER}, password: {{value: {PASSWORD}}}, {login}}}"
    );
    let mutual = files(&folder, "mutual", &kafka.authority, Some(&carrier));
    let mutual = format!("{{protocol: ssl, {mutual}}}");
    for (name, port, security) in
        [("login", kafka.sasl_ssl, login), ("mutual", kafka.mutual, mutual)]
    {
        let task = (&kafka, port, security.as_str());
        let mut task = Task::start(name, (&server, &tls), task, &cluster);
        task.moves_over_under_load(&mut cluster);
        task.proves(&cluster, &kafka);
    }
}
