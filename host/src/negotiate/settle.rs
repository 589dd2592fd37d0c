//! From answers to facts that are used: confirmed on our own task, and compared where that is asked for.

use super::ask::{Answers, Provider, ask, ask_without};
use super::facts::{Fact, Refusal};
use stacksonde_plugin::Capabilities;
use stacksonde_plugin::fact::{
    PID_LEVEL, PID_NUMBERS, STACK_PT_REGS, TASK_STRUCT_GROUP_LEADER, TASK_STRUCT_STACK,
    TASK_STRUCT_THREAD_PID, UPID_NR,
};

/// Facts that only serve, and can only be confirmed, together.
pub const GROUPS: [&[&str]; 2] = [
    &[TASK_STRUCT_STACK, STACK_PT_REGS],
    &[TASK_STRUCT_GROUP_LEADER, TASK_STRUCT_THREAD_PID, PID_LEVEL, PID_NUMBERS, UPID_NR],
];

/// Tries facts of one group on our own task; the error is a sentence.
pub type Confirm<'a> = &'a mut dyn FnMut(&[Fact]) -> Result<(), String>;

/// The questions, and the providers that they go to.
#[derive(Debug)]
pub struct Questions<'a> {
    /// The facts that are needed.
    pub needed: &'a [&'a str],
    /// `offsets.order`.
    pub order: &'a [String],
    /// `offsets.verify`: ask two providers for each fact, and compare.
    pub verify: bool,
}

/// Asks, confirms, and where a group is not confirmed tries it with other providers.
pub fn settle(
    questions: &Questions<'_>,
    providers: &mut [&mut dyn Provider],
    capabilities: &Capabilities,
    confirm: Confirm<'_>,
) -> Answers {
    let mut answers = ask(questions.needed, questions.order, providers, capabilities);
    for group in GROUPS {
        if let Some(reason) = unconfirmed(&answers, group, confirm) {
            replace(&mut answers, group, &reason, questions, providers, capabilities, confirm);
        }
    }
    if questions.verify {
        compare(&mut answers, questions, providers, capabilities);
    }
    answers
}

fn of<'a>(facts: &'a [Fact], group: &'a [&str]) -> impl Iterator<Item = &'a Fact> {
    facts.iter().filter(|fact| group.contains(&fact.name.as_str()))
}

/// Why the facts of a group are not confirmed; `None` if they are, or are not all there to be tried.
fn unconfirmed(answers: &Answers, group: &[&str], confirm: Confirm<'_>) -> Option<String> {
    let facts: Vec<Fact> = of(&answers.facts, group).cloned().collect();
    if facts.len() < group.len() { None } else { confirm(&facts).err() }
}

/// Takes the group from other providers: without one of those that gave it, then without two, and so on.
fn replace(
    answers: &mut Answers,
    group: &[&str],
    reason: &str,
    questions: &Questions<'_>,
    providers: &mut [&mut dyn Provider],
    capabilities: &Capabilities,
    confirm: Confirm<'_>,
) {
    let wrong: Vec<Fact> = of(&answers.facts, group).cloned().collect();
    let mut givers: Vec<String> = Vec::new();
    for fact in &wrong {
        if !givers.contains(&fact.provider) {
            givers.push(fact.provider.clone());
        }
    }
    let everyone: Vec<String> = providers.iter().map(|provider| provider.name().to_owned()).collect();
    let others = everyone.iter().filter(|name| !givers.contains(name));
    // Those that gave it come first: one of them is wrong.
    let suspects: Vec<&String> = givers.iter().chain(others).take(8).collect();
    let mut choices: Vec<u32> = (1..1u32 << suspects.len()).collect();
    choices.sort_by_key(|choice| (choice.count_ones(), *choice));
    for choice in choices {
        let without: Vec<String> = (0..)
            .zip(&suspects)
            .filter(|(at, _)| choice >> at & 1 == 1)
            .map(|(_, name)| (*name).clone())
            .collect();
        let tried = ask_without(group, questions.order, providers, capabilities, &without);
        if tried.facts.len() == group.len() && unconfirmed(&tried, group, confirm).is_none() {
            answers.facts.retain(|fact| !group.contains(&fact.name.as_str()));
            let refuted = wrong
                .into_iter()
                .filter(|old| tried.facts.iter().any(|new| new.name == old.name && new.value != old.value));
            answers.refusals.extend(refuted.map(|fact| refusal(fact, reason)));
            answers.facts.extend(tried.facts);
            return;
        }
    }
    answers.facts.retain(|fact| !group.contains(&fact.name.as_str()));
    answers.refusals.extend(wrong.into_iter().map(|fact| refusal(fact, reason)));
}

fn refusal(fact: Fact, reason: &str) -> Refusal {
    Refusal {
        provider: fact.provider,
        facts: vec![fact.name],
        reason: format!("gave {:#x}, which our own task did not confirm: {reason}", fact.value),
        remedy: None,
    }
}

/// Asks a second provider for each fact. A disagreement takes the fact away: none is picked.
fn compare(
    answers: &mut Answers,
    questions: &Questions<'_>,
    providers: &mut [&mut dyn Provider],
    capabilities: &Capabilities,
) {
    for fact in std::mem::take(&mut answers.facts) {
        let without = [fact.provider.clone()];
        let second = ask_without(&[&fact.name], questions.order, providers, capabilities, &without);
        match second.facts.into_iter().next() {
            Some(second) if second.value == fact.value => {
                let evidence = format!("{}; {} agrees", fact.evidence, second.provider);
                answers.facts.push(Fact { evidence, ..fact });
            }
            Some(second) => {
                let reason = format!(
                    "{} gives {:#x} and {} gives {:#x}: with offsets.verify neither is used",
                    fact.provider, fact.value, second.provider, second.value
                );
                let provider = fact.provider;
                answers.refusals.push(Refusal { provider, facts: vec![fact.name], reason, remedy: None });
            }
            None => {
                let evidence = format!("{}; no other provider has it, so it is not compared", fact.evidence);
                answers.facts.push(Fact { evidence, ..fact });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Fake, offset};
    use super::*;

    const NEEDED: [&str; 2] = [TASK_STRUCT_STACK, STACK_PT_REGS];

    /// Settles with a task on which only these values are right.
    fn settled(right: [u64; 2], verify: bool, mut fakes: Vec<Fake>) -> Answers {
        let mut providers: Vec<&mut dyn Provider> =
            fakes.iter_mut().map(|fake| fake as &mut dyn Provider).collect();
        let mut confirm = |facts: &[Fact]| {
            let value = |name| facts.iter().find(|fact| fact.name == name).map(|fact| fact.value);
            if NEEDED.map(value) == right.map(Some) { Ok(()) } else { Err("not there".to_owned()) }
        };
        let questions = Questions { needed: &NEEDED, order: &[], verify };
        settle(&questions, &mut providers, &Capabilities::default(), &mut confirm)
    }

    fn both(name: &'static str, stack: u64, registers: u64) -> Fake {
        Fake::new(name, vec![(TASK_STRUCT_STACK, offset(stack)), (STACK_PT_REGS, offset(registers))])
    }

    fn stack(name: &'static str, stack: u64) -> Fake {
        Fake::new(name, vec![(TASK_STRUCT_STACK, offset(stack))])
    }

    fn sources(answers: &Answers) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = answers.facts.iter().map(|fact| (fact.provider.as_str(), fact.value)).collect();
        all.sort_by_key(|(_, value)| *value);
        all
    }

    const RIGHT: [u64; 2] = [32, 16216];

    #[test]
    fn a_provider_that_lies_is_passed_over_and_named() {
        let (a, b, c) = ("btf-offsets", "selfprobe-offsets", "tracepoint-offsets");
        let table = [
            (vec![both(a, 32, 16216)], vec![(a, 32), (a, 16216)], vec![]),
            (vec![both(a, 40, 16216), both(b, 32, 16216)], vec![(b, 32), (b, 16216)], vec![a]),
            (vec![stack(a, 40), both(b, 32, 16216)], vec![(b, 32), (b, 16216)], vec![a]),
            (vec![stack(a, 32), both(b, 32, 16000), both(c, 32, 16216)], vec![(a, 32), (c, 16216)], vec![b]),
            (
                vec![both(a, 40, 16216), both(b, 32, 16000), both(c, 32, 16216)],
                vec![(c, 32), (c, 16216)],
                vec![a],
            ),
            (vec![both(a, 40, 16216), both(b, 32, 16000)], vec![], vec![a, a]),
            (vec![both(a, 40, 16216)], vec![], vec![a, a]),
        ];
        for (fakes, expected, liars) in table {
            let answers = settled(RIGHT, false, fakes);
            assert_eq!(sources(&answers), expected);
            assert!(
                answers.refusals.iter().all(|refusal| refusal.reason.contains("did not confirm: not there"))
            );
            let named: Vec<_> = answers.refusals.iter().map(|refusal| refusal.provider.as_str()).collect();
            assert_eq!(named, liars, "{expected:?}");
        }
    }

    #[test]
    fn half_a_group_is_not_tried() {
        let answers = settled(RIGHT, false, vec![stack("btf-offsets", 40)]);
        assert_eq!(sources(&answers), [("btf-offsets", 40)]);
    }

    #[test]
    fn verifying_compares_two_providers_and_picks_none_of_two_that_disagree() {
        let (a, b) = ("btf-offsets", "selfprobe-offsets");
        let answers = settled(RIGHT, true, vec![both(a, 32, 16216), both(b, 32, 16216)]);
        assert!(answers.facts.iter().all(|fact| fact.evidence.ends_with("selfprobe-offsets agrees")));
        let answers = settled(RIGHT, true, vec![both(a, 32, 16216), both(b, 32, 16000)]);
        assert_eq!(sources(&answers), [(a, 32)]);
        assert!(answers.refusals[0].reason.contains("neither is used"), "{:?}", answers.refusals);
        let answers = settled(RIGHT, true, vec![both(a, 32, 16216)]);
        assert_eq!(answers.facts.len(), 2);
        assert!(answers.facts.iter().all(|fact| fact.evidence.contains("not compared")));
    }
}
