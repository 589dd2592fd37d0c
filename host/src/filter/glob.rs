//! Patterns of names and paths.

/// A pattern: `*` stands for any text, none and slashes included, `?` for any one byte, everything else for
/// itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Tells whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut at, mut read) = (0, 0);
        // The last `*`, and how much of the text it stands for so far.
        let mut star = None;
        while read < text.len() {
            match (pattern.get(at), star) {
                (Some(b'*'), _) => {
                    star = Some((at, read));
                    at += 1;
                }
                (Some(byte), _) if *byte == b'?' || *byte == text[read] => {
                    at += 1;
                    read += 1;
                }
                (_, Some((place, taken))) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    read = taken + 1;
                }
                (_, None) => return false,
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }

    /// Tells whether it stands for one text only.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_text_and_all_else_for_itself() {
        for (pattern, yes, no) in [
            ("busy", &["busy"][..], &["busy1", "bus", "", "Busy"][..]),
            ("*", &["", "a", "/a/b"], &[]),
            ("kworker/*", &["kworker/", "kworker/0:1"], &["kworker"]),
            ("*/app", &["/app", "/user.slice/x/app"], &["/app/x", "app"]),
            ("a*b*c", &["abc", "abbc", "axbxc", "abcbc"], &["ab", "acb", "abcd"]),
            ("w?rk", &["work", "w/rk"], &["wrk", "woork"]),
            ("?*", &["a", "ab"], &[""]),
            ("a.[b]", &["a.[b]"], &["a.b"]),
            ("**a**", &["a", "bab"], &["", "b"]),
        ] {
            let glob = Glob::new(pattern);
            assert!(yes.iter().all(|text| glob.matches(text.as_bytes())), "{pattern}");
            assert!(!no.iter().any(|text| glob.matches(text.as_bytes())), "{pattern}");
        }
    }

    #[test]
    fn many_stars_on_a_text_that_almost_matches_take_no_time() {
        let text = "a".repeat(5000);
        assert!(!Glob::new(&format!("{}b", "a*".repeat(50))).matches(text.as_bytes()));
    }
}
