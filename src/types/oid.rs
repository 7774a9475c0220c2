//! The object ids of the types that this client distinguishes, as PostgreSQL's `pg_type.dat`
//! defines them.
//!
//! `postgres_types::Type` has them too, but not as constants for a `match`. A test compares the
//! two.

use postgres_types::{Kind, Type};

pub const BOOL: u32 = 16;
pub const BYTEA: u32 = 17;
pub const CHAR: u32 = 18;
pub const NAME: u32 = 19;
pub const INT8: u32 = 20;
pub const INT2: u32 = 21;
pub const INT4: u32 = 23;
pub const TEXT: u32 = 25;
pub const OID: u32 = 26;
pub const XID: u32 = 28;
pub const CID: u32 = 29;
pub const JSON: u32 = 114;
pub const BOX: u32 = 603;
pub const ACLITEM: u32 = 1033;
pub const GTSVECTOR: u32 = 3642;
pub const FLOAT4: u32 = 700;
pub const FLOAT8: u32 = 701;
pub const UNKNOWN: u32 = 705;
pub const BPCHAR: u32 = 1042;
pub const VARCHAR: u32 = 1043;
pub const DATE: u32 = 1082;
pub const TIME: u32 = 1083;
pub const TIMESTAMP: u32 = 1114;
pub const TIMESTAMPTZ: u32 = 1184;
pub const INTERVAL: u32 = 1186;
pub const TIMETZ: u32 = 1266;
pub const NUMERIC: u32 = 1700;
pub const VOID: u32 = 2278;
pub const UUID: u32 = 2950;
pub const JSONB: u32 = 3802;
pub const XID8: u32 = 5069;

/// Stands for a type that the server has not named yet.
pub const NOT_KNOWN: u32 = 0;

/// The first oid that a type of users or extensions can have (`FirstNormalObjectId`).
pub const FIRST_OF_USERS: u32 = 16_384;

/// Whether only a server knows what type the oid means.
pub fn is_of_users(type_oid: u32) -> bool {
    Type::from_oid(type_oid).is_none() && type_oid != NOT_KNOWN
}

/// Whether the server reads a binary form of the type. Of the server's own types, all but these
/// have one.
pub const fn has_binary(type_oid: u32) -> bool {
    !matches!(type_oid, ACLITEM | GTSVECTOR)
}

/// The element type of an array type. For the server, the vectors of the system tables are arrays,
/// but their text form is not an array's.
pub(super) fn element(array_oid: u32) -> Option<u32> {
    let array = Type::from_oid(array_oid)?;
    if array == Type::RECORD_ARRAY {
        return Some(Type::RECORD.oid());
    }
    match array.kind() {
        Kind::Array(element) if array.name().starts_with('_') => Some(element.oid()),
        _ => None,
    }
}

/// The name that errors show, such as `int4` or `int4[]`. If only the server knows the name, it is
/// the oid.
pub(super) fn name(type_oid: u32) -> String {
    let Some(known) = Type::from_oid(type_oid) else { return type_oid.to_string() };
    match element(type_oid) {
        Some(element) => format!("{}[]", name(element)),
        None => known.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_those_of_postgres_types() {
        let table = [
            (BOOL, Type::BOOL),
            (BYTEA, Type::BYTEA),
            (CHAR, Type::CHAR),
            (NAME, Type::NAME),
            (INT8, Type::INT8),
            (INT2, Type::INT2),
            (INT4, Type::INT4),
            (TEXT, Type::TEXT),
            (OID, Type::OID),
            (XID, Type::XID),
            (CID, Type::CID),
            (FLOAT4, Type::FLOAT4),
            (FLOAT8, Type::FLOAT8),
            (UNKNOWN, Type::UNKNOWN),
            (BPCHAR, Type::BPCHAR),
            (VARCHAR, Type::VARCHAR),
            (NUMERIC, Type::NUMERIC),
            (VOID, Type::VOID),
            (XID8, Type::XID8),
            (JSON, Type::JSON),
            (BOX, Type::BOX),
            (DATE, Type::DATE),
            (TIME, Type::TIME),
            (TIMESTAMP, Type::TIMESTAMP),
            (TIMESTAMPTZ, Type::TIMESTAMPTZ),
            (INTERVAL, Type::INTERVAL),
            (TIMETZ, Type::TIMETZ),
            (UUID, Type::UUID),
            (JSONB, Type::JSONB),
        ];
        for (oid, expect) in table {
            assert_eq!(oid, expect.oid(), "{}", expect.name());
        }
    }
}
