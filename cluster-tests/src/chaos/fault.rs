//! The faults of the rounds, and which of them a round of each kind of task has.

use std::fmt;
use std::time::Duration;

use tidewire_testbed::proxy::{EndTxnFault, Ending};

/// What the task of a round carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes of a PostgreSQL.
    Postgres,
    /// Topics of another Kafka.
    Kafka,
}

/// An end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where records come from.
    Source,
    /// Where they go.
    Target,
}

/// How PostgreSQL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStop {
    /// `pg_ctl stop -m fast`.
    Fast,
    /// `pg_ctl stop -m immediate`.
    Immediate,
    /// `kill -9` of the postmaster.
    Kill,
}

impl SourceStop {
    const ALL: [Self; 3] = [Self::Fast, Self::Immediate, Self::Kill];
}

/// What the task's role is without for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The right to replicate.
    Replication,
    /// The right to come to the database.
    Connect,
    /// Sessions that its role may have.
    Sessions,
    /// Processes of the server that send changes.
    Walsenders,
}

impl Lack {
    const ALL: [Self; 4] = [Self::Replication, Self::Connect, Self::Sessions, Self::Walsenders];
}

/// A fault of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The owner is killed.
    KillOwner,
    /// The leader of the coordinators is killed.
    KillLeader,
    /// Whoever comes to the named point of its code is frozen there.
    Freeze(&'static str),
    /// The owner is drained and taken back.
    Drain,
    /// The broker of this number, from 0, is stopped and started.
    RestartBroker(Side, usize),
    /// The broker that leads a partition of the task is killed and started.
    KillBroker(Side),
    /// All coordinators are killed and stay away for a minute.
    CoordinatorsAway,
    /// All brokers of an end are killed and stay away for a minute.
    BrokersAway(Side),
    /// PostgreSQL is stopped in this way, and started.
    RestartSource(SourceStop),
    /// PostgreSQL is killed, and its standby promoted.
    Promote,
    /// The server process that sends the changes is ended.
    KillWalsender,
    /// The password of the task's role changes, and a while later the file that nodes read it from.
    RotatePassword,
    /// The source lets the task in no more, for a while.
    Without(Lack),
    /// The topic takes small records only, for a while.
    NarrowTopic,
    /// A table appears that the task takes by a pattern.
    AddTable,
    /// The request that ends a transaction in this way suffers.
    End(EndTxnFault, Ending),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillOwner => out.write_str("kill_owner"),
            Self::KillLeader => out.write_str("kill_leader"),
            Self::Freeze(point) => write!(out, "freeze_{point}"),
            Self::Drain => out.write_str("drain"),
            Self::RestartBroker(Side::Target, _) => out.write_str("restart_broker"),
            Self::RestartBroker(Side::Source, _) => out.write_str("restart_source_broker"),
            Self::KillBroker(Side::Target) => out.write_str("kill_broker"),
            Self::KillBroker(Side::Source) => out.write_str("kill_source_broker"),
            Self::CoordinatorsAway => out.write_str("coordinators_away"),
            Self::BrokersAway(Side::Target) => out.write_str("brokers_away"),
            Self::BrokersAway(Side::Source) => out.write_str("source_brokers_away"),
            Self::RestartSource(SourceStop::Fast) => out.write_str("restart_source_fast"),
            Self::RestartSource(SourceStop::Immediate) => out.write_str("restart_source_immediate"),
            Self::RestartSource(SourceStop::Kill) => out.write_str("kill_source"),
            Self::Promote => out.write_str("promote_standby"),
            Self::KillWalsender => out.write_str("kill_walsender"),
            Self::RotatePassword => out.write_str("rotate_password"),
            Self::Without(Lack::Replication) => out.write_str("without_replication"),
            Self::Without(Lack::Connect) => out.write_str("without_connect"),
            Self::Without(Lack::Sessions) => out.write_str("without_sessions"),
            Self::Without(Lack::Walsenders) => out.write_str("without_walsenders"),
            Self::NarrowTopic => out.write_str("narrow_topic"),
            Self::AddTable => out.write_str("add_table"),
            Self::End(fault, ending) => {
                let ending = if *ending == Ending::Commit { "commit" } else { "abort" };
                let suffering = match fault {
                    EndTxnFault::Hold(_) => "held",
                    EndTxnFault::DropAnswer => "unanswered",
                    EndTxnFault::CutAndForwardLate(_) => "cut",
                };
                write!(out, "{ending}_{suffering}")
            }
        }
    }
}

impl Fault {
    /// The faults of one round, each as often as it happens there.
    #[must_use]
    pub fn of_a_round(kind: Kind) -> Vec<Self> {
        let points = ["before_init_producer", "after_claim", "before_end_txn", "after_end_txn"];
        let ends = [
            EndTxnFault::Hold(Duration::from_secs(10)),
            EndTxnFault::DropAnswer,
            EndTxnFault::CutAndForwardLate(Duration::from_secs(3)),
        ];
        let mut all = [[Self::KillOwner; 5].as_slice(), &[Self::KillLeader; 3]].concat();
        all.extend(points.map(Self::Freeze));
        all.extend([Self::Drain, Self::CoordinatorsAway]);
        all.extend(Self::of_brokers(Side::Target));
        for ending in [Ending::Commit, Ending::Abort] {
            all.extend(ends.map(|fault| Self::End(fault, ending)));
        }
        match kind {
            Kind::Kafka => all.extend(Self::of_brokers(Side::Source)),
            Kind::Postgres => {
                all.push(Self::Freeze("before_source_reply"));
                all.extend(SourceStop::ALL.map(Self::RestartSource));
                all.extend(Lack::ALL.map(Self::Without));
                all.extend([Self::Promote, Self::KillWalsender, Self::RotatePassword]);
                all.extend([Self::NarrowTopic, Self::AddTable]);
            }
        }
        all
    }

    fn of_brokers(side: Side) -> Vec<Self> {
        let restarts = [0, 1, 2].map(|broker| Self::RestartBroker(side, broker));
        [restarts.as_slice(), &[Self::KillBroker(side); 2], &[Self::BrokersAway(side)]].concat()
    }

    /// Whether it can happen to a source of this major version.
    #[must_use]
    pub fn fits(&self, major: u32) -> bool {
        // Slots are on a standby from 17 on.
        *self != Self::Promote || major >= 17
    }

    /// Whether it takes minutes.
    #[must_use]
    pub fn is_long(&self) -> bool {
        matches!(self, Self::CoordinatorsAway | Self::BrokersAway(_))
    }
}
