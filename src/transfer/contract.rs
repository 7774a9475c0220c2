//! The contract between Rust and JavaScript: every number, layout and word that both sides use is
//! defined here, and nowhere else.
//!
//! `npm run contract` writes the contract to `js/transfer/contract.cjs`, which is committed. A test
//! fails if that file differs from this one.

/// Constants that JavaScript gets as the properties of one object. The object has the module's
/// name.
macro_rules! constants {
    (
        $(#[doc = $about:literal])+
        $group:ident {
            $($(#[doc = $meaning:literal])* const $name:ident: $type:ty = $value:expr;)+
        }
    ) => {
        $(#[doc = $about])+
        pub mod $group {
            $($(#[doc = $meaning])* pub const $name: $type = $value;)+

            #[cfg(test)]
            pub(in crate::transfer) fn group() -> crate::transfer::javascript::Group {
                use crate::transfer::javascript::{Constant, Group};
                Group {
                    name: stringify!($group),
                    about: &[$($about),+],
                    constants: vec![$(Constant {
                        name: stringify!($name).to_owned(),
                        meaning: &[$($meaning),*],
                        value: (&$name).into(),
                    }),+],
                }
            }
        }
    };
}

/// Matches a record's tag in a pattern.
macro_rules! any {
    ($tag:expr) => {
        _
    };
}

/// Lists of words, each as a struct whose fields are the words in their order. If the list has a
/// tag, the tag is the first word, and the fields follow it. JavaScript gets one object with the
/// tag as `NAME`, the index of each word as `NAME_FIELD`, and the count of words as `NAME_WORDS`.
macro_rules! layouts {
    (
        $(#[doc = $about:literal])+
        $group:ident of $word:ty {
            $(
                $(#[doc = $meaning:literal])+
                $name:ident $($tag:literal)? $struct:ident {
                    $($(#[doc = $said:literal])* $field:ident,)+
                }
            )+
        }
    ) => {
        $(#[doc = $about])+
        pub mod $group {
            $(
                $(#[doc = $meaning])+
                #[derive(Clone, Copy, Debug)]
                pub struct $struct {
                    $($(#[doc = $said])* pub $field: $word,)+
                }

                impl $struct {
                    $(pub const TAG: $word = $tag;)?
                    pub const WORDS: usize =
                        [$(stringify!($tag),)? $(stringify!($field)),+].len();

                    #[inline]
                    pub const fn words(self) -> [$word; Self::WORDS] {
                        [$($tag,)? $(self.$field),+]
                    }

                    #[inline]
                    pub const fn of(words: [$word; Self::WORDS]) -> Self {
                        let [$(any!($tag),)? $($field),+] = words;
                        Self { $($field),+ }
                    }
                }
            )+

            #[cfg(test)]
            pub(in crate::transfer) fn group() -> crate::transfer::javascript::Group {
                use crate::transfer::javascript::{Constant, Group};
                let mut constants = Vec::new();
                $(
                    let tag: &[$word] = &[$($tag)?];
                    if let [tag] = tag {
                        constants.push(Constant::new(stringify!($name), &[$($meaning),+], tag));
                    }
                    let meanings: &[&'static [&'static str]] = &[$(&[$($said),*]),+];
                    let fields = [$(stringify!($field)),+];
                    for (n, (field, meaning)) in fields.iter().zip(meanings).enumerate() {
                        let name = format!("{}_{field}", stringify!($name)).to_uppercase();
                        let place = n + tag.len();
                        constants.push(Constant::new(&name, meaning, &place));
                    }
                    let name = concat!(stringify!($name), "_WORDS");
                    constants.push(Constant::new(name, &[], &$struct::WORDS));
                )+
                Group { name: stringify!($group), about: &[$($about),+], constants }
            }
        }
    };
}

/// How the cells of a column are read. The description of a shape has the lane's number. A cell
/// takes eight bytes. JavaScript reads either the low half, as an Int32Array, or all of it through
/// another view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lane {
    Text = lanes::TEXT,
    Int32 = lanes::INT32,
    Uint32 = lanes::UINT32,
    Bool = lanes::BOOL,
    Float64 = lanes::FLOAT64,
    BigInt64 = lanes::BIGINT64,
    Json = lanes::JSON,
    Bytes = lanes::BYTES,
    Array = lanes::ARRAY,
    Joined = lanes::JOINED,
    BigUint64 = lanes::BIGUINT64,
}

constants! {
    /// The lanes: how the cells of a column are read.
    lanes {
        /// The low half is the end of the cell's text, in UTF-16 units from the start of the batch.
        const TEXT: u8 = 0;
        /// The low half is a signed integer.
        const INT32: u8 = 1;
        /// The low half is an unsigned integer.
        const UINT32: u8 = 2;
        /// The low half is 0 or 1.
        const BOOL: u8 = 3;
        const FLOAT64: u8 = 4;
        const BIGINT64: u8 = 5;
        /// Like TEXT. The text is JSON.
        const JSON: u8 = 6;
        /// Like TEXT. The text is base64 without padding.
        const BYTES: u8 = 7;
        /// Like TEXT. The text is JSON, with a string for each element that JSON can't express
        /// exactly.
        const ARRAY: u8 = 8;
        /// JSON that is kept apart from the other text. The low half is the end of the cell's
        /// document in that JSON, in UTF-16 units.
        const JOINED: u8 = 9;
        /// Like BIGINT64, but unsigned.
        const BIGUINT64: u8 = 10;
    }
}

constants! {
    /// The byte that each cell has in addition says what the cell holds.
    cells {
        /// Zero, so that generated code can test for it without a comparison.
        const VALUE: u8 = 0;
        const NULL: u8 = 1;
        /// The value has crossed before, in pieces.
        const CUT: u8 = 2;
    }
}

layouts! {
    /// The words of a segment: a header, then records, each after its tag.
    ///
    /// All text of a segment is one string, in the order of the records. The text of a RESULT
    /// begins with its command, if the command has no number. Then come the text of its rows and
    /// the JSON that is kept apart from that text.
    ///
    /// The long values of a long row come first, as PIECEs, in order. The row follows in a RESULT
    /// of its own with the flag LONG_ROW. A cell marked CUT stands for the next of the values that
    /// have come. In a piece of bytes, each unit is one byte.
    records of i32 {
        /// The header, before the records.
        SEGMENT SegmentWords {
            /// How many words are used, including the header.
            used,
            /// 1 if the addon has more records.
            more,
        }
        /// Rows of a result, the end of a result, or both.
        RESULT 1 ResultWords {
            request,
            /// The slot of the shape, or NONE.
            slot,
            rows,
            /// The index of the command in COMMANDS, or NONE.
            command,
            count_low,
            /// NONE if the command has no count.
            count_high,
            flags,
            /// 0 if there is no lease.
            lease,
            /// The length of the command's text in UTF-16 units.
            command_units,
            /// The length in UTF-16 units of the JSON that follows the text of the rows.
            joined_units,
        }
        /// A request has failed.
        ERROR 2 ErrorWords {
            request,
            /// The length of the JSON in UTF-16 units.
            units,
        }
        /// The columns of a statement's rows.
        SHAPE 3 ShapeWords {
            slot,
            /// The length of the JSON in UTF-16 units.
            units,
        }
        /// An event of the pool, for its listeners.
        EVENT 4 EventWords {
            /// The length of the JSON in UTF-16 units.
            units,
        }
        /// JavaScript is to look up a host's name.
        LOOKUP 5 LookupWords {
            token,
            /// The length of the name in UTF-16 units.
            units,
        }
        /// The types of the parameters of a request whose values are still to come.
        TYPES 6 TypesWords {
            request,
            /// The length in UTF-16 units of the oids, which are separated by commas.
            units,
        }
        /// A part of one value of a long row.
        PIECE 7 PieceWords {
            request,
            /// The length of the piece in UTF-16 units.
            units,
            /// The length of the whole value in bytes.
            size,
            flags,
        }
        /// What happened to a TRACED request before its answer.
        TRACE 8 TraceWords {
            request,
            /// Microseconds until the request was first sent, or NONE if it was never sent.
            waited,
            /// How often the request was sent for execution.
            attempts,
            /// The length of the host in UTF-16 units.
            units,
        }
        /// JavaScript is to call the function of the option `ssl`.
        SSL 9 SslWords {
            question,
        }
        /// The function of the option `password` is to be asked, for a login at a host.
        PASSWORD 10 PasswordWords {
            question,
            /// UTF-16 units of the host.
            units,
        }
    }
}

constants! {
    /// Numbers that stand for an absent value.
    absences {
        /// Instead of a slot, a command or a count of a RESULT.
        const NONE: i32 = -1;
        /// Instead of the count of a request's values: the values are arguments of the call.
        const ELSEWHERE: i32 = -1;
        /// Instead of a time in milliseconds.
        const NO_LIMIT: u32 = u32::MAX;
    }
}

constants! {
    /// Flags of a RESULT.
    result_flags {
        /// The result has no more rows.
        const RESULT_COMPLETE: i32 = 1;
        /// The request has no more results.
        const REQUEST_COMPLETE: i32 = 2;
        /// The result is one row, of which some values have come in pieces.
        const LONG_ROW: i32 = 4;
    }
}

constants! {
    /// Flags of a PIECE.
    piece_flags {
        const LAST_PIECE: i32 = 1;
        /// The value is bytes, not text.
        const BYTES: i32 = 2;
    }
}

constants! {
    /// What the server ran.
    commands {
        /// The command tags that have a number, which is the tag's index here. So these tags need
        /// not cross each time.
        const COMMANDS: [&str; 30] = [
            "",
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "MERGE",
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT",
            "RELEASE",
            "SET",
            "SHOW",
            "CREATE TABLE",
            "DROP TABLE",
            "COPY",
            "FETCH",
            "MOVE",
            "DO",
            "CALL",
            "LISTEN",
            "NOTIFY",
            "UNLISTEN",
            "PREPARE",
            "DEALLOCATE",
            "DISCARD ALL",
            "TRUNCATE TABLE",
            "EXPLAIN",
            "VACUUM",
            "ANALYZE",
        ];
    }
}

layouts! {
    /// The words of a request buffer. JavaScript writes a request into it.
    buffer_words of u32 {
        /// A request.
        BUFFER BufferWords {
            request,
            /// 0 if there is no lease.
            lease,
            statement,
            /// The flags of the request, from the group of query flags.
            flags,
            /// How many values are in the buffer, or ELSEWHERE.
            count,
            /// In milliseconds. 0 is no limit; NO_LIMIT says that the request has no limit of its
            /// own.
            limit,
            /// 1 if the statement's number is to be forgotten once the request is queued.
            is_transient,
            /// Padding: each of the numbers that follow takes eight bytes.
            unused,
        }
    }
}

constants! {
    /// The layout of a request buffer, in bytes: the words, a code for each value, a number for
    /// each value.
    request_buffer {
        /// How many values fit.
        const VALUES: usize = 32;
        const KINDS_AT: usize = super::buffer_words::BufferWords::WORDS * size_of::<u32>();
        const NUMBERS_AT: usize = KINDS_AT + VALUES;
        const LENGTH: usize = NUMBERS_AT + VALUES * size_of::<f64>();
    }
}

constants! {
    /// The codes of captured values, also in a request buffer. The codes from NUMBER to JSON have a
    /// number with them. For text, the number is the length.
    codes {
        const CLOSE: u8 = 0;
        const OPEN: u8 = 1;
        const NULL: u8 = 2;
        const FALSE: u8 = 3;
        const TRUE: u8 = 4;
        const NUMBER: u8 = 5;
        const DATE: u8 = 6;
        const TEXT: u8 = 7;
        const BIGINT: u8 = 8;
        const JSON: u8 = 9;
        const BYTES: u8 = 10;
        /// A parameter that is JSON. It may be too long to be copied into the joined text of all
        /// values.
        const WHOLE_JSON: u8 = 11;
    }
}

constants! {
    /// How the addon is to treat a request.
    query_flags {
        /// The caller declares the request to be read-only, so the pool may send it again.
        const READ_ONLY: u32 = 1;
        /// The lease is released once this request is done, if the session is then in no
        /// transaction.
        const RELEASE: u32 = 1 << 2;
        /// The request commits. If its answer is lost, the outcome is unknown.
        const COMMIT: u32 = 1 << 3;
        /// The caller may cancel the request, and may change its limit.
        const CANCELLABLE: u32 = 1 << 8;
        /// No prepared statement is kept for the request.
        const UNPREPARED: u32 = 1 << 9;
        /// The values follow once TYPES has given their types. The request is CANCELLABLE too.
        const VALUES_TO_COME: u32 = 1 << 10;
        /// The values were written for types that the addon returned earlier. If the types have
        /// changed, TYPES asks for the values again.
        const VALUES_WRITTEN: u32 = 1 << 12;
        /// A TRACE precedes the answer.
        const TRACED: u32 = 1 << 13;
        /// A ROLLBACK after the transaction's limit. The pool waits for its answer only as long as
        /// for a cancel.
        const HURRIED: u32 = 1 << 11;
        /// The request belongs to a transaction, which begins with its first statement. The bits
        /// below describe the transaction, and are the same for all of its statements.
        const TRANSACTION: u32 = 1 << 16;
        /// The request ends the transaction: a COMMIT or a ROLLBACK.
        const END: u32 = 1 << 17;
        const BEGIN_READ_ONLY: u32 = 1 << 18;
        const BEGIN_DEFERRABLE: u32 = 1 << 19;
        /// The position of the isolation level's number, which has three bits. 0 is the server's
        /// default.
        const ISOLATION_SHIFT: u32 = 20;
        /// The transaction has failed before, perhaps because a statement's description was stale.
        /// The statements are described again.
        const REPEATED: u32 = 1 << 23;
    }
}

constants! {
    /// Isolation levels.
    isolation_levels {
        const READ_UNCOMMITTED: u32 = 1;
        const READ_COMMITTED: u32 = 2;
        const REPEATABLE_READ: u32 = 3;
        const SERIALIZABLE: u32 = 4;
    }
}

constants! {
    /// Limits that both sides enforce.
    limits {
        /// Bind counts its parameters in 16 bits (PostgreSQL manual, 55.7).
        const MOST_PARAMETERS: u32 = 65_535;
        /// In milliseconds: the most that a timer in JavaScript and a socket option can hold.
        const LONGEST_TIMEOUT: u32 = i32::MAX.cast_unsigned();
    }
}

constants! {
    /// Errors that the addon throws.
    thrown {
        /// The `code` of every error. The error's message is JSON.
        const THROWN_MARK: &str = "THROWN_BY_ADDON";
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::transfer::javascript::file_of;

    #[test]
    fn the_committed_file_of_javascript_is_the_one_that_is_generated() {
        let generated = file_of(&[
            lanes::group(),
            cells::group(),
            records::group(),
            absences::group(),
            result_flags::group(),
            piece_flags::group(),
            commands::group(),
            buffer_words::group(),
            request_buffer::group(),
            codes::group(),
            query_flags::group(),
            isolation_levels::group(),
            limits::group(),
            thrown::group(),
        ]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("js/transfer/contract.cjs");
        if std::env::var_os("HYPERION_WRITE_CONTRACT").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        // Git on Windows may check the file out with other line ends.
        let is_same = committed.lines().eq(generated.lines());
        assert!(
            is_same,
            "js/transfer/contract.cjs is not what is generated from this file: npm run contract"
        );
    }
}
