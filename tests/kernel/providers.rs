//! Providers as packagers and misfortune choose them: one of three, or one that lies, hangs or panics.

use serde_json::Value;
use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::plugin::Stage;
use std::path::PathBuf;

const FACTS: [&str; 2] = ["task_struct.stack", "stack.pt_regs"];

/// Returns the folder of the plugins in the tests' config.
fn plugins() -> PathBuf {
    let config = std::fs::read_to_string(Installed::from_environment().unwrap().config).unwrap();
    let list = config.split_once("directories = [\"").unwrap().1;
    PathBuf::from(list.split_once('"').unwrap().0)
}

fn doctor(folder: &Stage, load: &[&str], order: &[&str], variables: &[(&str, &str)]) -> Value {
    let toml = format!(
        "[plugins]\ndirectories = [{:?}]\nload = {load:?}\n[offsets]\norder = {order:?}\n",
        folder.path()
    );
    Installed::from_environment().unwrap().doctor(&[], &toml, variables)
}

fn feature<'a>(plan: &'a Value, name: &str) -> &'a Value {
    plan["features"].as_array().unwrap().iter().find(|feature| feature["name"] == name).unwrap()
}

fn providers(plan: &Value) -> Vec<(&str, &str)> {
    let facts = plan["facts"].as_array().unwrap().iter();
    facts.map(|fact| (fact["name"].as_str().unwrap(), fact["provider"].as_str().unwrap())).collect()
}

#[test]
fn with_one_provider_of_three_the_plan_adapts_and_says_what_else_there_is() {
    kernel_tier!();
    let all = ["btf-offsets", "selfprobe-offsets", "tracepoint-offsets"];
    for only in all {
        let folder = Stage::new();
        folder.write(only, &std::fs::read(plugins().join(format!("{only}.so"))).unwrap());
        let plan = doctor(&folder, &all, &[], &[]);
        let loaded: Vec<_> = plan["plugins"]["loaded"]
            .as_array()
            .unwrap()
            .iter()
            .map(|plugin| plugin["name"].as_str().unwrap())
            .collect();
        assert_eq!(loaded, [only]);
        let advice = plan["advice"].to_string();
        for other in all.iter().filter(|other| **other != only) {
            assert!(advice.contains(&format!("{other} is not loaded")), "{advice}");
        }
        let in_kernel = feature(&plan, "user_stacks_in_kernel");
        if only == "btf-offsets" {
            // BTF does not state where the registers lie in a stack.
            assert_eq!(in_kernel["state"], "off");
            assert!(
                in_kernel["reason"].as_str().unwrap().contains("stack.pt_regs is unknown"),
                "{in_kernel}"
            );
            assert!(in_kernel["remedy"].as_str().unwrap().contains("install"), "{in_kernel}");
        } else {
            assert_eq!(in_kernel["state"], "on", "{plan}");
            assert_eq!(providers(&plan), FACTS.map(|fact| (fact, only)));
        }
    }
}

#[test]
fn a_provider_that_misbehaves_is_passed_over_and_the_plan_says_why() {
    kernel_tier!();
    let folder = Stage::new();
    folder.install("misbehaving-offsets");
    folder.write("selfprobe-offsets", &std::fs::read(plugins().join("selfprobe-offsets.so")).unwrap());
    let both = ["misbehaving-offsets", "selfprobe-offsets"];
    for (how, reason) in [
        ("lie", "which our own task did not confirm"),
        ("nonsense", "not plausible"),
        ("few", "0 answers to 2 queries"),
        ("panic", "was asked to panic"),
        ("hang", "did not return within"),
    ] {
        let plan = doctor(&folder, &both, &both, &[("MISBEHAVE", how)]);
        assert_eq!(feature(&plan, "user_stacks_in_kernel")["state"], "on", "{how}: {plan}");
        let mut sources = providers(&plan);
        sources.sort_unstable_by_key(|(fact, _)| std::cmp::Reverse(*fact));
        assert_eq!(sources, FACTS.map(|fact| (fact, "selfprobe-offsets")), "{how}");
        let refusals = plan["refusals"].as_array().unwrap();
        let about: Vec<_> =
            refusals.iter().filter(|refusal| refusal["provider"] == "misbehaving-offsets").collect();
        assert!(!about.is_empty(), "{how}: {plan}");
        for refusal in about {
            assert!(refusal["reason"].as_str().unwrap().contains(reason), "{how}: {refusal}");
        }
    }
    // Alone it costs what needs the offsets, and nothing else.
    let plan = doctor(&folder, &both[..1], &both[..1], &[("MISBEHAVE", "lie")]);
    assert_eq!(feature(&plan, "user_stacks_in_kernel")["state"], "off");
    assert_eq!(
        (feature(&plan, "samples")["state"].clone(), plan["level"].clone()),
        ("on".into(), "reduced".into())
    );
}

#[test]
fn a_provider_takes_its_section_of_the_config_and_refuses_what_it_does_not_know() {
    kernel_tier!();
    let installed = Installed::from_environment().unwrap();
    let deny = "[capabilities]\ndeny = [\"kernel.btf\"]\n";
    let with = |file: &str| {
        let toml = format!("{deny}[offsets.config.btf-offsets]\nfile = {file:?}\n");
        installed.doctor(&[], &toml, &[])
    };
    let plan = with("/sys/kernel/btf/vmlinux");
    if stacksonde::kernel::btf_available() {
        assert!(providers(&plan).contains(&("task_struct.stack", "btf-offsets")), "{plan}");
    }
    let plan = with("/nowhere/at.btf");
    assert!(plan["refusals"].to_string().contains("/nowhere/at.btf"), "{}", plan["refusals"]);
    assert_eq!(feature(&plan, "user_stacks_in_kernel")["state"], "on");
}
