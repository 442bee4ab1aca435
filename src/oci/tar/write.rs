//! Writing archives: plain files without owner or time, so that the same files make the same bytes.

use super::BLOCK;

/// Longest file that eleven octal digits tell.
const MAX_OCTAL: u64 = (1 << 33) - 1;
/// Longest name that a header has room for without help.
const MAX_NAME: usize = 100;

/// What an archive ends with.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The header of a file: what stands before its bytes.
pub fn header(name: &str, size: u64) -> Vec<u8> {
    let mut records = String::new();
    if name.len() > MAX_NAME {
        records.push_str(&record("path", name));
    }
    if size > MAX_OCTAL {
        records.push_str(&record("size", &size.to_string()));
    }
    let mut out = Vec::new();
    if !records.is_empty() {
        out.extend_from_slice(&block("pax", records.len() as u64, b'x'));
        out.extend_from_slice(records.as_bytes());
        out.resize(out.len() + padding(records.len() as u64), 0);
    }
    out.extend_from_slice(&block(name, size, b'0'));
    out
}

/// How many zeros follow the bytes of a file.
pub const fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

/// One pax record: its own length, in digits that count themselves, then key and value.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

/// One header block. A name that is too long is cut: the pax records have it whole.
pub(super) fn block(name: &str, size: u64, kind: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(MAX_NAME)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", size.min(MAX_OCTAL)).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
