//! Values against a server's own word for them. What is drawn at random goes to a real PostgreSQL,
//! which gives it back in both of its forms and says in text what it is; and what this crate writes
//! for a parameter is held against what the server makes of SQL.
//!
//! `test/properties/properties.test.js` starts the servers, and runs this. By hand it takes one
//! that `HYPERION_HOSTS` and its like name (`test/support/cluster/README.md`): `cargo test
//! --no-default-features --features sim --test properties -- --ignored`

mod array;
mod moment;
mod number;
mod parameters;
mod results;
mod session;

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use session::Session;

/// How many values one query takes.
const BATCH: usize = 32;

/// Holds `test` to so many draws, all of them in one session.
fn hold<S: Strategy>(
    draws: u32,
    session: Session,
    strategy: &S,
    test: impl Fn(&mut Session, S::Value) -> TestCaseResult,
) {
    let config = Config {
        cases: draws,
        // It goes by the cases, where nothing else is said.
        max_shrink_iters: 10_000,
        failure_persistence: None,
        ..Config::default()
    };
    let session = RefCell::new(session);
    let held =
        TestRunner::new(config).run(strategy, |drawn| test(&mut session.borrow_mut(), drawn));
    if let Err(error) = held {
        panic!("{error}");
    }
}

/// As a literal of SQL. With a semicolon in it the statement would count as a script, whose results
/// come as text.
fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace(';', "\\x3b"))
}

/// Text of which much must be quoted somewhere.
fn texts() -> BoxedStrategy<String> {
    let special =
        prop::sample::select(vec!["", "NULL", "null", "{}", "\"", "\\", " ", "[1:1]={a}"]);
    prop_oneof![
        1 => special.prop_map(str::to_owned),
        3 => "[ab{}\",;\\\\ \n\t'é😀]{0,9}",
        1 => "\\PC{0,9}",
    ]
    .boxed()
}
