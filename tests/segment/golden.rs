//! `docs/format.md` against the bytes of a real segment.

use mutirao::Segment;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

fn head(segment: &Segment) -> Vec<u8> {
    let mut bytes = vec![0; 12288.min(usize::try_from(segment.len()).unwrap())];
    File::from(segment.as_fd().try_clone_to_owned().unwrap()).read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The rows `| offset | bytes | field |` of the page's table of the header.
fn documented() -> Vec<(usize, usize, String)> {
    let page = include_str!("../../docs/format.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.trim().strip_prefix('|')?.split('|').map(str::trim);
        let (offset, len, field) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?, cells.next()?);
        Some((offset, len, field.trim_matches('`').to_owned()))
    });
    rows.collect()
}

#[test]
fn the_page_describes_the_header_without_gaps() {
    let rows = documented();
    assert!(rows.len() > 15, "the table is gone: {rows:?}");
    let mut next = 0;
    for (offset, len, field) in &rows {
        assert_eq!(*offset, next, "a gap before {field}");
        next = offset + len;
    }
    assert_eq!(next, 512, "the header has 512 bytes");
}

#[test]
fn a_segment_starts_as_the_page_says() {
    let segment = Segment::anonymous(1000).unwrap();
    let bytes = head(&segment);
    let field = |name: &str| {
        let (offset, len, _) =
            documented().into_iter().find(|(_, _, f)| f == name).unwrap_or_else(|| panic!("no {name}"));
        bytes[offset..offset + len].to_vec()
    };
    let number = |name: &str| field(name).iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    assert_eq!(field("magic"), b"mutirao\0");
    assert_eq!(number("format"), 1);
    assert_eq!(number("byte_order"), 0x0102_0304);
    assert_eq!(field("uuid"), segment.uuid());
    assert_eq!(number("len"), segment.len());
    assert_eq!(number("rows"), 64);
    assert_eq!(number("kind"), 0);
    assert_eq!(number("body_start"), 6144);
    assert_eq!(number("body_len"), 0);
    assert_eq!(number("objects"), 256);
    assert_eq!(number("lifetime"), 0);
    assert_eq!(number("arena_len_max"), 4096, "rounded up to pages");
    assert_eq!(field("_reserved_1"), vec![0; 296]);
}

/// The parts behind the rows, by the formulas of the page.
#[test]
fn the_parts_stand_where_the_page_says() {
    for (bytes, first) in [(0, 0), (1, 4096), (10 << 20, 1 << 20), (1 << 30, 1 << 20)] {
        let segment = Segment::anonymous(bytes).unwrap();
        let arena = bytes.next_multiple_of(4096);
        let catalog: u64 = 6144;
        let hands = catalog + 256 * 256;
        let arena_header = hands + if arena > 0 { 64 * 48 * 32 } else { 0 };
        let table = (arena_header + if arena > 0 { 640 } else { 0 }).next_multiple_of(4096);
        let pages = table + (8 * arena / 4096).next_multiple_of(4096);
        assert_eq!((segment.len(), segment.len_max()), (pages + first, pages + arena), "{bytes}");
        // Of the page table only the words in use are backed.
        let backed = (8 * first / 4096).next_multiple_of(4096);
        assert_eq!(segment.committed_len().unwrap(), table + backed + first, "{bytes}");
    }
}

#[test]
fn an_object_alone_has_two_pages() {
    let value = mutirao::Value::new(0u64).unwrap();
    assert_eq!((value.segment().len(), value.segment().len_max()), (8192, 8192));
}

/// Changing a shared struct changes the fingerprint: then the version goes up and this number with it.
#[test]
fn the_layout_is_the_one_of_format_1() {
    let bytes = head(&Segment::anonymous(0).unwrap());
    let fingerprint = u64::from_ne_bytes(bytes[16..24].try_into().unwrap());
    assert_eq!(format!("{fingerprint:#018x}"), FINGERPRINT_1);
}
const FINGERPRINT_1: &str = "0x58cc3f10369f8db3";

#[test]
fn the_first_participant_has_row_and_id() {
    let segment = Segment::anonymous(0).unwrap();
    let report = segment.inspect();
    assert_eq!(report.participants.len(), 1);
    let me = &report.participants[0];
    assert!(me.is_me && !me.is_dead && me.id == 1 && me.pid == std::process::id());
    let bytes = head(&segment);
    let at = 1024 + 4 * me.row as usize;
    assert_eq!(bytes[at..at + 4], 1u32.to_ne_bytes());
    assert_eq!(bytes[512..516], 1u32.to_ne_bytes(), "the id given out last");
    let row = 2048 + 64 * me.row as usize;
    assert_eq!(bytes[row..row + 4], std::process::id().to_ne_bytes());
}

/// An entry of the catalog, by the table of the page.
#[test]
fn an_entry_stands_as_the_page_says() {
    let page = include_str!("../../docs/format.md");
    let table = page.split("| entry | at | bytes |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.trim().strip_prefix('|')?.split('|').map(str::trim);
        let (field, at, len) = (cells.next()?, cells.next()?.parse::<usize>().ok()?, cells.next()?.parse().ok()?);
        Some((field, at, len))
    });
    let rows: Vec<(&str, usize, usize)> = rows.collect();
    let end = rows.iter().fold(0, |next, (field, at, len)| {
        assert_eq!(*at, next, "a gap before {field}");
        at + len
    });
    assert_eq!(end, 256);

    let segment = Segment::anonymous(1 << 20).unwrap();
    let _alone = mutirao::Lock::new_in(&segment).unwrap();
    let tagged = mutirao::Name::new("orders").type_tag("order/2");
    let _queue = mutirao::Array::<u32>::create(&segment, tagged, 1000).unwrap();
    let mut bytes = vec![0; 512];
    File::from(segment.as_fd().try_clone_to_owned().unwrap()).read_exact_at(&mut bytes, 6144).unwrap();
    let field = |entry: usize, name: &str| {
        let (_, at, len) = rows.iter().find(|(field, ..)| *field == name).unwrap_or_else(|| panic!("no {name}"));
        bytes[256 * entry + at..256 * entry + at + len].to_vec()
    };
    let number = |entry, name: &str| field(entry, name).iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    assert_eq!((number(0, "state") >> 23, number(1, "state") >> 23), (3, 2), "nameless and named, generation 0");
    assert_eq!(field(1, "holders").iter().map(|b| b.count_ones()).sum::<u32>(), 1);
    assert!(number(1, "unit") > 0 && number(1, "generation") > 0);
    assert_eq!((number(0, "kind"), number(1, "kind")), (3, 2));
    assert_eq!((number(1, "body length"), &field(1, "shape")[..2]), (6208, &[0xe8, 3][..]));
    assert_eq!((number(1, "type size"), number(1, "type alignment"), number(1, "type encoding")), (4, 4, 1));
    assert_eq!((number(0, "name length"), number(1, "name length")), (0, 6));
    assert_eq!(field(1, "name")[..7], *b"orders\0");
    assert_eq!(field(1, "type name")[..10], *b"\"order/2\"\0");
}

/// Where the words of a `RwLock` and of an array's ranges stand.
#[test]
fn locks_stand_where_the_page_says() {
    let body = 6144;
    let word = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let lock = mutirao::RwLock::new([7_u64, 8]).unwrap();
    let row = lock.segment().inspect().participants[0].row as usize;
    let reader = (lock.read().unwrap(), lock.read().unwrap());
    let bytes = head(lock.segment());
    assert_eq!(word(&bytes, body + 16 + 8 * (row / 64)), 1 << (row % 64), "the row has read");
    assert_eq!(word(&bytes, body + 64 + 64 * row), 1 << 32 | 2, "two readers of participant 1");
    let buffers = body + 64 + 64 * 64;
    assert_eq!([0, 8, 16, 24].map(|at| word(&bytes, buffers + at)), [7, 8, 7, 8]);
    drop(reader);
    let writer = lock.write().unwrap();
    assert_eq!(head(lock.segment())[body..body + 4], 1u32.to_ne_bytes(), "the writer");
    drop(writer);

    let array = mutirao::Array::<u16>::new(100).unwrap();
    let held = (array.read(3..5).unwrap(), array.write(10..20).unwrap());
    let bytes = head(array.segment());
    let table = body + 256;
    assert_eq!(word(&bytes, table) >> 32, 2, "entries ever used");
    assert_eq!([0, 8, 16].map(|at| word(&bytes, table + 64 + at)), [1 << 32 | 1, 3, 5]);
    assert_eq!([0, 8, 16].map(|at| word(&bytes, table + 96 + at)), [2 << 32 | 1, 10, 20]);
    drop(held);
}

/// Where the words of a list stand, and what they say.
#[test]
fn a_list_stands_where_the_page_says() {
    let (body, pages) = (6144, 106_496 + (2 << 20));
    let list = mutirao::List::<String>::new().unwrap();
    list.extend(["one", "quite a long one"].map(str::to_owned)).unwrap();
    list.reverse().unwrap();
    let file = File::from(list.segment().as_fd().try_clone_to_owned().unwrap());
    let word = |at: usize| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at as u64).unwrap();
        u64::from_ne_bytes(bytes)
    };
    // Lock, current, changes, used, putting, leaving: two changes, the second to the other directory.
    assert_eq!([0, 8, 16, 24, 32].map(|at| word(body + at)), [0, 1, 2, 0, 0]);
    assert_eq!(([128, 136, 384].map(|at| word(body + at)), word(body + 400)), ([2, 0, 2], 0));
    let block = |word: u64| {
        assert_eq!((word & 1, word >> 35), (0, 1), "generation 1");
        pages + 32 * (word as u32 >> 1) as usize
    };
    let chunk = block(word(body + 392));
    let item = block(word(chunk));
    let text = [8, 16, 24].map(|at| word(item + at).to_ne_bytes()).concat();
    assert_eq!((word(item), &text[..17]), (17, &b"\x10quite a long one"[..]));
    assert_eq!(word(chunk + 8).to_le_bytes(), *b"\x09\x03one\0\0\0");
}
