//! Feature `defects`: panics and a mutation on demand. Tests use them to show that no panic crosses
//! into Node, and that no exception stays pending there.
#![allow(clippy::panic)] // That is what it is there for.

use std::cell::Cell;

use super::client::Client;
use super::value::Fault;

thread_local! {
    static LEAVES_EXCEPTIONS: Cell<bool> = const { Cell::new(false) };
    static PANICS_SELDOM: Cell<bool> = const { Cell::new(false) };
}

/// Panics in the next call of a napi function, if the SQL text has asked for it.
pub(super) fn strike_seldom() {
    assert!(!PANICS_SELDOM.take(), "asked for");
}

/// Panics while the addon is loaded, if an environment variable asks for it.
pub(super) fn strike_loading() {
    assert!(std::env::var_os("PANIC_IN_LOADING").is_none(), "asked for");
}

/// The mutation: an exception that JavaScript throws in a call from the loop stays pending.
pub(super) fn leaves_exceptions() -> bool {
    LEAVES_EXCEPTIONS.get()
}

/// Panics as the SQL text asks, or breaks the addon of this thread.
pub(super) fn strike(client: &Client, sql: &str) -> Result<(), Fault> {
    match sql {
        "panic in a call" => panic!("asked for"),
        "panic in a seldom call" => {
            PANICS_SELDOM.set(true);
            Ok(())
        }
        "panic in a command" => Ok(client.run(|_| panic!("asked for"))?),
        "panic in a turn" => {
            client.panic_in_turn.set(true);
            Ok(())
        }
        "leave exceptions" => {
            LEAVES_EXCEPTIONS.set(true);
            Ok(())
        }
        _ => Ok(()),
    }
}
