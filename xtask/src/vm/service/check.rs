//! Checks of the results from a guest of the service.

use super::results::{Results, Try};
use crate::vm::check::{PROGRAMS, Program, list, stacks, text};
use serde_json::Value;

/// Frames of `no_frame_pointers`.
const CHAIN: &[&[&str]] = &[&["main", "outer", "middle", "inner"]];

/// The same program in four places, run by another user than the service's.
pub(super) const PLACES: [(Program, &str); 4] = [
    (place("in_usr"), "programs of other users"),
    (place("in_home"), "programs that only their owner may read"),
    (place("in_tmp"), "programs in `/tmp`"),
    (place("removed"), "programs whose file was replaced or removed"),
];

const fn place(name: &'static str) -> Program {
    Program { name, chains: CHAIN, frame_pointers: false, asks_kernel: false }
}

/// Bit of CAP_SYS_ADMIN.
const CAP_SYS_ADMIN: u32 = 21;

/// Complaints.
pub(super) fn check(results: &Results) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    let started = results.text("start.status")?;
    if started != "0" {
        let journal = results.text("journal")?;
        return Ok(vec![format!("systemctl start failed with {started}; the journal:\n{journal}")]);
    }
    let mut must = |holds: bool, complaint: String| {
        if !holds {
            complaints.push(complaint);
        }
    };
    let verified = results.text("verify")?;
    must(verified.is_empty(), format!("systemd-analyze verify complains: {verified}"));
    let paranoid = results.text("paranoid")?;
    must(paranoid == "3", format!("kernel.perf_event_paranoid is {paranoid}, not Debian's 3"));

    let process = results.text("service.process")?;
    let field = |name: &str| {
        let line = process.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or_default()
    };
    must(!["", "0"].contains(&field("Uid")), format!("the service runs as user {:?}", field("Uid")));
    must(
        field("NoNewPrivs") == "1" && field("Seccomp") == "2",
        format!("the service is not confined: {process}"),
    );
    for line in results.text("service.threads")?.lines() {
        let set = line.split_whitespace().nth(1).and_then(|set| u64::from_str_radix(set, 16).ok());
        let lacks = set.is_some_and(|set| set >> CAP_SYS_ADMIN & 1 == 0);
        must(lacks, format!("a thread of the running service may have CAP_SYS_ADMIN: {line}"));
    }
    let shown = results.text("service.status-shown")?;
    must(shown.contains("Status: \"sampling\""), format!("systemctl status shows no status:\n{shown}"));
    let files = results.text("service.files")?;
    let wanted = "stacksonde:stacksonde 750 directory\nstacksonde:stacksonde 755 directory\nstacksonde:stacksonde 660 socket";
    must(files == wanted, format!("the service's files are `{files}`"));

    let (root, unit) = (results.attempt("root")?, results.attempt("unit")?);
    must(text(&root.plan, "/level") == "full", format!("root's level is {}", text(&root.plan, "/level")));
    let of_root = reached(&root.plan);
    for (who, plan) in
        [("doctor by the unit's rights", &unit.plan), ("the service", &results.service_plan()?)]
    {
        let reached = reached(plan);
        must(reached == of_root, format!("{who} reached {reached:#}, root reached {of_root:#}"));
    }
    let recorded = results.stacks("service.folded")?;
    for program in PLACES.iter().map(|(program, _)| program).chain(&PROGRAMS[..1]) {
        for complaint in stacks(program, &recorded.of(program.name)) {
            must(false, complaint);
        }
    }

    must(results.text("reload.status")? == "0", "systemctl reload failed".into());
    let refused = results.text("refused.status")?;
    must(refused != "0", "systemctl reload of a wrong configuration succeeded".into());
    let reloaded = results.stacks("reloaded.folded")?;
    let (denied, others) = (reloaded.of("in_usr").samples(), reloaded.of("in_home").samples());
    must(denied == 0 && others > 0, format!("denied by reload: {denied} samples; not denied: {others}"));
    let journal = results.text("journal")?;
    for line in ["configuration reloaded", "Reload failed for stacksonde.service", "Watchdog timeout"] {
        must(journal.contains(line), format!("the journal has no `{line}`:\n{journal}"));
    }
    let show = |file: &str, property: &str| results.property(file, property);
    let after = |file: &str, properties: &[(&str, &str)]| -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (property, wanted) in properties {
            let is = show(file, property)?;
            if is != *wanted {
                wrong.push(format!("{file}: {property} is `{is}`, not `{wanted}`"));
            }
        }
        Ok(wrong)
    };
    let process = show("show.started", "MainPID")?;
    let mut wrong = after(
        "show.reloaded",
        &[("ActiveState", "active"), ("SubState", "running"), ("NRestarts", "0"), ("MainPID", &process)],
    )?;
    wrong.extend(after(
        "show.stopped",
        &[("ActiveState", "inactive"), ("Result", "success"), ("ExecMainStatus", "0")],
    )?);
    wrong.extend(after("show.barked", &[("ActiveState", "active"), ("NRestarts", "1")])?);
    let heard = |file: &str| anyhow::Ok(show(file, "WatchdogTimestampMonotonic")?.parse().unwrap_or(0u64));
    let (first, then) = (heard("show.started")?, heard("show.reloaded")?);
    must(then > first, format!("the watchdog heard nothing between {first} and {then}"));
    complaints.extend(wrong);
    Ok(complaints)
}

/// Returns the parts of a plan that must be the same whatever rights it was reached by.
fn reached(plan: &Value) -> Value {
    let features = list(plan, "features").iter();
    let features: Vec<_> = features.map(|f| [text(f, "/name"), text(f, "/state"), text(f, "/way")]).collect();
    let facts = list(plan, "facts").iter();
    let facts: Vec<_> = facts
        .map(|fact| serde_json::json!([text(fact, "/name"), fact.get("value"), text(fact, "/provider")]))
        .collect();
    serde_json::json!({ "level": text(plan, "/level"), "features": features, "facts": facts })
}

/// Lists the losses of an agent against one with all of the unit's rights; sentences for a table.
pub(super) fn losses(unit: &Try, without: &Try) -> Vec<String> {
    if text(&without.plan, "/level") == "cannot-run" || !without.recorded {
        return vec!["everything: it does not start".into()];
    }
    let mut losses = Vec::new();
    for (with, now) in list(&unit.plan, "features").iter().zip(list(&without.plan, "features")) {
        let state = text(now, "/state");
        if text(with, "/state") != state {
            losses.push(format!("feature `{}`: {state}", text(with, "/name")));
        }
    }
    let capabilities = unit.plan.get("capabilities").and_then(Value::as_object).into_iter().flatten();
    for (name, outcome) in capabilities.filter(|(name, _)| !name.starts_with("cap.")) {
        let now = without.plan.get("capabilities").and_then(|all| all.get(name)).unwrap_or(&Value::Null);
        if text(outcome, "/state") != text(now, "/state") {
            losses.push(format!("`{name}`"));
        }
    }
    for (program, what) in &PLACES {
        let shown = |attempt: &Try| {
            let samples = attempt.stacks.of(program.name);
            2 * samples.with_chain(CHAIN[0]).samples() > samples.samples().max(1)
        };
        if shown(unit) && !shown(without) {
            losses.push(format!("stacks of {what}"));
        }
    }
    if unit.labels.iter().any(|label| !without.labels.contains(label)) {
        losses.push("labels of processes".into());
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::results::Stacks;
    use serde_json::json;

    fn all() -> Try {
        let line = |(program, _): &(Program, &str)| format!("{};{} 100\n", program.name, CHAIN[0].join(";"));
        Try {
            name: "unit".into(),
            plan: json!({
                "level": "full",
                "features": [{"name": "kernel_names", "state": "on"}],
                "capabilities": {"cap.syslog": {"state": "present"}, "tracefs.mounted": {"state": "present"}},
                "facts": [],
            }),
            recorded: true,
            stacks: Stacks::parse(&PLACES.iter().map(line).collect::<String>()).unwrap(),
            labels: vec!["home-labelled".into()],
        }
    }

    #[test]
    fn what_is_lost_is_told_by_features_stacks_and_labels() {
        assert_eq!(losses(&all(), &all()), Vec::<String>::new());
        let mut less = all();
        less.plan["features"][0]["state"] = json!("off");
        less.plan["capabilities"]["cap.syslog"]["state"] = json!("absent");
        less.plan["capabilities"]["tracefs.mounted"]["state"] = json!("absent");
        less.stacks = Stacks::parse("in_usr;main;outer;middle;inner 9\nin_home;[unknown] 9\n").unwrap();
        less.labels.clear();
        let expected = [
            "feature `kernel_names`: off",
            "`tracefs.mounted`",
            "stacks of programs that only their owner may read",
            "stacks of programs in `/tmp`",
            "stacks of programs whose file was replaced or removed",
            "labels of processes",
        ];
        assert_eq!(losses(&all(), &less), expected);
        less.recorded = false;
        assert_eq!(losses(&all(), &less), ["everything: it does not start"]);
    }

    #[test]
    fn what_is_reached_is_compared_without_how_it_was_found() {
        let mut other = all().plan;
        other["capabilities"]["cap.syslog"]["state"] = json!("absent");
        assert_eq!(reached(&all().plan), reached(&other));
        other["facts"] = json!([{"name": "task_struct.stack", "value": 32, "provider": "btf-offsets"}]);
        assert_ne!(reached(&all().plan), reached(&other));
    }
}
