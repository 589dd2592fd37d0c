//! Long-running programs and many short-lived ones at the same time.

use super::programs::{python, redis};
use super::running::Running;
use crate::run::workspace;
use anyhow::Context;
use std::path::Path;

/// A shell whose loop starts programs that live for a millisecond or two.
const SHELL: &str = "n=0; while :; do for word in alpha beta gamma; do readlink -f /usr/bin/python3; basename /x/$word; \
    echo $word | sed s/a/b/ | tr a-z A-Z | wc -c; n=$((n + 1)); done; expr $n + 1; date; done";

/// A build: preprocessor, compiler, assembler, linker for each small file.
const BUILD: &str = "while :; do for n in 1 2 3 4 5 6 7 8; do gcc -O2 -g -c part$n.c -o part$n.o; done; \
    echo 'int main(void) { return 0; }' > main.c; gcc -O2 -o program main.c part*.o -lm; done";

/// Starts everything; the first one counts for nothing here, the whole machine is recorded.
pub(super) fn start(folder: &Path) -> anyhow::Result<Vec<Running>> {
    let place = |name: &str| -> anyhow::Result<_> {
        let path = folder.join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    };
    let build = place("build")?;
    for n in 1..=8 {
        std::fs::write(build.join(format!("part{n}.c")), part(n))?;
    }
    let rust = place("rust")?;
    let source = workspace().join("tests/targets/rust_chain.rs");
    let compile =
        format!("while :; do rustc --edition 2024 -O {} -o program; sleep 1; done", source.display());
    Ok(vec![
        python(&place("python")?)?,
        redis(&place("redis")?)?,
        Running::shell(&build, BUILD)?,
        Running::shell(&rust, &compile)?,
        Running::shell(&place("shell")?, SHELL)?,
        Running::shell(&place("shell2")?, SHELL)?,
    ])
}

/// A small C file.
fn part(n: usize) -> String {
    let functions = (0..30).map(|f| {
        format!(
            "double part{n}_{f}(double x, int n) {{ double sum = 0; for (int i = 1; i < n; i++) sum += sin(x / i) * {f}; \
             char text[64]; snprintf(text, sizeof(text), \"%f\", sum); return sum + strlen(text); }}\n"
        )
    });
    format!("#include <math.h>\n#include <stdio.h>\n#include <string.h>\n{}", functions.collect::<String>())
}
