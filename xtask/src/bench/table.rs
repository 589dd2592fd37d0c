//! The cost table.

use super::agents::{Profiler, Role};
use super::cost::Cost;

/// A column: its head, and a profiler's number in one round.
struct Column {
    head: [&'static str; 2],
    decimals: usize,
    /// True if profilers are compared in it: less is better.
    compared: bool,
    of: fn(&Cost) -> Option<f64>,
}

const MIB: f64 = 1_048_576.0;

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
const COLUMNS: &[Column] = &[
    Column {
        head: ["ns per", "sample"],
        decimals: 0,
        compared: true,
        of: |cost| (cost.runs.count > 0).then(|| cost.runs.time_ns as f64 / cost.runs.count as f64),
    },
    Column { head: ["CPU, ms", "a second"], decimals: 2, compared: true, of: |cost| Some(cost.cpu * 1e3) },
    Column {
        head: ["CPU, s", "start to end"],
        decimals: 2,
        compared: true,
        of: |cost| Some(cost.whole_cpu.as_secs_f64()),
    },
    Column {
        head: ["peak RSS,", "MiB"],
        decimals: 1,
        compared: false,
        of: |cost| Some(cost.peak_rss as f64 / MIB),
    },
    Column {
        head: ["BPF maps,", "MiB"],
        decimals: 1,
        compared: false,
        of: |cost| Some(cost.map_bytes as f64 / MIB),
    },
    Column {
        // A map that is mapped is resident memory, too, and counts once.
        head: ["both, once", "each, MiB"],
        decimals: 1,
        compared: true,
        of: |cost| Some((cost.peak_rss + cost.map_bytes).saturating_sub(cost.mapped_map_bytes) as f64 / MIB),
    },
    Column {
        head: ["first", "sample, ms"],
        decimals: 0,
        compared: true,
        of: |cost| cost.first.map(|first| first.as_secs_f64() * 1e3),
    },
    Column {
        head: ["complete", "stacks, %"],
        decimals: 1,
        compared: false,
        of: |cost| cost.complete.map(|share| share * 100.0),
    },
    Column {
        head: ["samples", ""],
        decimals: 0,
        compared: false,
        of: |cost| (cost.runs.count > 0).then_some(cost.runs.count as f64),
    },
];

/// Prints medians, then how ours compares.
pub(super) fn print(rows: &[(&Profiler, &Vec<Cost>)]) {
    const WIDTH: usize = 13;
    for line in 0..2 {
        let heads: Vec<_> = COLUMNS.iter().map(|column| format!("{:>WIDTH$}", column.head[line])).collect();
        println!("{:16}{}", if line == 0 { "profiler" } else { "" }, heads.concat());
    }
    for (profiler, costs) in rows {
        let cells = COLUMNS.iter().map(|column| match median(column, costs) {
            Some(value) => format!("{value:WIDTH$.*}", column.decimals),
            None => format!("{:>WIDTH$}", "-"),
        });
        println!("{:16}{}", profiler.name, cells.collect::<String>());
    }
    let Some((_, ours)) = rows.iter().find(|(profiler, _)| profiler.role == Role::Ours) else { return };
    compare("to best agent", rows, ours, |profiler| profiler.role == Role::Agent);
    compare("to perf", rows, ours, |profiler| profiler.role == Role::Copier);
    compare("to the floor", rows, ours, |profiler| profiler.role == Role::Floor);
}

/// A line of ratios: ours to the least of the others.
fn compare(title: &str, rows: &[(&Profiler, &Vec<Cost>)], ours: &[Cost], which: fn(&Profiler) -> bool) {
    const WIDTH: usize = 13;
    let cell = |column: &Column| {
        let others = rows.iter().filter(|(profiler, _)| which(profiler));
        let best = others.filter_map(|(_, costs)| median(column, costs)).min_by(f64::total_cmp);
        let ratio =
            median(column, ours).zip(best).filter(|_| column.compared).map(|(ours, best)| ours / best);
        ratio.map_or_else(|| format!("{:>WIDTH$}", ""), |ratio| format!("{ratio:WIDTH$.2}"))
    };
    if rows.iter().any(|(profiler, _)| which(profiler)) {
        println!("{title:16}{}", COLUMNS.iter().map(cell).collect::<String>());
    }
}

fn median(column: &Column, costs: &[Cost]) -> Option<f64> {
    let mut values: Vec<f64> = costs.iter().filter_map(column.of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
