//! An object of BPF programs on its way into the kernel: constants set, maps created, calls and maps
//! linked, BTF and programs loaded.
//!
//! It does not read the kernel's own BTF, to which no object of ours refers: parsing that takes longer, and
//! more memory, than all the rest.

use crate::raw;
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::{bpf_map_type, bpf_prog_type};
use aya_obj::{EbpfSectionKind, Map, Object};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Why an object could not be brought into the kernel.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object is not what the build made.
    #[error("this build's object: {0}")]
    Broken(String),
    /// The kernel refused the types that the object states.
    #[error("types of the object: {0}")]
    Types(io::Error),
    /// The kernel refused a map.
    #[error("map `{name}`: {error}")]
    Map {
        /// The map's name.
        name: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The kernel refused a program.
    #[error("program `{name}`: {error}: {}", reason(.log))]
    Program {
        /// The program's name.
        name: String,
        /// The kernel's answer.
        error: io::Error,
        /// The verifier's log; empty if it wrote nothing.
        log: String,
    },
}

impl ObjectError {
    /// Returns the kernel's answer, if it was asked.
    pub fn answer(&self) -> Option<&io::Error> {
        match self {
            Self::Broken(_) => None,
            Self::Types(error) | Self::Map { error, .. } | Self::Program { error, .. } => Some(error),
        }
    }
}

/// Returns the verifier's last message, not all that it wrote on the way.
fn reason(log: &str) -> &str {
    let is_statistics = |line: &&str| {
        ["processed ", "verification time ", "stack depth "].iter().any(|s| line.starts_with(s))
    };
    let mut last = log.lines().rev().filter(|line| !line.is_empty() && !is_statistics(line));
    last.next().unwrap_or("the verifier wrote nothing")
}

fn broken(error: &dyn std::fmt::Display) -> ObjectError {
    ObjectError::Broken(error.to_string())
}

/// An object before anything of it is in the kernel.
#[derive(Debug)]
pub struct Unloaded {
    object: Object,
    constants: HashMap<&'static str, Vec<u8>>,
}

impl Unloaded {
    /// Reads an object file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        let object = Object::parse(bytes).map_err(|error| broken(&error))?;
        Ok(Self { object, constants: HashMap::new() })
    }

    /// Sets a constant (`const volatile`) of the object, whose bytes these must be; see [`Unloaded::set_u32`].
    pub fn set(&mut self, name: &'static str, bytes: &[u8]) -> &mut Self {
        self.constants.insert(name, bytes.to_vec());
        self
    }

    /// Sets a constant of 32 bits. One that the object lacks is an error when maps are created.
    pub fn set_u32(&mut self, name: &'static str, value: u32) -> &mut Self {
        self.set(name, &value.to_ne_bytes())
    }

    /// Sets a constant of 64 bits.
    pub fn set_u64(&mut self, name: &'static str, value: u64) -> &mut Self {
        self.set(name, &value.to_ne_bytes())
    }

    /// Sets how many entries a map has. One that the object lacks is left out.
    pub fn resize(&mut self, map: &str, entries: u32) -> &mut Self {
        if let Some(map) = self.object.maps.get_mut(map) {
            map.set_max_entries(entries);
        }
        self
    }

    /// Creates the object's maps and types in the kernel and links its functions to them.
    pub fn create(mut self) -> Result<Loaded, ObjectError> {
        let constants =
            self.constants.iter().map(|(name, bytes)| (*name, (bytes.as_slice(), true))).collect();
        self.object.patch_map_data(constants).map_err(|error| broken(&error))?;
        let mut maps: HashMap<String, (OwnedFd, Map)> = HashMap::new();
        for (name, map) in std::mem::take(&mut self.object.maps) {
            let created =
                create_map(&name, &map).map_err(|error| ObjectError::Map { name: name.clone(), error })?;
            maps.insert(name, (created, map));
        }
        Self::link(self.object, maps)
    }

    /// Links the object's functions to maps that exist already, by name, and loads no types.
    pub(crate) fn link_to(mut self, existing: &[(&str, BorrowedFd<'_>)]) -> Result<Loaded, ObjectError> {
        let spoken_of = std::mem::take(&mut self.object.maps);
        self.object.btf = None;
        let mut maps = HashMap::new();
        for (name, descriptor) in existing {
            let Some(map) = spoken_of.get(*name) else { continue };
            let ours = descriptor.try_clone_to_owned();
            let ours = ours.map_err(|error| ObjectError::Map { name: (*name).into(), error })?;
            maps.insert((*name).to_owned(), (ours, map.clone()));
        }
        Self::link(self.object, maps)
    }

    fn link(mut object: Object, maps: HashMap<String, (OwnedFd, Map)>) -> Result<Loaded, ObjectError> {
        // What every kernel from 5.10 on knows; our objects use none of the rest.
        const FEATURES: BtfFeatures = BtfFeatures::new(true, true, true, false, false, false, false, false);
        let btf = object.fixup_and_sanitize_btf(&FEATURES).map_err(|error| broken(&error))?;
        let btf = btf.map(|btf| raw::load_btf(&btf.to_bytes())).transpose().map_err(ObjectError::Types)?;
        let sections = object.functions.keys().map(|(section, _)| *section).collect();
        let descriptors =
            maps.iter().map(|(name, (map, spoken_of))| (name.as_str(), map.as_raw_fd(), spoken_of));
        object.relocate_maps(descriptors, &sections).map_err(|error| broken(&error))?;
        object.relocate_calls(&sections).map_err(|error| broken(&error))?;
        let maps = maps.into_iter().map(|(name, (map, _))| (name, map)).collect();
        Ok(Loaded { object, maps, btf })
    }
}

fn create_map(name: &str, map: &Map) -> io::Result<OwnedFd> {
    let kind: bpf_map_type =
        map.map_type().try_into().map_err(|_| io::Error::other("a type that is none"))?;
    let shape = |map: &Map| raw::MapShape {
        kind: map.map_type(),
        key_bytes: map.key_size(),
        value_bytes: map.value_size(),
        entries: map.max_entries(),
        flags: map.map_flags(),
    };
    let inner = map.inner().map(|inner| raw::create_named_map("inner", &shape(&inner), None)).transpose()?;
    let created = raw::create_named_map(name, &shape(map), inner.as_ref().map(AsFd::as_fd))?;
    if matches!(map.section_kind(), EbpfSectionKind::Rodata | EbpfSectionKind::Data | EbpfSectionKind::Bss) {
        debug_assert_eq!(kind, bpf_map_type::BPF_MAP_TYPE_ARRAY);
        if map.data().len() < map.value_size() as usize {
            return Err(io::Error::other("less data than the map holds"));
        }
        // SAFETY: just compared.
        unsafe { raw::update_element(created.as_fd(), 0, map.data())? };
    }
    if map.section_kind() == EbpfSectionKind::Rodata {
        // From now on the verifier takes what is in it for known.
        raw::freeze_map(created.as_fd())?;
    }
    Ok(created)
}

/// An object whose maps are in the kernel.
#[derive(Debug)]
pub struct Loaded {
    object: Object,
    maps: HashMap<String, OwnedFd>,
    btf: Option<OwnedFd>,
}

impl Loaded {
    /// A map by its name, the first time. Programs that are loaded keep it in the kernel, too.
    pub fn take_map(&mut self, name: &str) -> Option<OwnedFd> {
        self.maps.remove(name)
    }

    /// Loads a program by its name, with the functions that it calls. Where the kernel refuses it, it is tried
    /// again with room for what the verifier has to say.
    pub fn load_program(&self, name: &str, kind: bpf_prog_type) -> Result<OwnedFd, ObjectError> {
        let found = self.object.programs.get(name).map(|program| program.function_key());
        let function = found.and_then(|key| self.object.functions.get(&key));
        let function = function.ok_or_else(|| broken(&format!("no program `{name}`")))?;
        let btf = self.btf.as_ref().map(|btf| raw::Types {
            btf: btf.as_fd(),
            functions: function.func_info.func_info_bytes(),
            function_bytes: function.func_info_rec_size,
            lines: function.line_info.line_info_bytes(),
            line_bytes: function.line_info_rec_size,
        });
        let program = raw::Program { name, kind, instructions: &function.instructions, types: btf.as_ref() };
        raw::load_named_program(&program).map_err(|(error, log)| ObjectError::Program {
            name: name.to_owned(),
            error,
            log,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_the_verifier_wrote_the_reason_is_shown() {
        let log = "0: R1=ctx\n1: (85) call 113\nunknown func bpf_x#113\nprocessed 1 insns\n";
        assert_eq!(reason(log), "unknown func bpf_x#113");
        assert_eq!(reason(""), "the verifier wrote nothing");
    }

    #[test]
    fn constants_that_an_object_lacks_are_an_error() {
        let mut object = Unloaded::parse(crate::sampler()).unwrap();
        object.set_u32("no_such_constant", 1);
        assert!(matches!(object.create(), Err(ObjectError::Broken(_))));
    }
}
