//! A simulated PostgreSQL, and simulated clusters to run the pool in, for tests of the floors that
//! do no I/O. No other module imports this one.

#[cfg(test)]
mod absence_scenarios;
#[cfg(test)]
mod address_scenarios;
pub mod cluster;
mod driver;
pub mod fuzz;
pub mod growth;
mod messages;
mod names;
pub mod server;
pub mod storm;

#[cfg(test)]
mod lease_scenarios;
#[cfg(test)]
mod lifetime_scenarios;
#[cfg(test)]
mod load_scenarios;
#[cfg(test)]
mod mode_scenarios;
#[cfg(test)]
mod overtaking_scenarios;
#[cfg(test)]
mod pooled_scenarios;
#[cfg(test)]
mod renewal_scenarios;
#[cfg(test)]
mod report_scenarios;
#[cfg(test)]
mod rival_scenarios;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod value_scenarios;
