//! A shorter run that fails as well.

use crate::model::Finding;
use crate::plan::{Chaos, Plan};
use crate::world::run;

/// Makes a plan that fails smaller: fewer steps, fewer kinds of trouble. It fails against the same rule.
pub fn shrink(plan: &Plan, finding: Finding) -> (Plan, Finding) {
    let (mut best, mut found) = (plan.clone(), finding);
    loop {
        let mut is_smaller = false;
        for candidate in smaller(&best) {
            if let Some(finding) = run(&candidate).finding
                && finding.rule == found.rule
            {
                (best, found) = (candidate, finding);
                is_smaller = true;
                break;
            }
        }
        if !is_smaller {
            return (best, found);
        }
    }
}

fn smaller(plan: &Plan) -> Vec<Plan> {
    let with = |steps| Plan {
        steps,
        ..plan.clone()
    };
    let shorter = [2, 4, 10, 50].map(|part| plan.steps - plan.steps / part);
    let mut plans: Vec<_> = shorter
        .into_iter()
        .filter(|it| *it < plan.steps)
        .map(with)
        .collect();
    for kind in Chaos::ALL {
        let mut fewer = plan.clone();
        if fewer.without.insert(kind) {
            plans.push(fewer);
        }
    }
    plans
}
