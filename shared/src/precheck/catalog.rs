//! The items that a precheck of PostgreSQL → Kafka knows, and which failures stand whatever a user
//! says (CONTRACT §5, docs/operations.md).

/// One item by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemRule {
    /// Stable name, like `wal_level`.
    pub name: &'static str,
    /// Why a failure of it can never be overridden; none: some failures of it can.
    pub stands: Option<&'static str>,
}

const UNREACHABLE: &str = "a task cannot run without it";
const LOSES: &str = "changes would be lost without a word";
const HURTS: &str = "it would hurt the source";

const fn stands(name: &'static str, why: &'static str) -> ItemRule {
    ItemRule { name, stands: Some(why) }
}

const fn yields(name: &'static str) -> ItemRule {
    ItemRule { name, stands: None }
}

/// In the order in which a report has them.
const RULES: [ItemRule; 30] = [
    stands("source_connect", UNREACHABLE),
    stands("source_version", UNREACHABLE),
    stands("source_account", UNREACHABLE),
    stands("wal_level", UNREACHABLE),
    stands("replication_slots", UNREACHABLE),
    stands("wal_senders", UNREACHABLE),
    stands("slot_state", LOSES),
    stands("publication", LOSES),
    stands("tables_exist", UNREACHABLE),
    stands("tables_keyed", HURTS),
    stands("tables_logged", LOSES),
    stands("partition_roots", LOSES),
    yields("column_types"),
    yields("large_objects"),
    yields("long_transactions"),
    stands("slot_failover", LOSES),
    yields("wal_retention"),
    stands("heartbeat_rights", HURTS),
    yields("slots_on_database"),
    yields("clock_skew"),
    stands("target_connect", UNREACHABLE),
    stands("target_auth", UNREACHABLE),
    stands("target_version", LOSES),
    stands("topics_exist", UNREACHABLE),
    stands("topic_rights", UNREACHABLE),
    yields("topic_partitions"),
    yields("topic_policy"),
    yields("topic_collision"),
    stands("target_transactions", LOSES),
    // A node that could not look at all.
    stands("precheck", UNREACHABLE),
];

/// Every item, in the order in which a report has them.
#[must_use]
pub fn item_rules() -> &'static [ItemRule] {
    &RULES
}

/// The item of this name.
#[must_use]
pub fn item_rule(name: &str) -> Option<&'static ItemRule> {
    RULES.iter().find(|rule| rule.name == name)
}
