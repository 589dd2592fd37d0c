//! Finding a member, also inside of anonymous structures and unions.

use super::types::Type;
use super::{Btf, Error};

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its distance from the start of the outermost structure.
    pub offset_bytes: u64,
    /// The number of its type.
    pub type_id: u32,
}

/// Structures looked into for one member; the kernel's largest needs a few dozen.
const MOST_LOOKED_INTO: u32 = 10_000;
/// Anonymous structures within one another.
const DEEPEST: u32 = 16;

impl Btf<'_> {
    /// Follows `path`, a name a step, from the structure or union of number `id`.
    pub fn member(&mut self, id: u32, path: &[&str]) -> Result<Member, Error> {
        let mut at = Member { offset_bytes: 0, type_id: id };
        for name in path {
            let no_member = || Error::NoMember((*name).into());
            let structure = self.compound(at.type_id)?.ok_or_else(no_member)?;
            let mut budget = MOST_LOOKED_INTO;
            let (offset_bits, type_id) =
                self.find(&structure, name, DEEPEST, &mut budget, at.type_id)?.ok_or_else(no_member)?;
            if offset_bits % 8 != 0 {
                return Err(Error::BitField((*name).into()));
            }
            at = Member { offset_bytes: at.offset_bytes + offset_bits / 8, type_id };
        }
        Ok(at)
    }

    /// Offset in bits and type of the member `name`, in C's order of declaration.
    fn find(
        &mut self,
        structure: &Type<'_>,
        name: &str,
        depth: u32,
        budget: &mut u32,
        id: u32,
    ) -> Result<Option<(u64, u32)>, Error> {
        *budget = budget.checked_sub(1).ok_or(Error::TooDeep(id))?;
        for member in structure.members() {
            let offset = u64::from(member.offset_bits);
            if self.is_named(member.name, name) {
                if member.bit_field_bits != 0 {
                    return Err(Error::BitField(name.into()));
                }
                return Ok(Some((offset, member.type_id)));
            }
            // The empty name is at offset 0, and nowhere else in what the kernel's build makes.
            if member.name != 0 {
                continue;
            }
            let Some(inner) = self.compound(member.type_id)? else { continue };
            let deeper = depth.checked_sub(1).ok_or(Error::TooDeep(id))?;
            if let Some((inside, type_id)) = self.find(&inner, name, deeper, budget, id)? {
                return Ok(Some((offset + inside, type_id)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Builder;
    use super::*;

    #[test]
    fn finds_members_inside_anonymous_structures_and_unions() {
        let mut types = Builder::default();
        let inner = types.structure("", 16, &[("a", 0, 0), ("b", 0, 64)]);
        let either = types.union("", 16, &[("c", 0, 0), ("", inner, 0)]);
        let outer = types.structure("outer", 48, &[("first", 0, 0), ("", either, 128), ("last", 0, 256)]);
        let bytes = types.finish();
        let mut btf = Btf::parse(&bytes).unwrap();
        for (name, offset) in [("first", 0), ("c", 16), ("a", 16), ("b", 24), ("last", 32)] {
            assert_eq!(btf.member(outer, &[name]).unwrap().offset_bytes, offset, "{name}");
        }
        assert_eq!(btf.member(outer, &["d"]), Err(Error::NoMember("d".into())));
    }

    #[test]
    fn follows_a_path_through_named_members_and_type_definitions() {
        let mut types = Builder::default();
        let thread = types.structure("thread_struct", 32, &[("sp", 0, 0), ("fsbase", 0, 128)]);
        let qualified = types.constant(thread);
        let alias = types.alias("thread_t", qualified);
        let task = types.structure("task_struct", 96, &[("stack", 0, 64), ("thread", alias, 512)]);
        let bytes = types.finish();
        let mut btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.structure("task_struct").unwrap(), task);
        assert_eq!(btf.member(task, &["thread", "fsbase"]).unwrap().offset_bytes, 80);
        assert_eq!(btf.member(task, &["stack", "fsbase"]), Err(Error::NoMember("fsbase".into())));
    }

    #[test]
    fn refuses_bit_fields_and_reads_their_neighbours() {
        let mut types = Builder::default();
        let flags = types.bit_fields("flags", 16, &[("one", 0, 3, 1), ("whole", 0, 64, 0)]);
        let bytes = types.finish();
        let mut btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.member(flags, &["one"]), Err(Error::BitField("one".into())));
        assert_eq!(btf.member(flags, &["whole"]).unwrap().offset_bytes, 8);
    }

    #[test]
    fn does_not_take_a_name_for_another_that_it_begins() {
        let mut types = Builder::default();
        types.structure("task_struct_extra", 8, &[]);
        let task = types.structure("task_struct", 16, &[("stack_canary", 0, 0), ("stack", 0, 64)]);
        let bytes = types.finish();
        let mut btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.structure("task_struct").unwrap(), task);
        assert_eq!(btf.member(task, &["stack"]).unwrap().offset_bytes, 8);
    }

    #[test]
    fn ends_on_types_that_contain_themselves() {
        let mut types = Builder::default();
        types.structure("loop", 8, &[("", 1, 0), ("", 1, 0)]);
        types.alias("alias", 2);
        let bytes = types.finish();
        let mut btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.member(1, &["x"]), Err(Error::TooDeep(1)));
        assert_eq!(btf.member(2, &["x"]), Err(Error::TooDeep(2)));
    }

    #[test]
    fn refuses_btf_that_is_cut_off_or_newer_than_it_knows() {
        let mut types = Builder::default();
        types.structure("task_struct", 16, &[("stack", 0, 64)]);
        let bytes = types.finish();
        for end in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut types = Builder::default();
        types.of_kind(31);
        let bytes = types.finish();
        let error = Btf::parse(&bytes).unwrap().structure("task_struct").unwrap_err();
        assert_eq!(error, Error::UnknownKind { id: 1, kind: 31 });
    }
}
