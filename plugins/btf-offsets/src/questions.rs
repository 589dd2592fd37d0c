//! Which fact is which member of which structure.

use crate::btf::{Btf, Error, Member};
use stacksonde_plugin::fact;

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

const fn of(
    fact: &'static str,
    structure: &'static str,
    paths: &'static [&'static [&'static str]],
) -> Question {
    Question { fact, structure, paths }
}

/// Every question that can be asked. The thread pointer has a place on x86-64 and another on arm64;
/// the one that is not there has no answer.
pub(crate) const ALL: [Question; 18] = [
    of(fact::TASK_STRUCT_STACK, "task_struct", &[&["stack"]]),
    of(fact::THREAD_FSBASE, "task_struct", &[&["thread", "fsbase"]]),
    of(fact::THREAD_TP_VALUE, "task_struct", &[&["thread", "uw", "tp_value"]]),
    of(fact::TASK_STRUCT_GROUP_LEADER, "task_struct", &[&["group_leader"]]),
    of(fact::TASK_STRUCT_START_TIME, "task_struct", &[&["start_time"]]),
    of(fact::TASK_STRUCT_THREAD_PID, "task_struct", &[&["thread_pid"]]),
    of(fact::PID_LEVEL, "pid", &[&["level"]]),
    of(fact::PID_NUMBERS, "pid", &[&["numbers"]]),
    of(fact::UPID_NR, "upid", &[&["nr"]]),
    of(fact::VM_AREA_STRUCT_VM_START, "vm_area_struct", &[&["vm_start"]]),
    of(fact::VM_AREA_STRUCT_VM_END, "vm_area_struct", &[&["vm_end"]]),
    of(fact::VM_AREA_STRUCT_VM_PGOFF, "vm_area_struct", &[&["vm_pgoff"]]),
    of(fact::VM_AREA_STRUCT_VM_FLAGS, "vm_area_struct", &[&["vm_flags"], &["__vm_flags"]]),
    of(fact::VM_AREA_STRUCT_VM_FILE, "vm_area_struct", &[&["vm_file"]]),
    of(fact::FILE_F_INODE, "file", &[&["f_inode"]]),
    of(fact::INODE_I_INO, "inode", &[&["i_ino"]]),
    of(fact::INODE_I_SB, "inode", &[&["i_sb"]]),
    of(fact::SUPER_BLOCK_S_DEV, "super_block", &[&["s_dev"]]),
];

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
    /// The member that it leads to.
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
