//! `stacksonde batch`: the golden file of the first version, as text and as JSON.

use stacksonde_tests::{agent, plugin};
use std::process::{Command, Output};

fn batch(arguments: &[&str]) -> Output {
    let golden = plugin::workspace().join("sdk/batch/tests/golden/batch-v1.bin");
    Command::new(agent::built()).arg("batch").arg(golden).args(arguments).output().unwrap()
}

#[test]
fn the_text_says_what_is_in_the_batch() {
    let output = batch(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "run          30313233343536373839616263646566, batch 42\n",
        "interval     10000 ms, until 1795000011 s after 1970\n",
        "value        cpu: 10101010 nanoseconds a sample\n",
        "attribute    kernel.release = 6.18.0\n",
        "lost         3 samples_lost_ring_full\n",
        "      2  100 app\n",
        "      2  app::run\n",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn the_json_holds_every_row() {
    let json: serde_json::Value = serde_json::from_slice(&batch(&["--json"]).stdout).unwrap();
    assert_eq!(json["header"]["sequence"], 42);
    assert_eq!(json["samples"][0]["timestamps_ns"], serde_json::json!([1_500_000_000, 1_600_000_000]));
    assert_eq!(
        json["samples"][0]["values"].as_array().map(Vec::len),
        json["value_types"].as_array().map(Vec::len)
    );
    assert_eq!(json["processes"][0]["labels"]["team"], "größe");
    assert_eq!(json["mappings"][0]["build_id"], "00ff");
    assert_eq!(json["functions"][0]["system_name"], "_ZN3app3runE");
}

#[test]
fn what_is_no_batch_is_refused_in_a_sentence() {
    let output = Command::new(agent::built()).args(["batch", "/proc/self/maps"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("/proc/self/maps: this is not a batch: it does not start with `SONDEBAT`"),
        "{said}"
    );
}
