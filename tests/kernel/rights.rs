//! The cost of missing rights is told by their names, with the remedy that works.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use std::process::Command;

#[test]
fn without_the_right_to_look_into_processes_the_plan_is_reduced_and_names_hidepid() {
    kernel_tier!();
    let installed = Installed::from_environment().unwrap();
    let script = format!(
        "mount -t proc -o hidepid=2 proc /proc; exec setpriv --bounding-set=-sys_ptrace {} doctor --json --config {}",
        installed.agent.display(),
        installed.config.display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(plan["level"], "reduced", "{plan}");
    let features = plan["features"].as_array().unwrap();
    let stacks = features.iter().find(|feature| feature["name"] == "user_stacks").unwrap();
    let (reason, remedy) = (stacks["reason"].as_str().unwrap(), stacks["remedy"].as_str().unwrap());
    assert!(reason.contains("hidepid=") && remedy.contains("CAP_SYS_PTRACE"), "{stacks}");
}
