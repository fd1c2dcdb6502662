//! What a Kafka cluster does to one `transactional.id`, by the old transaction protocol (TV1): an
//! EndTxn ends whatever transaction of its producer epoch is open when it arrives.

use tidewire_node_core::takeover::PositionEntry;
use tidewire_node_core::transaction::EndKind;
use tidewire_shared::PgPosition;

/// A row of output: transaction id and place in it.
pub(crate) type Row = (u32, u64);

/// A record of the positions partition that was not aborted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Written {
    pub(crate) entry: PositionEntry<PgPosition>,
    pub(crate) committed: bool,
}

/// Someone else's transaction on our positions partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Foreign {
    NotYet,
    /// Open since the partition held this many of our records.
    Open(usize),
    Ended,
}

/// An EndTxn that the network still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Late {
    /// Nobody has initialised a producer since it was sent.
    pub(crate) current: bool,
    pub(crate) kind: EndKind,
}

/// The broker's view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broker {
    /// What a read_committed reader of the output sees.
    pub(crate) output: Vec<Row>,
    /// Output of the open transaction.
    pub(crate) open: Vec<Row>,
    /// The positions partition; aborted records leave a hole that nobody sees.
    pub(crate) positions: Vec<Option<Written>>,
    pub(crate) foreign: Foreign,
    pub(crate) late: Option<Late>,
    /// How the last transaction ended; a repeated EndTxn is answered by it.
    pub(crate) ended: EndKind,
    /// Serial and epoch of the committed records did not rise.
    pub(crate) disordered: bool,
}

/// The producer was fenced by a newer one, or asked for what its transaction's state forbids.
#[derive(Debug)]
pub(crate) struct Refused;

impl Broker {
    pub(crate) fn new() -> Self {
        Self {
            output: Vec::new(),
            open: Vec::new(),
            positions: Vec::new(),
            foreign: Foreign::NotYet,
            late: None,
            ended: EndKind::Abort,
            disordered: false,
        }
    }

    /// InitProducerId: ends what the predecessor left open, and fences it.
    pub(crate) fn init_producer(&mut self) {
        self.end_open(EndKind::Abort);
        if let Some(late) = &mut self.late {
            late.current = false;
        }
    }

    pub(crate) fn produce(&mut self, current: bool, row: Row) -> Result<(), Refused> {
        check(current)?;
        self.open.push(row);
        Ok(())
    }

    pub(crate) fn produce_position(
        &mut self,
        current: bool,
        entry: PositionEntry<PgPosition>,
    ) -> Result<(), Refused> {
        check(current)?;
        self.positions.push(Some(Written { entry, committed: false }));
        Ok(())
    }

    /// EndTxn; where nothing is open it must be the one that ended the last transaction.
    pub(crate) fn end(&mut self, current: bool, kind: EndKind) -> Result<(), Refused> {
        check(current)?;
        if self.is_open() {
            self.end_open(kind);
        }
        if self.ended == kind { Ok(()) } else { Err(Refused) }
    }

    /// The held EndTxn arrives.
    pub(crate) fn deliver_late(&mut self) {
        if let Some(Late { current: true, kind }) = self.late.take()
            && self.is_open()
        {
            self.end_open(kind);
        }
    }

    fn is_open(&self) -> bool {
        !self.open.is_empty() || self.positions.iter().flatten().any(|written| !written.committed)
    }

    /// Forgets what no reader can tell apart any more: holes, and records before the newest.
    pub(crate) fn forget(&mut self) {
        let newest = self.newest().map_or(0, |entry| entry.serial);
        self.positions.retain(|written| {
            written.as_ref().is_some_and(|w| !w.committed || w.entry.serial == newest)
        });
    }

    fn end_open(&mut self, kind: EndKind) {
        let open = std::mem::take(&mut self.open);
        self.ended = kind;
        match kind {
            EndKind::Commit => {
                self.output.extend(open);
                let before = self.newest().map(|entry| (entry.serial, entry.epoch));
                for written in self.positions.iter_mut().flatten().filter(|w| !w.committed) {
                    written.committed = true;
                    let (serial, epoch) = (written.entry.serial, written.entry.epoch);
                    self.disordered |= before.is_some_and(|b| b.0 >= serial || b.1 > epoch);
                }
            }
            EndKind::Abort => {
                for slot in &mut self.positions {
                    if slot.as_ref().is_some_and(|written| !written.committed) {
                        *slot = None;
                    }
                }
            }
        }
    }

    /// Everything before it is decided.
    pub(crate) fn last_stable_offset(&self) -> usize {
        let end = self.positions.len();
        let undecided = |written: &Option<Written>| written.as_ref().is_some_and(|w| !w.committed);
        let own = self.positions.iter().position(undecided).unwrap_or(end);
        match self.foreign {
            Foreign::Open(at) => own.min(at),
            Foreign::NotYet | Foreign::Ended => own,
        }
    }

    /// The newest committed record before `end`.
    pub(crate) fn newest_before(&self, end: usize) -> Option<&PositionEntry<PgPosition>> {
        let before = self.positions.get(..end)?;
        before.iter().flatten().rfind(|written| written.committed).map(|written| &written.entry)
    }

    /// The newest committed record.
    pub(crate) fn newest(&self) -> Option<&PositionEntry<PgPosition>> {
        self.newest_before(self.positions.len())
    }
}

fn check(current: bool) -> Result<(), Refused> {
    if current { Ok(()) } else { Err(Refused) }
}
