//! Rules for code that no call frame information describes, read from the code itself (x86-64).
//!
//! However a function makes its frame, its return undoes it. So a rule is found backwards: at `ret` the return address lies
//! at the stack pointer, and each instruction on the way there says by how much it was elsewhere before. Functions that never
//! return have rules forwards, from where they begin. Where both are silent, or two ways to a return disagree, nothing is
//! known.
//!
//! Calls, and this analysis with them, keep to the x86-64 psABI (3.2): callees return with the stack pointer as it was and
//! keep rbx, rbp and r12 to r15; at a call the stack is aligned to 16 bytes, which tells a call that returns from one that
//! does not, whose next instruction is another function's.

use super::instruction::{Flow, Instruction, Stored, Value};
use super::rule::{Architecture, Rule, at_fp, by_register, by_word, far_words, words};
use iced_x86::{InstructionInfoFactory, Register};
use stacksonde_ebpf::tables::{NOT_SAVED, rule_kind};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

/// Instructions that are looked at for one range: all of a page, and the ways from it to a return.
const INSTRUCTIONS_MAX: usize = 1 << 13;
/// Decoding that begins so many bytes before a range is in step with the code by then.
const STEP_BYTES: u64 = 64;
/// Compilers let functions begin at multiples of this.
const ALIGNMENT: u64 = 16;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 512;
/// Pieces of code that are read for one range; more only where jumps lead everywhere, which does harm.
const CHUNKS_MAX: usize = 1 << 10;

/// Finds rules for `range`, each from its address on up to the next one; `None` where nothing is known. `code` gives up to so
/// many bytes at an address, as far as there are any.
pub fn rules(
    range: &Range<u64>,
    code: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<(u64, Option<Rule>)>> {
    let mut graph = Graph::new(code);
    let swept = graph.sweep(range)?;
    graph.follow()?;
    let nodes = graph.nodes;
    let backwards = backwards(&nodes);
    let forwards = forwards(&nodes);
    let mut found = Vec::new();
    for address in swept.into_iter().filter(|address| range.contains(address)) {
        let rule = if ends_with_its_result(&nodes, address) {
            Some(Rule::END)
        } else {
            let forwards = || forwards.get(&address).copied().flatten().and_then(Frame::rule);
            match backwards.get(&address) {
                // Of a function that has called only a few registers are known.
                Some(Some(caller)) => match caller.rule() {
                    Some(rule)
                        if rule.kind >= rule_kind::REGISTER && nodes[&address].flow() == Flow::Call =>
                    {
                        forwards()
                    }
                    rule => rule,
                },
                // Ways to a return disagree: so one of them is not what it seems.
                Some(None) => None,
                None => forwards(),
            }
        };
        found.push((address, rule));
        // By its last byte a return address behind it is looked for, which no call has left.
        let node = &nodes[&address];
        if node.is_never_returned_behind() && node.end() - address >= 2 && range.contains(&(node.end() - 1)) {
            found.push((node.end() - 1, Some(Rule::ENTRY)));
        }
    }
    Ok(found)
}

/// Finds the rule at one address at which an instruction begins, by the returns that it leads to; `None` where it leads to
/// none, or ways to them disagree.
pub(super) fn rule_at(
    address: u64,
    code: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Option<Rule>> {
    let mut graph = Graph::new(code);
    graph.ways.push(address);
    graph.follow()?;
    Ok(backwards(&graph.nodes).get(&address).copied().flatten().and_then(Caller::rule))
}

/// The instructions that were looked at, by address.
struct Graph<C> {
    code: C,
    chunks: BTreeMap<u64, Vec<u8>>,
    nodes: BTreeMap<u64, Instruction>,
    /// Addresses to go on from.
    ways: Vec<u64>,
    factory: InstructionInfoFactory,
}

impl<C: FnMut(u64, usize) -> io::Result<Vec<u8>>> Graph<C> {
    fn new(code: C) -> Self {
        Self {
            code,
            chunks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            ways: Vec::new(),
            factory: InstructionInfoFactory::new(),
        }
    }

    /// Decodes a range from its beginning to its end, and returns where its instructions begin.
    fn sweep(&mut self, range: &Range<u64>) -> io::Result<Vec<u64>> {
        let mut swept = Vec::new();
        let mut at = range.start.saturating_sub(STEP_BYTES);
        while at < range.end && self.nodes.len() < INSTRUCTIONS_MAX {
            match self.decode(at)? {
                Some(next) => {
                    swept.push(at);
                    at = next;
                }
                None => at += 1,
            }
        }
        Ok(swept)
    }

    /// Decodes where the instructions so far lead.
    fn follow(&mut self) -> io::Result<()> {
        while let Some(way) = self.ways.pop() {
            let mut at = Some(way);
            while let Some(address) = at.filter(|address| !self.nodes.contains_key(address)) {
                if self.nodes.len() >= INSTRUCTIONS_MAX {
                    return Ok(());
                }
                self.decode(address)?;
                at = self.nodes.get(&address).and_then(|node| node.next());
            }
        }
        Ok(())
    }

    /// Takes in the instruction at an address, and returns the address after it; `None` if there is none.
    fn decode(&mut self, at: u64) -> io::Result<Option<u64>> {
        if let Some(known) = self.nodes.get(&at) {
            return Ok(Some(known.end()));
        }
        const LONGEST: usize = 15;
        let chunk = at & !(CHUNK_BYTES as u64 - 1);
        for chunk in [chunk, chunk.wrapping_add(CHUNK_BYTES as u64)] {
            if !self.chunks.contains_key(&chunk) && self.chunks.len() < CHUNKS_MAX {
                let bytes = (self.code)(chunk, CHUNK_BYTES)?;
                self.chunks.insert(chunk, bytes);
            }
        }
        let bytes: Vec<u8> = (0..LONGEST as u64)
            .map_while(|offset| {
                let address = at.wrapping_add(offset);
                let start = address & !(CHUNK_BYTES as u64 - 1);
                self.chunks.get(&start)?.get(usize::try_from(address - start).ok()?).copied()
            })
            .collect();
        let Some(instruction) = Instruction::decode(&bytes, at, &mut self.factory) else { return Ok(None) };
        let end = instruction.end();
        self.ways.extend(instruction.target().into_iter().chain(instruction.next()));
        self.nodes.insert(at, instruction);
        Ok(Some(end))
    }
}

/// Ways to say a value by the registers at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A register's value and so many bytes.
    At(Register, i64),
    /// The word that lies so many bytes from a register, and so many bytes more.
    Load(Register, i64, i64),
}

impl Place {
    /// Says it by the registers before an instruction; `None` if they do not tell.
    fn before(self, instruction: &Instruction) -> Option<Self> {
        let said = match self {
            Self::At(register, more) => match instruction.value_of(register) {
                Value::Same => self,
                Value::Plus(base, offset) => Self::At(base, more.checked_add(offset)?),
                Value::Loaded(base, offset) => Self::Load(base, offset, more),
                Value::Other => return None,
            },
            Self::Load(register, at, more) => match instruction.value_of(register) {
                Value::Same => self,
                Value::Plus(base, offset) => Self::Load(base, at.checked_add(offset)?, more),
                Value::Loaded(..) | Value::Other => return None,
            },
        };
        Some(match (said, instruction.stored()) {
            (Self::Load(base, at, more), Some(stored)) if (base, at) == (stored.base, stored.offset) => {
                Self::At(stored.what?, more)
            }
            _ => said,
        })
    }
}

/// The caller's registers, by those at a place: the canonical frame address (DWARF 5, 6.4), rbp and rbx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Caller {
    cfa: Place,
    fp: Place,
    /// Few need it; `None` where it is not known.
    bx: Option<Place>,
}

impl Caller {
    /// At a return.
    const RETURNED_TO: Self = Self {
        cfa: Place::At(Register::RSP, 8),
        fp: Place::At(Register::RBP, 0),
        bx: Some(Place::At(Register::RBX, 0)),
    };

    fn before(self, instruction: &Instruction) -> Option<Self> {
        // Whoever is called has the stack aligned; what seems to follow a call that is not belongs to somebody else.
        if instruction.flow() == Flow::Call
            && let Place::At(Register::RSP, words) = self.cfa
            && words % 16 != 0
        {
            return None;
        }
        Some(Self {
            cfa: self.cfa.before(instruction)?,
            fp: self.fp.before(instruction)?,
            bx: self.bx.and_then(|bx| bx.before(instruction)),
        })
    }

    /// As a rule; `None` if none can say it.
    fn rule(self) -> Option<Rule> {
        let saved = |place: Place, own: Register| match (place, self.cfa) {
            (Place::At(register, 0), _) if register == own => Some(NOT_SAVED),
            (Place::Load(base, at, 0), Place::At(register, cfa)) if base == register => {
                words(at.checked_sub(cfa)?)
            }
            (Place::Load(Register::RBP, at, 0), _) if own == Register::RBP => at_fp(at),
            _ => None,
        };
        let fp = saved(self.fp, Register::RBP)?;
        let other = self.bx.and_then(|bx| saved(bx, Register::RBX)).unwrap_or(NOT_SAVED);
        match self.cfa {
            // The return address is not below the stack pointer.
            Place::At(Register::RSP, bytes) if bytes < 8 => None,
            Place::At(register, bytes) => {
                let kind = by_register(in_dwarf(register)?, Architecture::X86_64)?;
                Some(Rule { kind, cfa: far_words(bytes)?, fp, other })
            }
            Place::Load(register, at, more) => {
                let kind = by_word(in_dwarf(register)?, Architecture::X86_64)?;
                Some(Rule { kind, cfa: far_words(at)?, fp, other: words(more)? })
            }
        }
    }
}

/// A register as DWARF numbers it (x86-64 psABI, figure 3.36).
fn in_dwarf(register: Register) -> Option<gimli::Register> {
    use Register::{R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP};
    let order = [RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15];
    let number = order.iter().position(|known| *known == register)?;
    u16::try_from(number).ok().map(gimli::Register)
}

/// Finds the callers at each instruction from which a return is reached; `None` where ways to one disagree.
fn backwards(nodes: &BTreeMap<u64, Instruction>) -> BTreeMap<u64, Option<Caller>> {
    let mut leading: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (at, node) in nodes {
        for to in node.target().into_iter().chain(node.next()) {
            leading.entry(to).or_default().push(*at);
        }
    }
    let mut found: BTreeMap<u64, Option<Caller>> = BTreeMap::new();
    let mut changed: Vec<u64> = Vec::new();
    for (at, node) in nodes {
        if matches!(node.flow(), Flow::Return | Flow::TailJump) {
            found.insert(*at, Some(Caller::RETURNED_TO));
            changed.push(*at);
        }
    }
    while let Some(at) = changed.pop() {
        let after = found.get(&at).copied().flatten();
        for from in leading.get(&at).into_iter().flatten() {
            // Where ways disagree, so do they before.
            let before = after.map(|after| after.before(&nodes[from]));
            let new = match (before, found.get(from)) {
                (Some(None), _) => continue,
                (Some(before), None) => before,
                (Some(before), Some(known)) if before == *known => continue,
                (_, Some(None)) => continue,
                _ => None,
            };
            found.insert(*from, new);
            changed.push(*from);
        }
    }
    found
}

/// Tells whether what the function returns that is called here is what the thread or the program ends with (`exit(2)`,
/// `exit_group(2)`): then nobody called the caller. C libraries begin threads so, and programs without one themselves.
fn ends_with_its_result(nodes: &BTreeMap<u64, Instruction>, call: u64) -> bool {
    const STEPS: usize = 8;
    const EXITS: [u32; 2] = [60, 231];
    let Some(call) = nodes.get(&call).filter(|node| node.flow() == Flow::Call) else { return false };
    let (mut at, mut eax, mut is_result) = (call.end(), None, false);
    for _ in 0..STEPS {
        let Some(node) = nodes.get(&at).filter(|node| node.flow() == Flow::Next) else { return false };
        if node.is_system_call() {
            return is_result && eax.is_some_and(|number| EXITS.contains(&number));
        }
        is_result |= eax.is_none() && node.passes_result_on();
        (at, eax) = (node.end(), node.eax(eax));
    }
    false
}

/// The frame at a place of a function, by what happened to it from its beginning on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Bytes from the stack pointer to the canonical frame address, and from the frame pointer.
    sp: Option<i64>,
    fp: Option<i64>,
    /// The place where the caller's frame pointer lies, in bytes from the canonical frame address.
    saved: Option<i64>,
    /// Set while it is in its register.
    is_callers: bool,
}

impl Frame {
    const BEGUN: Self = Self { sp: Some(8), fp: None, saved: None, is_callers: true };

    fn after(self, instruction: &Instruction) -> Self {
        let of = |register: Register, own: Option<i64>| match instruction.value_of(register) {
            Value::Same => own,
            Value::Plus(Register::RSP, offset) => Some(self.sp? - offset),
            Value::Plus(Register::RBP, offset) => Some(self.fp? - offset),
            _ => None,
        };
        let place = |base: Register, offset: i64| match base {
            Register::RSP => Some(offset - self.sp?),
            Register::RBP => Some(offset - self.fp?),
            _ => None,
        };
        let mut after = Self { sp: of(Register::RSP, self.sp), fp: of(Register::RBP, self.fp), ..self };
        if let Some(Stored { base, offset, what }) = instruction.stored()
            && let Some(at) = place(base, offset)
        {
            if what == Some(Register::RBP) && self.is_callers {
                after.saved = Some(at);
            } else if self.saved == Some(at) {
                after.saved = None;
            }
        }
        after.is_callers = match instruction.value_of(Register::RBP) {
            Value::Same => self.is_callers,
            Value::Loaded(base, offset) => self.saved.is_some() && place(base, offset) == self.saved,
            _ => false,
        };
        after
    }

    fn rule(self) -> Option<Rule> {
        let fp = match (self.is_callers, self.saved) {
            (true, _) => NOT_SAVED,
            (false, saved) => words(saved?)?,
        };
        let (kind, bytes) = match (self.sp, self.fp) {
            (Some(bytes), _) => (rule_kind::SP, bytes),
            (None, Some(bytes)) => (rule_kind::FP, bytes),
            (None, None) => return None,
        };
        (kind != rule_kind::SP || bytes >= 8).then_some(Rule {
            kind,
            cfa: far_words(bytes)?,
            fp,
            other: NOT_SAVED,
        })
    }
}

/// Finds frames from the beginnings of functions on; `None` where ways disagree.
fn forwards(nodes: &BTreeMap<u64, Instruction>) -> BTreeMap<u64, Option<Frame>> {
    let beginnings = beginnings(nodes);
    let mut found: BTreeMap<u64, Option<Frame>> =
        beginnings.iter().map(|at| (*at, Some(Frame::BEGUN))).collect();
    let mut changed: Vec<u64> = beginnings.iter().copied().collect();
    while let Some(at) = changed.pop() {
        let Some(node) = nodes.get(&at) else { continue };
        let after = found.get(&at).copied().flatten().map(|frame| frame.after(node));
        for to in node.target().into_iter().chain(node.next()) {
            // Whoever goes on into another function has left its own.
            if beginnings.contains(&to) {
                continue;
            }
            let new = match found.get(&to) {
                None => after,
                Some(known) if *known == after => continue,
                Some(None) => continue,
                Some(Some(_)) => None,
            };
            found.insert(to, new);
            changed.push(to);
        }
    }
    found
}

/// Finds where functions begin: what is called, what has the mark of a beginning, what makes a frame where no other
/// instruction leads, and behind a return or what aligns a function the few instructions that only lead to another.
fn beginnings(nodes: &BTreeMap<u64, Instruction>) -> BTreeSet<u64> {
    let targets: BTreeSet<u64> = nodes.values().filter_map(Instruction::target).collect();
    let led_to: BTreeSet<u64> = nodes.values().filter_map(Instruction::next).chain(targets.clone()).collect();
    let before = |at: u64| {
        let (_, before) = nodes.range(..at).next_back()?;
        (before.end() == at).then_some(before)
    };
    let begins = |at: u64, node: &Instruction| {
        // Functions are aligned by what does nothing.
        let is_behind_padding = before(at).is_some_and(Instruction::is_padding);
        let is_aligned = at.is_multiple_of(ALIGNMENT) && is_behind_padding && !targets.contains(&at);
        let is_behind_return = before(at).is_some_and(|before| before.flow() == Flow::Return);
        let is_alone = (is_behind_padding || is_behind_return) && !targets.contains(&at);
        node.is_landing()
            || (node.makes_frame() && (is_aligned || !led_to.contains(&at)))
            || (is_alone && leads_away(nodes, at))
    };
    let found = nodes.iter().filter(|(at, node)| begins(**at, node)).map(|(at, _)| *at);
    let called = nodes.values().filter_map(Instruction::called).filter(|at| nodes.contains_key(at));
    found.chain(called).collect()
}

/// Tells whether a few instructions that leave the stack alone end in a jump to where only a register, or a word, says.
fn leads_away(nodes: &BTreeMap<u64, Instruction>, from: u64) -> bool {
    const STEPS: usize = 8;
    let mut at = from;
    for _ in 0..STEPS {
        let Some(node) = nodes.get(&at) else { return false };
        match node.flow() {
            _ if node.is_indirect_jump() => return true,
            Flow::Next if node.value_of(Register::RSP) == Value::Same && !node.is_padding() => {
                at = node.end()
            }
            _ => return false,
        }
    }
    false
}
