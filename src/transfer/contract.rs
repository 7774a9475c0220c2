//! The contract of Rust and JavaScript: every number, layout and word that both sides use, said
//! once.
//!
//! `npm run contract` writes it as `js/transfer/contract.cjs`, which is committed. A test fails
//! where that file says anything else than this one.

/// Constants that JavaScript has as the properties of one object, which has the module's name.
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

/// Stands where a record's tag stands in a pattern.
macro_rules! any {
    ($tag:expr) => {
        _
    };
}

/// Lists of words, each a struct whose fields are the words in their order. Behind a tag comes the
/// first field, else it is the first word. JavaScript has, in one object, the tag as `NAME`, the
/// place of each word as `NAME_FIELD`, and the count of words as `NAME_WORDS`.
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

/// How a column's cells are read, by the number in the description of a shape. A cell takes eight
/// bytes, of which JavaScript reads the low half as an Int32Array, or all as another view.
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
    /// How a column's cells are read: its lane.
    lanes {
        /// The low half is the end of the cell's text, in UTF-16 units from the batch's beginning.
        const TEXT: u8 = 0;
        /// The low half is a signed number.
        const INT32: u8 = 1;
        /// The low half is an unsigned number.
        const UINT32: u8 = 2;
        /// The low half is 0 or 1.
        const BOOL: u8 = 3;
        const FLOAT64: u8 = 4;
        const BIGINT64: u8 = 5;
        /// As TEXT; the text is JSON.
        const JSON: u8 = 6;
        /// As TEXT; the text is base64 without padding.
        const BYTES: u8 = 7;
        /// As TEXT; the text is JSON, whose innermost values are strings where JSON can't say them.
        const ARRAY: u8 = 8;
        /// JSON that stands beside the other text: the low half is where the document ends in that,
        /// in UTF-16 units.
        const JOINED: u8 = 9;
        /// As BIGINT64, unsigned.
        const BIGUINT64: u8 = 10;
    }
}

constants! {
    /// What the byte beside a cell says.
    cells {
        /// Zero, so that generated code asks for nothing else.
        const VALUE: u8 = 0;
        const NULL: u8 = 1;
        /// The value has crossed in pieces before.
        const CUT: u8 = 2;
    }
}

layouts! {
    /// The words of a segment: a header, and records, each behind its tag.
    ///
    /// All text of a segment is one string, in the order of the records; a RESULT's begins with its
    /// command, where that has no number, and goes on with its rows and the JSON that stands beside
    /// them.
    ///
    /// Long values of a long row come as PIECEs, in order. Then comes the row, in a RESULT of its
    /// own, whose flags say so: where the byte beside a cell is CUT, its value is the next of those
    /// that have come. A piece of bytes has a byte in each unit.
    records of i32 {
        /// Stands in front of the records.
        SEGMENT SegmentWords {
            /// How many words are used, with these.
            used,
            /// 1 where the addon has more.
            more,
        }
        /// Rows of a result, or its end, or both.
        RESULT 1 ResultWords {
            request,
            /// The shape's slot, or NONE.
            slot,
            rows,
            /// Its place in COMMANDS, or NONE.
            command,
            count_low,
            /// NONE where the command has no count.
            count_high,
            flags,
            /// 0 for none.
            lease,
            /// UTF-16 units of the command's text.
            command_units,
            /// UTF-16 units of the JSON behind the text of its rows.
            joined_units,
        }
        /// A request has failed.
        ERROR 2 ErrorWords {
            request,
            /// UTF-16 units of the JSON.
            units,
        }
        /// What the rows of a statement look like.
        SHAPE 3 ShapeWords {
            slot,
            /// UTF-16 units of the JSON.
            units,
        }
        /// Of the pool, for its listeners.
        EVENT 4 EventWords {
            /// UTF-16 units of the JSON.
            units,
        }
        /// A host's name is to be looked up.
        LOOKUP 5 LookupWords {
            token,
            /// UTF-16 units of the name.
            units,
        }
        /// The types of the parameters of a request whose values are to come.
        TYPES 6 TypesWords {
            request,
            /// UTF-16 units of the oids, separated by commas.
            units,
        }
        /// A part of a value of a long row.
        PIECE 7 PieceWords {
            request,
            /// UTF-16 units of the piece.
            units,
            /// Bytes of the whole value.
            size,
            flags,
        }
        /// What a TRACED request has met on its way to its answer.
        TRACE 8 TraceWords {
            request,
            /// Microseconds until it was first sent; NONE where it never was.
            waited,
            /// How often it was sent to be run.
            attempts,
            /// UTF-16 units of the host.
            units,
        }
        /// The function of the option `ssl` is to be asked.
        SSL 9 SslWords {
            question,
        }
    }
}

constants! {
    /// In place of something that there is none of.
    absences {
        /// In place of a slot, a command or a count of a RESULT.
        const NONE: i32 = -1;
        /// In place of the count of a request's values: they are arguments of the call.
        const ELSEWHERE: i32 = -1;
        /// In place of a time in milliseconds.
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
        /// One row, of which values have come in pieces.
        const LONG_ROW: i32 = 4;
    }
}

constants! {
    /// Flags of a PIECE.
    piece_flags {
        const LAST_PIECE: i32 = 1;
        /// The value is bytes, and not text.
        const BYTES: i32 = 2;
    }
}

constants! {
    /// What ran.
    commands {
        /// Command tags that have a number, which is their place here. So their names need not
        /// cross each time.
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
    /// The words of a request buffer, in which JavaScript writes a request.
    buffer_words of u32 {
        /// A request.
        BUFFER BufferWords {
            request,
            /// 0 for none.
            lease,
            statement,
            /// Those of the query.
            flags,
            /// How many values are in the buffer, or ELSEWHERE.
            count,
            /// Milliseconds: 0 for no limit, NO_LIMIT where the request has none of its own.
            limit,
            /// 1 where the statement is forgotten once the request is queued.
            is_transient,
            /// The numbers behind it take eight bytes each.
            unused,
        }
    }
}

constants! {
    /// The layout of a request buffer, in bytes: words, a code for each value, its number.
    request_buffer {
        /// Values that find room.
        const VALUES: usize = 32;
        const KINDS_AT: usize = super::buffer_words::BufferWords::WORDS * size_of::<u32>();
        const NUMBERS_AT: usize = KINDS_AT + VALUES;
        const LENGTH: usize = NUMBERS_AT + VALUES * size_of::<f64>();
    }
}

constants! {
    /// The codes of captured values, and of those in a request buffer. From NUMBER to JSON each has
    /// a number beside it: that of a text is its length.
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
        /// A parameter that is JSON. It may be too long to be copied once more into the text of
        /// all.
        const WHOLE_JSON: u8 = 11;
    }
}

constants! {
    /// How a request is to be treated.
    query_flags {
        /// The caller declares that it changes nothing: it may be sent again.
        const READ_ONLY: u32 = 1;
        /// The connection goes back once this is done and the session is in no transaction.
        const RELEASE: u32 = 1 << 2;
        /// It commits: where its answer is lost, the outcome is unknown.
        const COMMIT: u32 = 1 << 3;
        /// It may be given up, and given another limit.
        const CANCELLABLE: u32 = 1 << 8;
        /// No prepared statement is kept for it.
        const UNPREPARED: u32 = 1 << 9;
        /// Its values are to come, once TYPES has named their types. It is CANCELLABLE too.
        const VALUES_TO_COME: u32 = 1 << 10;
        /// Its values were written for the types that the addon has returned. TYPES may ask for
        /// them once more.
        const VALUES_WRITTEN: u32 = 1 << 12;
        /// A TRACE comes in front of its answer.
        const TRACED: u32 = 1 << 13;
        /// A ROLLBACK behind the limit of its transaction: it is waited for no longer than for a
        /// cancel.
        const HURRIED: u32 = 1 << 11;
        /// It belongs to a transaction, which begins with the first of its statements. Those bits
        /// that follow say how, and are the same for all of them.
        const TRANSACTION: u32 = 1 << 16;
        /// It ends the transaction: a COMMIT or a ROLLBACK.
        const END: u32 = 1 << 17;
        const BEGIN_READ_ONLY: u32 = 1 << 18;
        const BEGIN_DEFERRABLE: u32 = 1 << 19;
        /// Where the number of the isolation level stands, in three bits; 0 for the server's
        /// default.
        const ISOLATION_SHIFT: u32 = 20;
        /// The transaction failed before, perhaps because of the descriptions of its statements.
        /// They are described anew.
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
    /// Limits that both sides refuse beyond.
    limits {
        /// Bind counts its parameters in 16 bits (PostgreSQL manual, 55.7).
        const MOST_PARAMETERS: u32 = 65_535;
        /// In milliseconds: what a timer of JavaScript, and a socket option, can hold.
        const LONGEST_TIMEOUT: u32 = i32::MAX.cast_unsigned();
    }
}

constants! {
    /// What the addon throws.
    thrown {
        /// The `code` of every error; its message is JSON.
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
        // A checkout on Windows may end lines in another way.
        let is_same = committed.lines().eq(generated.lines());
        assert!(
            is_same,
            "js/transfer/contract.cjs is not what is generated from this file: npm run contract"
        );
    }
}
