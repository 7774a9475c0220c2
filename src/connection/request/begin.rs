//! How a transaction begins.

use std::borrow::Cow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Isolation {
    const fn sql(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "READ UNCOMMITTED",
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

/// The modes of a BEGIN. `READ WRITE` is not offered, because a transaction that states it can
/// write even if the primary is fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// `None` leaves the level to `default_transaction_isolation`.
    pub isolation: Option<Isolation>,
    pub read_only: bool,
    pub deferrable: bool,
}

impl Begin {
    pub fn sql(self) -> Cow<'static, str> {
        if self == Self::default() {
            return Cow::Borrowed("BEGIN");
        }
        let isolation = self.isolation.map(|level| format!(" ISOLATION LEVEL {}", level.sql()));
        let read_only = if self.read_only { " READ ONLY" } else { "" };
        let deferrable = if self.deferrable { " DEFERRABLE" } else { "" };
        Cow::Owned(format!("BEGIN{}{read_only}{deferrable}", isolation.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_said() {
        assert_eq!(Begin::default().sql(), "BEGIN");
        let isolation = Some(Isolation::Serializable);
        let begin = Begin { isolation, read_only: true, deferrable: true };
        assert_eq!(begin.sql(), "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE");
        let begin = Begin { read_only: true, ..Begin::default() };
        assert_eq!(begin.sql(), "BEGIN READ ONLY");
    }
}
