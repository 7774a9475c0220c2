//! Runs storms.
//!
//! - `simulate <first seed> <count>` fails with the first seed that breaks a rule. With `trace`
//!   after it, every storm prints its events.
//! - `simulate mutations <count> [<name>...]` breaks the code on purpose, in one way after another,
//!   and fails if one of these mutations breaks no rule in that many storms.
//! - `simulate growth` prints the cost of a query for pools with many connections, and with many
//!   calls.
//! - `simulate reads <connections> <calls> <turns>` runs turns of that many reads, for a profiler.
//!
//! `scripts/simulate.js` is the command to use.
#![allow(clippy::print_stdout, reason = "a command says what it has found")]

use std::cell::RefCell;
use std::io::{IsTerminal, Write, stderr};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use hyperiondb_client::base::Mutation;
use hyperiondb_client::sim::growth::Grown;
use hyperiondb_client::sim::storm::run;

thread_local! {
    /// The message of the last panic, and its place.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    // A panic is a finding like any other.
    set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<u64>().ok();
    let good = match arguments.as_slice() {
        [word, count, names @ ..] if word == "mutations" => {
            number(count).map(|count| run_mutations(count, names))
        }
        [word] if word == "growth" => Some(run_growth()),
        [word, size, calls, turns] if word == "reads" => {
            match (number(size), number(calls), number(turns)) {
                (Some(size), Some(calls), Some(turns)) => run_reads(size, calls, turns),
                _ => None,
            }
        }
        [first, count, rest @ ..] => match (number(first), number(count)) {
            (Some(first), Some(count)) => Some(run_seeds(first, count, rest)),
            _ => None,
        },
        _ => None,
    };
    match good {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            println!(
                "usage: simulate <first seed> <count> [trace] | simulate mutations <count> [<name>...] | simulate growth | simulate reads <connections> <calls> <turns>"
            );
            ExitCode::from(2)
        }
    }
}

fn run_seeds(first: u64, count: u64, rest: &[String]) -> bool {
    let trace = rest.iter().any(|word| word == "trace").then_some(print as fn(&str));
    let found = find(first, count, trace, None);
    if let Some((seed, why)) = &found {
        println!("seed {seed}: {why}");
    }
    found.is_none()
}

/// Runs turns of many reads, for a profiler.
fn run_reads(size: u64, calls: u64, turns: u64) -> Option<bool> {
    let (size, calls) = (usize::try_from(size).ok()?, usize::try_from(calls).ok()?);
    let mut grown = Grown::new(size)?;
    (0..turns).for_each(|_| grown.read(calls));
    Some(true)
}

/// Prints the cost of a query for pools with many connections, and of a turn while many calls wait.
fn run_growth() -> bool {
    for size in [10, 1_000, 10_000] {
        let Some(mut grown) = Grown::new(size) else { return false };
        let one = timed(1000, || grown.read(1));
        let many = timed(100, || grown.read(200)) / 200;
        println!("{size:>7} connections: {one:>9} ns a read by itself, {many:>9} ns one of 200");
    }
    for calls in [10, 1_000, 100_000] {
        let Some(mut grown) = Grown::new(10) else { return false };
        grown.wait(calls);
        let turn = timed(1000, || grown.turn());
        println!("{calls:>7} calls wait:  {turn:>9} ns a turn that brings one more");
    }
    true
}

/// How long one of `count` runs takes, in nanoseconds.
#[allow(clippy::disallowed_methods, reason = "a command may look at the clock")]
fn timed(count: u32, mut run: impl FnMut()) -> u128 {
    run();
    let began = Instant::now();
    (0..count).for_each(|_| run());
    began.elapsed().as_nanos() / u128::from(count)
}

/// Runs the named mutations, or all.
fn run_mutations(count: u64, names: &[String]) -> bool {
    let is_named = |mutation: &Mutation| {
        names.is_empty() || names.iter().any(|name| *name == format!("{mutation:?}"))
    };
    let mut all = true;
    for mutation in Mutation::ALL.into_iter().filter(is_named) {
        match find(0, count, None, Some(mutation)) {
            Some((seed, why)) => println!("{mutation:?} is found by seed {seed}: {why}"),
            None => {
                println!("{mutation:?} is not found");
                all = false;
            }
        }
    }
    all
}

/// The first seed that breaks a rule. The search uses all processors.
fn find(
    first: u64,
    count: u64,
    trace: Option<fn(&str)>,
    mutation: Option<Mutation>,
) -> Option<(u64, String)> {
    let next = AtomicU64::new(first);
    let end = AtomicU64::new(first.saturating_add(count));
    let shows = trace.is_none() && stderr().is_terminal();
    let search = || {
        Mutation::set(mutation);
        let mut found = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return found;
            }
            if shows && seed.is_multiple_of(100) {
                show(&format!("{} of {count} storms", seed - first));
            }
            if let Err(why) = run_safely(seed, trace) {
                end.fetch_min(seed, Ordering::Relaxed);
                found = Some((seed, why));
            }
        }
    };
    let found = thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let searches: Vec<_> = (0..processors).map(|_| scope.spawn(search)).collect();
        let found = searches.into_iter().filter_map(|search| search.join().ok().flatten());
        found.min_by_key(|(seed, _)| *seed)
    });
    if shows {
        show("");
    }
    found
}

/// Shows a line on a terminal, in place of the one before.
fn show(line: &str) {
    let _ = write!(stderr(), "\r\x1b[2K{line}");
}

fn run_safely(seed: u64, trace: Option<fn(&str)>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, trace)))
        .unwrap_or_else(|_| Err(PANIC.take().replace('\n', ": ")))
}

fn print(line: &str) {
    println!("{line}");
}
