//! Asking the providers: by order, per fact, falling through, keeping every refusal. [`super::settle`]
//! confirms and compares what comes of it.

use super::facts::{Fact, Refusal, check};
use stacksonde_plugin::{Answer, Capabilities, Readiness};

/// Providers in the order in which they are asked unless the configuration says otherwise; those
/// that are not listed come after.
pub const DEFAULT_ORDER: [&str; 3] = ["btf-offsets", "selfprobe-offsets", "tracepoint-offsets"];

/// An offset provider as the host holds it: a plugin behind its boundary. An error is a sentence
/// about the plugin (it panicked, it broke the contract), not an answer.
pub trait Provider {
    /// Its name.
    fn name(&self) -> &str;
    /// The facts that it can be asked for.
    fn provides(&mut self) -> Result<Vec<String>, String>;
    /// Tells whether it can answer on a system with these capabilities.
    fn probe(&mut self, capabilities: &Capabilities) -> Result<Readiness, String>;
    /// Answers each query, in order.
    fn discover(&mut self, queries: &[String]) -> Result<Vec<Answer>, String>;
}

/// The results of asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Plausible facts, each once.
    pub facts: Vec<Fact>,
    /// Why a provider did not give what it was asked for.
    pub refusals: Vec<Refusal>,
}

/// Asks for the needed facts: each of the first provider in `order` (empty: the default) that
/// gives a plausible answer.
pub fn ask(
    needed: &[&str],
    order: &[String],
    providers: &mut [&mut dyn Provider],
    capabilities: &Capabilities,
) -> Answers {
    ask_without(needed, order, providers, capabilities, &[])
}

/// The same without some providers.
pub(super) fn ask_without(
    needed: &[&str],
    order: &[String],
    providers: &mut [&mut dyn Provider],
    capabilities: &Capabilities,
    without: &[String],
) -> Answers {
    let mut answers = Answers::default();
    for turn in turns(order, providers) {
        let open: Vec<String> = needed
            .iter()
            .filter(|fact| !answers.facts.iter().any(|found| found.name == **fact))
            .map(|fact| (*fact).to_owned())
            .collect();
        if open.is_empty() {
            break;
        }
        match turn {
            Turn::Loaded(at) => {
                if let Some(provider) = providers.get_mut(at)
                    && !without.iter().any(|name| name == provider.name())
                {
                    ask_one(*provider, open, capabilities, &mut answers);
                }
            }
            Turn::NotLoaded(name) if without.contains(&name) => {}
            Turn::NotLoaded(name) => {
                let remedy =
                    format!("install it and name it in plugins.load, or take `{name}` out of offsets.order");
                answers.refusals.push(Refusal {
                    provider: name,
                    facts: open,
                    reason: "named in offsets.order, but not loaded".into(),
                    remedy: Some(remedy),
                });
            }
        }
    }
    answers
}

enum Turn {
    Loaded(usize),
    NotLoaded(String),
}

fn turns(order: &[String], providers: &[&mut dyn Provider]) -> Vec<Turn> {
    let position = |name: &str| providers.iter().position(|provider| provider.name() == name);
    if !order.is_empty() {
        let turn = |name: &String| position(name).map_or_else(|| Turn::NotLoaded(name.clone()), Turn::Loaded);
        return order.iter().map(turn).collect();
    }
    let listed: Vec<usize> = DEFAULT_ORDER.iter().filter_map(|name| position(name)).collect();
    let others = (0..providers.len()).filter(|at| !listed.contains(at));
    listed.iter().copied().chain(others).map(Turn::Loaded).collect()
}

fn ask_one(
    provider: &mut dyn Provider,
    open: Vec<String>,
    capabilities: &Capabilities,
    answers: &mut Answers,
) {
    let name = provider.name().to_owned();
    let refuse = |facts: &[String], reason: String, remedy: Option<String>| Refusal {
        provider: name.clone(),
        facts: facts.to_vec(),
        reason,
        remedy: remedy.filter(|remedy| !remedy.is_empty()),
    };
    let queries: Vec<String> = match provider.provides() {
        Ok(provided) => open.into_iter().filter(|fact| provided.contains(fact)).collect(),
        Err(error) => return answers.refusals.push(refuse(&open, error, None)),
    };
    if queries.is_empty() {
        return;
    }
    match provider.probe(capabilities) {
        Ok(Readiness::Ready { .. }) => {}
        Ok(Readiness::Unavailable { missing, reason, remedy }) => {
            let reason = missing.map_or_else(|| reason.clone(), |missing| format!("{missing}: {reason}"));
            return answers.refusals.push(refuse(&queries, reason, Some(remedy)));
        }
        Err(error) => return answers.refusals.push(refuse(&queries, error, None)),
    }
    let given = match provider.discover(&queries) {
        Ok(given) if given.len() == queries.len() => given,
        Ok(given) => {
            let reason = format!("gave {} answers to {} queries; it is broken", given.len(), queries.len());
            return answers.refusals.push(refuse(&queries, reason, None));
        }
        Err(error) => return answers.refusals.push(refuse(&queries, error, None)),
    };
    for (query, answer) in queries.into_iter().zip(given) {
        match answer.and_then(|offset| check(&query, offset.value).map(|()| offset)) {
            Ok(offset) => answers.facts.push(Fact {
                name: query,
                value: offset.value,
                provider: name.clone(),
                method: offset.method,
                evidence: offset.evidence,
            }),
            Err(reason) => answers.refusals.push(refuse(&[query], reason, None)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use stacksonde_plugin::Offset;
    use stacksonde_plugin::fact::{STACK_PT_REGS, TASK_STRUCT_STACK};

    const BOTH: [&str; 2] = [TASK_STRUCT_STACK, STACK_PT_REGS];

    /// A provider with prepared answers.
    pub(in crate::negotiate) struct Fake {
        pub(in crate::negotiate) name: &'static str,
        pub(in crate::negotiate) readiness: Result<Readiness, String>,
        pub(in crate::negotiate) answers: Vec<(&'static str, Answer)>,
        /// The names that it was asked for.
        pub(in crate::negotiate) asked: Vec<String>,
        /// Answers fewer queries than it was asked.
        pub(in crate::negotiate) drops_answers: bool,
    }

    impl Fake {
        pub(in crate::negotiate) fn new(name: &'static str, answers: Vec<(&'static str, Answer)>) -> Self {
            let readiness = Ok(Readiness::Ready { cost_us: 1, confidence: 100 });
            Self { name, readiness, answers, asked: Vec::new(), drops_answers: false }
        }
    }

    impl Provider for Fake {
        fn name(&self) -> &str {
            self.name
        }

        fn provides(&mut self) -> Result<Vec<String>, String> {
            Ok(self.answers.iter().map(|(fact, _)| (*fact).to_owned()).collect())
        }

        fn probe(&mut self, _: &Capabilities) -> Result<Readiness, String> {
            self.readiness.clone()
        }

        fn discover(&mut self, queries: &[String]) -> Result<Vec<Answer>, String> {
            self.asked.extend_from_slice(queries);
            if self.drops_answers {
                return Ok(Vec::new());
            }
            let find = |query: &String| self.answers.iter().find(|(fact, _)| fact == query);
            Ok(queries.iter().map(|query| find(query).unwrap().1.clone()).collect())
        }
    }

    pub(in crate::negotiate) fn offset(value: u64) -> Answer {
        Ok(Offset { value, method: "test".into(), evidence: "prepared".into() })
    }

    fn asked(order: &[&str], mut fakes: Vec<Fake>) -> (Answers, Vec<Vec<String>>) {
        let order: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
        let mut providers: Vec<&mut dyn Provider> =
            fakes.iter_mut().map(|fake| fake as &mut dyn Provider).collect();
        let answers = ask(&BOTH, &order, &mut providers, &Capabilities::default());
        drop(providers);
        (answers, fakes.into_iter().map(|fake| fake.asked).collect())
    }

    fn sources(answers: &Answers) -> Vec<(&str, &str, u64)> {
        answers.facts.iter().map(|f| (f.name.as_str(), f.provider.as_str(), f.value)).collect()
    }

    #[test]
    fn takes_each_fact_from_the_first_provider_that_has_it() {
        let selfprobe = Fake::new(
            "selfprobe-offsets",
            vec![(TASK_STRUCT_STACK, offset(32)), (STACK_PT_REGS, offset(16216))],
        );
        let btf = Fake::new("btf-offsets", vec![(TASK_STRUCT_STACK, offset(32))]);
        let (answers, asked) = asked(&[], vec![selfprobe, btf]);
        assert_eq!(
            sources(&answers),
            [(TASK_STRUCT_STACK, "btf-offsets", 32), (STACK_PT_REGS, "selfprobe-offsets", 16216)]
        );
        assert_eq!(asked, [vec![STACK_PT_REGS], vec![TASK_STRUCT_STACK]], "nobody is asked what is known");
        assert_eq!(answers.refusals, []);
    }

    #[test]
    fn follows_the_configured_order_and_asks_nobody_else() {
        let fakes = || {
            vec![
                Fake::new("btf-offsets", vec![(TASK_STRUCT_STACK, offset(32))]),
                Fake::new("site-offsets", vec![(TASK_STRUCT_STACK, offset(40))]),
            ]
        };
        let (answers, asked) = asked(&["site-offsets", "gone-offsets"], fakes());
        assert_eq!(sources(&answers), [(TASK_STRUCT_STACK, "site-offsets", 40)]);
        assert!(asked[0].is_empty());
        assert_eq!(answers.refusals[0].provider, "gone-offsets");
        assert!(answers.refusals[0].reason.contains("not loaded"));
    }

    #[test]
    fn falls_through_on_failure_and_keeps_every_refusal() {
        let good = || {
            Fake::new("zzz-offsets", vec![(TASK_STRUCT_STACK, offset(32)), (STACK_PT_REGS, offset(16216))])
        };
        let first = |answer| Fake::new("btf-offsets", vec![(TASK_STRUCT_STACK, answer)]);
        let missing = Readiness::Unavailable {
            missing: Some("kernel.btf".into()),
            reason: "there is none".into(),
            remedy: "another kernel".into(),
        };
        let table = [
            (first(Err("no such member".into())), "no such member"),
            (first(offset(33)), "multiple of 8"),
            (first(offset(1 << 20)), "not plausible"),
            (Fake { readiness: Ok(missing), ..first(offset(32)) }, "kernel.btf: there is none"),
            (Fake { readiness: Err("it panicked".into()), ..first(offset(32)) }, "it panicked"),
            (Fake { drops_answers: true, ..first(offset(32)) }, "0 answers to 1 queries"),
        ];
        for (first, reason) in table {
            let (answers, _) = asked(&[], vec![first, good()]);
            assert!(answers.facts.iter().all(|fact| fact.provider == "zzz-offsets"), "{reason}");
            assert_eq!(answers.facts.len(), 2, "{reason}");
            assert_eq!(answers.refusals.len(), 1, "{reason}");
            let refusal = &answers.refusals[0];
            assert_eq!(
                (refusal.provider.as_str(), &refusal.facts[..]),
                ("btf-offsets", &["task_struct.stack".to_owned()][..])
            );
            assert!(refusal.reason.contains(reason), "{}", refusal.reason);
        }
    }
}
