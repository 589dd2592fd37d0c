//! The plan on this machine's kernel, with rungs of its ladders taken away.

use stacksonde::config::Config;
use stacksonde::negotiate::{Level, Plan, Provider, Severity, State};
use stacksonde::plan::{Survey, negotiate};
use stacksonde_btf_offsets::BtfOffsets;
use stacksonde_plugin::fact::{STACK_PT_REGS, TASK_STRUCT_STACK};
use stacksonde_plugin::{Answer, Capabilities, OffsetProvider, Readiness};
use stacksonde_selfprobe_offsets::SelfprobeOffsets;
use stacksonde_tests::root_only;
use stacksonde_tests::skip::skip;
use stacksonde_tests::wait::eventually;
use stacksonde_tracepoint_offsets::TracepointOffsets;

/// A provider without a plugin's boundary around it.
struct Direct<P> {
    name: &'static str,
    provider: P,
    /// The number that it adds to each value: for a provider that is wrong.
    error: u64,
}

impl<P: OffsetProvider> Provider for Direct<P> {
    fn name(&self) -> &str {
        self.name
    }

    fn provides(&mut self) -> Result<Vec<String>, String> {
        Ok(self.provider.provides())
    }

    fn probe(&mut self, capabilities: &Capabilities) -> Result<Readiness, String> {
        Ok(self.provider.probe(capabilities))
    }

    fn discover(&mut self, queries: &[String]) -> Result<Vec<Answer>, String> {
        let mut answers = self.provider.discover(queries);
        for offset in answers.iter_mut().flatten() {
            offset.value += self.error;
        }
        Ok(answers)
    }
}

fn plan_with(deny: &[&str], btf_error: u64) -> Plan {
    let mut config = Config::default();
    config.capabilities.deny = deny.iter().map(|name| (*name).to_owned()).collect();
    let survey = Survey::take(&config).unwrap();
    let mut btf = Direct { name: "btf-offsets", provider: BtfOffsets::default(), error: btf_error };
    let mut selfprobe = Direct { name: "selfprobe-offsets", provider: SelfprobeOffsets, error: 0 };
    negotiate(&config, &survey, &mut [&mut selfprobe, &mut btf], Vec::new())
}

fn plan_without(deny: &[&str]) -> Plan {
    plan_with(deny, 0)
}

fn provider<'a>(plan: &'a Plan, fact: &str) -> Option<&'a str> {
    plan.facts.iter().find(|found| found.name == fact).map(|found| found.provider.as_str())
}

#[test]
fn without_btf_the_same_offset_comes_from_measuring() {
    root_only!();
    let (with, without) = (plan_without(&[]), plan_without(&["kernel.btf"]));
    assert_eq!(provider(&without, TASK_STRUCT_STACK), Some("selfprobe-offsets"));
    for fact in [TASK_STRUCT_STACK, STACK_PT_REGS] {
        assert!(with.offset(fact).is_some(), "{:?}", with.refusals);
        assert_eq!(with.offset(fact), without.offset(fact));
    }
    assert_eq!(without.state("user_stacks_in_kernel"), State::On);
    assert_eq!(without.refusals[0].reason, "kernel.btf: denied by capabilities.deny");
}

#[test]
fn where_nothing_can_be_measured_kernel_samples_lose_their_user_part_and_nothing_else() {
    root_only!();
    let plan = plan_without(&["bpf.run.raw_tracepoint"]);
    assert_eq!(plan.state("user_stacks_in_kernel"), State::Off);
    for feature in ["samples", "user_stacks", "kernel_stacks"] {
        assert_ne!(plan.state(feature), State::Off, "{feature}");
    }
    assert_eq!(plan.level, Level::Reduced);
    let reason = &plan.feature("user_stacks_in_kernel").unwrap().reason;
    assert!(reason.contains("denied by capabilities.deny"), "{reason}");
}

#[test]
fn an_offset_that_our_own_task_does_not_confirm_is_refused_and_measured_instead() {
    root_only!();
    let (right, plan) = (plan_without(&[]), plan_with(&[], 8));
    if !plan.capabilities.has("kernel.btf") {
        return skip("an_offset_that_our_own_task_does_not_confirm", "this kernel has no BTF");
    }
    assert_eq!(plan.state("user_stacks_in_kernel"), State::On);
    assert_eq!(provider(&plan, TASK_STRUCT_STACK), Some("selfprobe-offsets"));
    assert_eq!(plan.offset(TASK_STRUCT_STACK), right.offset(TASK_STRUCT_STACK));
    let refusal = plan.refusals.iter().find(|refusal| refusal.provider == "btf-offsets").unwrap();
    assert!(refusal.reason.contains("did not confirm"), "{}", refusal.reason);
}

#[test]
fn where_every_provider_is_wrong_the_feature_is_off() {
    root_only!();
    let config = Config::default();
    let survey = Survey::take(&config).unwrap();
    let mut wrong = Direct { name: "selfprobe-offsets", provider: SelfprobeOffsets, error: 8 };
    let plan = negotiate(&config, &survey, &mut [&mut wrong], Vec::new());
    assert_eq!(plan.state("user_stacks_in_kernel"), State::Off);
    assert!(plan.facts.is_empty());
    assert!(plan.refusals.iter().all(|refusal| refusal.reason.contains("did not confirm")));
}

#[test]
fn verifying_takes_two_providers_that_agree() {
    root_only!();
    let mut config = Config::default();
    config.offsets.verify = true;
    let survey = Survey::take(&config).unwrap();
    let mut selfprobe = Direct { name: "selfprobe-offsets", provider: SelfprobeOffsets, error: 0 };
    let mut tracepoint =
        Direct { name: "tracepoint-offsets", provider: TracepointOffsets::default(), error: 0 };
    let plan = negotiate(&config, &survey, &mut [&mut selfprobe, &mut tracepoint], Vec::new());
    assert_eq!(plan.facts.len(), 2, "{:?}", plan.refusals);
    for fact in &plan.facts {
        assert!(fact.evidence.ends_with("tracepoint-offsets agrees"), "{}", fact.evidence);
    }
    let mut wrong = Direct { name: "tracepoint-offsets", provider: TracepointOffsets::default(), error: 8 };
    let plan = negotiate(&config, &survey, &mut [&mut selfprobe, &mut wrong], Vec::new());
    assert_eq!(plan.state("user_stacks_in_kernel"), State::Off);
    assert!(
        plan.facts.is_empty()
            && plan.refusals.iter().all(|refusal| refusal.reason.contains("neither is used"))
    );
}

#[test]
fn where_no_program_is_run_on_request_a_tracepoint_serves() {
    root_only!();
    let mut config = Config::default();
    config.capabilities.deny =
        ["kernel.btf", "bpf.run.raw_tracepoint", "tracefs.syscalls"].map(String::from).into();
    let survey = Survey::take(&config).unwrap();
    let mut selfprobe = Direct { name: "selfprobe-offsets", provider: SelfprobeOffsets, error: 0 };
    let mut tracepoint =
        Direct { name: "tracepoint-offsets", provider: TracepointOffsets::default(), error: 0 };
    let plan = negotiate(&config, &survey, &mut [&mut selfprobe, &mut tracepoint], Vec::new());
    assert_eq!(plan.state("user_stacks_in_kernel"), State::On, "{:?}", plan.refusals);
    assert_eq!(provider(&plan, STACK_PT_REGS), Some("tracepoint-offsets"));
    assert_eq!(plan.offset(STACK_PT_REGS), plan_without(&[]).offset(STACK_PT_REGS));
    let loud = plan.notes().into_iter().filter(|(severity, _)| *severity == Severity::Warning);
    assert!(loud.map(|(_, text)| text).any(|text| text.contains("raw tracepoint sys_enter")));
}

#[test]
fn each_capability_that_sampling_needs_stops_the_agent_with_one_sentence() {
    root_only!();
    for name in ["bpf.syscall", "bpf.prog.perf_event", "perf.cpu_clock", "bpf.map.ringbuf"] {
        let plan = plan_without(&[name]);
        assert_eq!(plan.level, Level::CannotRun, "without {name}");
        let sentence = plan.refusal().unwrap();
        assert!(sentence.contains(name) && sentence.contains("capabilities.deny"), "{sentence}");
        assert_eq!(sentence.lines().count(), 1);
    }
}

#[test]
fn probing_leaves_nothing_open() {
    root_only!();
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        targets.filter(|target| target.to_string_lossy().contains("perf_event")).count()
    };
    let programs = || {
        let info = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        let texts = info.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        texts.filter(|text| text.contains("prog_id:") || text.contains("map_id:")).count()
    };
    drop(plan_without(&[]));
    // Other tests of this program hold descriptors of their own for a moment.
    eventually("the end of all perf events", || open() == 0);
    eventually("the end of all programs and maps", || programs() == 0);
}
