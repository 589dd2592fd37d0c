//! The functions and processes of what is shown, with their CPU time.

use super::labels::Label;
use super::tree::{NodeId, ROOT, Tree};
use std::collections::BTreeMap;

/// By what functions are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FunctionOrder {
    /// CPU time in itself.
    #[default]
    Own,
    /// CPU time in itself and what it calls.
    Total,
    /// Its name.
    Name,
}

/// By what processes are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessOrder {
    /// CPU time.
    #[default]
    Cpu,
    /// Name.
    Name,
    /// Process id.
    Pid,
}

/// A function, and its CPU time in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// Which; a process or [`Label::Incomplete`] for stacks without frames.
    pub label: Label,
    /// In itself.
    pub own: u64,
    /// In itself or what it calls, recursion counted once.
    pub total: u64,
}

/// A process, and its CPU time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    /// Which.
    pub label: Label,
    /// Its CPU time, in nanoseconds.
    pub cpu_time_ns: u64,
}

/// The counts that are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Functions that are on some stack.
    pub functions: Vec<FunctionRow>,
    /// Processes, of the whole machine.
    pub processes: Vec<ProcessRow>,
    /// CPU time of the process that is looked at, or of all, in nanoseconds.
    pub cpu_time_ns: u64,
    /// Of that, the part whose stacks are not whole, by reason.
    pub incomplete: BTreeMap<String, u64>,
    /// Of that, the part with something on their stack that is searched for.
    pub matching: u64,
}

impl Tables {
    /// Counts; of one process alone if it is named, and only what has `search` in its name if that is not empty.
    pub(super) fn count(tree: &Tree, only: Option<&Label>, search: &str) -> Self {
        let search = search.to_lowercase();
        let matches = |label: &Label| label.text().to_lowercase().contains(&search);
        let mut walk = Walk::new(tree, |label| !search.is_empty() && matches(label));
        let mut tables = Self::default();
        for process in tree.children(ROOT) {
            let looked_at = only.is_none_or(|only| only == tree.label(*process));
            let matching = match looked_at || !search.is_empty() {
                true => walk.process(*process, looked_at),
                false => 0,
            };
            if search.is_empty() || matching > 0 {
                let row =
                    ProcessRow { label: tree.label(*process).clone(), cpu_time_ns: tree.total(*process) };
                tables.processes.push(row);
            }
            if looked_at {
                tables.cpu_time_ns += tree.total(*process);
                tables.matching += matching;
                for child in tree.children(*process) {
                    if let Label::Incomplete(reason) = tree.label(*child) {
                        *tables.incomplete.entry(reason.to_string()).or_default() += tree.total(*child);
                    }
                }
            }
        }
        for (id, (own, total)) in (0..).zip(walk.counts) {
            let label = tree.labels.get(id);
            // A process or a mark is there for stacks that have no frames.
            let is_row = total > 0 && (label.is_function() || own > 0);
            if is_row && (search.is_empty() || matches(label)) {
                tables.functions.push(FunctionRow { label: label.clone(), own, total });
            }
        }
        tables
    }

    /// Puts the rows in order.
    pub(super) fn sort(&mut self, functions: FunctionOrder, processes: ProcessOrder) {
        let key = |row: &FunctionRow| match functions {
            FunctionOrder::Own => (std::cmp::Reverse(row.own), std::cmp::Reverse(row.total)),
            FunctionOrder::Total => (std::cmp::Reverse(row.total), std::cmp::Reverse(row.own)),
            FunctionOrder::Name => (std::cmp::Reverse(0), std::cmp::Reverse(0)),
        };
        self.functions.sort_unstable_by(|a, b| {
            key(a).cmp(&key(b)).then_with(|| a.label.name().cmp(b.label.name())).then(a.label.cmp(&b.label))
        });
        let pid = |label: &Label| match label {
            Label::Process { pid, .. } => *pid,
            _ => 0,
        };
        self.processes.sort_unstable_by(|a, b| {
            let first = match processes {
                ProcessOrder::Cpu => b.cpu_time_ns.cmp(&a.cpu_time_ns),
                ProcessOrder::Name => a.label.name().cmp(b.label.name()),
                ProcessOrder::Pid => pid(&a.label).cmp(&pid(&b.label)),
            };
            first.then_with(|| a.label.cmp(&b.label))
        });
    }

    /// CPU time with a whole stack.
    pub fn complete(&self) -> u64 {
        self.cpu_time_ns.saturating_sub(self.incomplete.values().sum())
    }
}

/// Goes through processes and counts by label.
struct Walk<'a> {
    tree: &'a Tree,
    /// By label: whether it is searched for.
    matches: Vec<bool>,
    /// By label: CPU time in itself, and with what is below it.
    counts: Vec<(u64, u64)>,
    /// By label: how often it is on the path that is walked.
    on_path: Vec<u32>,
}

impl<'a> Walk<'a> {
    fn new(tree: &'a Tree, matches: impl Fn(&Label) -> bool) -> Self {
        let numbers = tree.labels.numbers();
        let matches = (0_u32..).take(numbers).map(|id| matches(tree.labels.get(id))).collect();
        Self { tree, matches, counts: vec![(0, 0); numbers], on_path: vec![0; numbers] }
    }

    /// Counts a process in if it is looked at; returns its samples with a match on their stack.
    fn process(&mut self, process: NodeId, looked_at: bool) -> u64 {
        let tree = self.tree;
        let (mut matching, mut matches_on_path) = (0, 0_u32);
        tree.walk(process, |node, entering| {
            let label = tree.label_id(node) as usize;
            let is_match = u32::from(self.matches[label]);
            if !entering {
                self.on_path[label] -= 1;
                matches_on_path -= is_match;
                return;
            }
            if looked_at {
                let counts = &mut self.counts[label];
                counts.0 += tree.own(node);
                // Of a recursive function only the outermost call counts.
                if self.on_path[label] == 0 {
                    counts.1 += tree.total(node);
                }
            }
            self.on_path[label] += 1;
            if is_match > 0 && matches_on_path == 0 {
                matching += tree.total(node);
            }
            matches_on_path += is_match;
        });
        matching
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes: `a` in f and, by f, in itself and g; `b` in g, once with its stack cut.
    fn tree() -> Tree {
        let mut tree = Tree::default();
        let process = |pid, comm: &str| Label::Process { pid, comm: comm.into() };
        let user = |name: &str| Label::User(name.into());
        let (a, b) = (process(1, "a"), process(2, "b"));
        for (path, count) in [
            (vec![a.clone(), user("f")], 1),
            (vec![a.clone(), user("f"), user("f"), user("g")], 2),
            (vec![b.clone(), user("g")], 4),
            (vec![b.clone(), Label::Incomplete("stack_cut".into()), user("g")], 3),
            (vec![b.clone()], 5),
        ] {
            let path: Vec<_> = path.into_iter().map(|label| tree.labels.acquire(label)).collect();
            tree.add(&path, count, usize::MAX);
        }
        tree
    }

    fn rows(tables: &Tables) -> Vec<(String, u64, u64)> {
        tables.functions.iter().map(|row| (row.label.text(), row.own, row.total)).collect()
    }

    #[test]
    fn a_recursive_function_counts_once_and_every_sample_is_in_one_itself() {
        let mut tables = Tables::count(&tree(), None, "");
        tables.sort(FunctionOrder::Own, ProcessOrder::Cpu);
        let expected = [("g", 9, 9), ("b (2)", 5, 12), ("f", 1, 3)]
            .map(|(name, own, total)| (name.to_owned(), own, total));
        assert_eq!(rows(&tables), expected);
        assert_eq!((tables.cpu_time_ns, tables.complete()), (15, 12));
        assert_eq!(tables.functions.iter().map(|row| row.own).sum::<u64>(), tables.cpu_time_ns);
        assert_eq!(tables.processes.iter().map(|row| row.cpu_time_ns).collect::<Vec<_>>(), [12, 3]);
    }

    #[test]
    fn one_process_alone_is_counted_and_all_are_listed() {
        let tree = tree();
        let a = Label::Process { pid: 1, comm: "a".into() };
        let mut tables = Tables::count(&tree, Some(&a), "");
        tables.sort(FunctionOrder::Name, ProcessOrder::Pid);
        assert_eq!(rows(&tables), [("f".to_owned(), 1, 3), ("g".to_owned(), 2, 2)]);
        assert_eq!((tables.cpu_time_ns, tables.processes.len(), tables.incomplete.len()), (3, 2, 0));
    }

    #[test]
    fn a_search_finds_samples_by_what_is_on_their_stack() {
        let tables = Tables::count(&tree(), None, "G");
        assert_eq!((tables.matching, tables.functions.len(), tables.processes.len()), (9, 1, 2));
        let tables = Tables::count(&tree(), None, "f");
        assert_eq!((tables.matching, tables.functions.len(), tables.processes.len()), (3, 1, 1));
        assert_eq!(Tables::count(&tree(), None, "nowhere").functions, []);
    }
}
