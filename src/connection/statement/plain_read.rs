//! Which statements only read, as far as their text can show. Such a statement writes nothing and
//! takes no row lock or advisory lock, so it waits for no other transaction. Only such a statement
//! may share a connection with other requests in flight. If its text is also certain ([`is_sure`]),
//! it can be sent a second time.
//!
//! A text is plain if all of it is understood: a SELECT, VALUES, TABLE or SHOW with known
//! functions, operators and types (`plain_names`). Anything unknown makes it not plain. A text does
//! not show:
//! - the effects of a view, a rule or a row security policy;
//! - a user's function or operator with the name of a system one, for the user's own types or from
//!   a schema that `search_path` explicitly places before `pg_catalog`;
//! - a function that is called as a column of its argument, `row.name`, and the functions of
//!   user-made casts;
//! - a table that another transaction has locked, as ALTER TABLE does.
//!
//! In these cases there is a limit on how long a plain read waits behind others
//! (`src/pool/calls/overtaking.rs`).

use super::lexer::{SqlToken, tokens};
use super::plain_names::{FUNCTIONS, OPERATORS, RESERVED, TYPES};

/// The longest text that is examined, in bytes. A longer text gains nothing from sharing a
/// connection.
const LONGEST: usize = 1 << 16;
/// Words of statements that write, or that turn a read into something else. RETURNING can also come
/// before a type, and OPERATOR before any operator.
const NEVER: [&str; 7] = ["into", "insert", "update", "delete", "merge", "returning", "operator"];
/// The words after FOR that lock rows.
const LOCKS: [&str; 4] = ["update", "no", "share", "key"];
/// Key words after which the grammar itself allows a parenthesis, so that they are not the name of
/// a function or type there.
const SYNTAX: [&str; 27] = [
    "between",
    "bit",
    "char",
    "character",
    "coalesce",
    "dec",
    "decimal",
    "exists",
    "extract",
    "float",
    "greatest",
    "grouping",
    "interval",
    "least",
    "national",
    "nchar",
    "normalize",
    "nullif",
    "numeric",
    "overlay",
    "position",
    "row",
    "substring",
    "time",
    "timestamp",
    "trim",
    "values",
];
/// Words that may follow the name of a type.
const OF_TYPES: [&str; 7] = ["varying", "precision", "with", "without", "time", "zone", "array"];
/// Key words that can also be names, and that are followed by an operand.
const BEFORE_OPERANDS: [&str; 6] = ["between", "by", "escape", "ilike", "like", "zone"];

/// Volatile functions that change only what the session itself may see.
const HARMLESS: [&str; 10] = [
    "clock_timestamp",
    "gen_random_uuid",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "random",
    "random_normal",
    "timeofday",
    "uuidv4",
    "uuidv7",
];

/// Common functions that change something, but not what names mean. What a text shows of
/// `set_config` is seen elsewhere (`naming`).
const VOLATILE: [&str; 13] = [
    "currval",
    "lastval",
    "nextval",
    "pg_advisory_lock",
    "pg_advisory_unlock",
    "pg_advisory_xact_lock",
    "pg_current_xact_id",
    "pg_notify",
    "pg_try_advisory_lock",
    "pg_try_advisory_xact_lock",
    "set_config",
    "setval",
    "txid_current",
];
/// Key words that can also be names, and that may come before a parenthesis.
const BEFORE: [&str; 18] = [
    "by",
    "columns",
    "conflict",
    "cube",
    "escape",
    "filter",
    "ilike",
    "join",
    "like",
    "materialized",
    "over",
    "overlaps",
    "partition",
    "rollup",
    "set",
    "sets",
    "within",
    "zone",
];

/// Whether the text is a single statement that only reads.
pub(in crate::connection) fn is_plain_read(sql: &str) -> bool {
    reads(sql, &[])
}

/// Whether the text is a single statement that changes nothing: a plain read, or a statement that
/// makes its session wait.
pub(in crate::connection) fn changes_nothing(sql: &str) -> bool {
    reads(sql, &HARMLESS)
}

/// Whether the text is a single statement that reads, and calls only known or allowed functions.
fn reads(sql: &str, allowed: &'static [&'static str]) -> bool {
    if sql.len() > LONGEST {
        return false;
    }
    let mut parts = parts(sql);
    while parts.last() == Some(&Part::Symbol(';')) {
        parts.pop();
    }
    let open = parts.iter().take_while(|part| **part == Part::Symbol('(')).count();
    let Some(Part::Word(first)) = parts.get(open) else { return false };
    match first.as_str() {
        "select" | "values" | "table" | "with" => Reader::new(&parts, allowed).reads().is_some(),
        "show" => open == 0 && parts.iter().all(Part::is_of_name),
        _ => false,
    }
}

/// Whether a plain read certainly does what its text says, so that it may run twice. If a user's
/// function or operator has the name of a system one, and its parameter types fit better, the
/// server prefers the user's. So every call must have a schema or no arguments, and every operator
/// must compare or calculate.
pub(in crate::connection) fn is_sure(sql: &str) -> bool {
    const SURE: [&str; 13] = ["=", "<>", "!=", "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "||"];
    let parts = parts(sql);
    let at = |n: usize| parts.get(n);
    parts.iter().enumerate().all(|(n, part)| match part {
        Part::Operator(operator) => SURE.contains(operator),
        Part::Word(word) if at(n + 1) == Some(&Part::Symbol('(')) && has(FUNCTIONS, word) => {
            let has_schema = n >= 2
                && at(n - 1) == Some(&Part::Symbol('.'))
                && at(n - 2).is_some_and(|schema| schema.is("pg_catalog"));
            let is_empty = at(n + 2) == Some(&Part::Symbol(')'))
                || (at(n + 2) == Some(&Part::Operator("*"))
                    && at(n + 3) == Some(&Part::Symbol(')')));
            has_schema || is_empty || SYNTAX.contains(&word.as_str())
        }
        _ => true,
    })
}

/// Whether a statement calls a function that is not PostgreSQL's own, as far as its text shows. A
/// text does not show the functions of triggers, views and operators.
pub(in crate::connection) fn calls_user_code(sql: &str) -> bool {
    let parts = parts(sql);
    let at = |n: usize| parts.get(n);
    let is_call = |n: usize, part: &Part<'_>| {
        if at(n + 1) != Some(&Part::Symbol('(')) || !matches!(part, Part::Word(_) | Part::Quoted(_))
        {
            return false;
        }
        let schema =
            n.checked_sub(2).filter(|_| at(n - 1) == Some(&Part::Symbol('.'))).and_then(at);
        let before = n.checked_sub(if schema.is_some() { 3 } else { 1 }).and_then(at);
        // The names of columns follow, and not arguments.
        let names_columns = ["into", "as", "with", "recursive"];
        if before.is_some_and(|part| part.is_any(&names_columns)) {
            return false;
        }
        match (part.word(), schema) {
            (Some(name), Some(schema)) => !(schema.is("pg_catalog") && is_own(name)),
            (Some(name), None) => !is_own(name) && !has(RESERVED, name) && !BEFORE.contains(&name),
            (None, _) => true,
        }
    };
    parts.iter().enumerate().any(|(n, part)| is_call(n, part))
}

/// Whether PostgreSQL itself has a function or a type of this name, of those that are known here.
fn is_own(name: &str) -> bool {
    has(FUNCTIONS, name)
        || has(TYPES, name)
        || [&SYNTAX[..], &HARMLESS, &VOLATILE].iter().any(|names| names.contains(&name))
}

/// Whether a table contains a name. Its names are sorted by their bytes.
fn has(table: &str, name: &str) -> bool {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let (mut rest, name) = (table.as_bytes(), name.as_bytes());
    while !rest.is_empty() {
        let (before, behind) = rest.split_at(rest.len() / 2);
        let start = before.iter().rposition(is_blank).map_or(0, |at| at + 1);
        let end = behind.iter().position(is_blank).map_or(rest.len(), |at| before.len() + at);
        let found = rest.get(start..end).unwrap_or_default();
        rest = match found.cmp(name) {
            std::cmp::Ordering::Equal => return !name.is_empty(),
            std::cmp::Ordering::Less => rest.get(end + 1..).unwrap_or_default(),
            std::cmp::Ordering::Greater => rest.get(..start.saturating_sub(1)).unwrap_or_default(),
        };
    }
    false
}

/// A token in the form that matters here: words are in lower case, and the characters of an
/// operator are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<'a> {
    Word(String),
    Quoted(&'a str),
    /// A string that ends at the same place under all settings of the session.
    Text,
    Value,
    Operator(&'a str),
    Symbol(char),
    Unclear,
}

impl Part<'_> {
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    fn is_any(&self, words: &[&str]) -> bool {
        self.word().is_some_and(|found| words.contains(&found))
    }

    fn is_of_name(&self) -> bool {
        matches!(self, Self::Word(_) | Self::Quoted(_) | Self::Symbol('.'))
    }
}

fn is_of_operator(symbol: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(symbol)
}

fn parts(sql: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut tokens = tokens(sql);
    // Where the operator at the end of `parts` begins, and where the last token ended.
    let (mut operator, mut end) = (0, 0);
    while let Some(token) = tokens.next() {
        let ended = std::mem::replace(&mut end, sql.len() - tokens.rest().len());
        let part = match token {
            SqlToken::Word(word) => Part::Word(word.to_ascii_lowercase()),
            SqlToken::Quoted(name) => Part::Quoted(name),
            SqlToken::Text { is_ambiguous: false, .. } => Part::Text,
            SqlToken::Text { is_ambiguous: true, .. } => Part::Unclear,
            SqlToken::Number(_) | SqlToken::Parameter(_) => Part::Value,
            SqlToken::Symbol(symbol) if is_of_operator(symbol) => {
                let begins = end - symbol.len_utf8();
                if begins == ended && matches!(parts.last(), Some(Part::Operator(_))) {
                    parts.pop();
                } else {
                    operator = begins;
                }
                Part::Operator(sql.get(operator..end).unwrap_or(""))
            }
            SqlToken::Symbol(symbol) => Part::Symbol(symbol),
        };
        parts.push(part);
    }
    parts
}

/// Whether an operator is known. Signs at its end that belong to the following operand do not count
/// (manual, 4.1.3).
fn is_known_operator(mut operator: &str) -> bool {
    if !operator.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']) {
        while operator.len() > 1 && operator.ends_with(['+', '-']) {
            operator = operator.get(..operator.len() - 1).unwrap_or("");
        }
    }
    // `=>` is not an operator: it names an argument.
    has(OPERATORS, operator) || operator == "!=" || operator == "=>"
}

/// The content of a pair of parentheses or brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Expression,
    /// `CAST(value AS type)`
    Cast,
    /// Names of columns, perhaps with types.
    Columns,
    /// `DISTINCT ON (...)`, after which an expression follows.
    DistinctOn,
    Bracket,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    /// Whether the reader is in the WITH list, before the statement itself.
    in_with: bool,
}

impl Frame {
    fn of(kind: Kind) -> Self {
        Self { kind, in_with: false }
    }
}

struct Reader<'a> {
    parts: &'a [Part<'a>],
    frames: Vec<Frame>,
    /// The kind of the last parenthesis that was closed.
    closed: Kind,
    /// Functions that may be called in addition to those that only read.
    allowed: &'static [&'static str],
}

/// `None` for a text that is not plain.
type Plain = Option<()>;

fn only_if(condition: bool) -> Plain {
    condition.then_some(())
}

impl<'a> Reader<'a> {
    fn new(parts: &'a [Part<'a>], allowed: &'static [&'static str]) -> Self {
        let frames = vec![Frame::of(Kind::Expression)];
        Self { parts, frames, closed: Kind::Expression, allowed }
    }

    fn may_call(&self, name: &str) -> bool {
        has(FUNCTIONS, name) || self.allowed.contains(&name)
    }

    fn reads(mut self) -> Plain {
        for at in 0..self.parts.len() {
            self.part(at)?;
        }
        only_if(self.frames.len() == 1)
    }

    fn kind(&self) -> Kind {
        self.frames.last().map_or(Kind::Expression, |frame| frame.kind)
    }

    /// The part that is `count` parts before `at`.
    fn before(&self, at: usize, count: usize) -> Option<&'a Part<'a>> {
        self.parts.get(at.checked_sub(count)?)
    }

    fn follows(&self, at: usize, words: &[&str]) -> bool {
        self.before(at, 1).is_some_and(|part| part.is_any(words))
    }

    fn is_symbol(&self, at: usize, symbol: char) -> bool {
        self.parts.get(at) == Some(&Part::Symbol(symbol))
    }

    fn part(&mut self, at: usize) -> Plain {
        self.check_column(at)?;
        match self.parts.get(at)? {
            Part::Symbol('(') => {
                let kind = self.parenthesis(at)?;
                self.frames.push(Frame::of(kind));
                Some(())
            }
            Part::Symbol(')') => {
                self.closed = self.frames.pop()?.kind;
                only_if(self.closed != Kind::Bracket && !self.frames.is_empty())
            }
            Part::Symbol('[') => {
                self.frames.push(Frame::of(Kind::Bracket));
                Some(())
            }
            Part::Symbol(']') => only_if(self.frames.pop()?.kind == Kind::Bracket),
            Part::Symbol(':') if self.is_symbol(at + 1, ':') => self.type_name(at + 2),
            Part::Symbol(':') if at > 0 && self.is_symbol(at - 1, ':') => Some(()),
            Part::Symbol(':') => only_if(self.kind() == Kind::Bracket),
            // This may be a function that is called as a column of its argument.
            Part::Symbol('.') => {
                let is_behind = |symbol| at > 0 && self.is_symbol(at - 1, symbol);
                only_if(!is_behind(')') && !is_behind(']'))
            }
            Part::Symbol(',') | Part::Text | Part::Value => Some(()),
            Part::Symbol(_) | Part::Unclear => None,
            Part::Operator(operator) => only_if(is_known_operator(operator)),
            // This may be a constant of a type whose name is quoted.
            Part::Quoted(_) => only_if(self.parts.get(at + 1) != Some(&Part::Text)),
            Part::Word(word) => self.word(at, word),
        }
    }

    /// Checks a list of columns, in which only names, commas and types are understood.
    fn check_column(&self, at: usize) -> Plain {
        if self.kind() != Kind::Columns {
            return Some(());
        }
        let is_name =
            self.is_symbol(at.wrapping_sub(1), '(') || self.is_symbol(at.wrapping_sub(1), ',');
        match self.parts.get(at)? {
            Part::Quoted(_) => only_if(is_name),
            Part::Word(word) if is_name => only_if(!has(RESERVED, word)),
            Part::Word(word) => only_if(has(TYPES, word) || OF_TYPES.contains(&word.as_str())),
            // The size of a type.
            Part::Symbol('(') => only_if(
                !self.is_symbol(at.wrapping_sub(2), '(')
                    && !self.is_symbol(at.wrapping_sub(2), ','),
            ),
            Part::Symbol(')' | ',' | '[' | ']') => Some(()),
            Part::Symbol(_) | Part::Text | Part::Value | Part::Operator(_) | Part::Unclear => None,
        }
    }

    fn word(&mut self, at: usize, word: &str) -> Plain {
        only_if(!NEVER.contains(&word))?;
        let next = self.parts.get(at + 1);
        let begins = at == 0 || self.is_symbol(at - 1, '(');
        let in_list =
            self.follows(at, &["with", "recursive"]) || (at > 0 && self.is_symbol(at - 1, ','));
        let frame = self.frames.last_mut()?;
        if word == "with" && begins {
            frame.in_with = true;
        } else if !in_list && !["as", "not", "materialized", "recursive"].contains(&word) {
            frame.in_with = false;
        }
        match word {
            "for" => only_if(!next.is_some_and(|next| next.is_any(&LOCKS)))?,
            "as" if self.kind() == Kind::Cast => self.type_name(at + 1)?,
            _ => {}
        }
        match next {
            Some(Part::Text | Part::Unclear) => self.before_text(at, word),
            _ => Some(()),
        }
    }

    /// Checks a word before a string: it is the string's type, or a key word.
    fn before_text(&self, at: usize, word: &str) -> Plain {
        if at > 0 && self.is_symbol(at - 1, '.') {
            return self.type_name(at.checked_sub(2)?);
        }
        let known = match word {
            "zone" => self.follows(at, &["time"]),
            "precision" => self.follows(at, &["double"]),
            "varying" => self.follows(at, &["character", "char", "nchar", "bit"]),
            "between" => true,
            "like" | "ilike" | "escape" | "uescape" => {
                let at = at - usize::from(self.follows(at, &["not"]));
                self.is_behind_operand(at)
            }
            _ => has(RESERVED, word) || has(TYPES, word),
        };
        only_if(known)
    }

    /// Whether the part before `at` can be the end of an operand.
    fn is_behind_operand(&self, at: usize) -> bool {
        match self.before(at, 1) {
            Some(Part::Word(word)) => {
                !has(RESERVED, word) && !BEFORE_OPERANDS.contains(&word.as_str())
                    || ["end", "null", "true", "false"].contains(&word.as_str())
            }
            Some(Part::Quoted(_) | Part::Text | Part::Value | Part::Symbol(')' | ']')) => true,
            _ => false,
        }
    }

    /// Whether the name at `at` is a system type's. The input function of another type, or the
    /// check of a domain, may do anything.
    fn type_name(&self, at: usize) -> Plain {
        let at = match self.parts.get(at)? {
            Part::Word(schema) if schema == "pg_catalog" && self.is_symbol(at + 1, '.') => at + 2,
            _ => at,
        };
        let known = match self.parts.get(at)? {
            Part::Word(word) => has(TYPES, word),
            Part::Quoted(name) => *name == "char",
            _ => false,
        };
        only_if(known && !self.is_symbol(at + 1, '.'))
    }

    /// The kind of a parenthesis. `None` if it may belong to an unknown call.
    fn parenthesis(&self, at: usize) -> Option<Kind> {
        let Some(before) = at.checked_sub(1) else { return Some(Kind::Expression) };
        let word = match self.parts.get(before)? {
            Part::Word(word) => word.as_str(),
            Part::Quoted(_) => return self.columns(before),
            Part::Symbol('.') | Part::Unclear => return None,
            _ => return Some(Kind::Expression),
        };
        if before > 0 && self.is_symbol(before - 1, '.') {
            let schema = self.before(before, 2)?;
            let is_whole = !self.before(before, 3).is_some_and(|part| *part == Part::Symbol('.'));
            let known = self.may_call(word) || has(TYPES, word);
            return (schema.is("pg_catalog") && is_whole && known).then_some(Kind::Expression);
        }
        match word {
            "cast" => return Some(Kind::Cast),
            "on" if self.follows(before, &["distinct"]) => return Some(Kind::DistinctOn),
            "as" => return Some(self.behind_as(at)),
            _ if has(RESERVED, word) || SYNTAX.contains(&word) => return Some(Kind::Expression),
            _ => {}
        }
        let is_syntax = match word {
            "by" => self.follows(before, &["group", "order", "partition"]),
            "sets" => self.follows(before, &["grouping"]),
            "zone" => self.follows(before, &["time"]),
            "varying" => self.follows(before, &["character", "char", "nchar", "bit"]),
            "rollup" | "cube" => {
                self.follows(before, &["by"]) && self.before(before, 2)?.is("group")
            }
            "materialized" => self.follows(before, &["as", "not"]),
            "join" | "ilike" => self.is_behind_operand(before),
            "over" | "filter" => self.is_behind_call(before),
            _ => {
                let is_type = self.kind() == Kind::Cast && self.follows(before, &["as"])
                    || before > 0 && self.is_symbol(before - 1, ':')
                    || self.kind() == Kind::Columns;
                is_type && has(TYPES, word)
            }
        };
        if is_syntax {
            return Some(Kind::Expression);
        }
        self.columns(before).or_else(|| self.may_call(word).then_some(Kind::Expression))
    }

    /// Whether the part before `at` closes a parenthesis after which no expression can follow.
    fn is_behind_call(&self, at: usize) -> bool {
        self.before(at, 1) == Some(&Part::Symbol(')')) && self.closed != Kind::DistinctOn
    }

    /// After AS comes a statement, a window, or the columns that a function returns.
    fn behind_as(&self, at: usize) -> Kind {
        const BEGINS: [&str; 9] =
            ["select", "values", "table", "with", "partition", "order", "rows", "range", "groups"];
        match self.parts.get(at + 1) {
            Some(Part::Symbol('(' | ')')) => Kind::Expression,
            Some(part) if part.is_any(&BEGINS) => Kind::Expression,
            _ => Kind::Columns,
        }
    }

    /// Whether the name before a parenthesis is an alias, or a name in the WITH list.
    fn columns(&self, name: usize) -> Option<Kind> {
        let in_with = self.frames.last().is_some_and(|frame| frame.in_with);
        let is_alias = (self.follows(name, &["as"]) && self.kind() != Kind::Cast)
            || self.is_behind_call(name)
            || (self.follows(name, &["ordinality"]) && self.before(name, 2)?.is("with"))
            || (in_with && self.follows(name, &["with", "recursive"]))
            || (in_with && self.before(name, 1) == Some(&Part::Symbol(',')));
        is_alias.then_some(Kind::Columns)
    }
}

#[cfg(test)]
mod tests;
