//! The order of a start, the rule of a clean end, progress and the reconnect verdict, driven through
//! everything that two nodes, a broker, a source and their faults can do within the bound.
//!
//! The code under test is the real one. The full rules must hold everywhere; with one rule taken out
//! a violation must be found, or the model proves nothing.

#[path = "model/broker.rs"]
mod broker;
#[path = "model/explore.rs"]
mod explore;
#[path = "model/node.rs"]
mod node;
#[path = "model/source.rs"]
mod source;
#[path = "model/world.rs"]
mod world;

use std::time::Instant;

use explore::{Explored, explore};
use world::{Action, Budget, Rules, World};

const CALM: Budget = Budget {
    epochs: 3,
    late: 0,
    crashes: 0,
    aborts: 0,
    failovers: 0,
    foreign: false,
    keepalives: 0,
};

fn run(rules: Rules, budget: &Budget, readers_only: bool) -> Explored<Action> {
    let begun = Instant::now();
    let explored = explore(&World::new(rules, budget.clone(), readers_only));
    let Explored { states, depth, .. } = explored;
    eprintln!("{states} states, {depth} steps deep, {:.1?}: {budget:?}", begun.elapsed());
    explored
}

/// Explores the whole bound under all rules.
fn nothing_goes_wrong(budget: &Budget) -> Explored<Action> {
    let explored = run(Rules::ALL, budget, false);
    if let Some((what, path)) = &explored.violation {
        panic!("{what}, after {path:#?}");
    }
    for goal in ["everything is delivered", "the last owner has claimed"] {
        assert!(explored.goals.contains(&goal), "{goal}: unreachable");
    }
    explored
}

/// Without a rule the model must find what it is for: something that readers see.
fn harm_is_found(rules: Rules, budget: &Budget) {
    let explored = run(rules, budget, true);
    let (what, path) = explored.violation.expect("the rule is needed");
    eprintln!("{what}, after {path:?}");
}

#[test]
fn three_owners_in_turn_lose_and_double_nothing() {
    nothing_goes_wrong(&CALM);
}

#[test]
fn a_late_end_of_a_transaction_harms_nothing() {
    nothing_goes_wrong(&Budget { late: 1, ..CALM });
}

#[test]
fn aborts_harm_nothing() {
    nothing_goes_wrong(&Budget { aborts: 1, ..CALM });
}

#[test]
fn late_ends_after_aborts_harm_nothing() {
    nothing_goes_wrong(&Budget { epochs: 2, late: 1, aborts: 2, ..CALM });
}

#[test]
fn an_open_transaction_of_a_stranger_hides_nothing() {
    nothing_goes_wrong(&Budget { foreign: true, ..CALM });
}

#[test]
fn a_crash_and_a_stranger_together_harm_nothing() {
    nothing_goes_wrong(&Budget { epochs: 2, crashes: 1, foreign: true, late: 1, ..CALM });
}

#[test]
fn a_failover_is_survived_or_stops_the_task() {
    let explored = nothing_goes_wrong(&Budget { failovers: 1, ..CALM });
    assert!(explored.goals.contains(&"everything is delivered after a failover"));
}

#[test]
fn idle_positions_never_run_ahead() {
    nothing_goes_wrong(&Budget { epochs: 2, failovers: 1, keepalives: 1, crashes: 1, ..CALM });
}

#[test]
fn without_the_claim_a_failover_moves_the_start() {
    let rules = Rules { claim: false, ..Rules::ALL };
    harm_is_found(rules, &Budget { failovers: 1, ..CALM });
}

#[test]
fn reading_to_the_last_stable_offset_doubles() {
    let rules = Rules { read_to_end: false, ..Rules::ALL };
    harm_is_found(rules, &Budget { foreign: true, ..CALM });
}

#[test]
fn believing_every_commit_that_returned_success_doubles() {
    let rules = Rules { clean_commit: false, ..Rules::ALL };
    harm_is_found(rules, &Budget { late: 1, ..CALM });
}

#[test]
fn keeping_a_producer_after_an_abort_loses() {
    let rules = Rules { clean_abort: false, ..Rules::ALL };
    harm_is_found(rules, &Budget { late: 1, aborts: 1, ..CALM });
}
