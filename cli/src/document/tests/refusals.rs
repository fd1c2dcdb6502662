//! The exact words for documents that mean nothing, or nothing in this version.

use super::{Document, PLAIN};

/// What is replaced in the plain document, by what, and what is then said about it.
const CASES: &[(&str, &str, &str)] = &[
    (
        "apiVersion: tidewire/v1\n",
        "",
        "1:1: the key `apiVersion` is missing; add `apiVersion:`; `tidewire task explain --help` shows a whole document",
    ),
    (
        "tidewire/v1",
        "tidewire/v2",
        "1:13: apiVersion: `tidewire/v2` has no meaning here; did you mean `tidewire/v1`?",
    ),
    (
        "kind: postgres_to_kafka",
        "kind: postgres_to_kafak",
        "2:7: kind: `postgres_to_kafak` has no meaning here; did you mean `postgres_to_kafka`?",
    ),
    ("kind: postgres_to_kafka", "kind: 7", "2:7: kind: is a number, not a text; put it in quotes"),
    ("name: orders", "nmae: orders", "3:1: nmae: unknown key; did you mean `name`?"),
    (
        "name: orders",
        "name: Orders",
        "3:7: name: `Orders` is not a task name; 1 to 64 characters a-z, 0-9 and - inside",
    ),
    (
        "  database: shop",
        "  databse: shop",
        "6:3: source.databse: unknown key; did you mean `database`?",
    ),
    (
        "  database: shop",
        "  database: [shop, billing]",
        "6:13: source.database: is a list, but a task reads exactly one database; write one task for each database",
    ),
    (
        "  database: shop",
        "  database: 2024",
        "6:13: source.database: is a number, not a text; put it in quotes",
    ),
    ("  database: shop", "  database: \"\"", "6:13: source.database: is empty; write a text"),
    (
        "  database: shop\n",
        "",
        "5:3: source: the key `database` is missing; add `database:`; `tidewire task explain --help` shows a whole document",
    ),
    (
        "  database: shop",
        "  database: shop\n  database: billing",
        "7:3: duplicate mapping key: database; correct the YAML; spaces indent, `key: value` with a space after the colon",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  connection: shop-db",
        "8:15: source.connection: stands beside `hosts`; keep the registered connection or the inline fields, not both",
    ),
    (
        "hosts: [db1:5432, db2]",
        "connection: shop-db",
        "5:15: source.connection: stands beside `user`; keep the registered connection or the inline fields, not both",
    ),
    ("[db1:5432, db2]", "[]", "5:10: source.hosts: is empty; name at least one"),
    ("[db1:5432, db2]", "db1:5432", "5:10: source.hosts: is a text, not a list; write a list"),
    (
        "[db1:5432, db2]",
        "[db1:54321234]",
        "5:11: source.hosts[0]: `db1:54321234` has no port from 1 to 65535; write HOST:PORT, such as db1:5432",
    ),
    (
        "[db1:5432, db2]",
        "[\"postgres://db1\"]",
        "5:11: source.hosts[0]: `postgres://db1` has no port from 1 to 65535; write HOST:PORT, such as postgres:5432",
    ),
    (
        "[db1:5432, db2]",
        "[db1:5432",
        "6:11: illegal placement of ':' indicator; correct the YAML; spaces indent, `key: value` with a space after the colon",
    ),
    (
        "{env: PGPASSWORD}",
        "hunter2",
        "8:13: source.password: is a bare text; write {env: NAME}, {file: PATH} or, where everyone may read it, {value: TEXT}",
    ),
    (
        "{env: PGPASSWORD}",
        "{secret: shop}",
        "8:22: source.password.secret: a secret kept by the cluster is not in this version; use {env: NAME} or {file: PATH}",
    ),
    (
        "{env: PGPASSWORD}",
        "{env: A, file: B}",
        "8:13: source.password: names not exactly one place; keep one of env, file and value",
    ),
    (
        "{env: PGPASSWORD}",
        "{envv: A}",
        "8:14: source.password.envv: unknown key; did you mean `env`?",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  tls: {mode: verify_full}",
        "8:15: source.tls.mode: `verify_full` has no meaning here; did you mean `verify-full`?",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  tls: {mode: prefer, ca: {file: ca.pem}}",
        "8:27: source.tls.ca: has no use: mode prefer checks no certificate; write mode: verify-full, or leave `ca` out",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  tls: {mode: verify-full, cert: {file: c.pem}}",
        "8:34: source.tls.cert: has no key; add `key`",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  flavor: polar",
        "8:11: source.flavor: `polar` has no meaning here; did you mean `polardb`?",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  slot: {mode: existing}",
        "8:9: source.slot: mode existing has no name; add `name`",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  slot: {mode: managed, name: a}",
        "8:31: source.slot.name: names an object though its mode is managed; write mode: existing",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  slot: {name: My-Slot}",
        "8:16: source.slot.name: `My-Slot` is no slot name; write the slot_name of pg_replication_slots: a-z, 0-9 and _, at most 63",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  slot: {mode: managed, failover: onn}",
        "8:35: source.slot.failover: `onn` has no meaning here; did you mean `on`?",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  heartbeat: {table: ops.beats}",
        "8:22: source.heartbeat.table: has no use with this mode; write mode: table, or leave it out",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  heartbeat: {interval: 10}",
        "8:25: source.heartbeat.interval: `10` is not a duration; write it as 500ms, 10s, 5m or 12h",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  heartbeat: {interval: 5min}",
        "8:25: source.heartbeat.interval: `5min` is not a duration; write it as 500ms, 10s, 5m or 12h",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  heartbeat: {interval: 2h}",
        "8:25: source.heartbeat.interval: is 2h, out of bounds; write a duration from 1s to 60m",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  walBudget: {warn: 60GiB}",
        "8:14: source.walBudget: warns at 60GiB, above its limit of 50GiB; write a limit that is not below the warning",
    ),
    (
        "  user: tidewire",
        "  user: tidewire\n  walBudget: {warn: 10GB}",
        "8:21: source.walBudget.warn: `10GB` is not a size; write it as 64KiB, 1MiB or 10GiB",
    ),
    (
        "  brokers: [k1:9092]",
        "  brokers: [k1:9092]\n  security: {protocol: sasl_ssl}",
        "11:13: target.security: the key `mechanism` is missing; add `mechanism:`; `tidewire task explain --help` shows a whole document",
    ),
    (
        "  brokers: [k1:9092]",
        "  brokers: [k1:9092]\n  security: {protocol: plaintext, user: u}",
        "11:41: target.security.user: has no use with plaintext; leave it out",
    ),
    (
        "  brokers: [k1:9092]",
        "  brokers: [k1:9092]\n  compression: lz5",
        "11:16: target.compression: `lz5` has no meaning here; did you mean `lz4`?",
    ),
    (
        "  brokers: [k1:9092]",
        "  brokers: [k1:9092]\n  createTopics: {enabled: true, partitions: 0}",
        "11:45: target.createTopics.partitions: is 0, out of bounds; write a number from 1 to 10000",
    ),
    (
        "  brokers: [k1:9092]",
        "  brokers: [k1:9092]\n  createTopics: {enabled: yes}",
        "11:27: target.createTopics.enabled: is a text, not true or false; write true or false",
    ),
    (
        "  brokers: [k1:9092]",
        "  brokers: [k1:9092]\n  onTopicChange: accept_grow",
        "11:18: target.onTopicChange: `accept_grow` has no meaning here; did you mean `accept_growth`?",
    ),
    (
        "  brokers: [k1:9092]",
        "  brokers: [k1:9092]\n  properties: {plugin.library.paths: /tmp/x.so}",
        "11:38: target.properties.plugin.library.paths: may not be set; these may: batch.num.messages, batch.size, broker.address.family, broker.address.ttl, client.dns.lookup, client.id, client.rack, compression.level, connections.max.idle.ms, linger.ms, metadata.max.age.ms, reconnect.backoff.max.ms, reconnect.backoff.ms, retry.backoff.max.ms, retry.backoff.ms, socket.connection.setup.timeout.ms, socket.keepalive.enable, socket.nagle.disable, socket.receive.buffer.bytes, socket.send.buffer.bytes, topic.metadata.refresh.interval.ms",
    ),
    (
        "[public.orders, ",
        "[public.orders, \"public.\\\"order_*\", ",
        "12:29: objects[0].tables[1]: lacks a closing quote; close the quote, and write a quote inside as \"\"",
    ),
    (
        "[public.orders, ",
        "[orders, ",
        "12:14: objects[0].tables[0]: has no schema; write it with its schema, such as public.orders",
    ),
    (
        "[public.orders, ",
        "[a.b.c, ",
        "12:14: objects[0].tables[0]: has more than two parts; write SCHEMA.TABLE",
    ),
    (
        "[public.orders, ",
        "[public.or-ders, ",
        "12:14: objects[0].tables[0]: `or-ders` is no plain name; put it in quotes: '\"or-ders\"'",
    ),
    (
        "[public.orders, ",
        "['public.\"orders', ",
        "12:14: objects[0].tables[0]: lacks a closing quote; close the quote, and write a quote inside as \"\"",
    ),
    (
        "[public.orders, ",
        "[public.orders, PUBLIC.Orders, ",
        "12:29: objects[0].tables[1]: public.orders is named twice; keep it in one place",
    ),
    (
        "    topic: orders",
        "    topic: \"{tabel}\"",
        "13:12: objects[0].topic: `{tabel}` holds a brace that is no placeholder; placeholders are {database}, {schema} and {table}",
    ),
    (
        "    topic: orders",
        "    topic: \"{topic}\"",
        "13:12: objects[0].topic: `{topic}` holds a brace that is no placeholder; placeholders are {database}, {schema} and {table}",
    ),
    (
        "    topic: orders",
        "    topic: orders/all",
        "13:12: objects[0].topic: `orders/all` is no topic name; write at most 249 characters of a-z, A-Z, 0-9, `.`, `_` and `-`",
    ),
    (
        "    topic: orders",
        "    topic: __tidewire_positions",
        "13:12: objects[0].topic: __tidewire_positions is not for records; name another topic",
    ),
    (
        "    topic: orders",
        "    topic: orders\n    where: lower(note) = 'x'",
        "14:12: objects[0].where: calls the function lower; understood are column names, numbers, 'texts', TRUE, FALSE, = <> < <= > >=, AND, OR, NOT, IS [NOT] NULL, [NOT] IN (…), [NOT] BETWEEN … AND … and [NOT] LIKE",
    ),
    (
        "    topic: orders",
        "    topic: orders\n    exclude: [x]",
        "14:15: objects[0].exclude[0]: has no schema; write it with its schema, such as public.x",
    ),
    (
        "    topic: orders",
        "    topic: orders\n    columns: {exclude: [secret], include: [id]}",
        "14:14: objects[0].columns: has both include and exclude; keep one of them",
    ),
    (
        "    topic: orders",
        "    topic: orders\n    rename: {columns: {a: c, b: c}}",
        "14:33: objects[0].rename.columns.b: is the name of two columns; give each a name of its own",
    ),
    (
        "    topic: orders",
        "    topic: orders\n    operations: [insert, upsert]",
        "14:26: objects[0].operations[1]: `upsert` has no meaning here; did you mean `insert`?",
    ),
    (
        "    topic: orders",
        "    topic: orders\n    partitionBy: [id, id]",
        "14:23: objects[0].partitionBy[1]: column id is named twice; keep one",
    ),
    (
        "    topic: orders",
        "    topic: orders\n    columns: {exclude: [id]}\n    partitionBy: [id]",
        "15:18: objects[0].partitionBy: column id is left out by `columns`; let it go out, or partition by another column",
    ),
    (
        "    topic: orders\nformat: {type: dts_avro}",
        "    topic: orders\n    partitionBy: [id]\nformat: {type: dts_avro}\npartition: by_table",
        "14:18: objects[0].partitionBy: has no use with this partition policy; write partition: by_primary_key, or leave it out",
    ),
    (
        "type: dts_avro",
        "type: debezium_json, decimal: exact",
        "14:40: format.decimal: `exact` has no meaning here; known here: precise, string, double",
    ),
    (
        "type: dts_avro",
        "type: avro",
        "14:16: format.type: `avro` has no meaning here; known here: dts_avro, shareplex_json, canal_json, debezium_json",
    ),
    (
        "type: dts_avro",
        "type: dts_avro, tombstones: true",
        "14:38: format.tombstones: is an option of debezium_json; leave it out",
    ),
    (
        "type: dts_avro",
        "type: shareplex_json, sourceTimestampUnit: s",
        "14:53: format.sourceTimestampUnit: is an option of dts_avro; leave it out",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\npartition: by_primray_key",
        "15:12: partition: `by_primray_key` has no meaning here; did you mean `by_primary_key`?",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\ndelivery: at_least_onze",
        "15:11: delivery: `at_least_onze` has no meaning here; did you mean `at_least_once`?",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nstart: latest",
        "15:8: start: `latest` has no meaning here; known here: now",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nstart: {lsn: 0/16B3748}",
        "15:14: start.lsn: needs a slot that exists; add slot: {mode: existing, name: …}",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nstart: {lsn: nowhere}",
        "15:14: start.lsn: `nowhere` is not a log position; write it as 0/16B3748",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nretry: {connection: 5m}",
        "15:21: retry.connection: is 5m, out of bounds; write a duration from 10m to 1440m",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nretry: {other: 10 m}",
        "15:16: retry.other: `10 m` is not a duration; write it as 500ms, 10s, 5m or 12h",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nlimits: {rowsPerSecond: -1}",
        "15:25: limits.rowsPerSecond: is -1, out of bounds; write a number from 0 to 9223372036854775807",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nlimits: {recordBytes: 1048576}",
        "15:23: limits.recordBytes: `1048576` is not a size; write it as 64KiB, 1MiB or 10GiB",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nlimits: {recordBytes: 1GiB}",
        "15:23: limits.recordBytes: is 1GiB, out of bounds; write a size from 1B to 256MiB",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nalerts: [{name: late, when: {delayAbove: 30s, for: 1m}, to: []}]",
        "15:61: alerts[0].to: is empty; name at least one",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nalerts: [{name: late, when: {for: 1m}, to: [ops]}]",
        "15:29: alerts[0].when: says nothing to look for; write one or more of `delayAbove`, `phase`, `walAbove`",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nalerts: [{name: a, when: {phase: Failed}, to: [ops]}, {name: a, when: {phase: Failed}, to: [ops]}]",
        "15:62: alerts[1].name: is the name of another alert, too; give each a name of its own",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nalerts: [{name: a, when: {phase: Failed}, to: [ops, ops]}]",
        "15:53: alerts[0].to[1]: stands there twice; name each channel once",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nalerts: [{name: a, when: {phase: Failed}, to: [ops], repeat: 1s}]",
        "15:62: alerts[0].repeat: is 1s, out of bounds; write a duration from 5m to 10080m",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nalerts: [{name: late, when: {phase: Faild}, to: [ops]}]",
        "15:37: alerts[0].when.phase: `Faild` has no meaning here; did you mean `Failed`?",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nonBadRecord: {deadLetterTopic: orders}",
        "15:32: onBadRecord.deadLetterTopic: is also a topic of tables; name a topic of its own",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\nsoruce: 1",
        "15:1: soruce: unknown key; did you mean `source`?",
    ),
    (
        "format: {type: dts_avro}",
        "format: dts_avro",
        "14:9: format: is a text, not a mapping; write a mapping",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\n\tx: 1",
        "15:2: while parsing a block mapping, did not find expected key; correct the YAML; spaces indent, `key: value` with a space after the colon",
    ),
    (
        "format: {type: dts_avro}",
        "format: {type: dts_avro}\n---\na: 1",
        "16:1: holds more than one document; split it, one task in each file",
    ),
];

#[test]
fn what_means_nothing_is_refused_with_place_path_and_remedy() {
    for (from, to, expected) in CASES {
        let text = PLAIN.replacen(from, to, 1);
        assert_ne!(text, PLAIN, "{from}");
        let refused = Document::parse(&text).expect_err(to).to_string();
        assert_eq!(refused, *expected, "{to}");
    }
}

/// A mirror of topics.
const MIRROR: &str = "\
apiVersion: tidewire/v1
kind: kafka_to_kafka
name: mirror
source: {brokers: [a:9092], properties: {client.id: x}}
target: {brokers: [b:9092], compression: keep}
start: {offsets: {orders: {0: 42, 1: 17}}}
existingData: stop
topics:
  - match: [orders, clicks_*]
    exclude: [clicks_tmp]
    rename: 'dr.{topic}'
partitions: keep
syncConfigs: {enabled: true, exclude: [retention.ms]}
shards: auto
delivery: exactly_once
";

#[test]
fn a_mirror_is_refused_with_place_path_and_remedy() {
    assert!(Document::parse(MIRROR).is_ok());
    let cases = [
        (
            "rename: 'dr.{topic}'",
            "rename: everything",
            "11:13: topics[0].rename: is one name for many topics; write a template with `{topic}`, \
             or an entry of its own for each topic",
        ),
        (
            "clicks_tmp",
            "clicks tmp",
            "10:15: topics[0].exclude[0]: `clicks tmp` is no topic name; write at most 249 characters \
             of a-z, A-Z, 0-9, `.`, `_` and `-`",
        ),
        (
            "shards: auto",
            "shards: 0",
            "14:9: shards: is 0, out of bounds; write a number from 1 to 1000",
        ),
        (
            "existingData",
            "existingDate",
            "7:1: existingDate: unknown key; did you mean `existingData`?",
        ),
        (
            "stop\n",
            "apend\n",
            "7:15: existingData: `apend` has no meaning here; did you mean `append`?",
        ),
        (
            "{0: 42",
            "{x: 42",
            "6:31: start.offsets.orders.x: is no partition; write PARTITION: OFFSET",
        ),
        (
            "match: [orders, clicks_*]",
            "all: false",
            "9:5: topics[0]: names not exactly one choice; keep `match` or `all: true`",
        ),
        (
            "{offsets: {orders: {0: 42, 1: 17}}}",
            "{timestamp: yesterday}",
            "6:20: start.timestamp: is no time; write it as 2026-01-01T00:00:00Z",
        ),
    ];
    for (from, to, expected) in cases {
        let refused = Document::parse(&MIRROR.replacen(from, to, 1)).expect_err(to).to_string();
        assert_eq!(refused, expected, "{to}");
    }
}

#[test]
fn each_end_of_a_mirror_takes_the_properties_that_it_knows() {
    let read = |from: &str, to: &str| Document::parse(&MIRROR.replacen(from, to, 1));
    let (reads, writes) = ("{fetch.max.bytes: 1048576, client.id: x}", "{linger.ms: 5}");
    assert!(read("{client.id: x}", reads).is_ok());
    assert!(read("compression: keep", &format!("compression: keep, properties: {writes}")).is_ok());
    for (from, to, path) in [
        ("{client.id: x}", writes.to_owned(), "source.properties.linger.ms"),
        ("compression: keep", format!("properties: {reads}"), "target.properties.fetch.max.bytes"),
    ] {
        let refused = read(from, &to).expect_err("the other end's").to_string();
        assert!(refused.contains(&format!("{path}: may not be set; these may: ")), "{refused}");
    }
}

#[test]
fn errors_never_repeat_a_password() {
    let cases = [
        "{value: [hunter2]}",
        "{value: {a: hunter2}}",
        "hunter2",
        "{valeu: hunter2}",
        "{value: \"hunter2}",
    ];
    for password in cases {
        let text = PLAIN.replace("{env: PGPASSWORD}", password);
        let refused = Document::parse(&text).expect_err(password).to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
