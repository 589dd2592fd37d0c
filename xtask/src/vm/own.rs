//! Kernels that nobody ships: small ones, built of Debian's source of Linux 6.1.
//!
//! All are built in one tree, one after the other, so that each compiles only what its difference
//! from the one before touches. `rows` lists them in such an order.

use super::archive::Archive;
use super::cache::Cache;
use crate::run::{must, status};
use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Debian's package of the source.
const PACKAGE: &str = "linux-source-6.1";

/// The configuration that all of them have.
const COMMON: &str = include_str!("own-kernel.config");

/// Paths that are not unpacked: two thirds of the files, drivers and other machines. Their Kconfig and Makefile are, without
/// which nothing can be configured.
const LEFT_OUT: [&str; 14] = [
    "Documentation/*.rst",
    "Documentation/*.txt",
    "Documentation/*.yaml",
    "arch/[!x]*.[chS]",
    "arch/[!x]*.dts*",
    "arch/xtensa/*.[chS]",
    "drivers/[gmu]*.[ch]",
    "drivers/infiniband/*.[ch]",
    "drivers/net/*/*.[ch]",
    "drivers/s*.[ch]",
    "samples/*.[ch]",
    "sound/*.[ch]",
    "tools/perf/*",
    "tools/testing/*",
];

/// The configuration of one of them.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Own {
    /// True if it states its types.
    pub(super) btf: bool,
    /// True if it has tracepoints of system calls.
    pub(super) syscalls: bool,
    /// The version that it states, and whether it has the bug of that time.
    pub(super) code: Code,
}

/// The state of the code that `copy_from_user_nofault` is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Code {
    /// As Debian has it.
    Current,
    /// As Debian has it, but called 6.1.20: a vendor's kernel of the bad range with the fix in it.
    OldFixed,
    /// Called 6.1.20, and with the bug of 6.1.20.
    OldBroken,
}

/// Text of a file of the source that is replaced by another.
struct Edit {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

/// A version within the range of the bug.
const OLD: [Edit; 1] =
    [Edit { file: "Makefile", from: "\nSUBLEVEL = ", to: "\nSUBLEVEL = 20\nDEBIAN_SUBLEVEL = " }];

/// The changes of mainline commit d319f344561d, taken back.
const BROKEN: [Edit; 3] = [
    Edit {
        file: "mm/maccess.c",
        from: "\tif (!__access_ok(src, size))\n\t\treturn ret;\n",
        to: "\tif (!access_ok(src, size))\n\t\treturn ret;\n",
    },
    Edit { file: "mm/maccess.c", from: "\tif (!nmi_uaccess_okay())\n\t\treturn ret;\n", to: "" },
    Edit {
        file: "mm/usercopy.c",
        from: "is_vmalloc_addr(ptr) && !pagefault_disabled()",
        to: "is_vmalloc_addr(ptr)",
    },
];

impl Own {
    /// Returns its name in the table.
    pub(super) fn name(&self) -> &'static str {
        match self.code {
            Code::Current => "own build of Linux 6.1",
            Code::OldFixed | Code::OldBroken => "own build, called 6.1.20",
        }
    }

    fn edits(&self) -> impl Iterator<Item = &'static Edit> {
        let old = if self.code == Code::Current { &OLD[..0] } else { &OLD[..] };
        let broken = if self.code == Code::OldBroken { &BROKEN[..] } else { &BROKEN[..0] };
        old.iter().chain(broken)
    }

    /// Lists the options that are not as `make allnoconfig` makes them.
    fn fragment(&self) -> String {
        let common: String = options(COMMON).map(|line| format!("{line}\n")).collect();
        // BTF is made of debug information, which takes a third of the compiler's time: only where it is wanted.
        let btf: &[_] = if self.btf { &["DEBUG_KERNEL", "DEBUG_INFO_DWARF4", "DEBUG_INFO_BTF"] } else { &[] };
        let syscalls: &[_] = if self.syscalls { &["FTRACE_SYSCALLS"] } else { &[] };
        let own: String = btf.iter().chain(syscalls).map(|name| format!("CONFIG_{name}=y\n")).collect();
        format!("{common}{own}")
    }

    /// Changes whenever another image would come out.
    fn key(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.fragment().hash(&mut hasher);
        for Edit { file, from, to } in self.edits() {
            (file, from, to).hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }
}

/// The image, built if it is not there yet.
pub(super) fn image(own: &Own, row: &str, archive: &Archive, cache: &Cache) -> anyhow::Result<PathBuf> {
    let version = archive.version(PACKAGE)?;
    let name = format!("own/{version}-{}", own.key());
    let image = cache.path(&name);
    if image.exists() {
        return Ok(image);
    }
    let tree = Tree::unpacked(&version, archive, cache)?;
    println!("building the kernel of {row} of {PACKAGE} {version}, once; the first takes minutes");
    let start = Instant::now();
    tree.edit(own)?;
    tree.configure(own)?;
    let built = tree.build()?;
    println!("built in {} s", start.elapsed().as_secs());
    cache.keep(&built, &name)
}

/// The unpacked source.
struct Tree(PathBuf);

impl Tree {
    /// The one of this version, and no other: a tree with its objects takes gigabytes.
    fn unpacked(version: &str, archive: &Archive, cache: &Cache) -> anyhow::Result<Self> {
        let tree = Self(cache.path(&format!("source/{version}/{PACKAGE}")));
        if tree.originals().exists() {
            return Ok(tree);
        }
        cache.empty_folder("source")?;
        let folder = cache.folder(&format!("source/{version}"))?;
        archive.unpack(PACKAGE, &folder)?;
        let packed = folder.join("usr/src").join(format!("{PACKAGE}.tar.xz"));
        let mut tar = Command::new("tar");
        // Of xz all cores, where it can.
        tar.args(["-I", "xz -T0", "-x", "--anchored", "--wildcards-match-slash", "-f"]).arg(&packed);
        tar.args(LEFT_OUT.map(|path| format!("--exclude={PACKAGE}/{path}")));
        must(tar.arg("-C").arg(&folder))?;
        // Kept aside, since every kernel begins from them. That they are there says that all is.
        let draft = folder.join("originals");
        for Edit { file, .. } in OLD.iter().chain(&BROKEN) {
            let to = draft.join(file);
            let place = to.parent().unwrap_or(&draft);
            std::fs::create_dir_all(place)
                .and_then(|()| std::fs::copy(tree.0.join(file), &to))
                .with_context(|| format!("cannot keep {file} of {PACKAGE}"))?;
        }
        std::fs::rename(&draft, tree.originals()).context("cannot keep the original files")?;
        Ok(tree)
    }

    fn originals(&self) -> PathBuf {
        self.0.join(".stacksonde-originals")
    }

    /// Makes the source what the kernel is to be; a file that stays equal is not written, so that
    /// what it is part of is not compiled again.
    fn edit(&self, own: &Own) -> anyhow::Result<()> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut files: Vec<_> = OLD.iter().chain(&BROKEN).map(|edit| edit.file).collect();
        files.dedup();
        for file in files {
            let mut text = read(&self.originals().join(file))?;
            for edit in own.edits().filter(|edit| edit.file == file) {
                text = edited(&text, edit)?;
            }
            let path = self.0.join(file);
            if read(&path)? != text {
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn configure(&self, own: &Own) -> anyhow::Result<()> {
        let fragment = own.fragment();
        let path = self.0.join(".stacksonde.config");
        std::fs::write(&path, &fragment).with_context(|| format!("cannot write {}", path.display()))?;
        self.logged(self.make().args(["KCONFIG_ALLCONFIG=.stacksonde.config", "allnoconfig"]))?;
        let config = std::fs::read_to_string(self.0.join(".config")).context("cannot read .config")?;
        let refused = refused(&fragment, &config);
        ensure!(refused.is_empty(), "this source does not take {}", refused.join(", "));
        Ok(())
    }

    /// Builds, and says where the image is.
    fn build(&self) -> anyhow::Result<PathBuf> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        self.logged(self.make().args(["bzImage", &format!("-j{jobs}")]))?;
        Ok(self.0.join("arch/x86/boot/bzImage"))
    }

    fn make(&self) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", "15", "make"]).current_dir(&self.0);
        command.envs([("KBUILD_BUILD_USER", "stacksonde"), ("KBUILD_BUILD_HOST", "xtask")]);
        command
    }

    /// Runs with the output in a file, of which the end is shown if it fails.
    fn logged(&self, command: &mut Command) -> anyhow::Result<()> {
        let path = self.0.join(".stacksonde.log");
        let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        command.stdout(log.try_clone()?).stderr(log);
        let status = status(command)?;
        if !status.success() {
            let log = std::fs::read(&path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(30)..].join("\n");
            bail!("{command:?} failed with {status}; the end of {}:\n{end}", path.display());
        }
        Ok(())
    }
}

/// A text with an edit; it must apply at exactly one place.
fn edited(text: &str, Edit { file, from, to }: &Edit) -> anyhow::Result<String> {
    let count = text.matches(from).count();
    ensure!(count == 1, "{file} of {PACKAGE} has {from:?} {count} times, not once: has Debian changed it?");
    Ok(text.replacen(from, to, 1))
}

/// The lines of a fragment that are not remarks.
fn options(fragment: &str) -> impl Iterator<Item = &str> {
    fragment.lines().filter(|line| line.starts_with("CONFIG_"))
}

/// The lines of a fragment that are not in the configuration that came of it.
fn refused<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    options(fragment).filter(|line| !config.lines().any(|other| other == *line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_options_that_a_source_did_not_take() {
        let fragment = "# about\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n";
        let config = "CONFIG_A=y\n# CONFIG_B is not set\n";
        assert_eq!(refused(fragment, config), ["CONFIG_B=y", "CONFIG_C=y"]);
    }

    #[test]
    fn an_edit_that_does_not_apply_is_an_error_that_names_the_file() {
        let makefile = "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION =\n";
        assert_eq!(
            edited(makefile, &OLD[0]).unwrap(),
            "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 20\nDEBIAN_SUBLEVEL = 192\nEXTRAVERSION =\n"
        );
        let error = edited("VERSION = 6\n", &OLD[0]).unwrap_err().to_string();
        assert!(error.contains("Makefile"), "{error}");
    }

    #[test]
    fn kernels_that_differ_are_kept_apart() {
        let own = Own { btf: false, syscalls: false, code: Code::Current };
        let others = [
            Own { btf: true, ..own },
            Own { syscalls: true, ..own },
            Own { code: Code::OldFixed, ..own },
            Own { code: Code::OldBroken, ..own },
        ];
        let mut keys: Vec<_> = others.iter().chain([&own]).map(Own::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 5);
        assert!(!own.fragment().contains("machine"), "remarks make no other kernel");
    }
}
