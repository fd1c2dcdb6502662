//! Copies the tuples of a row message into a batch: one copy of bytes per tuple, and one small struct
//! per column.

use super::pgoutput::{Rows, TupleColumn, TupleKind};
use super::relations::Wanted;
use super::selection::Selection;
use crate::batch::ChangeBatch;
use crate::change::{Column, ColumnKind, Flaw, OldRow, Operation};
use crate::schema::RelationColumn;
use tidewire_shared::spec::Operations;

/// The images of one row message, as places in the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Images {
    pub(super) old_row: OldRow,
    pub(super) old: u32,
    pub(super) new: u32,
    /// Why they cannot become a record.
    pub(super) flaw: Option<Flaw>,
}

impl Images {
    /// No row at all, as truncates have it.
    pub(super) const NONE: Self = Self { old_row: OldRow::Absent, old: 0, new: 0, flaw: None };
}

/// Why a row cannot be taken, and what to do where that is not what damage asks for.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) what: String,
    pub(super) remedy: Option<&'static str>,
}

impl From<String> for Unfit {
    fn from(what: String) -> Self {
        Self { what, remedy: None }
    }
}

/// Copies all tuples of a row message, as far as the task wants them: `None`, and nothing copied,
/// when its operations or its condition leave nothing. The operation is what the condition makes of it.
#[inline]
pub(super) fn copy(
    operation: Operation,
    rows: Rows<'_>,
    wanted: &Wanted,
    batch: &mut ChangeBatch,
) -> Result<Option<(Operation, Images)>, Unfit> {
    let Some(selection) = &wanted.selection else {
        if !operation.is_among(wanted.operations) {
            return Ok(None);
        }
        let relation = &wanted.relation;
        let images = tuples(operation, rows, wanted, &relation.columns, batch)?;
        return Ok(Some((operation, images)));
    };
    let operations = wanted.operations;
    // It stays a delete, whatever the condition says of its row.
    if operation == Operation::Delete && !operations.delete {
        return Ok(None);
    }
    let (bytes, columns) = (batch.bytes.len(), batch.columns.len());
    let mut images = tuples(operation, rows, wanted, &selection.sent, batch)?;
    let left = match images.flaw {
        Some(Flaw::NoOldRow) if selection.filter.is_some() => return Err(no_old_row()),
        Some(Flaw::Unjudged(_)) => unjudged(operation, images, operations),
        _ => judged(operation, images, selection, operations, batch)?,
    };
    let Some(left) = left else {
        batch.bytes.truncate(bytes);
        batch.columns.truncate(columns);
        return Ok(None);
    };
    selection.narrow(&mut images, &mut batch.columns);
    if left == Operation::Insert {
        images.old_row = OldRow::Absent;
    }
    Ok(Some((left, images)))
}

/// What the condition makes of a row, where the operations have it.
#[inline]
fn judged(
    operation: Operation,
    images: Images,
    selection: &Selection,
    operations: Operations,
    batch: &ChangeBatch,
) -> Result<Option<Operation>, Unfit> {
    let inserts_only = !operations.update && !operations.delete;
    let left = match selection.operation(operation, images, batch) {
        // For inserts alone nobody demands that the replica identity tells what a row was: where it
        // does not, an update is what it is in a publication of inserts, nothing.
        Err(_) if operation == Operation::Update && inserts_only => None,
        told => told.map_err(|what| Unfit { what, remedy: Some(WITHOUT_WHERE) })?,
    };
    Ok(left.filter(|left| left.is_among(operations)))
}

/// A row that the condition cannot be held against stays what it is, and becomes no record. Of an update
/// whose old row is known a condition may make anything; it is left out where none of that goes out.
#[cold]
fn unjudged(operation: Operation, images: Images, operations: Operations) -> Option<Operation> {
    let any = operations.insert || operations.update || operations.delete;
    let split = operation == Operation::Update && images.old_row != OldRow::Absent;
    (operation.is_among(operations) || (split && any)).then_some(operation)
}

/// What lets a task go on behind a row that its condition cannot be held against.
const WITHOUT_WHERE: &str = "take `where` of the table out of the document, then resume the task; \
     REPLICA IDENTITY FULL of the table, and of each of its partitions, helps changes that are made after \
     it was set";

#[cold]
fn no_old_row() -> Unfit {
    let what = "the condition `where` looks at the old row of an update, which did not come";
    Unfit { what: what.to_owned(), remedy: Some(WITHOUT_WHERE) }
}

/// Whether a row of a table under FULL comes from a partition that has the default identity, which
/// `keyed` describes. Its updates that keep the key have no old row; the old row of others is called
/// whole, because the table's is, and holds NULL beside the key, also where nothing can be NULL.
pub(super) fn is_keyed(operation: Operation, mut rows: Rows<'_>, keyed: &Wanted) -> bool {
    if !matches!(operation, Operation::Update | Operation::Delete) {
        return false;
    }
    let sent = keyed.selection.as_ref().map_or(&keyed.relation.columns, |it| &it.sent);
    match rows.head() {
        Ok((TupleKind::New, _)) => operation == Operation::Update,
        Ok((_, width)) => sent.iter().take(width).any(|column| {
            let never = column.in_identity || column.detail.not_null;
            matches!(rows.column(), Ok(TupleColumn::Null)) && never
        }),
        // Whoever copies the row will tell.
        Err(_) => false,
    }
}

/// Copies all tuples of a row message.
fn tuples(
    operation: Operation,
    mut rows: Rows<'_>,
    wanted: &Wanted,
    columns: &[RelationColumn],
    batch: &mut ChangeBatch,
) -> Result<Images, String> {
    let start = end_of(&batch.columns)?;
    let mut images = Images { old_row: OldRow::Absent, old: start, new: start, flaw: None };
    let (mut kind, mut width) = rows.head()?;
    if kind != TupleKind::New {
        if wanted.of_partition {
            kind = TupleKind::OldKey;
        }
        if operation == Operation::Insert {
            return Err("insert has an old row".to_owned());
        }
        images.old_row = match kind {
            TupleKind::OldKey => OldRow::Identity,
            _ => OldRow::Full,
        };
        images.flaw = tuple(&mut rows, kind, width, wanted, columns, batch)?;
        images.new = end_of(&batch.columns)?;
        if operation == Operation::Update {
            (kind, width) = rows.head()?;
        }
    }
    match operation {
        Operation::Insert | Operation::Update if kind == TupleKind::New => {
            let of_new = tuple(&mut rows, kind, width, wanted, columns, batch)?;
            images.flaw = worse(images.flaw, of_new);
        }
        Operation::Delete if kind != TupleKind::New => {}
        _ => return Err("row message has its tuples in a wrong order".to_owned()),
    }
    rows.end()?;
    if operation == Operation::Update {
        if images.old_row != OldRow::Absent {
            fill_unchanged(batch, images);
        } else if wanted.relation.identity == 'f' {
            // Under FULL the server always sends it, but for partitions with another identity.
            images.flaw = Some(Flaw::NoOldRow);
        }
    }
    Ok(images)
}

/// Of both images the flaw by which the row cannot even be judged.
fn worse(old: Option<Flaw>, new: Option<Flaw>) -> Option<Flaw> {
    match (old, new) {
        (_, Some(Flaw::Unjudged(_))) | (None, _) => new,
        (Some(_), _) => old,
    }
}

fn end_of(columns: &[Column]) -> Result<u32, String> {
    u32::try_from(columns.len()).map_err(|_| "batch has too many columns".to_owned())
}

/// Copies one tuple. Tells where a text is no text: databases with the encoding SQL_ASCII hold any bytes.
/// Such a value is kept as hexadecimal digits, as `bytea` is shown.
fn tuple(
    rows: &mut Rows<'_>,
    kind: TupleKind,
    width: usize,
    wanted: &Wanted,
    columns: &[RelationColumn],
    batch: &mut ChangeBatch,
) -> Result<Option<Flaw>, String> {
    if width != columns.len() {
        return Err("row has another number of columns than its relation".to_owned());
    }
    let from = rows.position();
    let (base, first) = (batch.bytes.len(), batch.columns.len());
    let mut no_texts: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, described) in columns.iter().enumerate() {
        let column = match rows.column()? {
            TupleColumn::Text(text) => {
                if std::str::from_utf8(text).is_err() {
                    no_texts.push((index, text.to_vec()));
                }
                place(base + (rows.position() - text.len() - from), text.len())?
            }
            TupleColumn::Null => Column::NULL,
            TupleColumn::Unchanged => Column::MISSING,
            TupleColumn::Binary(_) => {
                return Err("row is in binary form, which was not asked for".to_owned());
            }
        };
        let sent = kind != TupleKind::OldKey || described.in_identity;
        batch.columns.push(if sent { column } else { Column::MISSING });
    }
    batch.bytes.extend_from_slice(rows.walked_since(from));
    for (index, bytes) in &no_texts {
        let column = in_hexadecimal(bytes, &mut batch.bytes)?;
        if let Some(place) = batch.columns.get_mut(first + index) {
            *place = column;
        }
    }
    Ok(if no_texts.is_empty() { None } else { flaw(&no_texts, wanted) })
}

#[cold]
fn flaw(no_texts: &[(usize, Vec<u8>)], wanted: &Wanted) -> Option<Flaw> {
    let indexes: Vec<_> = no_texts.iter().map(|(index, _)| *index).collect();
    match &wanted.selection {
        Some(selection) => selection.flaw(&indexes),
        None => indexes.first().and_then(|first| u16::try_from(*first).ok()).map(Flaw::NotText),
    }
}

#[cold]
fn in_hexadecimal(bytes: &[u8], arena: &mut Vec<u8>) -> Result<Column, String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let offset = arena.len();
    arena.extend_from_slice(b"\\x");
    for byte in bytes {
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'?');
        arena.extend([digit(byte >> 4), digit(byte & 0xF)]);
    }
    place(offset, arena.len() - offset)
}

fn place(offset: usize, len: usize) -> Result<Column, String> {
    let number = |n: usize| u32::try_from(n).map_err(|_| "batch has too many bytes".to_owned());
    Ok(Column { kind: ColumnKind::Text, offset: number(offset)?, len: number(len)? })
}

/// What the update did not touch and the server did not send again is taken from the old row, where
/// that has it. NULL there is never what it was: the old row of a partition without REPLICA IDENTITY FULL.
fn fill_unchanged(batch: &mut ChangeBatch, images: Images) {
    let tail = batch.columns.get_mut(images.old as usize..).unwrap_or_default();
    let (old, new) = tail.split_at_mut((images.new - images.old) as usize);
    for (new, old) in new.iter_mut().zip(old) {
        if new.kind == ColumnKind::Missing && old.kind != ColumnKind::Null {
            *new = *old;
        }
    }
}
