//! Two nodes, three epochs, one broker, one source: everything that may happen, and what must not.

use std::sync::Arc;

use tidewire_node_core::facts::{PublicationFacts, PublishedTable};
use tidewire_node_core::publish::{PublicationPlan, PublishTable};
use tidewire_node_core::reconnect::{
    ExpectedPublication, ExpectedSlot, Fingerprint, FirstSlot, Opening, Reconnect, SlotOrigin,
    Verdict, first_position,
};
use tidewire_node_core::takeover::{Fact, Holder, Owner, Ownership};
use tidewire_node_core::transaction::{CallOutcome, EndKind, EndVerdict, TransactionEnd};
use tidewire_shared::spec::{Operations, StartAt, TableName};
use tidewire_shared::{ClusterId, Epoch, Lsn, PgPosition};

use super::broker::{Broker, Foreign, Late, Refused};
use super::explore::System;
use super::node::{NOW, Run, Stream, Todo, shard};
use super::source::{History, Slot, Source};

const NODES: usize = 2;
const SLOT: ExpectedSlot<'static> =
    ExpectedSlot { name: "tidewire_t", database: "shop", managed: true };

/// The rules of a safe start; each test but one takes one out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Commit a claim before the first output.
    pub(crate) claim: bool,
    /// Read the positions to the read_uncommitted end, not to the last stable offset.
    pub(crate) read_to_end: bool,
    /// Drop the producer after a commit that was not clean.
    pub(crate) clean_commit: bool,
    /// Drop the producer after an abort.
    pub(crate) clean_abort: bool,
}

impl Rules {
    pub(crate) const ALL: Self =
        Self { claim: true, read_to_end: true, clean_commit: true, clean_abort: true };
}

/// How many owners there are, and how many faults may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) epochs: u64,
    pub(crate) late: u8,
    pub(crate) crashes: u8,
    pub(crate) aborts: u8,
    pub(crate) failovers: u8,
    pub(crate) foreign: bool,
    pub(crate) keepalives: u8,
}

/// What the network does to an EndTxn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Served and answered.
    Good,
    /// The connection breaks; the client sends it again by itself, the first copy arrives later.
    CutAndSentAgain,
    /// It arrives later, and the call returns a timeout.
    HeldUntilTimeout,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Reassign(usize),
    Begin(usize),
    Step(usize, Wire),
    Accept(usize),
    Seal(usize),
    Commit(usize, Wire),
    Abort(usize, Wire),
    Keepalive(usize),
    Confirm(usize),
    /// The pipeline dies: of a source that failed over, or of a producer that was fenced.
    LosePipeline(usize),
    Crash(usize),
    LateEndTxn,
    ForeignBegins,
    ForeignEnds,
    FailOver(History, bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Current epoch and its node, at the coordinators.
    pub(crate) owner: (u64, usize),
    /// Assignments on their way to the nodes.
    pub(crate) inbox: [Option<u64>; NODES],
    pub(crate) nodes: [Option<Run>; NODES],
    pub(crate) broker: Broker,
    pub(crate) source: Source,
    /// Where the task first began to stream: from there on nothing may be missing.
    pub(crate) promised: Option<Lsn>,
    pub(crate) budget: Budget,
}

/// The system under the given rules and faults.
#[derive(Debug)]
pub(crate) struct World {
    rules: Rules,
    budget: Budget,
    /// Look only at what readers see, not at what would harm them later.
    readers_only: bool,
    cluster: ClusterId,
    publication: PublicationFacts,
    plan: PublicationPlan,
}

impl World {
    pub(crate) fn new(rules: Rules, budget: Budget, readers_only: bool) -> Self {
        let table = TableName { schema: "public".into(), table: "orders".into() };
        let published = PublishedTable {
            name: table.clone(),
            oid: 2,
            row_filter: None,
            columns: None,
            generated: Vec::new(),
        };
        let publication = PublicationFacts {
            oid: 1,
            name: "tidewire_t".into(),
            all_tables: false,
            insert: true,
            update: true,
            delete: true,
            truncate: true,
            via_root: false,
            tables: vec![published],
        };
        let cluster = "c".parse().expect("id");
        let planned =
            PublishTable { name: table, oid: 2, named: true, columns: None, row_filter: None };
        let plan = PublicationPlan { tables: vec![planned], publish: Operations::default() };
        Self { rules, budget, readers_only, cluster, publication, plan }
    }

    fn owner(&self, epoch: u64) -> Owner {
        Owner { cluster: self.cluster.clone(), shard: shard(), epoch: Epoch(epoch) }
    }

    fn step(&self, state: &mut State, node: usize, wire: Wire) -> Option<()> {
        let mut run = state.nodes[node].take()?;
        let history = state.source.history;
        let fact = match run.todo.clone() {
            Todo::InitProducer => {
                state.broker.init_producer();
                state.nodes.iter_mut().flatten().for_each(Run::fence);
                run.current = true;
                Fact::ProducerInitialised
            }
            Todo::FindEnd => {
                run.todo = Todo::ReadTo(state.broker.positions.len());
                state.nodes[node] = Some(run);
                return Some(());
            }
            Todo::ReadTo(end) => {
                let stable = state.broker.last_stable_offset();
                if self.rules.read_to_end && stable < end {
                    return None;
                }
                let end = if self.rules.read_to_end { end } else { stable };
                Fact::PositionsRead(state.broker.newest_before(end).cloned())
            }
            Todo::Confirm => Fact::Ownership(if state.owner == (run.epoch, node) {
                Ownership::Current
            } else {
                Ownership::Superseded(Epoch(state.owner.0))
            }),
            Todo::FindStart => self.ensure_slot(&mut state.source),
            Todo::Claim(entry) => {
                let verdict = if self.rules.claim {
                    match state.broker.produce_position(run.current, entry) {
                        Err(Refused) => EndVerdict::DropProducer,
                        Ok(()) => end(state, &run, EndKind::Commit, wire, true)?,
                    }
                } else {
                    EndVerdict::Clean
                };
                Fact::ClaimEnded(verdict)
            }
            Todo::TakeSource => self.take_slot(state, run.epoch),
            Todo::Verify(place) => {
                let verdict = self.verify(&state.source, &place.0);
                Fact::SourceJudged(verdict)
            }
            Todo::Stream(_) => return None,
        };
        let run = run.tell(fact, history);
        if let Some(stream) = run.as_ref().and_then(Run::stream) {
            let epoch = run.as_ref().map_or(0, |run| run.epoch);
            state.promised.get_or_insert_with(|| stream.progress.durable().position().lsn);
            state.source.slot.as_mut()?.session = Some((node, epoch));
        }
        settle(state, node, run);
        Some(())
    }

    fn ensure_slot(&self, source: &mut Source) -> Fact<PgPosition> {
        let origin = match source.slot_facts(|epoch| self.owner(epoch).application_name()) {
            Some(facts) => SlotOrigin::Found(facts),
            None => {
                let consistent_point = source.consistent_point();
                source.slot =
                    Some(Slot { confirmed: consistent_point, by_us: false, session: None });
                SlotOrigin::Created { consistent_point }
            }
        };
        let server = source.history.server();
        let fingerprint = Fingerprint::from(0);
        match first_position(&FirstSlot {
            server: &server,
            expected: SLOT,
            origin,
            start: StartAt::Now,
            fingerprint,
            publications: Arc::default(),
        }) {
            Ok(position) => Fact::StartFound(position),
            Err(fault) => Fact::Failed(fault),
        }
    }

    fn take_slot(&self, state: &mut State, epoch: u64) -> Fact<PgPosition> {
        if let Some(facts) = state.source.slot_facts(|epoch| self.owner(epoch).application_name()) {
            match self.owner(epoch).judge(&facts) {
                Holder::Nobody => {}
                Holder::Other(fault) => return Fact::Failed(fault),
                Holder::Terminate(_) => {
                    if let Some(slot) = &mut state.source.slot {
                        slot.session = None;
                    }
                }
            }
        }
        Fact::SourceTaken
    }

    fn verify(&self, source: &Source, position: &PgPosition) -> Verdict<Opening> {
        let slot = source.slot_facts(|epoch| self.owner(epoch).application_name());
        Reconnect {
            position,
            server: &source.history.server(),
            history: &source.history.timeline_history(),
            expected_slot: SLOT,
            slot: slot.as_ref(),
            publications: &[ExpectedPublication {
                name: "tidewire_t",
                oid: None,
                managed: true,
                plan: &self.plan,
                seen: Some(&self.publication),
            }],
            fingerprint: Fingerprint::from(0),
        }
        .judge()
    }

    fn stream_action(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Accept(node) => {
                let run = state.nodes[node].as_mut()?;
                let current = run.current;
                let stream = run.stream_mut()?;
                let (row, reached) = stream.peek()?;
                if state.broker.produce(current, row).is_err() {
                    return lose_producer(state, node);
                }
                stream.progress.accept(reached, 1).expect("rows come in order");
                stream.advance(reached);
            }
            Action::Seal(node) => {
                let run = state.nodes[node].as_mut()?;
                let current = run.current;
                let stream = run.stream_mut()?;
                let entry = stream.progress.seal().ok()??;
                stream.sealed = true;
                if state.broker.produce_position(current, entry).is_err() {
                    return lose_producer(state, node);
                }
            }
            Action::Commit(node, wire) => return self.commit(state, node, wire),
            Action::Abort(node, wire) => return self.abort(state, node, wire),
            Action::Keepalive(node) => {
                let stream = state.nodes[node].as_mut()?.stream_mut()?;
                let end = stream.history.end();
                if !stream.progress.keepalive(end, true, NOW) {
                    return None;
                }
                state.budget.keepalives -= 1;
            }
            Action::Confirm(node) => {
                let stream = state.nodes[node].as_mut()?.stream_mut()?;
                let slot = state.source.slot.as_mut()?;
                let lsn = stream.progress.confirmable();
                stream.progress.confirm(lsn).expect("only what is durable is confirmed");
                slot.confirmed = slot.confirmed.max(lsn);
                slot.by_us = true;
            }
            _ => return None,
        }
        Some(())
    }

    fn commit(&self, state: &mut State, node: usize, wire: Wire) -> Option<()> {
        let run = state.nodes[node].clone()?;
        let verdict = end(state, &run, EndKind::Commit, wire, self.rules.clean_commit)?;
        if verdict == EndVerdict::DropProducer {
            return lose_producer(state, node);
        }
        let stream = state.nodes[node].as_mut()?.stream_mut()?;
        stream.progress.committed(NOW).expect("a position was sealed");
        (stream.produced, stream.sealed) = (false, false);
        Some(())
    }

    fn abort(&self, state: &mut State, node: usize, wire: Wire) -> Option<()> {
        state.budget.aborts -= 1;
        let run = state.nodes[node].clone()?;
        let verdict = end(state, &run, EndKind::Abort, wire, self.rules.clean_abort)?;
        if verdict == EndVerdict::DropProducer {
            return lose_producer(state, node);
        }
        let rewound = run.stream()?.rewound(run.epoch)?;
        state.nodes[node].as_mut()?.todo = Todo::Stream(Box::new(rewound));
        Some(())
    }
}

/// Ends the transaction of `run`, and judges the end; without the rule success is believed.
fn end(state: &mut State, run: &Run, kind: EndKind, wire: Wire, rule: bool) -> Option<EndVerdict> {
    if wire != Wire::Good {
        state.budget.late = state.budget.late.checked_sub(1)?;
        state.broker.late = Some(Late { current: run.current, kind });
    }
    let (served, end_requests) = match wire {
        Wire::Good => (state.broker.end(run.current, kind).is_ok(), 1),
        Wire::CutAndSentAgain => (state.broker.end(run.current, kind).is_ok(), 2),
        Wire::HeldUntilTimeout => (false, 1),
    };
    let outcome = match wire {
        Wire::HeldUntilTimeout => CallOutcome::TimedOut,
        _ if served => CallOutcome::Success,
        _ => CallOutcome::Failed,
    };
    if !rule && outcome == CallOutcome::Success {
        return Some(EndVerdict::Clean);
    }
    Some(TransactionEnd { kind, outcome, end_requests, produced: true }.judge())
}

fn lose_producer(state: &mut State, node: usize) -> Option<()> {
    let history = state.source.history;
    let mut run = state.nodes[node].take()?;
    run.current = false;
    let run = run.tell(Fact::ProducerLost, history);
    close_session(state, node);
    state.nodes[node] = run;
    Some(())
}

/// Puts the run back, or ends its session if it stopped.
fn settle(state: &mut State, node: usize, run: Option<Run>) {
    if run.is_none() {
        close_session(state, node);
    }
    state.nodes[node] = run;
}

fn close_session(state: &mut State, node: usize) {
    if let Some(slot) = &mut state.source.slot {
        slot.session = slot.session.filter(|(holder, _)| *holder != node);
    }
}

impl System for World {
    type State = State;
    type Action = Action;

    fn first(&self) -> State {
        State {
            owner: (1, 0),
            inbox: [Some(1), None],
            nodes: [None, None],
            broker: Broker::new(),
            source: Source::new(),
            promised: None,
            budget: self.budget.clone(),
        }
    }

    fn actions(&self, state: &State, into: &mut Vec<Action>) {
        let budget = &state.budget;
        for node in 0..NODES {
            if state.owner.0 < budget.epochs {
                into.push(Action::Reassign(node));
            }
            if state.inbox[node].is_some() {
                into.push(Action::Begin(node));
            }
            if let Some(run) = &state.nodes[node] {
                if budget.crashes > 0 {
                    into.push(Action::Crash(node));
                }
                match run.stream() {
                    None => steps(node, run, budget, into),
                    Some(stream) => stream_actions(state, node, !run.current, stream, into),
                }
            }
        }
        if state.broker.late.is_some() {
            into.push(Action::LateEndTxn);
        }
        match state.broker.foreign {
            Foreign::NotYet if budget.foreign => into.push(Action::ForeignBegins),
            Foreign::Open(_) => into.push(Action::ForeignEnds),
            Foreign::NotYet | Foreign::Ended => {}
        }
        if budget.failovers > 0 {
            into.push(Action::FailOver(History::AfterLoss, true));
            into.push(Action::FailOver(History::AfterClean, true));
            into.push(Action::FailOver(History::AfterClean, false));
        }
    }

    fn next(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Reassign(node) => {
                next.owner = (state.owner.0 + 1, node);
                next.inbox[node] = Some(next.owner.0);
            }
            Action::Begin(node) => {
                let epoch = next.inbox[node].take()?;
                close_session(&mut next, node);
                next.nodes[node] = Some(Run::begin(epoch));
            }
            Action::Crash(node) => {
                next.budget.crashes -= 1;
                settle(&mut next, node, None);
            }
            Action::Step(node, wire) => self.step(&mut next, node, wire)?,
            Action::LosePipeline(node) => lose_producer(&mut next, node)?,
            Action::LateEndTxn => next.broker.deliver_late(),
            Action::ForeignBegins => {
                next.broker.foreign = Foreign::Open(next.broker.positions.len());
            }
            Action::ForeignEnds => next.broker.foreign = Foreign::Ended,
            Action::FailOver(to, keeps_slot) => {
                next.budget.failovers -= 1;
                next.source.fail_over(to, keeps_slot);
            }
            streaming => self.stream_action(&mut next, streaming)?,
        }
        let reading = |run: &Run| matches!(run.todo, Todo::ReadTo(_));
        let held = matches!(next.broker.foreign, Foreign::Open(_));
        if !held && !next.nodes.iter().flatten().any(reading) {
            next.broker.forget();
        }
        Some(next)
    }

    fn violation(&self, state: &State) -> Option<String> {
        let seen = &state.broker.output;
        let promised = state.promised.unwrap_or(Lsn(u64::MAX));
        let follows = |history: History| {
            let expected: Vec<_> = history.rows_after(promised).collect();
            expected.starts_with(seen).then_some(expected)
        };
        let histories = [History::Before, state.source.history];
        if !histories.iter().any(|history| follows(*history).is_some()) {
            return Some(format!("readers see {seen:?} after {promised}"));
        }
        if self.readers_only {
            return None;
        }
        let newest = state.broker.newest();
        let durable = newest.map(|entry| entry.position.lsn);
        if let (Some(slot), Some(durable)) = (state.source.slot, durable)
            && slot.by_us
            && slot.confirmed > durable
        {
            return Some(format!("the slot is at {}, the position at {durable}", slot.confirmed));
        }
        state.broker.disordered.then(|| "serials or epochs do not rise".to_owned())
    }

    fn goals(&self, state: &State) -> Vec<&'static str> {
        let whole = |history: History| {
            state
                .promised
                .is_some_and(|lsn| history.rows_after(lsn).eq(state.broker.output.iter().copied()))
        };
        let mut goals = Vec::new();
        if whole(History::Before) && state.promised == Some(Lsn(5)) {
            goals.push("everything is delivered");
        }
        if state.source.history == History::AfterLoss && whole(History::AfterLoss) {
            goals.push("everything is delivered after a failover");
        }
        if state.owner.0 == self.budget.epochs
            && state.broker.newest().is_some_and(|e| e.epoch.0 == self.budget.epochs)
        {
            goals.push("the last owner has claimed");
        }
        goals
    }
}

fn steps(node: usize, run: &Run, budget: &Budget, into: &mut Vec<Action>) {
    into.push(Action::Step(node, Wire::Good));
    if matches!(run.todo, Todo::Claim(_)) && budget.late > 0 {
        into.push(Action::Step(node, Wire::CutAndSentAgain));
        into.push(Action::Step(node, Wire::HeldUntilTimeout));
    }
}

fn stream_actions(
    state: &State,
    node: usize,
    fenced: bool,
    stream: &Stream,
    into: &mut Vec<Action>,
) {
    let budget = &state.budget;
    if !fenced && stream.sealed {
        into.push(Action::Commit(node, Wire::Good));
        if budget.late > 0 {
            into.push(Action::Commit(node, Wire::CutAndSentAgain));
            into.push(Action::Commit(node, Wire::HeldUntilTimeout));
        }
    } else if !fenced {
        into.push(Action::Accept(node));
        into.push(Action::Seal(node));
    }
    if budget.aborts > 0 && stream.produced && !fenced {
        into.push(Action::Abort(node, Wire::Good));
        if budget.late > 0 {
            into.push(Action::Abort(node, Wire::CutAndSentAgain));
        }
    }
    if budget.keepalives > 0 && stream.peek().is_none() {
        into.push(Action::Keepalive(node));
    }
    let current = stream.history == state.source.history;
    let behind = |slot: Slot| slot.confirmed < stream.progress.confirmable();
    if current && state.source.slot.is_some_and(behind) {
        into.push(Action::Confirm(node));
    }
    if !current || fenced {
        into.push(Action::LosePipeline(node));
    }
}
