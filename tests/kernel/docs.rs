//! Every command in the documents runs.
//!
//! Commands stand in blocks of the language `sh`, or `console`, where they come after a prompt (`$ ` or `# `). Those of
//! one document run one after the other, in a root folder in which the agent and its plugins are installed and a daemon
//! runs. A block that cannot run there says so by a mark, the second word of its first line; [`MARKS`] says who runs it.
//! Anything else that looks like a command is refused.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::{kernel_tier, plugin};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Marks of blocks that others run, and who: a file of this repository that must exist.
///
/// What is marked `kubectl` wants a cluster and is not run; that the agent has the commands that it calls is checked here.
/// What is marked `xtask` are the commands of developers, which CI runs; that they exist is checked here.
const MARKS: &[(&str, &str)] = &[
    ("guide", "tests/suite/plugins/documented.rs"),
    ("systemd", "xtask/src/vm/service/test.sh"),
    ("packages", "tests/packages/documented.rs"),
    ("xtask", "xtask/src/main.rs"),
    ("terminal", "tests/kernel/terminal.rs"),
    ("view", "tests/suite/view.rs"),
    ("kubectl", "packaging/kubernetes/daemonset.yaml"),
];

/// Languages of blocks that hold no commands.
const NO_COMMANDS: &[&str] = &["toml", "config", "json", "yaml", "rust", "ignore", "c", "text", "ini"];

/// Seconds that the commands of a document may take; several of them wait.
const MOST_SECONDS: &str = "1200";

/// A block of a document.
#[derive(Debug)]
struct Block {
    /// The place at which it begins, as `file:line`.
    place: String,
    language: String,
    mark: Option<String>,
    lines: Vec<String>,
}

impl Block {
    /// Its commands; `None` if it has none by its language.
    fn commands(&self) -> Result<Option<Vec<String>>, String> {
        let prompted = |line: &String| {
            let command = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
            command.map(str::to_owned)
        };
        match self.language.as_str() {
            "sh" => Ok(Some(self.lines.clone())),
            "console" => Ok(Some(self.lines.iter().filter_map(prompted).collect())),
            // Neither a prompt nor one of our own commands.
            "" => {
                match self.lines.iter().find(|line| line.starts_with("$ ") || line.starts_with("stacksonde "))
                {
                    Some(line) => {
                        Err(format!("{}: `{line}` is in a block without a language: say sh", self.place))
                    }
                    None => Ok(None),
                }
            }
            other if NO_COMMANDS.contains(&other) => Ok(None),
            other => Err(format!(
                "{}: `{other}` is not a language that is known here: say sh for commands",
                self.place
            )),
        }
    }
}

/// The blocks of a document, by the rules of CommonMark for fences of backquotes.
fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let fence = trimmed.bytes().take_while(|byte| *byte == b'`').count();
        match &mut open {
            Some((length, block)) => {
                if fence >= *length && trimmed.trim_end().len() == fence {
                    blocks.extend(open.take().map(|(_, block)| block));
                } else {
                    block.lines.push(line.to_owned());
                }
            }
            None if fence >= 3 => {
                let mut words = trimmed[fence..].split_whitespace().map(str::to_owned);
                let language = words.next().unwrap_or_default();
                let place = format!("{name}:{}", number + 1);
                open = Some((fence, Block { place, language, mark: words.next(), lines: Vec::new() }));
            }
            None => {}
        }
    }
    assert!(open.is_none(), "{name}: a block has no end");
    blocks
}

/// README, CONTRIBUTING and all of `docs`, by their names.
fn documents() -> Vec<(String, String)> {
    let root = plugin::workspace();
    let mut names: Vec<String> = vec!["README.md".into(), "CONTRIBUTING.md".into()];
    let mut docs: Vec<String> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().into_string().unwrap()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    docs.sort();
    names.extend(docs);
    let text = |name: &String| fs::read_to_string(root.join(name)).unwrap();
    names.iter().map(|name| (name.clone(), text(name))).collect()
}

/// Returns the fault of a block that is not run here.
fn judge_marked(block: &Block, mark: &str, commands: &[String]) -> Option<String> {
    let Some((_, runner)) = MARKS.iter().find(|(known, _)| *known == mark) else {
        return Some(format!("{}: nobody is known to run blocks marked `{mark}`", block.place));
    };
    let runner = plugin::workspace().join(runner);
    if !runner.exists() {
        return Some(format!("{}: {} is to run it and does not exist", block.place, runner.display()));
    }
    let text = fs::read_to_string(&runner).unwrap();
    let unknown = match mark {
        "xtask" => commands.iter().find(|line| {
            let name = line.strip_prefix("cargo xtask ").and_then(|rest| rest.split(' ').next());
            name.is_none_or(|name| !text.contains(&format!("Some(\"{name}\")")))
        }),
        _ => None,
    };
    unknown.map(|line| format!("{}: there is no `{line}`", block.place))
}

#[test]
fn no_block_of_commands_is_left_to_nobody() {
    let mut problems = Vec::new();
    let mut marks = BTreeSet::new();
    for (name, text) in documents() {
        for block in blocks(&name, &text) {
            match (block.commands(), &block.mark) {
                (Err(problem), _) => problems.push(problem),
                (Ok(Some(commands)), Some(mark)) => {
                    problems.extend(judge_marked(&block, mark, &commands));
                    marks.insert(mark.clone());
                }
                (Ok(Some(commands)), None) if commands.is_empty() => {
                    problems.push(format!("{}: it holds no command", block.place));
                }
                _ => {}
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let unused: Vec<_> = MARKS.iter().filter(|(mark, _)| !marks.contains(*mark)).collect();
    assert!(unused.is_empty(), "no block has these marks: {unused:?}");
}

#[test]
fn what_is_no_known_block_is_refused() {
    let problem = |text: &str| {
        let block = blocks("x.md", text).remove(0);
        let commands = block.commands();
        commands.map(|commands| judge_marked(&block, block.mark.as_deref().unwrap(), &commands.unwrap()))
    };
    assert!(problem("a\n```bash\nls\n```\n").unwrap_err().contains("x.md:2: `bash` is not a language"));
    assert!(problem("```\nstacksonde doctor\n```\n").unwrap_err().contains("without a language"));
    assert!(problem("```sh moon\nls\n```\n").unwrap().unwrap().contains("marked `moon`"));
    assert!(
        problem("```console xtask\n$ cargo xtask fly\n```\n")
            .unwrap()
            .unwrap()
            .contains("no `cargo xtask fly`")
    );
    assert_eq!(problem("```console xtask\n$ cargo xtask test\n```\n").unwrap(), None);
}

/// Every `stacksonde COMMAND` in a block that needs a cluster.
#[test]
fn commands_for_a_cluster_call_commands_that_there_are() {
    kernel_tier!();
    let installed = Installed::from_environment().unwrap();
    let mut seen = 0;
    for (name, text) in documents() {
        for block in blocks(&name, &text).iter().filter(|block| block.mark.as_deref() == Some("kubectl")) {
            for line in &block.lines {
                let Some((_, rest)) = line.split_once(" -- stacksonde ") else { continue };
                let command = rest.split([' ', ';']).next().unwrap();
                let output = Command::new(&installed.agent).args([command, "--help"]).output().unwrap();
                assert!(output.status.success(), "{}: no `stacksonde {command}`", block.place);
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

/// Puts empty folders in the places that packages fill, installs there, starts a daemon and waits for it, then runs the
/// commands. All of it is seen by its children alone.
const MACHINE: &str = "set -e
agent=$1; plugins=$2; script=$3
for folder in /etc /var/lib /run /usr/lib/$(uname -m)-linux-gnu; do
	mkdir -p $folder/stacksonde
	mount -t tmpfs -o mode=0755 tmpfs $folder/stacksonde
done
cp -r $plugins /usr/lib/$(uname -m)-linux-gnu/stacksonde/plugins-1
cp $HERE/config/stacksonde.toml /etc/stacksonde/
mkdir /etc/stacksonde/conf.d
printf '[health]\\nlisten = \"unix:/run/stacksonde/health.sock\"\\n' > /etc/stacksonde/conf.d/00-machine.toml
mkdir -p bin && cp $agent bin/stacksonde
export PATH=$PWD/bin:$PATH
stacksonde run 2> daemon.log &
daemon=$!
for _ in $(seq 3000); do
	stacksonde health > /dev/null 2>&1 && break
	kill -0 $daemon || { cat daemon.log; exit 1; }
	sleep 0.1
done
status=0
timeout $MOST sh $script || status=$?
kill $daemon && wait $daemon || { cat daemon.log; status=1; }
exit $status";

fn run(folder: &Path, installed: &Installed, script: &Path) -> std::process::Output {
    let text = fs::read_to_string(&installed.config).unwrap();
    let plugins = PathBuf::from(text.split('"').nth(1).unwrap());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MACHINE, "sh"]).args([&installed.agent, &plugins, script]);
    command.current_dir(folder).env("HERE", plugin::workspace()).env("MOST", MOST_SECONDS);
    // Cargo sets it for the tests; the agent warns of it.
    command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_command_in_the_documents_runs() {
    kernel_tier!();
    let installed = Installed::from_environment().unwrap();
    let mut ran = Vec::new();
    for (name, text) in documents() {
        let mut script = "set -eux\n".to_owned();
        for block in blocks(&name, &text).iter().filter(|block| block.mark.is_none()) {
            if let Ok(Some(commands)) = block.commands() {
                script += &format!(": {}\n{}\n", block.place, commands.join("\n"));
                ran.push(block.place.clone());
            }
        }
        if script.lines().count() < 2 {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        fs::write(&file, script).unwrap();
        let output = run(folder.path(), &installed, &file);
        let said = [&output.stdout[..], &output.stderr].concat();
        assert!(output.status.success(), "{name}: {}: {}", output.status, String::from_utf8_lossy(&said));
    }
    assert!(ran.len() > 5, "{ran:?}");
}
