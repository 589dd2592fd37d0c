//! Folded stacks: `root;…;leaf count`, a line each, as flame graph tools write and read them.

use super::Profile;
use stacksonde_flame::{About, Graph, Kind};

/// Why a text is not folded stacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldedError {
    /// A line has no count.
    #[error("line {line} does not end with a number of samples: `{start}`; a line is `root;leaf 12`")]
    Count {
        /// The line, from 1.
        line: usize,
        /// The beginning of the line.
        start: String,
    },
}

/// Reads folded stacks. Endings of names say what they are: `_[k]` kernel, `_[i]` inlined, `_[j]` made at run time;
/// `[incomplete: reason]` is our own remark. Lines that begin with `#` are remarks of the file.
pub(crate) fn read(text: &str) -> Result<Profile, FoldedError> {
    let mut graph = Graph::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with("# ") || line == "#" {
            continue;
        }
        let refused = || FoldedError::Count { line: number, start: line.chars().take(60).collect() };
        let (stack, count) = line.rsplit_once([' ', '\t']).ok_or_else(refused)?;
        // Some tools scale counts and leave digits behind a point.
        let whole = count.split_once('.').map_or(count, |(whole, _)| whole);
        let count: u64 = whole.parse().map_err(|_| refused())?;
        let frames: Vec<u32> = stack.split(';').map(|name| frame(&mut graph, name)).collect();
        graph.stack(frames, count);
    }
    Ok(Profile { about: About { unit: "samples".into(), ..About::default() }, graph })
}

fn frame(graph: &mut Graph, name: &str) -> u32 {
    if let Some(name) = name.strip_suffix("_[k]") {
        return graph.frame(name, Kind::Kernel, "");
    }
    if name.starts_with("[incomplete: ") {
        return graph.frame(name, Kind::Remark, "");
    }
    let plain = name.strip_suffix("_[i]").or_else(|| name.strip_suffix("_[j]"));
    graph.frame(plain.unwrap_or(name), Kind::User, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_counted() {
        let text = "# made by hand\na;b c;d_[k] 3\n\nswapper;x_[i] 2.75\r\na 1\n";
        assert_eq!(read(text).unwrap().graph.total(), Some(6));
    }

    #[test]
    fn a_line_without_a_count_is_named() {
        let error = read("a;b 1\na;b c\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2 does not end with a number of samples: `a;b c`; a line is `root;leaf 12`"
        );
        assert!(read("one").is_err());
    }
}
