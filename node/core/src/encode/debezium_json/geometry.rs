//! Geometric values as Debezium's structures, with well-known binary (WKB) in them.
//!
//! Source: OGC 06-103r4 §8.2 (WKB); `io.debezium.data.geometry`.

use base64::engine::general_purpose::STANDARD;

use super::number::Scratch;
use super::value::{base64, float};

const POINT: u32 = 1;
const LINE_STRING: u32 = 2;
const POLYGON: u32 = 3;

/// The texts of the numbers in a geometric value, in their order.
fn numbers(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let between =
        |byte: &u8| matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',');
    text.split(between).filter(|number| !number.is_empty())
}

fn parsed(number: &[u8]) -> Option<f64> {
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn head(wkb: &mut Vec<u8>, kind: u32) {
    // Little endian.
    wkb.push(1);
    wkb.extend_from_slice(&kind.to_le_bytes());
}

fn number(wkb: &mut Vec<u8>, number: f64) {
    wkb.extend_from_slice(&number.to_le_bytes());
}

fn count(wkb: &mut Vec<u8>, count: usize) -> Option<()> {
    wkb.extend_from_slice(&u32::try_from(count).ok()?.to_le_bytes());
    Some(())
}

/// Writes `"name":` and the number.
fn member(out: &mut Vec<u8>, name: &[u8], number: &[u8]) -> Option<()> {
    out.extend_from_slice(name);
    float(out, number)
}

fn wkb(out: &mut Vec<u8>, wkb: &[u8]) {
    out.extend_from_slice(b"\"wkb\":\"");
    base64(out, wkb, &STANDARD);
    out.extend_from_slice(b"\",\"srid\":null");
}

/// `(1,2.5)`
pub(super) fn point(out: &mut Vec<u8>, text: &[u8], work: &mut Scratch) -> Option<()> {
    let mut numbers = numbers(text);
    xy(out, [numbers.next()?, numbers.next()?], work)?;
    numbers.next().is_none().then_some(())
}

fn xy(out: &mut Vec<u8>, [x, y]: [&[u8]; 2], work: &mut Scratch) -> Option<()> {
    work.bytes.clear();
    head(&mut work.bytes, POINT);
    number(&mut work.bytes, parsed(x)?);
    number(&mut work.bytes, parsed(y)?);
    member(out, b"{\"x\":", x)?;
    member(out, b",\"y\":", y)?;
    out.push(b',');
    wkb(out, &work.bytes);
    out.push(b'}');
    Some(())
}

/// `{1,2,3}`
pub(super) fn line(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let mut numbers = numbers(text);
    member(out, b"{\"a\":", numbers.next()?)?;
    member(out, b",\"b\":", numbers.next()?)?;
    member(out, b",\"c\":", numbers.next()?)?;
    out.push(b'}');
    Some(())
}

/// `<(1,2),3>`
pub(super) fn circle(out: &mut Vec<u8>, text: &[u8], work: &mut Scratch) -> Option<()> {
    let mut numbers = numbers(text);
    out.extend_from_slice(b"{\"center\":");
    xy(out, [numbers.next()?, numbers.next()?], work)?;
    member(out, b",\"radius\":", numbers.next()?)?;
    out.push(b'}');
    Some(())
}

/// A segment, or a path: `[…]` is open, `(…)` closed.
pub(super) fn line_string(
    out: &mut Vec<u8>,
    text: &[u8],
    name: &str,
    work: &mut Scratch,
) -> Option<()> {
    work.bytes.clear();
    head(&mut work.bytes, LINE_STRING);
    count(&mut work.bytes, numbers(text).count() / 2)?;
    for coordinate in numbers(text) {
        number(&mut work.bytes, parsed(coordinate)?);
    }
    let closed = match (name, text.first()?) {
        ("path", b'[') => ",\"closed\":\"false\"",
        ("path", _) => ",\"closed\":\"true\"",
        _ => "",
    };
    geometry(out, &work.bytes, name, closed);
    Some(())
}

/// `(1,1),(0,0)`: a ring from the first corner over the side of its x.
pub(super) fn rectangle(out: &mut Vec<u8>, text: &[u8], work: &mut Scratch) -> Option<()> {
    let mut corners = numbers(text).map(parsed);
    let mut next = || corners.next().flatten();
    let [x1, y1, x2, y2] = [next()?, next()?, next()?, next()?];
    work.bytes.clear();
    head(&mut work.bytes, POLYGON);
    count(&mut work.bytes, 1)?;
    count(&mut work.bytes, 5)?;
    for coordinate in [x1, y1, x1, y2, x2, y2, x2, y1, x1, y1] {
        number(&mut work.bytes, coordinate);
    }
    geometry(out, &work.bytes, "box", "");
    Some(())
}

/// `((0,0),(1,1),(1,0))`: one ring, closed.
pub(super) fn polygon(out: &mut Vec<u8>, text: &[u8], work: &mut Scratch) -> Option<()> {
    let all = || numbers(text).map(parsed);
    let total = all().count();
    let first = [all().next()??, all().nth(1)??];
    let last = [all().nth(total.checked_sub(2)?)??, all().last()??];
    let open = first.map(f64::to_bits) != last.map(f64::to_bits);
    work.bytes.clear();
    head(&mut work.bytes, POLYGON);
    count(&mut work.bytes, 1)?;
    count(&mut work.bytes, total / 2 + usize::from(open))?;
    for coordinate in all() {
        number(&mut work.bytes, coordinate?);
    }
    if open {
        first.into_iter().for_each(|coordinate| number(&mut work.bytes, coordinate));
    }
    geometry(out, &work.bytes, "polygon", "");
    Some(())
}

fn geometry(out: &mut Vec<u8>, bytes: &[u8], name: &str, closed: &str) {
    out.push(b'{');
    wkb(out, bytes);
    out.extend_from_slice(b",\"extensions\":{\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    out.extend_from_slice(closed.as_bytes());
    out.extend_from_slice(b"}}");
}
