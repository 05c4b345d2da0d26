//! Runs of the simulator: those that must find nothing, and those in which a rule is broken on purpose.

use std::collections::BTreeSet;

use simulator::{Plan, Planted, run};

/// Events of a run. A short one begins anew more often, with other sizes.
const STEPS: u64 = 5_000;

/// The first seed and how many, from `SIMULATOR_SEEDS` (`1+200`).
fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("SIMULATOR_SEEDS").unwrap_or_else(|_| "1+15".to_owned());
    let (first, count) = text.split_once('+').expect("FIRST+COUNT");
    let first: u64 = first.parse().expect("a number");
    first..first + count.parse::<u64>().expect("a number")
}

/// Some rules matter seldom.
const PLANTED_STEPS: u64 = 20_000;

fn plan(seed: u64, planted: Option<Planted>) -> Plan {
    let steps = if planted.is_some() {
        PLANTED_STEPS
    } else {
        STEPS
    };
    Plan {
        seed,
        steps,
        without: BTreeSet::new(),
        planted,
        trace: false,
    }
}

#[test]
fn nothing_that_was_promised_is_lost() {
    for seed in seeds() {
        let finding = run(&plan(seed, None)).finding;
        assert!(
            finding.is_none(),
            "cargo run --profile simulate -p simulator -- --seed {seed} --steps {STEPS}: {finding:?}"
        );
    }
}

#[test]
fn a_run_is_the_same_each_time() {
    let [first, second] = [0, 1].map(|_| run(&plan(7, None)));
    assert_eq!(first.counts, second.counts);
    assert_eq!(first.time, second.time);
    assert!(first.counts["delivered"] > 0 && first.counts["recovered"] > 0);
}

#[test]
fn rules_that_are_broken_on_purpose_are_found() {
    let missed: Vec<_> = Planted::ALL
        .into_iter()
        .filter(|planted| !(1..=100).any(|seed| run(&plan(seed, Some(*planted))).finding.is_some()))
        .collect();
    assert!(missed.is_empty(), "not found within 100 seeds: {missed:?}");
}
