//! Archives are read as they were written, however they arrive; what does not belong into one is refused.

use proptest::prelude::*;

use super::write::block;
use super::*;

/// Reads an archive that arrives in pieces of this length.
fn read_in(archive: &[u8], piece: usize) -> Result<Vec<(String, Vec<u8>)>, TarError> {
    let mut reader = TarReader::default();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for piece in archive.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(item) = reader.next(&mut input)? {
            match item {
                Item::File { name, .. } => files.push((name, Vec::new())),
                Item::Data(bytes) => files.last_mut().unwrap().1.extend_from_slice(&bytes),
                Item::End => {}
            }
        }
    }
    reader.finish()?;
    Ok(files)
}

fn read(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, TarError> {
    read_in(archive, usize::MAX)
}

fn write(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        out.extend_from_slice(&header(name, bytes.len() as u64));
        out.extend_from_slice(bytes);
        out.resize(out.len() + padding(bytes.len() as u64), 0);
    }
    out.extend_from_slice(&END);
    out
}

/// One entry of a kind.
fn entry(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = block(name, bytes.len() as u64, kind).to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len() + padding(bytes.len() as u64), 0);
    out
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_pieces_of_any_length(
        files in proptest::collection::vec(("[a-z]{1,8}(/[a-z0-9]{1,150}){0,3}", proptest::collection::vec(any::<u8>(), 0..2000)), 1..6),
        piece in 1_usize..3000,
    ) {
        prop_assert_eq!(read_in(&write(&files), piece), Ok(files));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), at in 0_usize..2000) {
        let _ = read(&bytes);
        // Nearly right bytes go further.
        let mut archive = write(&[("a".to_owned(), vec![7; 700])]);
        for (offset, byte) in bytes.iter().take(8).enumerate() {
            let len = archive.len();
            archive[(at + offset) % len] = *byte;
        }
        let _ = read(&archive);
    }

    #[test]
    fn a_cut_archive_is_told_from_a_whole_one(cut in 1_usize..2000) {
        let archive = write(&[("blobs/a".to_owned(), vec![1; 1000])]);
        let cut = cut.min(archive.len() - 1);
        let kept = read(&archive[..cut]);
        // The two last blocks, of zeros, may be missing.
        prop_assert_eq!(kept.is_ok(), cut == 1536 || cut >= 2560, "{}: {:?}", cut, kept);
    }
}

#[test]
fn a_header_is_what_every_tool_reads() {
    let header = header("blobs/sha256/ab", 1000);
    assert_eq!(header.len(), 512);
    assert_eq!(&header[124..136], b"00000001750\0");
    assert_eq!(&header[136..148], b"00000000000\0");
    assert_eq!(&header[257..265], b"ustar\x0000");
}

#[test]
fn sizes_and_names_that_a_header_has_no_room_for_are_read_back() {
    let name = format!("blobs/sha512/{}", "a".repeat(128));
    let size = 20_u64 << 30;
    let mut input = Bytes::from(header(&name, size));
    let item = TarReader::default().next(&mut input).unwrap();
    assert_eq!(item, Some(Item::File { name, size }));
    // GNU's binary form of the same.
    let mut gnu = block("big", 0, b'0');
    gnu[124..128].copy_from_slice(&[0x80, 0, 0, 0]);
    gnu[128..136].copy_from_slice(&size.to_be_bytes());
    gnu[148..156].copy_from_slice(b"        ");
    let sum: u32 = gnu.iter().map(|byte| u32::from(*byte)).sum();
    gnu[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let item = TarReader::default()
        .next(&mut Bytes::copy_from_slice(&gnu))
        .unwrap();
    let name = "big".to_owned();
    assert_eq!(item, Some(Item::File { name, size }));
}

#[test]
fn gnu_long_names_and_folders_and_dots_in_front_are_read() {
    let long = "d/".repeat(80) + "file";
    let mut archive = entry("./blobs/", b'5', b"");
    archive.extend(entry("././@LongLink", b'L', format!("{long}\0").as_bytes()));
    archive.extend(entry("cut", b'0', b"x"));
    archive.extend(entry("./index.json", 0, b"{}"));
    archive.extend(entry("pax_global_header", b'g', b"18 comment=nothing\n"));
    archive.extend(END);
    let files = read(&archive).unwrap();
    assert_eq!(
        files,
        [(long, b"x".to_vec()), ("index.json".to_owned(), b"{}".to_vec())]
    );
}

#[test]
fn what_would_leave_the_folder_or_is_no_file_is_refused_by_name() {
    for name in ["/etc/passwd", "../up", "a/../../b", "a/./b", "a\\b", "//"] {
        let refused = read(&entry(name, b'0', b"x"));
        assert_eq!(refused, Err(TarError::Name(name.to_owned())), "{name}");
    }
    for (kind, word) in [
        (b'1', "hard"),
        (b'2', "symbolic"),
        (b'S', "sparse"),
        (b'3', "device"),
        (b'6', "pipe"),
        (b'Z', "unknown"),
    ] {
        let refused = read(&entry("x", kind, b"")).unwrap_err().to_string();
        assert!(refused.contains(word) && refused.contains("`x`"), "{refused}");
    }
    let sparse = entry("x", b'x', b"22 GNU.sparse.major=1\n");
    assert!(read(&sparse).unwrap_err().to_string().contains("sparse"));
}

#[test]
fn compressed_damaged_and_oversized_archives_say_so() {
    let compressed = read(&[0x1f, 0x8b].repeat(512)).unwrap_err().to_string();
    assert!(
        compressed.contains("gzip -dc FILE | seawall import -"),
        "{compressed}"
    );
    let mut damaged = write(&[("a".to_owned(), vec![1])]);
    damaged[1] = b'b';
    assert_eq!(read(&damaged), Err(TarError::Header(0)));
    assert_eq!(read(b""), Err(TarError::Truncated(0)));
    let mut huge = block("long", 1 << 20, b'L').to_vec();
    huge.extend(END);
    assert_eq!(read(&huge), Err(TarError::TooLong(1 << 20)));
    assert_eq!(
        read(&entry("x", b'x', b"99 path=y\n")),
        Err(TarError::Header(522))
    );
}
