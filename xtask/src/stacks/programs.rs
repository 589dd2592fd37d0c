//! The programs, each with something to do.

use super::running::{Running, done, until};
use crate::run::{as_root, is_root};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// The share of whole stacks that is aimed at, in thousandths.
    pub(super) goal: u64,
    /// The command that prints its version.
    version: &'static [&'static str],
    /// Starts it in an empty folder; it works until it is ended.
    pub(super) start: fn(&Path) -> anyhow::Result<Running>,
}

/// In the order of the document.
pub(super) const PROGRAMS: [Program; 8] = [
    Program { name: "openssl speed", goal: 995, version: &["openssl", "version"], start: openssl },
    Program { name: "gcc", goal: 995, version: &["gcc", "--version"], start: gcc },
    Program { name: "python3", goal: 995, version: &["/usr/bin/python3", "--version"], start: python },
    Program { name: "postgres", goal: 995, version: &["psql", "--version"], start: postgres },
    Program { name: "redis-server", goal: 995, version: &["redis-server", "--version"], start: redis },
    Program { name: "nginx", goal: 995, version: &["/usr/sbin/nginx", "-v"], start: nginx },
    Program { name: "go", goal: 995, version: &["go", "version"], start: go },
    // What its compiler makes is followed by frame pointers, which functions set up and take down.
    Program { name: "node", goal: 980, version: &["node", "--version"], start: node },
];

/// Returns the version of a program in its own words: the first line, or the error.
pub(super) fn version(program: &Program) -> String {
    let (command, arguments) = program.version.split_first().unwrap_or((&"true", &[]));
    match Command::new(command).args(arguments).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let words = said.lines().next().unwrap_or_default().split_whitespace();
            // `Redis server v=7.0.15 sha=...`, `gcc (Debian 12.2.0-14) 12.2.0`
            let mut inside = false;
            let mut wanted = |word: &&str| {
                inside |= word.starts_with('(');
                let is_wanted = !inside;
                inside &= !word.ends_with(')');
                is_wanted
            };
            let words = words.take_while(|word| !word.starts_with("sha="));
            words.filter(|word| wanted(word)).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("unknown: {error}"),
    }
}

fn openssl(folder: &Path) -> anyhow::Result<Running> {
    let what = "sha256 aes-256-cbc rsa2048 ecdsap256";
    Running::shell(folder, &format!("while :; do openssl speed -seconds 1 -multi 2 {what}; done"))
}

fn gcc(folder: &Path) -> anyhow::Result<Running> {
    std::fs::write(folder.join("large.c"), large_file(2500))?;
    Running::shell(folder, "while :; do gcc -O2 -c large.c -o large.o; done")
}

/// A large C file: so many functions with loops, switches and calls.
fn large_file(functions: usize) -> String {
    let mut text =
        String::from("#include <math.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for n in 0..functions {
        let size = n % 7 + 3;
        text.push_str(&format!(
            "struct s{n} {{ int a[{size}]; double d; struct s{n} *next; }};\n\
             static double f{n}(struct s{n} *s, int n) {{ double r = 0; for (int i = 0; i < n; i++) {{ \
             switch ((s->a[i % {size}] + i) % 7) {{ case 0: r += sqrt(s->d + i); break; case 1: r -= i * {n}; break; \
             case 2: r = r * 1.5 + s->a[0]; break; case 3: for (int j = 0; j < i; j++) r += s->a[j % {size}] * j; break; \
             default: r += strlen(\"x{n}\") + (s->next ? s->next->d : 0); }} }} return r; }}\n\
             double g{n}(int n) {{ struct s{n} *s = calloc(1, sizeof *s); s->d = n; s->a[1] = n * {n}; \
             double r = f{n}(s, n) + f{n}(s, n / 2); if (r > 1e9) printf(\"%f %d\\n\", r, n); free(s); return r; }}\n"
        ));
    }
    text
}

pub(super) fn python(folder: &Path) -> anyhow::Result<Running> {
    std::fs::write(folder.join("work.py"), include_str!("work.py"))?;
    Running::start(Command::new("/usr/bin/python3").arg(folder.join("work.py")))
}

fn postgres(folder: &Path) -> anyhow::Result<Running> {
    let programs = newest_postgres()?;
    let data = folder.join("data");
    std::fs::create_dir(&data)?;
    // It refuses to run as root.
    let as_owner = |program: &Path| -> anyhow::Result<Command> {
        if !is_root() {
            return Ok(Command::new(program));
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        Ok(command)
    };
    if is_root() {
        done(Command::new("chown").arg("postgres:").arg(&data))?;
    }
    done(as_owner(&programs.join("initdb"))?.args(["-A", "trust", "-U", "postgres", "-D"]).arg(&data))?;
    let mut server = as_owner(&programs.join("postgres"))?;
    let sockets = format!("unix_socket_directories={}", data.display());
    server.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", &sockets]);
    let mut running = Running::start(&mut server)?;
    let pgbench = || {
        let mut command = Command::new(programs.join("pgbench"));
        command.arg("-h").arg(&data).args(["-U", "postgres"]);
        command
    };
    until("postgres listens", || data.join(".s.PGSQL.5432").exists())?;
    done(pgbench().args(["-q", "-i", "-s", "5", "postgres"]))?;
    running.and(pgbench().args(["-c", "4", "-T", "3600", "postgres"]))?;
    Ok(running)
}

/// Returns the folder in which Debian keeps the newest version that is installed.
fn newest_postgres() -> anyhow::Result<PathBuf> {
    let folder = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(version);
    Ok(newest.with_context(|| format!("{} is empty", folder.display()))?.join("bin"))
}

pub(super) fn redis(folder: &Path) -> anyhow::Result<Running> {
    let socket = folder.join("socket");
    let mut server = Command::new("redis-server");
    server.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket);
    let mut running = Running::start(server.current_dir(folder))?;
    until("redis-server listens", || socket.exists())?;
    let tests = "set,get,incr,lpush,sadd,hset,zadd,lrange_100";
    running.and(Command::new("redis-benchmark").args(["-l", "-q", "-t", tests, "-s"]).arg(&socket))?;
    Ok(running)
}

fn nginx(folder: &Path) -> anyhow::Result<Running> {
    const ADDRESS: &str = "127.0.0.1:18099";
    let page = folder.join("index.html");
    std::fs::write(&page, large_file(20))?;
    // Workers run as another user.
    done(Command::new("chmod").args(["a+rX", "-R"]).arg(folder.parent().unwrap_or(folder)))?;
    let here = folder.display();
    let config = format!(
        "daemon off; worker_processes 2; pid {here}/pid; error_log {here}/errors; events {{ worker_connections 256; }}\n\
         http {{ access_log off; gzip on; gzip_types *; server {{ listen {ADDRESS}; root {here}; }} }}\n"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config)?;
    let mut server = as_root("/usr/sbin/nginx")?;
    let mut running = Running::start(server.arg("-p").arg(folder).arg("-c").arg(&path))?;
    until("nginx listens", || std::net::TcpStream::connect(ADDRESS).is_ok())?;
    let mut load = Command::new("wrk");
    load.args(["-t1", "-c16", "-d3600", "-H", "Accept-Encoding: gzip"]);
    running.and(load.arg(format!("http://{ADDRESS}/index.html")))?;
    Ok(running)
}

fn go(folder: &Path) -> anyhow::Result<Running> {
    std::fs::write(folder.join("main.go"), include_str!("../../../tests/targets/work.go"))?;
    std::fs::write(folder.join("go.mod"), "module example.org/work\n\ngo 1.19\n")?;
    let mut build = Command::new("go");
    // Nothing but the standard library is needed.
    build
        .args(["build", "-o", "work", "."])
        .current_dir(folder)
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local");
    if std::env::var_os("HOME").is_none() {
        build.env("GOCACHE", folder.join("cache"));
    }
    done(&mut build)?;
    Running::start(&mut Command::new(folder.join("work")))
}

fn node(folder: &Path) -> anyhow::Result<Running> {
    std::fs::write(folder.join("work.js"), include_str!("work.js"))?;
    Running::start(Command::new("node").arg(folder.join("work.js")))
}
