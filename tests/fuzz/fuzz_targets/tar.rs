//! Archives: reading one ends, gives no more bytes than came, and no name that leaves its folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::oci::tar::{Item, TarReader};

fuzz_target!(|archive: &[u8]| {
    let mut reader = TarReader::default();
    let mut given = 0;
    for piece in archive.chunks(701) {
        let mut input = bytes::Bytes::copy_from_slice(piece);
        while let Ok(Some(item)) = reader.next(&mut input) {
            match item {
                Item::File { name, .. } => {
                    assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
                }
                Item::Data(bytes) => given += bytes.len(),
                Item::End => {}
            }
        }
    }
    assert!(given <= archive.len());
});
