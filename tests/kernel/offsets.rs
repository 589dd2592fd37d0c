//! Offsets on this machine's kernel: independent ways to them agree, and wrong ones are not confirmed.

use stacksonde::bpf::{IdFacts, confirm_entry_registers, confirm_ids};
use stacksonde_btf_offsets::BtfOffsets;
use stacksonde_ebpf::selfprobe::measure::{Fact, Measurer};
use stacksonde_ebpf::selfprobe::{Selfprobe, Trigger};
use stacksonde_plugin::fact::{self, STACK_PT_REGS, TASK_STRUCT_STACK};
use stacksonde_plugin::{Answer, OffsetProvider};
use stacksonde_selfprobe_offsets::SelfprobeOffsets;
use stacksonde_tests::root_only;
use stacksonde_tests::skip::skip;
use stacksonde_tests::witness::by_bpftool;
use stacksonde_tracepoint_offsets::TracepointOffsets;

/// Facts that BTF states and measuring finds.
fn shared() -> Vec<String> {
    Fact::ALL.map(|fact| fact.name().to_owned()).into_iter().filter(|name| name != STACK_PT_REGS).collect()
}

fn values(provider: &mut dyn OffsetProvider, queries: &[String]) -> Vec<u64> {
    let answers: Vec<Answer> = provider.discover(queries);
    let value = |(query, answer): (&String, Answer)| {
        let offset = answer.unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(!offset.method.is_empty() && !offset.evidence.is_empty(), "{offset:?}");
        offset.value
    };
    queries.iter().zip(answers).map(value).collect()
}

/// The same as bpftool reads it, a name a step.
fn by_another_reader(fact: &str) -> Result<u64, String> {
    let path: Vec<&str> = fact.split('.').collect();
    let steps: &[(&str, &str)] = match path[..] {
        ["task_struct", "thread", "fsbase"] => &[("task_struct", "thread"), ("thread_struct", "fsbase")],
        [structure, member] => &[(structure, member)],
        _ => return Err(format!("{fact} is not followed here")),
    };
    let mut bits = 0;
    for (structure, member) in steps {
        let members = by_bpftool(structure)?;
        let found = members.iter().find(|found| found.name == *member);
        bits += found.ok_or_else(|| format!("bpftool shows no {structure}.{member}"))?.offset_bits;
    }
    Ok(bits / 8)
}

#[test]
fn three_providers_and_another_reader_of_btf_agree_on_every_fact_that_they_share() {
    root_only!();
    if !stacksonde::kernel::btf_available() {
        return skip("three_providers_agree", "this kernel has no BTF");
    }
    let queries = shared();
    let read = values(&mut BtfOffsets::default(), &queries);
    let measured = values(&mut SelfprobeOffsets, &queries);
    let traced = values(&mut TracepointOffsets::default(), &queries);
    for (at, fact) in queries.iter().enumerate() {
        assert_eq!((measured[at], traced[at]), (read[at], read[at]), "{fact}");
        assert_eq!(by_another_reader(fact).unwrap(), read[at], "{fact}");
    }
    let query = [STACK_PT_REGS.to_owned()];
    assert_eq!(
        values(&mut SelfprobeOffsets, &query),
        values(&mut TracepointOffsets::default(), &query),
        "what BTF does not state, the other two measure alike"
    );
}

#[test]
fn btf_alone_states_what_finding_mappings_takes() {
    root_only!();
    let queries: Vec<String> = BtfOffsets::default()
        .provides()
        .into_iter()
        .filter(|fact| {
            ["vm_area_struct.", "file.", "inode.", "super_block."].iter().any(|of| fact.starts_with(of))
        })
        .collect();
    assert_eq!(queries.len(), 9);
    if !stacksonde::kernel::btf_available() {
        return skip("btf_alone", "this kernel has no BTF");
    }
    let read = values(&mut BtfOffsets::default(), &queries);
    assert!(queries.contains(&fact::VM_AREA_STRUCT_VM_FLAGS.to_owned()));
    for (query, value) in queries.iter().zip(read) {
        // These may lie in anonymous members, which bpftool does not look into.
        if let Ok(other) = by_another_reader(query) {
            assert_eq!(other, value, "{query}");
        }
    }
}

#[test]
fn every_way_to_run_the_analysis_gives_the_same() {
    root_only!();
    for trigger in Trigger::ALL {
        let probe = match Selfprobe::open(&[trigger]) {
            Ok(probe) => probe,
            // tracefs is not mounted everywhere, and we mount nothing.
            Err(error) if trigger == Trigger::SyscallTracepoint => {
                skip_quietly(&error.to_string());
                continue;
            }
            Err(error) => panic!("{trigger:?}: {error}"),
        };
        assert_eq!(probe.trigger(), trigger);
        let mut measurer = Measurer::new(probe);
        let mut other = Measurer::new(Selfprobe::load().unwrap());
        for fact in Fact::ALL {
            let measured = measurer.measure(fact).unwrap_or_else(|error| panic!("{fact:?}: {error}"));
            assert_eq!(measured.value, other.measure(fact).unwrap().value, "{fact:?} by {trigger:?}");
            assert!(measured.evidence.contains(trigger.name()), "{}", measured.evidence);
        }
    }
}

fn skip_quietly(why: &str) {
    // `ladders.rs` runs this way in a namespace of its own, with tracefs mounted there.
    assert!(why.contains("tracefs") || why.contains("tracepoint"), "{why}");
}

fn entry_registers() -> (u64, u64) {
    let at = Measurer::new(Selfprobe::load().unwrap()).entry_registers().unwrap();
    (at.task_struct_stack, at.stack_pt_regs)
}

#[test]
fn measuring_gives_the_same_every_time_and_on_any_thread() {
    root_only!();
    let all = || {
        let mut measurer = Measurer::new(Selfprobe::load().unwrap());
        Fact::ALL.map(|fact| measurer.measure(fact).unwrap_or_else(|error| panic!("{fact:?}: {error}")).value)
    };
    let first = all();
    for _ in 0..8 {
        assert_eq!(std::thread::spawn(all).join().unwrap(), first);
    }
}

#[test]
fn confirms_what_is_right_and_nothing_else() {
    root_only!();
    let (stack, registers) = entry_registers();
    for trigger in [Trigger::TestRun, Trigger::RawTracepoint] {
        confirm_entry_registers(stack, registers, &[trigger]).unwrap();
    }
    for (stack, registers) in [
        (stack + 8, registers),
        (stack - 8, registers),
        (stack, registers + 8),
        (stack, registers - 8),
        (stack, 1 << 20),
        (stack, u64::MAX),
        (u64::MAX - 7, registers),
    ] {
        let error = confirm_entry_registers(stack, registers, &[Trigger::TestRun]).unwrap_err();
        assert!(!error.to_string().is_empty(), "{stack:#x} {registers:#x}");
    }
}

#[test]
fn confirms_only_what_leads_to_our_own_ids() {
    root_only!();
    let mut measurer = Measurer::new(Selfprobe::load().unwrap());
    let mut value = |fact| u32::try_from(measurer.measure(fact).unwrap().value).unwrap();
    let right = IdFacts {
        group_leader: value(Fact::GroupLeader),
        thread_pid: value(Fact::ThreadPid),
        level: value(Fact::PidLevel),
        numbers: value(Fact::PidNumbers),
        nr: value(Fact::UpidNr),
    };
    let namespace = confirm_ids(&right, &[Trigger::TestRun]).unwrap();
    assert_eq!(namespace, confirm_ids(&right, &[Trigger::RawTracepoint]).unwrap());
    for wrong in [
        IdFacts { group_leader: right.group_leader + 8, ..right },
        IdFacts { thread_pid: right.thread_pid + 8, ..right },
        IdFacts { numbers: right.numbers + 8, ..right },
        IdFacts { numbers: right.numbers - 16, ..right },
        IdFacts { nr: 8, ..right },
    ] {
        assert!(confirm_ids(&wrong, &[Trigger::TestRun]).is_err(), "{wrong:?}");
    }
}

#[test]
fn answers_come_in_the_order_of_the_queries() {
    root_only!();
    let queries = [STACK_PT_REGS, "pid.size", TASK_STRUCT_STACK].map(String::from);
    let answers = SelfprobeOffsets.discover(&queries);
    let (stack, registers) = entry_registers();
    assert_eq!(answers[0].as_ref().unwrap().value, registers);
    assert!(answers[1].is_err());
    assert_eq!(answers[2].as_ref().unwrap().value, stack);
}
