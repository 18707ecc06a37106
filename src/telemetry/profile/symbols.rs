//! What stands at an address of our own code: its functions, inlined ones included, and where they were written.
//!
//! In: addresses of this process. Out: locations and mappings of a [`Profile`](super::Profile). Names come from debug information, else
//! from the symbol table; a file that cannot be read leaves its addresses without names, and never fails a profile.
//! Not here: samples and their labels (`sampler`), callers that a walk lost (`caller`), names inside the kernel's `[vdso]`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use addr2line::Loader;
use addr2line::gimli::Reader;
use object::NativeEndian;
use object::elf::{STT_FUNC, STT_GNU_IFUNC, Sym64};
use object::read::StringTable;
use object::read::elf::Sym as _;

use super::maps::{CodeFile, Region, Regions, Segments};
use super::{Line, Location, Mapping};

/// Addresses whose location is remembered; the memory of them is emptied when it is full.
const SYMBOLS_MAX: usize = 100_000;
/// Functions that are looked at for one that holds an address: nested ones, which end before it, may lie between.
const NESTED_FUNCTIONS_MAX: usize = 16;
/// Where our own sources were when this was built; debug information has the same.
const OWN_ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/");

/// Names the addresses of this process. Knows no code until [`Symbols::refresh`] is called.
pub(crate) struct Symbols {
    regions: Regions,
    /// By the path of the mapped file; None for one that cannot be read.
    images: HashMap<String, Option<Image>>,
    found: HashMap<u64, Location>,
    /// One copy of every text in `found`.
    texts: HashSet<Arc<str>>,
    /// A file was looked into since the last [`Symbols::rest`].
    is_stirred: bool,
}

impl Symbols {
    pub(crate) fn new() -> Self {
        Symbols { regions: Regions::default(), images: HashMap::new(), found: HashMap::new(), texts: HashSet::new(), is_stirred: false }
    }

    /// Reads the process's mappings again. What is known of files that are still mapped is kept.
    pub(crate) fn refresh(&mut self) {
        let Some(regions) = Regions::read().filter(|regions| *regions != self.regions) else { return };
        self.images.retain(|path, _| regions.code().iter().any(|region| region.path == *path));
        for region in regions.code() {
            self.images.entry(region.path.clone()).or_insert_with(|| regions.path_of(region).and_then(Image::open));
        }
        self.forget();
        self.regions = regions;
    }

    /// What is at an address of code.
    ///
    /// `is_return` says that a call returns to the address: the call is just before it, maybe the last instruction of another line or
    /// even function, so the location is that of the byte before.
    pub(crate) fn locate(&mut self, address: u64, is_return: bool) -> Location {
        let address = address.saturating_sub(u64::from(is_return));
        if let Some(known) = self.found.get(&address) {
            return known.clone();
        }
        let mapping = self.regions.index(address);
        if self.found.len() >= SYMBOLS_MAX {
            self.forget();
        }
        let lines = mapping.map(|mapping| self.lines(mapping, address)).unwrap_or_default();
        let location = Location { address, mapping, lines };
        self.found.insert(address, location.clone());
        location
    }

    /// To be called every so often: what was read of the files is let go when nothing was looked up in them between two calls. It can be ten
    /// times what the gateway itself takes. Addresses that were found stay known.
    pub(crate) fn rest(&mut self) {
        if !std::mem::take(&mut self.is_stirred) {
            self.images.values_mut().flatten().for_each(|image| image.names = None);
        }
    }

    /// The files with code, in the order of their addresses; a location's `mapping` is an index into this.
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        self.regions.code().iter().map(|region| self.mapping(region)).collect()
    }

    /// The name of the function at an address: the innermost where several were inlined.
    pub(crate) fn name(&mut self, address: u64) -> Option<Arc<str>> {
        let location = self.locate(address, false);
        location.lines.into_iter().next().map(|line| line.function)
    }

    fn mapping(&self, region: &Region) -> Mapping {
        let image = self.images.get(&region.path).and_then(Option::as_ref);
        Mapping {
            start: region.start,
            limit: region.limit,
            offset: region.offset,
            file: region.file().to_owned(),
            build_id: image.map(|image| image.build_id.clone()).unwrap_or_default(),
        }
    }

    fn lines(&mut self, mapping: usize, address: u64) -> Vec<Line> {
        let region = &self.regions.code()[mapping];
        let frames = if region.is_of_kernel() {
            vec![Frame { name: region.path.clone(), ..Frame::default() }]
        } else {
            self.is_stirred = true;
            let image = self.images.get_mut(&region.path).and_then(Option::as_mut);
            image.and_then(|image| image.frames(region.file_offset(address))).unwrap_or_default()
        };
        frames.into_iter().map(|frame| self.line(&frame)).collect()
    }

    fn line(&mut self, frame: &Frame) -> Line {
        Line {
            function: self.text(&shown(&frame.name, &frame.file)),
            system_name: self.text(&frame.name),
            file: self.text(&frame.file),
            line: frame.line,
        }
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(Arc::clone(&new));
        new
    }

    fn forget(&mut self) {
        self.found = HashMap::new();
        self.texts = HashSet::new();
    }
}

/// One function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Frame {
    /// As the linker or the debug information has it.
    name: String,
    file: String,
    line: u32,
}

/// One mapped file.
struct Image {
    path: PathBuf,
    segments: Segments,
    build_id: String,
    /// Read when the first address in it is looked up.
    names: Option<Names>,
}

impl Image {
    fn open(path: PathBuf) -> Option<Self> {
        let file = CodeFile::open(&path)?;
        let parts = file.parts()?;
        Some(Image { segments: parts.segments(), build_id: parts.build_id(), names: None, path })
    }

    /// The functions at a place in the file, innermost first.
    fn frames(&mut self, offset: u64) -> Option<Vec<Frame>> {
        let linked = self.segments.linked(offset)?;
        let names = self.names.get_or_insert_with(|| Names::read(&self.path, &self.segments));
        Some(names.frames(linked))
    }
}

/// What a file says of its functions.
#[derive(Default)]
struct Names {
    functions: Functions,
    /// None where there is no debug information.
    debug: Option<Loader>,
}

impl Names {
    /// Without names if the file cannot be read: it is not tried again.
    fn read(path: &Path, segments: &Segments) -> Self {
        let Some(file) = CodeFile::open(path) else { return Names::default() };
        let Some(parts) = file.parts() else { return Names::default() };
        let functions = parts.symbols().map(|(symbols, names)| Functions::of(symbols, names, segments));
        let debug = parts.address(".debug_info").and_then(|_| Loader::new(path).ok());
        Names { functions: functions.unwrap_or_default(), debug }
    }

    fn frames(&self, linked: u64) -> Vec<Frame> {
        let mut frames = self.debug.as_ref().map(|debug| inlined(debug, linked)).unwrap_or_default();
        if frames.is_empty() {
            frames.push(Frame::default());
        }
        let symbol = self.functions.at(linked);
        // Debug information with lines only gives the bare name of a function; the symbol has its full path.
        if let (Some(outermost), Some(symbol)) = (frames.last_mut().filter(|frame| !is_full(&demangled(&frame.name))), symbol) {
            symbol.clone_into(&mut outermost.name);
        }
        frames.retain(|frame| !frame.name.is_empty());
        frames
    }
}

/// The functions that debug information has at an address. None at all where it has a fault: half a list would name the wrong ones.
fn inlined(debug: &Loader, linked: u64) -> Vec<Frame> {
    let mut found = Vec::new();
    let Ok(mut frames) = debug.find_frames(linked) else { return found };
    loop {
        match frames.next() {
            Ok(Some(frame)) => found.push(Frame::from(&frame)),
            Ok(None) => return found,
            Err(_) => return Vec::new(),
        }
    }
}

impl<R: Reader> From<&addr2line::Frame<'_, R>> for Frame {
    fn from(frame: &addr2line::Frame<'_, R>) -> Self {
        let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        let place = frame.location.as_ref();
        Frame {
            name: name.map(Cow::into_owned).unwrap_or_default(),
            file: place.and_then(|place| place.file).unwrap_or_default().to_owned(),
            line: place.and_then(|place| place.line).unwrap_or_default(),
        }
    }
}

/// The functions of a symbol table, in the order of their addresses.
#[derive(Debug, Default)]
struct Functions {
    list: Vec<Function>,
    names: String,
}

#[derive(Debug)]
struct Function {
    start: u64,
    /// The first address behind it.
    end: u64,
    /// Where its name lies in `names`.
    name: Range<usize>,
}

/// A symbol of a function. Of several at one address the least is taken: the one with a size, and of those a name for users.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate<'a> {
    start: u64,
    is_unsized: bool,
    underscores: usize,
    name: &'a str,
    end: u64,
}

impl Functions {
    fn of(symbols: &[Sym64<NativeEndian>], names: StringTable<'_>, segments: &Segments) -> Self {
        let mut candidates: Vec<Candidate> = symbols.iter().filter_map(|symbol| candidate(symbol, names, segments)).collect();
        candidates.sort_unstable();
        candidates.dedup_by_key(|candidate| candidate.start);
        let mut functions = Functions::default();
        let mut candidates = candidates.into_iter().peekable();
        while let Some(candidate) = candidates.next() {
            // Without a size, as in hand-written assembly, a function goes on until another one begins.
            let next = candidates.peek().filter(|_| candidate.is_unsized).map_or(u64::MAX, |next| next.start);
            functions.add(candidate.start..candidate.end.min(next), candidate.name);
        }
        functions
    }

    fn add(&mut self, code: Range<u64>, name: &str) {
        let from = self.names.len();
        self.names.push_str(name);
        self.list.push(Function { start: code.start, end: code.end, name: from..self.names.len() });
    }

    /// The name of the innermost function at an address.
    fn at(&self, linked: u64) -> Option<&str> {
        let behind = self.list.partition_point(|function| function.start <= linked);
        let mut near = self.list[..behind].iter().rev().take(NESTED_FUNCTIONS_MAX);
        near.find(|function| linked < function.end).map(|function| &self.names[function.name.clone()])
    }
}

fn candidate<'a>(symbol: &Sym64<NativeEndian>, names: StringTable<'a>, segments: &Segments) -> Option<Candidate<'a>> {
    let is_function = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC) && !symbol.is_undefined(NativeEndian);
    let name = symbol.name(NativeEndian, names).ok().filter(|name| is_function && !name.is_empty())?;
    let name = std::str::from_utf8(name).ok()?;
    let (start, size) = (symbol.st_value(NativeEndian), symbol.st_size(NativeEndian));
    let segment_end = segments.end_after(start)?;
    let end = if size == 0 { segment_end } else { start.saturating_add(size) };
    Some(Candidate { start, is_unsized: size == 0, underscores: name.len() - name.trim_start_matches('_').len(), name, end })
}

/// As it was written, without the hash that tells two builds apart; other languages' names as they are.
fn demangled(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}"))
}

/// As readers see it: a bare name is completed with the module that its file stands for. Debug information with lines only has no more of
/// functions that were inlined, and readers take all functions of one name for the same.
///
/// The type arguments of a bare name are left out. pprof does so itself with names that equal the linker's, and fails on an arrow in them.
fn shown(name: &str, file: &str) -> String {
    let name = demangled(name);
    let Some(source) = file.strip_suffix(".rs").filter(|_| !is_full(&name)) else { return name };
    let bare = name.split('<').next().filter(|bare| !bare.is_empty()).unwrap_or(&name);
    module(source).map_or_else(|| bare.to_owned(), |module| format!("{module}::{bare}"))
}

/// The path of the module that is in a source file, which is given without its `.rs`.
fn module(source: &str) -> Option<String> {
    let (package, below) = package(source)?;
    let is_named = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if package.is_empty() || !package.chars().all(is_named) {
        return None;
    }
    let below = match below {
        "lib" | "main" | "mod" => "",
        below => below.strip_suffix("/mod").unwrap_or(below),
    };
    let mut module = package.replace('-', "_");
    for part in below.split('/').filter(|part| !matches!(*part, "" | "." | "..")) {
        module.push_str("::");
        module.push_str(part);
    }
    Some(module)
}

/// The package that a file belongs to, and the file's path below the folder of the package's sources.
fn package(source: &str) -> Option<(&str, &str)> {
    let own = source.strip_prefix(OWN_ROOT).or_else(|| source.strip_prefix("./")).unwrap_or(source);
    if let Some(below) = own.strip_prefix("src/") {
        return Some((env!("CARGO_PKG_NAME"), below));
    }
    // `registry/src/INDEX/NAME-VERSION/`: not every package has a folder `src` of its own.
    if let Some((_, below_index)) = source.split_once("/registry/src/").and_then(|(_, below)| below.split_once('/')) {
        let (folder, below) = below_index.split_once('/')?;
        return Some((unversioned(folder), below.strip_prefix("src/").unwrap_or(below)));
    }
    // The standard library's files come as `core/src/../../stdarch/crates/core_arch/src/`: the last folder counts.
    let (root, below) = source.rsplit_once("/src/")?;
    let (parent, folder) = root.rsplit_once('/').unwrap_or(("", root));
    // `checkouts/NAME-HASH/COMMIT/` is the root of a repository, which has the name of its package unless it holds several.
    let repository = parent.rsplit_once("/checkouts/").map(|(_, repository)| repository).filter(|repository| !repository.contains('/'));
    let name = repository.and_then(|repository| repository.rsplit_once('-')).map(|(name, _)| name);
    Some((name.unwrap_or_else(|| unversioned(folder)), below))
}

/// A package's folder without the version in its name, which begins with a number and a dot: other numbers are part of the name.
fn unversioned(folder: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_version = |text: &str| text.split_once('.').is_some_and(|(major, _)| is_number(major));
    let end = folder.match_indices('-').map(|(dash, _)| dash).find(|dash| is_version(&folder[dash + 1..]));
    end.map_or(folder, |end| &folder[..end])
}

/// Whether a name has its path before it. The paths in its type arguments do not count.
fn is_full(name: &str) -> bool {
    let (mut depth, mut before) = (0_usize, ' ');
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            // The end of an arrow closes nothing.
            '>' if before != '-' => depth = depth.saturating_sub(1),
            ':' if before == ':' && depth == 0 => return true,
            _ => {}
        }
        before = letter;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[inline(never)]
    fn a_known_function() -> u32 {
        black_box(line!())
    }

    #[inline(always)]
    fn inner_step(number: u64) -> u64 {
        let mut left = number;
        let mut steps = 0;
        while left != 1 {
            left = if left & 1 == 0 { left >> 1 } else { (left << 1) ^ left ^ 1 };
            steps ^= left;
        }
        steps
    }

    #[inline(never)]
    fn outer_step(number: u64) -> u64 {
        inner_step(number) ^ 5
    }

    fn symbols() -> Symbols {
        let mut symbols = Symbols::new();
        symbols.refresh();
        symbols
    }

    fn known() -> u64 {
        a_known_function as *const () as usize as u64
    }

    fn functions(list: &[(Range<u64>, &str)]) -> Functions {
        let mut functions = Functions::default();
        for (code, name) in list {
            functions.add(code.clone(), name);
        }
        functions
    }

    #[test]
    fn a_function_has_its_full_name_its_file_and_its_line() {
        let mut symbols = symbols();
        let location = symbols.locate(known(), false);
        let line = location.lines.last().expect("it is our own");
        assert!(line.function.ends_with("::symbols::tests::a_known_function"), "{line:?}");
        assert!(line.system_name.starts_with("_ZN") || line.system_name.starts_with("_R"), "{line:?}");
        assert!(line.file.starts_with('/') && line.file.ends_with("symbols.rs"), "{line:?}");
        assert!(line.line.abs_diff(a_known_function()) <= 2, "{line:?}");
        assert_eq!(symbols.name(known()), location.lines.first().map(|line| Arc::clone(&line.function)));
    }

    #[test]
    fn a_function_that_was_inlined_is_shown_within_the_one_that_it_is_in() {
        let mut symbols = symbols();
        let start = outer_step as *const () as usize as u64;
        assert_ne!(outer_step(black_box(6)), outer_step(black_box(1)));
        let located = (start..start + 200).map(|address| symbols.locate(address, false)).find(|location| location.lines.len() == 2);
        let location = located.expect("there is code of the inlined function");
        let inner = &location.lines[0].function;
        assert!(inner.starts_with("pellucid::telemetry::profile::symbols::") && inner.ends_with("::inner_step"), "{location:?}");
        assert!(location.lines[1].function.ends_with("::symbols::tests::outer_step"), "{location:?}");
        assert!(location.lines[0].line < location.lines[1].line, "{location:?}");
    }

    #[test]
    fn a_return_address_is_that_of_the_call_before_it() {
        let mut symbols = symbols();
        let call = symbols.locate(known() + 1, true);
        assert_eq!(call.address, known());
        assert_eq!(call, symbols.locate(known(), false));
        assert_eq!(symbols.locate(0, true).address, 0);
    }

    #[test]
    fn a_location_points_to_the_file_that_it_is_in() {
        let mut symbols = symbols();
        let mappings = symbols.mappings();
        let location = symbols.locate(known(), false);
        let mapping = &mappings[location.mapping.expect("it is in our own file")];
        assert!((mapping.start..mapping.limit).contains(&known()));
        let own = std::env::current_exe().expect("there is one");
        assert_eq!(Path::new(&mapping.file), own);
        assert!(mapping.build_id.len().is_multiple_of(2) && mapping.build_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(mappings.is_sorted_by_key(|mapping| mapping.start));
    }

    #[test]
    fn what_the_kernel_maps_is_called_by_the_name_of_its_mapping() {
        let mut symbols = symbols();
        let mappings = symbols.mappings();
        for mapping in mappings.iter().filter(|mapping| mapping.file.starts_with('[')) {
            let location = symbols.locate(mapping.start + 8, false);
            assert_eq!(location.lines.len(), 1);
            assert_eq!(*location.lines[0].function, *mapping.file);
            assert_eq!(mapping.build_id, "");
        }
    }

    #[test]
    fn an_address_outside_of_code_is_kept_without_a_name() {
        let mut symbols = symbols();
        assert_eq!(symbols.locate(8, false), Location { address: 8, mapping: None, lines: Vec::new() });
        assert_eq!(symbols.name(8), None);
        assert!(Symbols::new().locate(known(), false).lines.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut symbols = Symbols::new();
        for address in 0..=SYMBOLS_MAX as u64 {
            symbols.locate(address, false);
        }
        assert_eq!(symbols.found.len(), 1);
    }

    #[test]
    fn what_is_known_outlives_a_second_look_at_the_same_mappings() {
        let mut symbols = symbols();
        let before = symbols.locate(known(), false);
        symbols.refresh();
        let after = symbols.locate(known(), false);
        assert_eq!(before.lines, after.lines);
        let read = symbols.images.values().flatten().filter(|image| image.names.is_some()).count();
        assert_eq!(read, 1, "only the file that was asked for");
    }

    #[test]
    fn a_file_that_cannot_be_read_gives_no_names() {
        assert!(Image::open(PathBuf::from("/nowhere/at/all")).is_none());
        let names = Names::read(Path::new("/nowhere/at/all"), &Segments::default());
        assert!(names.frames(4096).is_empty());
    }

    #[test]
    fn without_debug_information_a_function_has_the_name_of_its_symbol() {
        let names = Names { functions: functions(&[(10..20, "begin"), (20..60, "outer"), (30..40, "nested")]), debug: None };
        let name = |linked| names.frames(linked).first().map(|frame| frame.name.clone());
        assert_eq!(name(9), None);
        assert_eq!(name(10).as_deref(), Some("begin"));
        assert_eq!(name(35).as_deref(), Some("nested"));
        assert_eq!(name(45).as_deref(), Some("outer"));
        assert_eq!(name(60), None);
        assert_eq!(names.frames(10), [Frame { name: "begin".to_owned(), file: String::new(), line: 0 }]);
    }

    #[test]
    fn of_several_names_at_one_address_the_one_for_users_is_taken() {
        let mut candidates = [
            Candidate { start: 16, is_unsized: true, underscores: 0, name: "label", end: 99 },
            Candidate { start: 16, is_unsized: false, underscores: 2, name: "__libc_read", end: 32 },
            Candidate { start: 16, is_unsized: false, underscores: 0, name: "read", end: 32 },
        ];
        candidates.sort_unstable();
        assert_eq!(candidates[0].name, "read");
    }

    #[test]
    fn names_are_shown_as_they_were_written() {
        assert_eq!(demangled("_ZN4core3ptr13drop_in_place17h0123456789abcdefE"), "core::ptr::drop_in_place");
        assert_eq!(demangled("_RNvC6_123foo3bar"), "123foo::bar");
        assert_eq!(demangled("malloc"), "malloc");
    }

    #[test]
    fn a_path_in_a_type_argument_makes_no_full_name() {
        assert!(is_full("core::ptr::drop_in_place<T>"));
        assert!(is_full("<T as core::fmt::Display>::fmt"));
        assert!(is_full("<fn(u8) -> core::fmt::Result as Trait>::call"));
        assert!(!is_full("poll<alloc::boxed::Box<T>>"));
        assert!(!is_full("poll<fn() -> core::fmt::Result>"));
        assert!(!is_full("malloc"));
        assert!(!is_full(""));
    }

    #[test]
    fn a_bare_name_is_shown_with_the_module_that_its_file_stands_for() {
        const INDEX: &str = "/home/me/.cargo/registry/src/index-1949cf8c6b5b557f";
        const RUST: &str = "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library";
        const GIT: &str = "/home/me/.cargo/git/checkouts";
        for (file, name, expected) in [
            (format!("{INDEX}/tokio-1.54.1/src/io/poll_evented.rs"), "poll", "tokio::io::poll_evented::poll"),
            (format!("{INDEX}/tokio-util-0.7/src/lib.rs"), "x", "tokio_util::x"),
            (format!("{INDEX}/sha-1-0.10.1/src/compress.rs"), "compress", "sha_1::compress::compress"),
            (format!("{INDEX}/zstd-sys-2.0.16+zstd.1.5.7/src/lib.rs"), "x", "zstd_sys::x"),
            (format!("{INDEX}/foo-1.0.0-rc.1/src/a/mod.rs"), "x", "foo::a::x"),
            (format!("{INDEX}/flat-2.0.0/lib.rs"), "x", "flat::x"),
            (format!("{INDEX}/flat-2.0.0/deep/b.rs"), "x", "flat::deep::b::x"),
            (format!("{RUST}/core/src/ptr/mod.rs"), "read", "core::ptr::read"),
            (format!("{RUST}/core/src/../../stdarch/crates/core_arch/src/x86/sse2.rs"), "x", "core_arch::x86::sse2::x"),
            (format!("{RUST}/compiler-builtins/compiler-builtins/src/mem/mod.rs"), "x", "compiler_builtins::mem::x"),
            ("library/stdarch/crates/core_arch/src/mod.rs".to_owned(), "x", "core_arch::x"),
            ("library/std/src/sys/fs/unix.rs".to_owned(), "{closure#0}", "std::sys::fs::unix::{closure#0}"),
            ("/rust/deps/hashbrown-0.16.1/src/raw/mod.rs".to_owned(), "find", "hashbrown::raw::find"),
            (format!("{GIT}/h2-0a1b2c3d4e5f6071/abc1234/src/frame/data.rs"), "x", "h2::frame::data::x"),
            (format!("{GIT}/tokio-0a1b2c3d4e5f6071/abc1234/tokio-util/src/codec/mod.rs"), "x", "tokio_util::codec::x"),
            ("/home/me/shop/src/main.rs".to_owned(), "x", "shop::x"),
            (format!("{OWN_ROOT}src/proxy/listener/connection.rs"), "serve", "pellucid::proxy::listener::connection::serve"),
            (format!("{OWN_ROOT}src/proxy/route/mod.rs"), "{async_fn#0}", "pellucid::proxy::route::{async_fn#0}"),
            (format!("{OWN_ROOT}src/main.rs"), "run", "pellucid::run"),
            (format!("{OWN_ROOT}vendor/bytes/src/bytes.rs"), "x", "bytes::bytes::x"),
            ("src/a/b.rs".to_owned(), "x", "pellucid::a::b::x"),
            ("./src/a/mod.rs".to_owned(), "x", "pellucid::a::x"),
        ] {
            assert_eq!(shown(name, &file), expected, "{file}");
        }
    }

    #[test]
    fn a_bare_name_is_shown_without_its_type_arguments() {
        let file = "/home/me/tower/src/macros.rs";
        assert_eq!(shown("poll<Response, fn(core::convert::Infallible) -> Response>", file), "tower::macros::poll");
        assert_eq!(shown("{closure#0}<alloc::sync::Arc<Handle>>", file), "tower::macros::{closure#0}");
        assert_eq!(shown("poll<fn() -> u8>", "/nowhere/known.rs"), "poll");
    }

    #[test]
    fn a_name_that_needs_no_module_or_has_none_to_be_found_stays() {
        let file = "/home/me/tower/src/macros.rs";
        assert_eq!(shown("_ZN4core3ptr13drop_in_place17h0123456789abcdefE", file), "core::ptr::drop_in_place");
        assert_eq!(shown("<T as core::fmt::Display>::fmt", file), "<T as core::fmt::Display>::fmt");
        for file in ["", "jemalloc/src/arena.c", "/usr/include/c++/vector", "known.rs", "/a/out/known.rs", "/a/b c/src/known.rs"] {
            assert_eq!(shown("read", file), "read", "{file}");
        }
        assert_eq!(shown("max<int>", "/a/src/max.hpp"), "max<int>");
    }

    #[test]
    fn symbols_can_be_handed_to_the_thread_that_uses_them() {
        fn sent<T: Send>(_: &T) {}
        sent(&Symbols::new());
    }
}
