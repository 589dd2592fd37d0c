//! Which fact is which member of which structure.

use crate::btf::{Btf, Error, Member};
use stacksonde_plugin::fact::TASK_STRUCT_STACK;

/// A fact, as a question about types.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The fact's name.
    pub fact: &'static str,
    /// The structure that it is an offset in.
    pub structure: &'static str,
    /// The member, as a path of names; members get renamed, so there may be several: the first
    /// that exists answers.
    pub paths: &'static [&'static [&'static str]],
}

/// Every question that can be asked.
pub(crate) const ALL: [Question; 1] =
    [Question { fact: TASK_STRUCT_STACK, structure: "task_struct", paths: &[&["stack"]] }];

/// The question behind a fact.
pub fn question(fact: &str) -> Option<&'static Question> {
    ALL.iter().find(|question| question.fact == fact)
}

/// An answered question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The structure's type in the BTF.
    pub type_id: u32,
    /// The path that exists here.
    pub path: &'static [&'static str],
    /// Where it leads.
    pub member: Member,
}

impl Question {
    /// Answers it from BTF.
    pub fn ask(&self, btf: &mut Btf<'_>) -> Result<Found, Error> {
        let type_id = btf.structure(self.structure)?;
        let mut last = Error::NoMember(self.structure.into());
        for path in self.paths {
            match btf.member(type_id, path) {
                Ok(member) => return Ok(Found { type_id, path, member }),
                Err(error @ Error::NoMember(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::build::Builder;

    const FLAGS: Question = Question {
        fact: "vm_area_struct.vm_flags",
        structure: "vm_area_struct",
        paths: &[&["vm_flags"], &["__vm_flags"]],
    };

    #[test]
    fn a_renamed_member_is_found_by_its_other_name() {
        for (name, index) in [("vm_flags", 0), ("__vm_flags", 1)] {
            let mut types = Builder::default();
            types.structure("vm_area_struct", 64, &[("vm_start", 0, 0), (name, 0, 256)]);
            let bytes = types.finish();
            let found = FLAGS.ask(&mut Btf::parse(&bytes).unwrap()).unwrap();
            assert_eq!((found.path, found.member.offset_bytes), (FLAGS.paths[index], 32));
        }
    }

    #[test]
    fn without_any_of_the_names_there_is_no_answer() {
        let mut types = Builder::default();
        types.structure("vm_area_struct", 64, &[("vm_start", 0, 0)]);
        let bytes = types.finish();
        let error = FLAGS.ask(&mut Btf::parse(&bytes).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "no member `__vm_flags`");
    }
}
