//! The caller that a walk along the frame pointers misses.
//!
//! In: the registers and the top of the stack of an interrupted thread. Out: the return address of the function that it was in, where
//! that function keeps no frame pointer or had not set it up: by the call frame information of its file, with which exceptions are unwound.
//! Not here: the walk itself, which the sampler does; names (`symbols`).

use std::collections::HashMap;
use std::path::Path;

use addr2line::gimli::{
    AArch64, BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry, NativeEndian, ParsedEhFrameHdr, Register,
    RegisterRule, UnwindContext, UnwindSection as _, Vendor, X86_64,
};

use super::maps::{CodeFile, Regions, Section, Segments};
use crate::telemetry::sampler::Registers;

/// Addresses of code whose rule is remembered; the memory of them is emptied when it is full.
const RULES_MAX: usize = 100_000;
/// Bytes of a word on the stack, and of an address.
const WORD_BYTES: u64 = 8;
const ADDRESS_BYTES: u8 = 8;
/// What of a pointer is address: a signed return address has its signature above it (Arm, "Pointer authentication").
const ADDRESS_MASK: u64 = if cfg!(target_arch = "aarch64") { (1 << 48) - 1 } else { u64::MAX };

type Bytes<'a> = EndianSlice<'a, NativeEndian>;

/// Finds lost callers, in the code that was mapped when it was made or refreshed.
pub(crate) struct Callers {
    regions: Regions,
    /// By the path of the mapped file; None for one that cannot be read.
    frames: HashMap<String, Option<Frames>>,
    rules: HashMap<u64, Option<Held>>,
    context: UnwindContext<usize>,
}

impl Callers {
    pub(crate) fn new() -> Self {
        let regions = Regions::read().unwrap_or_default();
        Callers { regions, frames: HashMap::new(), rules: HashMap::new(), context: UnwindContext::new() }
    }

    /// Reads the process's mappings again: libraries may have been loaded, or unloaded.
    pub(crate) fn refresh(&mut self) {
        let Some(regions) = Regions::read().filter(|regions| *regions != self.regions) else { return };
        self.frames.retain(|path, _| regions.code().iter().any(|region| region.path == *path));
        self.rules = HashMap::new();
        self.regions = regions;
    }

    /// The return address of the function at `pc`, if the walk does not have it: `walked` is the first caller that it found.
    ///
    /// `stack` holds the words at `sp` and above.
    pub(crate) fn lost(&mut self, registers: &Registers, stack: &[u64], walked: Option<u64>) -> Option<u64> {
        let held = self.rule(registers.pc)?.read(registers, stack)? & ADDRESS_MASK;
        let is_known = walked.is_some_and(|walked| walked & ADDRESS_MASK == held);
        // The call is before the address it returns to, and may be the last instruction of its region.
        let is_code = self.regions.index(held.checked_sub(1)?).is_some();
        (is_code && !is_known).then_some(held)
    }

    fn rule(&mut self, pc: u64) -> Option<Held> {
        if let Some(known) = self.rules.get(&pc) {
            return *known;
        }
        let rule = self.find(pc);
        if self.rules.len() >= RULES_MAX {
            self.rules = HashMap::new();
        }
        self.rules.insert(pc, rule);
        rule
    }

    fn find(&mut self, pc: u64) -> Option<Held> {
        let region = &self.regions.code()[self.regions.index(pc)?];
        let read = || self.regions.path_of(region).and_then(|path| Frames::read(&path));
        let frames = self.frames.entry(region.path.clone()).or_insert_with(read).as_ref()?;
        frames.held(frames.segments.linked(region.file_offset(pc))?, &mut self.context)
    }
}

/// Where a return address is held while a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    InLinkRegister,
    /// So far above (or below) the stack pointer.
    ByStack(i64),
    ByFrame(i64),
}

impl Held {
    /// None if the walk has it as well, or if it lies outside of what was copied.
    fn read(self, registers: &Registers, stack: &[u64]) -> Option<u64> {
        let place = match self {
            Held::InLinkRegister => return Some(registers.lr),
            Held::ByStack(distance) => registers.sp.checked_add_signed(distance)?,
            Held::ByFrame(distance) => registers.fp.checked_add_signed(distance)?,
        };
        // Here the walk looks: the frame pointer is set up, and nothing is lost.
        if place == registers.fp.wrapping_add(WORD_BYTES) {
            return None;
        }
        let above = place.checked_sub(registers.sp).filter(|above| above % WORD_BYTES == 0)?;
        stack.get(usize::try_from(above / WORD_BYTES).ok()?).copied()
    }
}

/// What call frame information calls the registers of a machine (its psABI, "DWARF register number mapping").
struct Machine {
    stack: Register,
    frame: Register,
    return_address: Register,
    /// A call puts the return address into a register, not onto the stack.
    links: bool,
}

const AARCH64: Machine = Machine { stack: AArch64::SP, frame: AArch64::X29, return_address: AArch64::X30, links: true };
const AMD64: Machine = Machine { stack: X86_64::RSP, frame: X86_64::RBP, return_address: X86_64::RA, links: false };
const OURS: Machine = if cfg!(target_arch = "aarch64") { AARCH64 } else { AMD64 };

impl Machine {
    /// None where the rules say that nothing called, or say it by an expression.
    fn held(&self, frame: &CfaRule<usize>, rule: Option<&RegisterRule<usize>>) -> Option<Held> {
        match (rule, frame) {
            (None | Some(RegisterRule::SameValue), _) if self.links => Some(Held::InLinkRegister),
            (Some(RegisterRule::Offset(above)), CfaRule::RegisterAndOffset { register, offset }) => {
                let distance = offset.checked_add(*above)?;
                let by_stack = (*register == self.stack).then_some(Held::ByStack(distance));
                by_stack.or_else(|| (*register == self.frame).then_some(Held::ByFrame(distance)))
            }
            _ => None,
        }
    }
}

/// The call frame information of one file.
struct Frames {
    segments: Segments,
    entries: Table,
    /// Finds an entry by its address.
    index: Option<Table>,
    text: u64,
}

/// A section that was read, with its linked address.
struct Table {
    address: u64,
    bytes: Vec<u8>,
}

impl From<Section<'_>> for Table {
    fn from(section: Section<'_>) -> Self {
        Table { address: section.address, bytes: section.bytes.to_vec() }
    }
}

impl Frames {
    fn read(path: &Path) -> Option<Self> {
        let file = CodeFile::open(path)?;
        let parts = file.parts()?;
        let entries = parts.section(".eh_frame")?.into();
        let index = parts.section(".eh_frame_hdr").map(Table::from);
        let text = parts.address(".text").unwrap_or_default();
        Some(Frames { segments: parts.segments(), entries, index, text })
    }

    fn held(&self, linked: u64, context: &mut UnwindContext<usize>) -> Option<Held> {
        let mut section = EhFrame::new(&self.entries.bytes, NativeEndian);
        if OURS.links {
            section.set_vendor(Vendor::AArch64);
        }
        let mut bases = BaseAddresses::default().set_eh_frame(self.entries.address).set_text(self.text);
        if let Some(index) = &self.index {
            bases = bases.set_eh_frame_hdr(index.address);
        }
        let entry = self.entry(&section, &bases, linked)?;
        let row = entry.unwind_info_for_address(&section, &bases, context, linked).ok()?;
        OURS.held(row.cfa(), row.register(OURS.return_address).as_ref())
    }

    /// The entry of the function at an address.
    fn entry<'a>(&'a self, section: &EhFrame<Bytes<'a>>, bases: &BaseAddresses, linked: u64) -> Option<FrameDescriptionEntry<Bytes<'a>>> {
        let index = self.index.as_ref().and_then(|index| EhFrameHdr::new(&index.bytes, NativeEndian).parse(bases, ADDRESS_BYTES).ok());
        match index.as_ref().and_then(ParsedEhFrameHdr::table) {
            Some(table) => table.fde_for_address(section, bases, linked, EhFrame::cie_from_offset).ok(),
            None => section.fde_for_address(bases, linked, EhFrame::cie_from_offset).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use object::read::elf::Sym as _;

    use super::*;

    const STACK: u64 = 0x7ff0_0000_1000;

    /// A place in our own code to which something could return.
    fn here() -> u64 {
        here as *const () as usize as u64 + 1
    }

    /// Where a function of the C library begins, wherever that is linked in.
    fn address_of(name: &str) -> Option<u64> {
        let regions = Regions::read()?;
        regions.code().iter().find_map(|region| {
            let file = CodeFile::open(&regions.path_of(region)?)?;
            let parts = file.parts()?;
            let (symbols, names) = parts.symbols()?;
            let is_it = |symbol: &&object::elf::Sym64<object::NativeEndian>| {
                !symbol.is_undefined(object::NativeEndian) && symbol.name(object::NativeEndian, names) == Ok(name.as_bytes())
            };
            let linked = symbols.iter().find(is_it)?.st_value(object::NativeEndian);
            let segments = parts.segments();
            (region.start..region.limit).find(|address| segments.linked(region.file_offset(*address)) == Some(linked))
        })
    }

    #[test]
    fn the_caller_of_a_function_that_has_just_begun_is_not_lost() {
        let mut callers = Callers::new();
        let begin = address_of("memcpy").expect("a program has it, from the C library or as its own");
        let registers = Registers { pc: begin, sp: STACK, fp: STACK + 0x100, lr: here() };
        let stack = [here(), 7, 8];
        assert_eq!(callers.lost(&registers, &stack, None), Some(here()));
        assert_eq!(callers.lost(&registers, &stack, Some(here() + 64)), Some(here()), "the walk found the one behind it");
        assert_eq!(callers.lost(&registers, &stack, Some(here())), None, "the walk found it");
    }

    #[test]
    fn what_is_no_code_is_no_caller() {
        let mut callers = Callers::new();
        let begin = address_of("memcpy").expect("a program has it, from the C library or as its own");
        let registers = Registers { pc: begin, sp: STACK, fp: STACK + 0x100, lr: 7 };
        assert_eq!(callers.lost(&registers, &[7], None), None);
        assert_eq!(callers.lost(&Registers { lr: 0, ..registers }, &[0], None), None);
        assert_eq!(callers.lost(&Registers { pc: 7, lr: here(), ..registers }, &[here()], None), None, "nothing is known of where it was");
    }

    #[test]
    fn code_that_is_mapped_later_is_known_after_a_second_look() {
        let begin = address_of("memcpy").expect("a program has it, from the C library or as its own");
        let registers = Registers { pc: begin, sp: STACK, fp: STACK + 0x100, lr: here() };
        let mut callers = Callers { regions: Regions::default(), ..Callers::new() };
        assert_eq!(callers.lost(&registers, &[here()], None), None);
        callers.refresh();
        assert_eq!(callers.lost(&registers, &[here()], None), Some(here()));
    }

    #[test]
    fn it_can_be_handed_to_the_thread_that_uses_it() {
        fn sent<T: Send>(_: &T) {}
        sent(&Callers::new());
    }

    #[test]
    fn a_word_is_read_only_where_it_was_copied() {
        let registers = Registers { pc: 0, sp: STACK, fp: STACK + 0x100, lr: 99 };
        let stack = [10, 11, 12];
        assert_eq!(Held::ByStack(0).read(&registers, &stack), Some(10));
        assert_eq!(Held::ByStack(16).read(&registers, &stack), Some(12));
        assert_eq!(Held::ByStack(24).read(&registers, &stack), None);
        assert_eq!(Held::ByStack(-8).read(&registers, &stack), None);
        assert_eq!(Held::ByStack(4).read(&registers, &stack), None);
        assert_eq!(Held::ByFrame(-0xf8).read(&registers, &stack), Some(11));
        assert_eq!(Held::InLinkRegister.read(&registers, &stack), Some(99));
    }

    #[test]
    fn with_a_frame_pointer_nothing_is_lost() {
        let stack = [10, 11, 12];
        let registers = Registers { pc: 0, sp: STACK, fp: STACK, lr: 0 };
        assert_eq!(Held::ByFrame(8).read(&registers, &stack), None);
        assert_eq!(Held::ByStack(8).read(&registers, &stack), None, "the same word, told from the stack pointer");
    }

    #[test]
    fn the_rules_of_both_machines_are_read() {
        let from = |register, offset| CfaRule::RegisterAndOffset { register, offset };
        let saved = |offset| Some(RegisterRule::Offset(offset));
        let held = |machine: &Machine, frame: &CfaRule<usize>, rule: Option<RegisterRule<usize>>| machine.held(frame, rule.as_ref());
        assert_eq!(held(&AMD64, &from(X86_64::RSP, 8), saved(-8)), Some(Held::ByStack(0)));
        assert_eq!(held(&AMD64, &from(X86_64::RSP, 48), saved(-8)), Some(Held::ByStack(40)));
        assert_eq!(held(&AMD64, &from(X86_64::RBP, 16), saved(-8)), Some(Held::ByFrame(8)));
        assert_eq!(held(&AMD64, &from(X86_64::R10, 0), saved(-8)), None);
        assert_eq!(held(&AMD64, &from(X86_64::RSP, 8), None), None);
        assert_eq!(held(&AMD64, &from(X86_64::RSP, 8), Some(RegisterRule::Undefined)), None, "nothing called the first function");
        assert_eq!(held(&AARCH64, &from(AArch64::SP, 0), None), Some(Held::InLinkRegister));
        assert_eq!(held(&AARCH64, &from(AArch64::SP, 32), Some(RegisterRule::SameValue)), Some(Held::InLinkRegister));
        assert_eq!(held(&AARCH64, &from(AArch64::SP, 32), saved(-24)), Some(Held::ByStack(8)));
        assert_eq!(held(&AARCH64, &from(AArch64::X29, 16), saved(-8)), Some(Held::ByFrame(8)));
        assert_eq!(held(&AARCH64, &from(AArch64::SP, 0), Some(RegisterRule::Undefined)), None);
    }
}
