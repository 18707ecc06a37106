//! What is mapped into this process, and the ELF files behind it.
//!
//! In: the text of `/proc/self/maps`, and the files that it names. Out: regions of memory, the way from an address in one to the
//! address that the linker gave it, and the parts of a file. Not here: what those parts say (`symbols`, `caller`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable};
use object::read::{ReadCache, StringTable};
use object::{NativeEndian, pod};

/// Bytes of one part of a file that are read into memory: a symbol table, its names, call frame information.
const OBJECT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Where our own file can be read even when another one stands in its place by now.
const OWN_FILE: &str = "/proc/self/exe";
/// What the kernel adds to the path of a file that is there no longer.
const DELETED: &str = " (deleted)";

type Header = FileHeader64<NativeEndian>;
type Source<'a> = &'a ReadCache<File>;

/// One line of `/proc/self/maps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u64,
    /// The first address behind it.
    pub(crate) limit: u64,
    /// Where in its file it begins.
    pub(crate) offset: u64,
    /// As the kernel has it: with `(deleted)` behind it, or a name in brackets, or empty.
    pub(crate) path: String,
    pub(crate) is_exec: bool,
}

impl Region {
    /// The place in its file that is mapped at an address of it.
    pub(crate) fn file_offset(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.offset)
    }

    /// The name for the reader.
    pub(crate) fn file(&self) -> &str {
        self.path.strip_suffix(DELETED).unwrap_or(&self.path)
    }

    /// True for what the kernel provides, such as `[vdso]`: no file can be read.
    pub(crate) fn is_of_kernel(&self) -> bool {
        self.path.starts_with('[')
    }
}

/// Reads `/proc/self/maps`. A line that is not understood is left out.
pub(crate) fn parse(text: &str) -> Vec<Region> {
    text.lines().filter_map(region).collect()
}

/// `start-limit permissions offset device inode   path`, numbers in hexadecimal (proc_pid_maps(5)). The path may hold spaces.
fn region(line: &str) -> Option<Region> {
    let mut fields = line.splitn(6, ' ');
    let (start, limit) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    let (_device, _inode) = (fields.next()?, fields.next()?);
    let path = fields.next().unwrap_or_default().trim_start_matches(' ');
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Region {
        start: number(start)?,
        limit: number(limit)?,
        offset: number(offset)?,
        path: path.to_owned(),
        is_exec: permissions.as_bytes().get(2) == Some(&b'x'),
    })
}

/// The regions of this process that hold code and have a name, in the order of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Regions {
    code: Vec<Region>,
    /// The path of our own file, as the kernel has it.
    own: String,
}

impl Regions {
    /// None where there is no such file, which is so on other systems.
    pub(crate) fn read() -> Option<Self> {
        let text = fs::read("/proc/self/maps").ok()?;
        let own = fs::read_link(OWN_FILE).ok()?;
        Some(Self::of(&String::from_utf8_lossy(&text), own.to_string_lossy().into_owned()))
    }

    fn of(text: &str, own: String) -> Self {
        let mut code = parse(text);
        code.retain(|region| region.is_exec && !region.path.is_empty());
        code.sort_unstable_by_key(|region| region.start);
        Regions { code, own }
    }

    pub(crate) fn code(&self) -> &[Region] {
        &self.code
    }

    /// Which one holds an address.
    pub(crate) fn index(&self, address: u64) -> Option<usize> {
        let index = self.code.partition_point(|region| region.start <= address).checked_sub(1)?;
        (address < self.code[index].limit).then_some(index)
    }

    /// Where to read the file behind a region. None for what the kernel provides, and for a deleted file that is not our own: another
    /// one may stand in its place, whose names would be wrong.
    pub(crate) fn path_of(&self, region: &Region) -> Option<PathBuf> {
        if region.path == self.own {
            return Some(PathBuf::from(OWN_FILE));
        }
        let is_there = region.path.starts_with('/') && !region.path.ends_with(DELETED);
        is_there.then(|| PathBuf::from(&region.path))
    }
}

/// A file with code, open for reading. What is read of it stays in memory until it is closed.
pub(crate) struct CodeFile {
    source: ReadCache<File>,
}

/// What can be read of a [`CodeFile`].
pub(crate) struct Parts<'a> {
    source: Source<'a>,
    programs: &'a [ProgramHeader64<NativeEndian>],
    sections: SectionTable<'a, Header, Source<'a>>,
}

/// One part of a file, with the address that the linker gave it.
pub(crate) struct Section<'a> {
    pub(crate) address: u64,
    pub(crate) bytes: &'a [u8],
}

impl CodeFile {
    pub(crate) fn open(path: &Path) -> Option<Self> {
        // A device can be mapped as well, and opening one may do something.
        if !fs::metadata(path).ok()?.is_file() {
            return None;
        }
        Some(CodeFile { source: ReadCache::new(File::open(path).ok()?) })
    }

    pub(crate) fn parts(&self) -> Option<Parts<'_>> {
        let source = &self.source;
        let header = Header::parse(source).ok()?;
        header.endian().ok()?;
        let programs = header.program_headers(NativeEndian, source).ok()?;
        let sections = header.sections(NativeEndian, source).ok()?;
        Some(Parts { source, programs, sections })
    }
}

impl<'a> Parts<'a> {
    pub(crate) fn segments(&self) -> Segments {
        let is_code = |program: &&ProgramHeader64<NativeEndian>| {
            program.p_type(NativeEndian) == elf::PT_LOAD && program.p_flags(NativeEndian).contains(elf::PF_X)
        };
        let segment = |program: &ProgramHeader64<NativeEndian>| {
            let (offset, size) = program.file_range(NativeEndian);
            Segment { offset, size, address: program.p_vaddr(NativeEndian) }
        };
        Segments(self.programs.iter().filter(is_code).map(segment).collect())
    }

    /// In hexadecimal; empty where the linker gave none.
    pub(crate) fn build_id(&self) -> String {
        let notes = self.programs.iter().filter_map(|program| program.notes(NativeEndian, self.source).ok()?);
        let mut notes = notes.flatten().filter_map(Result::ok);
        let id = notes.find(|note| note.name() == elf::ELF_NOTE_GNU && note.n_type(NativeEndian) == elf::NT_GNU_BUILD_ID);
        let mut text = String::new();
        for byte in id.map(|note| note.desc()).unwrap_or_default() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Where the linker put a section, without reading it.
    pub(crate) fn address(&self, name: &str) -> Option<u64> {
        let (_, section) = self.sections.section_by_name(NativeEndian, name.as_bytes())?;
        Some(section.sh_addr(NativeEndian))
    }

    pub(crate) fn section(&self, name: &str) -> Option<Section<'a>> {
        let (_, section) = self.sections.section_by_name(NativeEndian, name.as_bytes())?;
        Some(Section { address: section.sh_addr(NativeEndian), bytes: self.bytes(section)? })
    }

    /// The symbols and their names; those for dynamic linking only where there are no others.
    pub(crate) fn symbols(&self) -> Option<(&'a [Sym64<NativeEndian>], StringTable<'a>)> {
        let of = |wanted| self.sections.iter().find(|section| section.sh_type(NativeEndian) == wanted);
        let section = of(elf::SHT_SYMTAB).or_else(|| of(elf::SHT_DYNSYM))?;
        let symbols = pod::slice_from_all_bytes(self.bytes(section)?).ok()?;
        let names = self.bytes(self.sections.section(section.link(NativeEndian)).ok()?)?;
        Some((symbols, StringTable::new(names, 0, names.len() as u64)))
    }

    fn bytes(&self, section: &SectionHeader64<NativeEndian>) -> Option<&'a [u8]> {
        let fits = section.sh_size(NativeEndian) <= OBJECT_BYTES_MAX;
        if fits { section.data(NativeEndian, self.source).ok() } else { None }
    }
}

/// Where the code of a file lies in it, and at which addresses it was linked to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segments(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

impl Segments {
    /// The address that the linker gave to a place in the file.
    pub(crate) fn linked(&self, offset: u64) -> Option<u64> {
        let inside = |segment: &&Segment| offset.checked_sub(segment.offset).is_some_and(|into| into < segment.size);
        let segment = self.0.iter().find(inside)?;
        segment.address.checked_add(offset - segment.offset)
    }

    /// The first linked address behind the code that holds this one.
    pub(crate) fn end_after(&self, linked: u64) -> Option<u64> {
        let inside = |segment: &&Segment| linked.checked_sub(segment.address).is_some_and(|into| into < segment.size);
        let segment = self.0.iter().find(inside)?;
        segment.address.checked_add(segment.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
559d112c3000-559d112c5000 r--p 00000000 fe:00 247278                     /opt/gate way/bin/pellucid
559d112c5000-559d112cb000 r-xp 00002000 fe:00 247278                     /opt/gate way/bin/pellucid
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000001000-7f0000003000 r-xp 00001000 fe:00 12                         /usr/lib/libold.so.1 (deleted)
7feb9a67a000-7feb9a67c000 r-xp 00000000 00:00 0                          [vdso]
7ffe3a2b1000-7ffe3a2d2000 rw-p 00000000 00:00 0                          [stack]
not a line of this file
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    fn sample(own: &str) -> Regions {
        Regions::of(SAMPLE, own.to_owned())
    }

    #[test]
    fn every_line_of_the_mappings_is_understood() {
        let regions = parse(SAMPLE);
        let paths: Vec<&str> = regions.iter().map(|region| region.path.as_str()).collect();
        let program = "/opt/gate way/bin/pellucid";
        assert_eq!(paths, [program, program, "", "/usr/lib/libold.so.1 (deleted)", "[vdso]", "[stack]", "[vsyscall]"]);
        let is_exec: Vec<bool> = regions.iter().map(|region| region.is_exec).collect();
        assert_eq!(is_exec, [false, true, true, true, true, false, true]);
        let code = Region { start: 0x559d_112c_5000, limit: 0x559d_112c_b000, offset: 0x2000, path: program.to_owned(), is_exec: true };
        assert_eq!(regions[1], code);
        assert_eq!(regions[1].file_offset(0x559d_112c_5010), 0x2010);
        assert_eq!(regions[3].file(), "/usr/lib/libold.so.1");
    }

    #[test]
    fn an_address_is_found_in_the_code_that_holds_it_and_nowhere_else() {
        let regions = sample("");
        let names: Vec<&str> = regions.code().iter().map(Region::file).collect();
        assert_eq!(names, ["/opt/gate way/bin/pellucid", "/usr/lib/libold.so.1", "[vdso]", "[vsyscall]"]);
        assert_eq!(regions.index(0x559d_112c_5000), Some(0));
        assert_eq!(regions.index(0x559d_112c_afff), Some(0));
        assert_eq!(regions.index(0x559d_112c_b000), None);
        assert_eq!(regions.index(0x7f00_0000_0010), None, "what has no name has no place in a profile");
        assert_eq!(regions.index(0x7feb_9a67_b000), Some(2));
        assert_eq!(regions.index(0), None);
        assert_eq!(regions.index(u64::MAX), None);
    }

    #[test]
    fn a_file_is_read_only_where_it_is_the_one_that_was_mapped() {
        let of = |regions: &Regions| -> Vec<Option<PathBuf>> { regions.code().iter().map(|region| regions.path_of(region)).collect() };
        assert_eq!(of(&sample("/usr/bin/other")), [Some(PathBuf::from("/opt/gate way/bin/pellucid")), None, None, None]);
        let replaced = sample("/usr/lib/libold.so.1 (deleted)");
        assert_eq!(of(&replaced)[1], Some(PathBuf::from(OWN_FILE)), "our own file can be read when it was replaced");
    }

    #[test]
    fn an_address_is_translated_through_the_program_headers() {
        let segments = Segments(vec![
            Segment { offset: 0x2040, size: 0x100, address: 0x40_3040 },
            Segment { offset: 0x3000, size: 0x10, address: 0x90_0000 },
        ]);
        assert_eq!(segments.linked(0x2040), Some(0x40_3040));
        assert_eq!(segments.linked(0x213f), Some(0x40_313f));
        assert_eq!(segments.linked(0x2140), None);
        assert_eq!(segments.linked(0x3008), Some(0x90_0008));
        assert_eq!(segments.linked(0), None);
        assert_eq!(segments.end_after(0x40_3040), Some(0x40_3140));
        assert_eq!(segments.end_after(0x40_3140), None);
    }

    #[test]
    fn a_file_that_is_none_of_code_is_refused() {
        assert!(CodeFile::open(Path::new("/dev/null")).is_none());
        assert!(CodeFile::open(Path::new("/nowhere/at/all")).is_none());
        let text = CodeFile::open(Path::new("/proc/self/maps")).expect("it is a file");
        assert!(text.parts().is_none());
    }

    #[test]
    fn our_own_code_is_mapped_from_our_own_file() {
        let regions = Regions::read().expect("this is Linux");
        let here = our_own_code_is_mapped_from_our_own_file as *const () as usize as u64;
        let region = &regions.code()[regions.index(here).expect("it runs")];
        let path = regions.path_of(region).expect("it is a file");
        assert_eq!(path, Path::new(OWN_FILE));
        let file = CodeFile::open(&path).expect("it can be read");
        let parts = file.parts().expect("it is an ELF file");
        let text = parts.section(".text").expect("there is code");
        assert_eq!(parts.address(".text"), Some(text.address));
        assert_eq!(parts.address(".nothing"), None);
        let linked = parts.segments().linked(region.file_offset(here)).expect("it is in a segment");
        assert!((text.address..text.address + text.bytes.len() as u64).contains(&linked));
    }
}
