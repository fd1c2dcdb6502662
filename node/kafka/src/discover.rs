//! What a cluster holds, and broker by broker whether it lets us in: for people who set up a connection.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::connection::{Discovery, HostTest, KafkaEndpoint, Right, TopicRow, Verdict};
use tidewire_shared::spec::{KafkaTarget, SecurityProtocol};
use tidewire_shared::{ByteSize, Fault};

use crate::config::Settings;
use crate::ffi::{Client, DescribedTopic, Kind};
use crate::producer::TransactionalProducer;
use crate::topics::Topics;

/// How long one broker may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Topics that are listed at most; a person reads fewer, and the answer stays small.
pub const LISTED_MAX: usize = 10_000;

/// Topics that one request asks for.
const ASKED_AT_ONCE: usize = 500;

/// How to reach the brokers of a connection.
///
/// # Errors
/// `Configuration`, naming the property, broker or secret that cannot be used.
pub fn settings(to: &KafkaEndpoint) -> Result<Settings, Fault> {
    let mut target = KafkaTarget::default();
    to.fill(&mut target);
    Settings::new(&target, ByteSize(1 << 20))
}

/// Tries every broker that the connection names by itself, all at once; in their order.
#[must_use]
pub fn try_brokers(to: &KafkaEndpoint) -> Vec<HostTest> {
    std::thread::scope(|scope| {
        let tries: Vec<_> = to
            .brokers
            .iter()
            .map(|broker| {
                let alone = KafkaEndpoint { brokers: vec![broker.clone()], ..to.clone() };
                scope.spawn(move || try_broker(&alone))
            })
            .collect();
        let joined = tries.into_iter().zip(&to.brokers);
        joined.filter_map(|(tried, broker)| Some(test(broker, to, tried.join().ok()?))).collect()
    })
}

fn try_broker(alone: &KafkaEndpoint) -> Result<u64, Fault> {
    let settings = settings(alone)?;
    let began = Instant::now();
    Topics::new(&settings)?.count_brokers(PATIENCE)?;
    Ok(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

fn test(broker: &str, to: &KafkaEndpoint, tried: Result<u64, Fault>) -> HostTest {
    let encrypts =
        matches!(to.security.protocol, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl);
    HostTest {
        address: broker.to_owned(),
        verdict: if tried.is_ok() { Verdict::Usable } else { Verdict::Failed },
        // Brokers tell which requests they know, not which release they are.
        version: String::new(),
        encrypted: encrypts && tried.is_ok(),
        took_ms: tried.as_ref().copied().unwrap_or_default(),
        fault: tried.err(),
    }
}

/// What the account may do of what tasks need, as far as it can be tried without leaving a trace.
///
/// # Errors
/// `Configuration` when the connection makes no client.
pub fn rights(to: &KafkaEndpoint) -> Result<Vec<Right>, Fault> {
    let settings = settings(to)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("tidewire-precheck-{}-{}", std::process::id(), now.as_nanos());
    let transactions = TransactionalProducer::create(&settings, &id)
        .and_then(|mut producer| producer.init(PATIENCE));
    let needs = "exactly_once tasks";
    Ok(vec![Right {
        name: "transactions".to_owned(),
        granted: transactions.is_ok(),
        remark: match transactions {
            Ok(()) => needs.to_owned(),
            Err(fault) => format!("{needs}: {fault}; {}", fault.remedy),
        },
    }])
}

/// The topics of the cluster. Takes at most `timeout` for each of its requests.
///
/// # Errors
/// `TargetUnreachable`, `TargetDenied` or `Configuration`.
pub fn discover(to: &KafkaEndpoint, timeout: Duration) -> Result<Discovery, Fault> {
    let settings = settings(to)?;
    let (mut topics, truncated) = list(&settings, timeout)?;
    let client = Client::new(Kind::Producer, &settings.base())
        .map_err(|error| error.fault("target.properties"))?;
    for rows in topics.chunks_mut(ASKED_AT_ONCE) {
        let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let described = match client.describe_topics(&names, timeout) {
            Ok(described) => described,
            // Brokers that cannot say more have said what they can.
            Err(error) if error.code == Code::UnsupportedFeature => break,
            Err(error) => return Err(error.fault(format!("brokers {}", settings.brokers()))),
        };
        for (row, topic) in rows.iter_mut().filter_map(|row| {
            let answer = described.iter().find(|(name, _)| *name == row.name)?;
            Some((row, answer.1.as_ref().ok()?))
        }) {
            say_more(row, topic);
        }
    }
    Ok(Discovery { topics, truncated, ..Discovery::default() })
}

fn say_more(row: &mut TopicRow, topic: &DescribedTopic) {
    row.internal = topic.internal;
    if !topic.operations.is_empty() {
        let words = topic.operations.iter().map(|operation| operation.as_str().to_owned());
        row.rights = Some(words.collect());
    }
}

/// Every topic that our account sees, by name.
fn list(settings: &Settings, timeout: Duration) -> Result<(Vec<TopicRow>, bool), Fault> {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut rows: Vec<TopicRow> = Topics::new(settings)?
        .told(timeout)?
        .into_iter()
        .map(|topic| TopicRow {
            partitions: count(topic.partitions),
            replicas: count(topic.replicas_of_first),
            internal: topic.name.starts_with("__"),
            name: topic.name,
            rights: None,
        })
        .collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    let truncated = rows.len() > LISTED_MAX;
    rows.truncate(LISTED_MAX);
    Ok((rows, truncated))
}
