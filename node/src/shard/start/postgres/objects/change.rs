//! A change of a publication, and what is told of it.

use tidewire_node_core::publish::{Alignment, PublicationPlan, PublishTable};
use tidewire_postgres::publication::Step;
use tidewire_shared::Lsn;
use tidewire_shared::spec::TableName;

/// What is to be done to a publication.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) plan: PublicationPlan,
    /// `None`: it is to be made.
    pub(super) alignment: Option<Alignment>,
}

impl Change {
    pub(super) fn new(name: &str, plan: &PublicationPlan, alignment: Option<Alignment>) -> Self {
        Self { name: name.to_owned(), plan: plan.clone(), alignment }
    }

    pub(super) fn step(&self) -> Step<'_> {
        Step { name: &self.name, plan: &self.plan, alignment: self.alignment.as_ref() }
    }

    pub(super) fn added(&self) -> &[PublishTable] {
        let all = self.plan.tables.as_slice();
        self.alignment.as_ref().map_or(all, |alignment| alignment.add.as_slice())
    }

    pub(super) fn dropped(&self) -> &[TableName] {
        self.alignment.as_ref().map_or(&[][..], |alignment| alignment.drop.as_slice())
    }

    /// Lines for the log of the task, once it was done at this place.
    pub(super) fn told(&self, at: Lsn) -> Vec<String> {
        let name = &self.name;
        let came = self.added().iter().map(|table| {
            let table = &table.name;
            match self.dropped().contains(table) {
                true => {
                    format!("{name} publishes other rows or columns of table {table} from {at} on")
                }
                false => {
                    format!("table {table} is published by {name}: changes made after {at} go out")
                }
            }
        });
        let stays = |table: &TableName| self.plan.tables.iter().any(|it| it.name == *table);
        let left = self.dropped().iter().filter(|&table| !stays(table));
        let went = left.map(|table| format!("table {table} is not published by {name} any more"));
        came.chain(went).collect()
    }
}
