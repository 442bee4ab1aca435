//! The fields of a header as they are written by different tools.

/// The name in a header: with a prefix in front where it is ustar's.
pub(super) fn header_name(block: &[u8]) -> String {
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    // GNU's own format has other things in the place of the prefix.
    match &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        true => format!("{prefix}/{name}"),
        false => name,
    }
}

/// Text up to the first zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A number in octal digits, or in GNU's binary form.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 == 0 {
        return octal(field);
    }
    let (first, rest) = field.split_first()?;
    let high = rest.len() - 8;
    let fits = *first == 0x80 && rest[..high].iter().all(|byte| *byte == 0);
    let low: [u8; 8] = rest[high..].try_into().ok()?;
    let value = u64::from_be_bytes(low);
    (fits && value < 1 << 62).then_some(value)
}

pub(super) fn octal(field: &[u8]) -> Option<u64> {
    let text = str::from_utf8(field).ok()?;
    let digits = text.trim_matches([' ', '\0']);
    match digits {
        "" => Some(0),
        digits => u64::from_str_radix(digits, 8)
            .ok()
            .filter(|_| !digits.starts_with('+')),
    }
}

/// The records of a pax header.
pub(super) fn records(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = bytes;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let space = rest.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        if length <= space + 1 || length > rest.len() || rest[length - 1] != b'\n' {
            return None;
        }
        let record = String::from_utf8_lossy(&rest[space + 1..length - 1]).into_owned();
        let (key, value) = record.split_once('=')?;
        records.push((key.to_owned(), value.to_owned()));
        rest = &rest[length..];
    }
    Some(records)
}
