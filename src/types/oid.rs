//! The object ids of the types that are told apart here, as PostgreSQL's `pg_type.dat` fixes them.
//!
//! `postgres_types::Type` knows them too, but not as constants that a `match` could use; a test holds
//! the two together.

use postgres_types::Type;

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
pub const FLOAT4: u32 = 700;
pub const FLOAT8: u32 = 701;
pub const UNKNOWN: u32 = 705;
pub const BPCHAR: u32 = 1042;
pub const VARCHAR: u32 = 1043;
pub const NUMERIC: u32 = 1700;
pub const VOID: u32 = 2278;
pub const XID8: u32 = 5069;

/// The oid that stands for "the server has not said yet".
pub const NOT_KNOWN: u32 = 0;

/// Types made by users and extensions have oids from here on (`FirstNormalObjectId`).
pub const FIRST_OF_USERS: u32 = 16_384;

/// The name as errors show it; the number where only the server knows the name.
pub(super) fn name(type_oid: u32) -> String {
    Type::from_oid(type_oid).map_or_else(|| type_oid.to_string(), |known| known.name().to_owned())
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
        ];
        for (oid, expect) in table {
            assert_eq!(oid, expect.oid(), "{}", expect.name());
        }
    }
}
