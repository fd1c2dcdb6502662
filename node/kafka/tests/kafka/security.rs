//! Logins and encryption, on a broker that demands them; each refusal says what is wrong and where.

use std::time::{Duration, Instant};

use tidewire_kafka::topics::Topics;
use tidewire_kafka::{Positions, Settings, TopicIdentity, positions, precheck};
use tidewire_shared::precheck::CheckResult;
use tidewire_shared::spec::{
    Compression, KafkaSecurity, KafkaTarget, Sasl, SaslMechanism, SecurityProtocol,
};
use tidewire_shared::{ByteSize, Fault, FaultKind, SecretRef};
use tidewire_testbed::authority::Authority;
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::kafka_security::{PASSWORD, SecuredKafka, USER};

use crate::broker::{SOON, fresh, producer};
use crate::precheck::{only, task_at, wrong};

fn settings(broker: String, security: KafkaSecurity) -> Settings {
    let target = KafkaTarget {
        brokers: vec![broker],
        compression: Compression::Lz4,
        security,
        ..KafkaTarget::default()
    };
    Settings::new(&target, ByteSize(1 << 20)).expect("settings")
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn value(text: &str) -> SecretRef {
    SecretRef::Value(text.to_owned())
}

fn sasl(mechanism: SaslMechanism, password: &str) -> KafkaSecurity {
    KafkaSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl: Some(Sasl { mechanism, user: USER.to_owned(), password: value(password) }),
        ..KafkaSecurity::default()
    }
}

fn over_tls(plain: KafkaSecurity, authority: &Authority) -> KafkaSecurity {
    let protocol = match plain.sasl {
        Some(_) => SecurityProtocol::SaslSsl,
        None => SecurityProtocol::Ssl,
    };
    KafkaSecurity { protocol, ca: Some(value(&authority.pem())), ..plain }
}

fn mutual(secured: &SecuredKafka, clients: &Authority) -> KafkaSecurity {
    let client = clients.client("carrier").expect("client");
    KafkaSecurity {
        cert: Some(value(&client.cert)),
        key: Some(value(&client.key)),
        ..over_tls(KafkaSecurity::default(), &secured.authority)
    }
}

/// Every kind of client that we have, once: topics, producer, identity, positions, admin. Gives the
/// topic, which has a record now.
fn use_everything(secured: &SecuredKafka, settings: &Settings) -> String {
    let topic = fresh("secured");
    secured.kafka.create_topic(&topic, 1, &[]).expect("topic");
    assert_eq!(Topics::new(settings).expect("topics").count_brokers(SOON), Ok(1));
    let mut producer = producer(settings, &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    producer.send(&handle, 0, None, b"carried", &[]).expect("queued");
    let end = producer.commit(SOON);
    assert!(end.clean, "{end:?}");
    let pins = TopicIdentity::new(settings).expect("identity").pin(&[&topic], SOON);
    assert_eq!(pins.expect("pins").len(), 1);
    let positions = Positions::ensure(settings, 2, SOON).expect("positions topic");
    assert_eq!(positions.read("c/t/0", 0, None, SOON).expect("read").record, None);
    assert_eq!(positions::show(settings, None, SOON).expect("shown"), []);
    topic
}

/// The fault of a precheck and of a producer's start, which both come soon and hide the password.
fn refusal(settings: &Settings) -> Fault {
    let began = Instant::now();
    let precheck = precheck::look(settings, &["orders"]).brokers.expect_err("refused");
    let producer = tidewire_kafka::TransactionalProducer::create(settings, &fresh("id"));
    let fault = producer.expect("producer").init(SOON).expect_err("refused");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(precheck.kind, fault.kind, "{precheck:?}, {fault:?}");
    for fault in [&precheck, &fault] {
        assert!(!format!("{fault:?}").contains(PASSWORD) && !fault.remedy.is_empty(), "{fault:?}");
    }
    assert!(!format!("{settings:?}").contains(PASSWORD));
    fault
}

#[test]
fn a_broker_with_logins_and_encryption_takes_us_and_refuses_what_is_wrong() {
    let secured = SecuredKafka::start().expect("a broker");
    let (plain, tls) = (at(secured.sasl_plaintext), at(secured.sasl_ssl));
    let (ours, strangers) = (&secured.authority, Authority::new("somebody else").expect("ca"));
    let mechanisms = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];
    let mut clients = vec![settings(at(secured.mutual), mutual(&secured, ours))];
    for mechanism in mechanisms {
        let login = sasl(mechanism, PASSWORD);
        clients.push(settings(plain.clone(), login.clone()));
        clients.push(settings(tls.clone(), over_tls(login, ours)));
    }
    let topics: Vec<_> = clients.iter().map(|client| use_everything(&secured, client)).collect();
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    assert_eq!(Reader::all(&secured.kafka, &topics).expect("reader").len(), clients.len());
    let seen = precheck::look(clients.first().expect("client"), &topics);
    assert_eq!((seen.brokers, seen.transactions), (Ok(1), Ok(())));

    for mechanism in mechanisms {
        let fault = refusal(&settings(plain.clone(), sasl(mechanism, "wrong")));
        assert_eq!(fault.kind, FaultKind::TargetLogin, "{fault:?}");
        assert!(fault.message.contains(&plain), "{fault:?}");
        assert!(fault.remedy.contains("password"), "{fault:?}");
    }
    let good = sasl(SaslMechanism::ScramSha256, PASSWORD);
    let by_name = format!("localhost:{}", secured.sasl_ssl);
    let no_client = over_tls(KafkaSecurity::default(), ours);
    let system = KafkaSecurity { ca: None, ..over_tls(good.clone(), ours) };
    for (broker, security, what) in [
        (tls.clone(), over_tls(good.clone(), &strangers), "authority is not trusted"),
        (tls, system, "authority is not trusted"),
        (by_name, over_tls(good, ours), "made for another host"),
        (at(secured.expired), no_client.clone(), "it has expired"),
        (at(secured.mutual), no_client, "client certificate"),
        (at(secured.mutual), mutual(&secured, &strangers), "client certificate"),
    ] {
        let fault = refusal(&settings(broker.clone(), security));
        assert_eq!(fault.kind, FaultKind::TargetLogin, "{what}: {fault:?}");
        assert!(fault.message.contains(what), "{what}: {fault:?}");
        assert!(fault.message.contains(&broker), "{what}: {fault:?}");
    }
    another_protocol_is_guessed(&secured);
    logins_are_judged(&secured, topics[0]);
}

/// The item of the precheck: refused, in clear, and as it should be.
fn logins_are_judged(secured: &SecuredKafka, topic: &str) {
    let task = |port: u16, security: KafkaSecurity| {
        let target = KafkaTarget { brokers: vec![at(port)], security, ..KafkaTarget::default() };
        task_at(target, topic)
    };
    let wrong_password = sasl(SaslMechanism::ScramSha512, "wrong");
    let item = only(&task(secured.sasl_plaintext, wrong_password), "target_auth");
    assert_eq!(item.result, CheckResult::Fail);
    assert!(item.remedy.contains("password") && !item.overridable, "{item:?}");
    let plain = sasl(SaslMechanism::Plain, PASSWORD);
    let item = only(&task(secured.sasl_plaintext, plain.clone()), "target_auth");
    let found = format!("user {USER}, PLAIN without TLS");
    assert_eq!((item.result, &item.found), (CheckResult::Warn, &found));
    assert_eq!(wrong(&task(secured.sasl_ssl, over_tls(plain, &secured.authority))), []);
}

/// It looks like a broken connection, so it is tried again, and the remedy says what it may be.
fn another_protocol_is_guessed(secured: &SecuredKafka) {
    for (broker, security) in [
        (at(secured.sasl_ssl), KafkaSecurity::default()),
        (secured.kafka.bootstrap(), over_tls(KafkaSecurity::default(), &secured.authority)),
    ] {
        let topics = Topics::new(&settings(broker, security)).expect("topics");
        let fault = topics.count_brokers(Duration::from_secs(3)).expect_err("no answer");
        assert_eq!(fault.kind, FaultKind::TargetUnreachable, "{fault:?}");
        assert!(fault.remedy.contains("target.security.protocol"), "{fault:?}");
    }
}
