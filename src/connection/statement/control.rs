//! What a statement does to the transaction that it is in, by its text.

use super::lexer::{SqlToken, first_tokens};

/// The effect of a statement on the transaction that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    None,
    Begin,
    Commit { chain: bool },
    Rollback { chain: bool },
    CommitPrepared,
    PrepareTransaction,
}

impl Control {
    pub(super) fn of(statement: &str) -> Self {
        let [first, second, third, fourth] = first_tokens::<4>(statement);
        let (behind, last) =
            if second.is_any(&["work", "transaction"]) { (third, fourth) } else { (second, third) };
        let chain = behind.is_word("and") && last.is_word("chain");
        if first.is_word("begin") || (first.is_word("start") && second.is_word("transaction")) {
            Self::Begin
        } else if first.is_word("commit") && second.is_word("prepared") {
            Self::CommitPrepared
        } else if first.is_any(&["commit", "end"]) {
            Self::Commit { chain }
        } else if first.is_word("prepare")
            && second.is_word("transaction")
            && matches!(third, SqlToken::Text { .. })
        {
            // A prepared statement may have this name.
            Self::PrepareTransaction
        } else if first.is_any(&["rollback", "abort"])
            && !second.is_word("prepared")
            && !behind.is_word("to")
        {
            Self::Rollback { chain }
        } else {
            Self::None
        }
    }

    pub(super) fn moves(self) -> bool {
        !matches!(self, Self::None | Self::CommitPrepared)
    }
}

/// Whether a statement ends a transaction, or begins one.
pub(in crate::connection) fn is_control(statement: &str) -> bool {
    Control::of(statement).moves()
}

/// Whether a transaction block is open behind a statement that has succeeded; `None` if that is as
/// it was in front of it.
pub(in crate::connection) fn block_behind(statement: &str) -> Option<bool> {
    match Control::of(statement) {
        Control::Begin => Some(true),
        Control::Commit { chain } | Control::Rollback { chain } => Some(chain),
        Control::PrepareTransaction => Some(false),
        Control::CommitPrepared | Control::None => None,
    }
}
