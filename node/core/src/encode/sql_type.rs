//! The types that every server has: their names, and the codes of `java.sql.Types` for them.
//!
//! Sources: `pg_type` of PostgreSQL 18; `java.sql.Types`. Codes are those that the PostgreSQL JDBC
//! driver gives, but a type whose text is not what the code promises (money) is OTHER.

use crate::schema::RelationColumn;

const BIT: i32 = -7;
const BIGINT: i32 = -5;
const BINARY: i32 = -2;
const CHAR: i32 = 1;
const NUMERIC: i32 = 2;
const INTEGER: i32 = 4;
const SMALLINT: i32 = 5;
const REAL: i32 = 7;
const DOUBLE: i32 = 8;
const VARCHAR: i32 = 12;
const DATE: i32 = 91;
const TIME: i32 = 92;
const TIMESTAMP: i32 = 93;
const OTHER: i32 = 1111;
const STRUCT: i32 = 2002;
const ARRAY: i32 = 2003;
const SQLXML: i32 = 2009;
const REF_CURSOR: i32 = 2012;

/// A built-in type: object id, object id of its array (0: none), name, code; by object id.
type BuiltIn = (u32, u32, &'static str, i32);

const BUILT_IN: &[BuiltIn] = &[
    (16, 1000, "bool", BIT),
    (17, 1001, "bytea", BINARY),
    (18, 1002, "char", CHAR),
    (19, 1003, "name", VARCHAR),
    (20, 1016, "int8", BIGINT),
    (21, 1005, "int2", SMALLINT),
    (22, 1006, "int2vector", OTHER),
    (23, 1007, "int4", INTEGER),
    (24, 1008, "regproc", OTHER),
    (25, 1009, "text", VARCHAR),
    (26, 1028, "oid", BIGINT),
    (27, 1010, "tid", OTHER),
    (28, 1011, "xid", OTHER),
    (29, 1012, "cid", OTHER),
    (30, 1013, "oidvector", OTHER),
    (114, 199, "json", OTHER),
    (142, 143, "xml", SQLXML),
    (194, 0, "pg_node_tree", OTHER),
    (600, 1017, "point", OTHER),
    (601, 1018, "lseg", OTHER),
    (602, 1019, "path", OTHER),
    (603, 1020, "box", OTHER),
    (604, 1027, "polygon", OTHER),
    (628, 629, "line", OTHER),
    (650, 651, "cidr", OTHER),
    (700, 1021, "float4", REAL),
    (701, 1022, "float8", DOUBLE),
    (718, 719, "circle", OTHER),
    (774, 775, "macaddr8", OTHER),
    (790, 791, "money", OTHER),
    (829, 1040, "macaddr", OTHER),
    (869, 1041, "inet", OTHER),
    (1033, 1034, "aclitem", OTHER),
    (1042, 1014, "bpchar", CHAR),
    (1043, 1015, "varchar", VARCHAR),
    (1082, 1182, "date", DATE),
    (1083, 1183, "time", TIME),
    (1114, 1115, "timestamp", TIMESTAMP),
    (1184, 1185, "timestamptz", TIMESTAMP),
    (1186, 1187, "interval", OTHER),
    (1266, 1270, "timetz", TIME),
    (1560, 1561, "bit", BIT),
    (1562, 1563, "varbit", OTHER),
    (1700, 1231, "numeric", NUMERIC),
    (1790, 2201, "refcursor", REF_CURSOR),
    (2202, 2207, "regprocedure", OTHER),
    (2203, 2208, "regoper", OTHER),
    (2204, 2209, "regoperator", OTHER),
    (2205, 2210, "regclass", OTHER),
    (2206, 2211, "regtype", OTHER),
    (2950, 2951, "uuid", OTHER),
    (2970, 2949, "txid_snapshot", OTHER),
    (3220, 3221, "pg_lsn", OTHER),
    (3361, 0, "pg_ndistinct", OTHER),
    (3402, 0, "pg_dependencies", OTHER),
    (3614, 3643, "tsvector", OTHER),
    (3615, 3645, "tsquery", OTHER),
    (3642, 3644, "gtsvector", OTHER),
    (3734, 3735, "regconfig", OTHER),
    (3769, 3770, "regdictionary", OTHER),
    (3802, 3807, "jsonb", OTHER),
    (3904, 3905, "int4range", OTHER),
    (3906, 3907, "numrange", OTHER),
    (3908, 3909, "tsrange", OTHER),
    (3910, 3911, "tstzrange", OTHER),
    (3912, 3913, "daterange", OTHER),
    (3926, 3927, "int8range", OTHER),
    (4072, 4073, "jsonpath", OTHER),
    (4089, 4090, "regnamespace", OTHER),
    (4096, 4097, "regrole", OTHER),
    (4191, 4192, "regcollation", OTHER),
    (4451, 6150, "int4multirange", OTHER),
    (4532, 6151, "nummultirange", OTHER),
    (4533, 6152, "tsmultirange", OTHER),
    (4534, 6153, "tstzmultirange", OTHER),
    (4535, 6155, "datemultirange", OTHER),
    (4536, 6157, "int8multirange", OTHER),
    (4600, 0, "pg_brin_bloom_summary", OTHER),
    (4601, 0, "pg_brin_minmax_multi_summary", OTHER),
    (5017, 0, "pg_mcv_list", OTHER),
    (5038, 5039, "pg_snapshot", OTHER),
    (5069, 271, "xid8", OTHER),
];

/// The name of a column's type and its code. A type that is neither built in nor in the catalog any
/// more goes by its object id.
pub(crate) fn of(column: &RelationColumn) -> (String, i32) {
    let known = (!column.type_name.is_empty()).then(|| column.type_name.clone());
    let (built_in, code) = built_in(column.type_oid).unzip();
    let code = code.unwrap_or_else(|| match column.type_kind {
        'e' => VARCHAR,
        'c' => STRUCT,
        _ if column.type_name.ends_with("[]") => ARRAY,
        _ => OTHER,
    });
    (known.or(built_in).unwrap_or_else(|| column.type_oid.to_string()), code)
}

/// The element type of an array type that every server has.
pub(crate) fn element_of(type_oid: u32) -> Option<u32> {
    let found = BUILT_IN.iter().find(|(_, array, ..)| *array == type_oid && type_oid > 0)?;
    Some(found.0)
}

fn built_in(type_oid: u32) -> Option<(String, i32)> {
    let same = |(oid, array, ..): &&BuiltIn| *oid == type_oid || *array == type_oid;
    let (oid, _, name, code) = BUILT_IN.iter().filter(|_| type_oid > 0).find(same)?;
    let element = *oid == type_oid;
    Some(if element { ((*name).to_owned(), *code) } else { (format!("{name}[]"), ARRAY) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(type_oid: u32, type_kind: char, type_name: &str) -> RelationColumn {
        RelationColumn {
            name: String::new(),
            out_name: String::new(),
            type_oid,
            type_kind,
            type_name: type_name.to_owned(),
            in_identity: false,
            detail: crate::schema::ColumnDetail::default(),
        }
    }

    #[test]
    fn types_have_the_codes_of_java() {
        for (type_oid, kind, name, expected) in [
            (20, 'b', "int8", ("int8", -5)),
            (20, 'b', "", ("int8", -5)),
            (1007, 'b', "int4[]", ("int4[]", 2003)),
            (1007, 'b', "", ("int4[]", 2003)),
            (1184, 'b', "timestamptz", ("timestamptz", 93)),
            (3926, 'r', "int8range", ("int8range", 1111)),
            (790, 'b', "money", ("money", 1111)),
            (16_500, 'e', "mood", ("mood", 12)),
            (16_501, 'b', "mood[]", ("mood[]", 2003)),
            (16_502, 'c', "pair", ("pair", 2002)),
            (16_503, 'b', "", ("16503", 1111)),
            (0, 'b', "", ("0", 1111)),
        ] {
            let (name, code) = of(&column(type_oid, kind, name));
            assert_eq!((name.as_str(), code), expected, "{type_oid}");
        }
    }

    #[test]
    fn no_type_stands_twice_in_the_table() {
        let mut ids: Vec<_> = BUILT_IN.iter().flat_map(|(oid, array, ..)| [*oid, *array]).collect();
        ids.retain(|oid| *oid > 0);
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
