//! The items that prechecks know, and which failures stand whatever a user says (CONTRACT §5,
//! docs/operations.md). Both kinds of task share those that mean the same.

/// One item by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemRule {
    /// Stable name, like `wal_level`.
    pub name: &'static str,
    /// Why a failure of it can never be overridden; none: some failures of it can.
    pub stands: Option<&'static str>,
    /// What the reference of Kafka → Kafka calls it, where it has such a row.
    pub title: Option<&'static str>,
}

impl ItemRule {
    const fn called(self, title: &'static str) -> Self {
        Self { title: Some(title), ..self }
    }
}

const UNREACHABLE: &str = "a task cannot run without it";
const LOSES: &str = "changes would be lost without a word";
const HURTS: &str = "it would hurt the source";

const SOURCE: &str = "Source Data Source Connection Check";
const TARGET: &str = "Target Data Source Connection Check";
// The reference has two rows of this name: are there objects, and do they hold data.
const EXISTENCE: &str = "Target Database Data Existence Check";
const PERMISSION: &str = "Target Database Permission Check";

const fn stands(name: &'static str, why: &'static str) -> ItemRule {
    ItemRule { name, stands: Some(why), title: None }
}

const fn yields(name: &'static str) -> ItemRule {
    ItemRule { name, stands: None, title: None }
}

/// In the order in which a report has them.
const RULES: [ItemRule; 38] = [
    stands("source_connect", UNREACHABLE).called(SOURCE),
    stands("source_auth", UNREACHABLE).called(SOURCE),
    stands("source_version", UNREACHABLE),
    stands("source_account", UNREACHABLE),
    stands("source_rights", UNREACHABLE),
    yields("topics_match"),
    stands("start_position", UNREACHABLE),
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
    stands("target_connect", UNREACHABLE).called(TARGET),
    stands("target_auth", UNREACHABLE).called(TARGET),
    stands("target_version", LOSES),
    stands("topics_exist", UNREACHABLE).called(EXISTENCE),
    stands("topic_rights", UNREACHABLE).called(PERMISSION),
    stands("topic_data", UNREACHABLE).called(EXISTENCE),
    yields("topic_partitions"),
    yields("topic_configs"),
    yields("topic_policy"),
    yields("message_size"),
    yields("topic_collision"),
    yields("loop"),
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
