//! Runs of bytes that came in several pieces.

use bytes::Bytes;

/// How many bytes there are.
pub(in crate::cache) fn total_len(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Takes bytes away from the front; how many there were, `bytes` at most.
pub(super) fn skip(pieces: &mut Vec<Bytes>, bytes: u64) -> u64 {
    let mut left = bytes;
    for piece in pieces.iter_mut() {
        let cut = left.min(piece.len() as u64);
        left -= cut;
        *piece = piece.slice(usize::try_from(cut).unwrap_or(0)..);
    }
    pieces.retain(|piece| !piece.is_empty());
    bytes - left
}

/// Leaves the first `most` bytes.
pub(in crate::cache) fn shorten(pieces: &mut Vec<Bytes>, most: u64) {
    let mut left = most;
    for piece in pieces.iter_mut() {
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
    }
    pieces.retain(|piece| !piece.is_empty());
}

/// Leaves the first `bytes`, and gives what was behind them.
pub(super) fn split_off(pieces: &mut Vec<Bytes>, bytes: u64) -> Vec<Bytes> {
    let mut rest = pieces.clone();
    skip(&mut rest, bytes);
    shorten(pieces, bytes);
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_cut_where_their_bytes_are(
            lengths in prop::collection::vec(0_usize..40, 0..8),
            at in 0_u64..400,
        ) {
            let whole: Vec<u8> = (0..lengths.iter().sum()).map(|at: usize| at.to_le_bytes()[0]).collect();
            let mut start = 0;
            let mut pieces: Vec<Bytes> = lengths.iter().map(|length| {
                start += length;
                Bytes::copy_from_slice(&whole[start - length..start])
            }).collect();
            let cut = whole.len().min(usize::try_from(at).unwrap());
            let mut skipped = pieces.clone();
            prop_assert_eq!(skip(&mut skipped, at), cut as u64);
            let rest = split_off(&mut pieces, at);
            prop_assert_eq!(&pieces.concat(), &whole[..cut]);
            prop_assert_eq!(&rest.concat(), &whole[cut..]);
            prop_assert_eq!(total_len(&pieces), cut as u64);
            prop_assert!(pieces.iter().chain(&rest).all(|piece| !piece.is_empty()));
            prop_assert_eq!(skipped, rest);
        }
    }
}
