//! Rows, tables and transactions that are larger than usual: one task takes them all, and each change
//! arrives once with its values.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use postgres::Client;
use tidewire_cluster_tests::{kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::oracle::truth::keys;
use tidewire_testbed::oracle::{Format, TruthSlot, prove};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::task::TaskDocument;

const NAME: &str = "sizes";
const LIMIT: Duration = Duration::from_secs(180);
/// Tables beside the wide and the big one.
const TABLES: usize = 2_000;
/// All columns that PostgreSQL allows.
const COLUMNS: usize = 1_600;
const BIG: usize = 100 << 20;
const SAVEPOINTS: usize = 100_000;

fn create(client: &mut Client) {
    let mut wide = "CREATE TABLE public.wide (id int PRIMARY KEY".to_owned();
    for column in 1..COLUMNS {
        write!(wide, ", c{column} int").unwrap();
    }
    client.batch_execute(&format!("{wide})")).unwrap();
    client.batch_execute("CREATE TABLE public.big (id int PRIMARY KEY, n int, doc text)").unwrap();
    let many = format!(
        "DO $$ BEGIN FOR t IN 0..{} LOOP
           EXECUTE format('CREATE TABLE public.m%s (id int PRIMARY KEY, note text)', t);
         END LOOP; END $$",
        TABLES - 1
    );
    client.batch_execute(&many).unwrap();
}

/// Changes of every size; each block of the savepoints with a remainder of 0 is rolled back.
fn change(client: &mut Client) {
    let columns: Vec<_> = (1..COLUMNS).map(|column| column.to_string()).collect();
    let statements = [
        format!("INSERT INTO public.wide VALUES (1, {})", columns.join(", ")),
        "UPDATE public.wide SET c1599 = NULL; UPDATE public.wide SET id = 2".to_owned(),
        format!("INSERT INTO public.big VALUES (1, 1, repeat('0123456789abcdef', {}))", BIG / 16),
        "UPDATE public.big SET n = 2; DELETE FROM public.big".to_owned(),
        format!(
            "DO $$ BEGIN FOR t IN 0..{} LOOP
               EXECUTE format('INSERT INTO public.m%s VALUES (0, ''in all'')', t);
             END LOOP; END $$",
            TABLES - 1
        ),
        format!(
            "DO $$ BEGIN FOR s IN 1..{SAVEPOINTS} LOOP BEGIN
               INSERT INTO public.m0 VALUES (s, 's');
               IF s % 10 = 0 THEN RAISE EXCEPTION 'back'; END IF;
             EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$"
        ),
    ];
    for statement in statements {
        client.batch_execute(&statement).unwrap();
    }
}

#[test]
fn rows_tables_and_transactions_of_any_size_arrive_once() {
    let address = postgres().create_database(NAME).unwrap();
    let mut client = address.connect().unwrap();
    create(&mut client);
    let tables: Vec<_> = ["wide".to_owned(), "big".to_owned()]
        .into_iter()
        .chain((0..TABLES).map(|table| format!("m{table}")))
        .map(|table| format!("public.{table}"))
        .collect();
    let tables: Vec<_> = tables.iter().map(String::as_str).collect();
    let mut truth = TruthSlot::create(&mut client, "truth_sizes", &tables).unwrap();
    kafka().create_topic(NAME, 4, &[("max.message.bytes", "209715200")]).unwrap();
    let few = ClusterOptions { coordinators: 1, nodes: 1, ..ClusterOptions::default() };
    let cluster = Cluster::start(few).unwrap();
    let objects: Vec<_> = tables.iter().map(|table| (*table, NAME)).collect();
    let document = TaskDocument {
        name: NAME,
        postgres: &address,
        bootstrap: &kafka().bootstrap(),
        objects: &objects,
        format: Format::DtsAvro.document(),
        partition: "by_primary_key",
    };
    let began = Instant::now();
    let yaml = format!("{}limits: {{recordBytes: 200MiB}}\n", document.yaml());
    cluster.apply_and_start(&yaml).unwrap();
    cluster.wait(NAME, "Synchronizing", LIMIT).unwrap();
    eprintln!(
        "{} tables: prechecked, published and started in {:?}",
        tables.len(),
        began.elapsed()
    );

    change(&mut client);
    cluster.wait(NAME, "caught-up", LIMIT).unwrap();
    let changes = truth.take(&mut client).unwrap();
    assert_eq!(changes.len(), 3 + 3 + TABLES + SAVEPOINTS / 10 * 9);
    let keys = keys(&mut client, &tables).unwrap();
    let records = Reader::until_end(kafka(), &[NAME]).unwrap();
    let proof = prove(&changes, &keys, Format::DtsAvro, 4, records).unwrap();
    assert!(proof.holds(), "{proof}");
    truth.drop(&mut client).unwrap();
}
