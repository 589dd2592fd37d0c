//! Rules of inclusion and exclusion, pure and without I/O.

use super::glob::Glob;

/// Bytes of a process's name: the kernel keeps no more (`TASK_COMM_LEN`, less the zero).
const NAME_BYTES: usize = 15;

/// Patterns of one kind of thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// If there are any, nothing but what one of them means.
    allow: Vec<Glob>,
    /// Nothing that one of them means.
    deny: Vec<Glob>,
}

/// A name without its padding.
pub(super) fn name_text(name: &[u8; 16]) -> &[u8] {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    &name[..end]
}

impl Patterns {
    /// Of names of processes. One that stands for a single name is cut where the kernel cuts names.
    pub fn of_names(allow: &[String], deny: &[String]) -> Self {
        let cut = |pattern: &String| {
            let glob = Glob::new(pattern);
            match std::str::from_utf8(&pattern.as_bytes()[..pattern.len().min(NAME_BYTES)]) {
                Ok(name) if glob.is_literal() => Glob::new(name),
                // Cut inside a character: any byte will do for what is left of it.
                Err(error) if glob.is_literal() => {
                    let whole = error.valid_up_to();
                    Glob::new(&format!("{}{}", &pattern[..whole], "?".repeat(NAME_BYTES - whole)))
                }
                _ => glob,
            }
        };
        Self { allow: allow.iter().map(cut).collect(), deny: deny.iter().map(cut).collect() }
    }

    /// Of paths of cgroups.
    pub fn of_cgroups(allow: &[String], deny: &[String]) -> Self {
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        Self { allow: globs(allow), deny: globs(deny) }
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Tells whether a process of this name is left out.
    pub fn exclude_name(&self, name: &[u8]) -> bool {
        self.exclude(|glob| glob.matches(name))
    }

    /// Tells whether a cgroup is left out: a pattern stands for a cgroup and all that is in it. A cgroup whose path is
    /// not known (`None`) matches no pattern.
    pub fn exclude_cgroup(&self, path: Option<&[u8]>) -> bool {
        self.exclude(|glob| path.is_some_and(|path| self_and_parents(path).any(|path| glob.matches(path))))
    }

    fn exclude(&self, means: impl Fn(&Glob) -> bool) -> bool {
        self.deny.iter().any(&means) || !(self.allow.is_empty() || self.allow.iter().any(means))
    }
}

/// `/a/b`, `/a`, `/`.
fn self_and_parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| match path.iter().rposition(|byte| *byte == b'/') {
        _ if *path == b"/" => None,
        Some(0) => Some(&b"/"[..]),
        Some(end) => Some(&path[..end]),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn only_what_is_allowed_and_nothing_that_is_denied() {
        let names = |allow: &[&str], deny: &[&str]| Patterns::of_names(&texts(allow), &texts(deny));
        let all = names(&[], &[]);
        assert!(all.is_empty() && !all.exclude_name(b"any"));
        let some = names(&["nginx", "php*"], &["php-cli"]);
        assert!(!some.exclude_name(b"nginx") && !some.exclude_name(b"php-fpm"));
        assert!(some.exclude_name(b"php-cli") && some.exclude_name(b"bash"));
        let all_but = names(&[], &["stress*"]);
        assert!(all_but.exclude_name(b"stress-ng") && !all_but.exclude_name(b"bash"));
    }

    #[test]
    fn names_are_cut_where_the_kernel_cuts_them() {
        let names = Patterns::of_names(&[], &texts(&["no_frame_pointers", "aaaaaaaaaaaaaaé"]));
        assert!(names.exclude_name(b"no_frame_pointe"));
        assert!(names.exclude_name(b"aaaaaaaaaaaaaa\xc3"), "cut inside a character");
        assert!(!names.exclude_name(b"no_frame"));
    }

    #[test]
    fn a_cgroup_is_meant_with_all_that_is_in_it() {
        let cgroups = Patterns::of_cgroups(&[], &texts(&["/kubepods.slice", "/user.slice/*/app"]));
        for (path, excluded) in [
            ("/kubepods.slice", true),
            ("/kubepods.slice/pod7/init", true),
            ("/kubepods", false),
            ("/kubepods.slice2", false),
            ("/user.slice/u1/app/deep/er", true),
            ("/user.slice/u1/application", false),
            ("/", false),
        ] {
            assert_eq!(cgroups.exclude_cgroup(Some(path.as_bytes())), excluded, "{path}");
        }
        assert!(!cgroups.exclude_cgroup(None));
        assert!(cgroups.exclude_cgroup(Some(b"/kubepods.slice/\xff\xc3")), "a name is bytes");
        let only = Patterns::of_cgroups(&texts(&["/system.slice"]), &[]);
        assert!(
            only.exclude_cgroup(None) && only.exclude_cgroup(Some(b"/")) && only.exclude_cgroup(Some(b""))
        );
        assert!(!only.exclude_cgroup(Some(b"/system.slice/cron.service")));
        let everything = Patterns::of_cgroups(&texts(&["/"]), &[]);
        assert!(!everything.exclude_cgroup(Some(b"/a/b")) && !everything.exclude_cgroup(Some(b"/")));
    }
}
