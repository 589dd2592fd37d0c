//! BTF by hand, for tests.
#![allow(clippy::cast_possible_truncation, reason = "tests make small files")]

/// Types and strings under construction. Methods return the number of the type that they add.
pub(crate) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self { types: Vec::new(), strings: vec![0], count: 0 }
    }
}

impl Builder {
    /// Members: name, type, offset in bits.
    pub(crate) fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.compound(4, name, size, members)
    }

    pub(crate) fn union(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.compound(5, name, size, members)
    }

    /// Members: name, type, offset in bits, bits of a bit field.
    pub(crate) fn bit_fields(&mut self, name: &str, size: u32, members: &[(&str, u32, u32, u32)]) -> u32 {
        let plain: Vec<_> =
            members.iter().map(|(n, t, offset, bits)| (*n, *t, bits << 24 | offset)).collect();
        self.compound(4 | 0x80, name, size, &plain)
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.add(2, 0, "", to)
    }

    pub(crate) fn alias(&mut self, name: &str, of: u32) -> u32 {
        self.add(8, 0, name, of)
    }

    pub(crate) fn constant(&mut self, of: u32) -> u32 {
        self.add(10, 0, "", of)
    }

    pub(crate) fn of_kind(&mut self, kind: u32) -> u32 {
        self.add(kind, 0, "", 0)
    }

    /// The file.
    pub(crate) fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut file = 0xeb9f_u16.to_ne_bytes().to_vec();
        file.extend([1, 0]);
        file.extend([24, 0, types, types, strings].iter().flat_map(|word| word.to_ne_bytes()));
        file.extend(self.types);
        file.extend(self.strings);
        file
    }

    fn compound(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let id = self.add(kind, members.len() as u32, name, size);
        for (name, type_id, offset) in members {
            let name = self.string(name);
            self.words(&[name, *type_id, *offset]);
        }
        id
    }

    fn add(&mut self, kind: u32, count: u32, name: &str, size_or_type: u32) -> u32 {
        let name = self.string(name);
        self.words(&[name, kind << 24 | count, size_or_type]);
        self.count += 1;
        self.count
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }
}
