//! Compares what came out of a guest with what must.

use super::results::{Recording, Results, Stacks};
use super::rows::{Expected, LOCKED, MAPS_ARE_LOCKED, Row};
use serde_json::Value;

/// A program of the guest whose stacks are known.
#[derive(Debug)]
pub(super) struct Program {
    /// Its name, as the kernel keeps it: 15 bytes.
    pub(super) name: &'static str,
    /// Frames that stand one after the other; each chain is seen, and nearly all samples show one.
    pub(super) chains: &'static [&'static [&'static str]],
    /// True if its frames are linked by frame pointers, so that the kernel's own walk shows them too.
    pub(super) frame_pointers: bool,
    /// Set if it is in the kernel for much of its time.
    pub(super) asks_kernel: bool,
}

/// The known programs: `tests/targets` says what they do.
pub(super) const PROGRAMS: [Program; 2] = [
    Program {
        name: "c_chain",
        chains: &[
            &["_start", "start", "outer", "middle", "inner", "spin"],
            &["_start", "start", "outer", "middle", "ask_kernel"],
        ],
        frame_pointers: true,
        asks_kernel: true,
    },
    Program {
        name: "no_frame_pointe",
        chains: &[&["main", "outer", "middle", "inner"]],
        frame_pointers: false,
        asks_kernel: false,
    },
];

/// At least this share of a program's samples shows one of its chains. The rest was sampled in
/// passing from one function to another.
const SHARE: f64 = 0.9;

/// Fewer samples than this say nothing about a share. Five seconds at 99 Hz are some 500; on a busy
/// machine an emulated CPU gets only part of them.
const ENOUGH: u64 = 50;

/// Facts that every plan of the matrix has.
pub(super) const FACTS: [&str; 2] = ["task_struct.stack", "stack.pt_regs"];

/// Facts that translate process ids, which a nested pid namespace needs besides.
pub(super) const IDS: [&str; 5] =
    ["task_struct.group_leader", "task_struct.thread_pid", "pid.level", "pid.numbers", "upid.nr"];

/// A row, what came out, and what of it is not as expected.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) row: &'static Row,
    /// The results that the guest sent, if it did.
    pub(super) results: Option<Results>,
    /// Empty if all is as expected.
    pub(super) complaints: Vec<String>,
}

/// Compares.
pub(super) fn check(row: &'static Row, results: Results) -> Outcome {
    let mut complaints = plan(&row.expected, &results.plan, results.doctor_status);
    let nested = nested(&row.expected, &results.nested);
    complaints.extend(nested.into_iter().map(|complaint| format!("in a pid namespace, {complaint}")));
    let is_less = |feature: &str| row.expected.less.iter().any(|(less, _)| *less == feature);
    let shown = |program: &&Program| match program.frame_pointers {
        true => !(program.asks_kernel && row.expected.provider.is_empty()),
        false => !is_less("user_stacks"),
    };
    for program in PROGRAMS.iter().filter(shown) {
        let all = results.stacks.of(program.name);
        // Without facts samples of the kernel have no user part.
        complaints
            .extend(stacks(program, &if row.expected.provider.is_empty() { all.complete() } else { all }));
    }
    complaints.extend(locked(row, &results.plan));
    complaints.extend(filtered(&results.filtered));
    complaints.extend(memlock(row, results.memlock.as_ref()));
    Outcome { row, results: Some(results), complaints }
}

/// Complains of a feature that a lockdown takes and that does not name it.
fn locked(row: &Row, plan: &Value) -> Vec<String> {
    if !row.guest.contains(&LOCKED) {
        return Vec::new();
    }
    let lost = list(plan, "features").iter().filter(|feature| text(feature, "/state") != "on");
    let silent = lost.filter(|feature| !text(feature, "/reason").contains("lockdown"));
    silent.map(|feature| format!("feature {} does not name the lockdown", text(feature, "/name"))).collect()
}

/// Of two programs one is denied: the kernel keeps its samples back, and the other's are there.
fn filtered(recording: &Recording) -> Vec<String> {
    let [denied, wanted] =
        PROGRAMS.map(|program| (program.name, recording.stacks.of(program.name).samples()));
    let mut complaints = Vec::new();
    if denied.1 > 0 {
        complaints.push(format!("{} samples of {}, which is denied", denied.1, denied.0));
    }
    if wanted.1 == 0 {
        complaints.push(format!("no sample of {} while {} is denied", wanted.0, denied.0));
    }
    let excluded = recording.said.split_once("excluded: ").map(|(_, rest)| rest);
    let excluded = excluded.and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
    if excluded.is_none_or(|excluded| excluded < ENOUGH) {
        let said = recording.said.trim();
        complaints.push(format!("{excluded:?} samples were kept back, not {ENOUGH} at least: {said}"));
    }
    complaints
}

/// Checks rings where maps count as locked memory: the limit is raised; where it cannot be, rings are smaller.
fn memlock(row: &Row, recordings: Option<&[Recording; 2]>) -> Vec<String> {
    let charged = row.guest.contains(&MAPS_ARE_LOCKED);
    let Some(recordings) = recordings else {
        return if charged {
            vec!["the guest did not try the limit of locked memory".into()]
        } else {
            Vec::new()
        };
    };
    const SMALLER: &str = "the rings of samples are smaller than memory.ring_bytes";
    let mut complaints = Vec::new();
    for (recording, limit, smaller) in
        [(&recordings[0], "could be raised", false), (&recordings[1], "could not be raised", true)]
    {
        if recording.said.contains(SMALLER) != smaller {
            complaints.push(format!("where the limit {limit}, record said `{}`", recording.said.trim()));
        }
        for program in PROGRAMS.iter().filter(|program| recording.stacks.of(program.name).samples() == 0) {
            complaints.push(format!("where the limit {limit}, {} was not recorded", program.name));
        }
    }
    complaints
}

fn plan(expected: &Expected, plan: &Value, status: i32) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut same = |what: &str, is: &str, wanted: &str| {
        if is != wanted {
            complaints.push(format!("{what} is `{is}`, not `{wanted}`"));
        }
    };
    same("level", text(plan, "/level"), expected.level);
    let wanted = match expected.level {
        "full" => "0",
        "reduced" => "1",
        _ => "2",
    };
    same("doctor's exit status", &status.to_string(), wanted);
    same("hazard copy_from_user_nofault", hazard(plan), expected.hazard);
    for feature in list(plan, "features") {
        let name = text(feature, "/name");
        let less = expected.less.iter().find(|(of, _)| *of == name).map(|(_, state)| *state);
        let what = format!("feature {name} ({})", text(feature, "/reason"));
        same(&what, text(feature, "/state"), less.unwrap_or("on"));
    }
    complaints.extend(facts(expected, plan, &FACTS));
    let version = text(plan, "/kernel/version");
    if !version.starts_with(expected.version) || version.is_empty() {
        complaints.push(format!("version is `{version}`, not {}*", expected.version));
    }
    complaints
}

/// All facts are there, and where it can be, two providers agree on each.
fn nested(expected: &Expected, plan: &Value) -> Vec<String> {
    let mut complaints = facts(expected, plan, &[&FACTS[..], &IDS[..]].concat());
    for fact in list(plan, "facts") {
        let (name, evidence) = (text(fact, "/name"), text(fact, "/evidence"));
        if expected.compared != evidence.ends_with(" agrees") {
            complaints.push(format!("evidence of {name} is `{evidence}`"));
        }
    }
    complaints
}

/// These facts are there, and all that are come from who must give them.
fn facts(expected: &Expected, plan: &Value, wanted: &[&str]) -> Vec<String> {
    let found = list(plan, "facts");
    let wanted = if expected.provider.is_empty() { &[] } else { wanted };
    let missing = wanted.iter().filter(|name| !found.iter().any(|fact| text(fact, "/name") == **name));
    let refusals = || list(plan, "refusals").iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    let missing = missing.map(|name| format!("fact {name} was not found: {}", refusals()));
    let provider = |name: &str| {
        let other = expected.provider_of.iter().find(|(of, _)| *of == name);
        other.map_or(expected.provider, |(_, provider)| *provider)
    };
    let misattributed = found.iter().filter_map(|fact| {
        let (name, gave) = (text(fact, "/name"), text(fact, "/provider"));
        let should = provider(name);
        (gave != should).then(|| format!("provider of {name} is `{gave}`, not `{should}`"))
    });
    missing.chain(misattributed).collect()
}

/// Checks that stacks show what the program does.
pub(super) fn stacks(program: &Program, stacks: &Stacks) -> Vec<String> {
    let (name, all) = (program.name, stacks.samples());
    let mut complaints = Vec::new();
    if all < ENOUGH {
        complaints.push(format!("{all} samples of {name}, not {ENOUGH} at least"));
    }
    let mut shown = 0;
    for chain in program.chains {
        let samples = stacks.with_chain(chain).samples();
        shown += samples;
        if samples == 0 {
            complaints.push(format!("no sample of {name} shows {}", chain.join(";")));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hundred samples")]
    let share = shown as f64 / all.max(1) as f64;
    if share < SHARE {
        complaints.push(format!("{:.0} % of the samples of {name} show what it does", share * 100.0));
    }
    complaints
}

/// Returns the state in a plan of the hazard of reading user memory.
pub(super) fn hazard(plan: &Value) -> &str {
    let hazards = list(plan, "hazards").iter();
    let found = hazards.filter(|hazard| text(hazard, "/hazard") == "copy_from_user_nofault");
    found.map(|hazard| text(hazard, "/state")).next().unwrap_or_default()
}

/// The elements of a list of a plan.
pub(super) fn list<'a>(plan: &'a Value, name: &str) -> &'a [Value] {
    plan.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text in a plan; empty if there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::results::Stacks;
    use super::super::rows::ROWS;
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "kernel": {"version": "6.1.192"},
            "level": "full",
            "facts": [
                {"name": "task_struct.stack", "provider": "btf-offsets"},
                {"name": "stack.pt_regs", "provider": "selfprobe-offsets"},
            ],
            "hazards": [{"hazard": "copy_from_user_nofault", "state": "out-of-range"}],
            "features": [{"name": "samples", "state": "on", "reason": ""}],
        })
    }

    fn expected() -> &'static Expected {
        &ROWS.iter().find(|row| row.name == "stock-6.1").unwrap().expected
    }

    #[test]
    fn complains_of_each_thing_that_is_not_as_expected() {
        assert_eq!(plan(expected(), &good(), 0), Vec::<String>::new());
        let changes: [(&str, Value, &str); 7] = [
            ("/level", json!("reduced"), "level is `reduced`, not `full`"),
            ("/kernel/version", json!("5.10.1"), "version is `5.10.1`, not 6.1.*"),
            ("/facts/0/provider", json!("selfprobe-offsets"), "provider of task_struct.stack is"),
            ("/facts/1/provider", json!("btf-offsets"), "provider of stack.pt_regs is"),
            ("/facts/1/name", json!("pid.level"), "fact stack.pt_regs was not found"),
            ("/hazards/0/state", json!("unproven"), "hazard copy_from_user_nofault is `unproven`"),
            ("/features/0/state", json!("off"), "feature samples () is `off`, not `on`"),
        ];
        for (pointer, value, complaint) in changes {
            let mut changed = good();
            *changed.pointer_mut(pointer).unwrap() = value;
            let complaints = plan(expected(), &changed, 0);
            assert!(complaints.iter().any(|c| c.starts_with(complaint)), "{pointer}: {complaints:?}");
        }
        assert_eq!(plan(expected(), &good(), 1), ["doctor's exit status is `1`, not `0`"]);
    }

    #[test]
    fn complains_of_facts_that_are_missing_or_were_not_compared() {
        let fact = |name: &&str| {
            let provider = if *name == "stack.pt_regs" { "selfprobe-offsets" } else { "btf-offsets" };
            json!({"name": name, "provider": provider, "evidence": "there; another agrees"})
        };
        let all: Vec<_> = FACTS.iter().chain(&IDS).map(fact).collect();
        let mut found = json!({"facts": all});
        assert_eq!(nested(expected(), &found), Vec::<String>::new());
        found["facts"][3]["evidence"] = json!("there; nobody else can give it");
        assert!(nested(expected(), &found)[0].starts_with("evidence of task_struct.thread_pid is"));
        found["facts"] = json!(all[..6]);
        assert!(nested(expected(), &found)[0].starts_with("fact upid.nr was not found"));
    }

    #[test]
    fn complains_of_stacks_that_do_not_show_the_program() {
        let program = &PROGRAMS[0];
        let complaints = |text: &str| stacks(program, &Stacks::parse(text).unwrap());
        let [computes, asks] = [0, 1].map(|chain| program.chains[chain].join(";"));
        let good = format!("c_chain;{computes} 95\nc_chain;{asks};x_[k] 100\nc_chain;other 5\n");
        assert_eq!(complaints(&good), Vec::<String>::new());
        assert_eq!(complaints("").len(), 4);
        let never_asks = complaints(&format!("c_chain;{computes} 95\n"));
        assert!(never_asks[0].contains("ask_kernel"), "{never_asks:?}");
        let often_other = complaints(&format!("{good}c_chain;other 50\n"));
        assert_eq!(often_other, ["78 % of the samples of c_chain show what it does"]);
    }
}
