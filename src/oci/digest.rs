//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`, and the hasher that proves them.

use std::fmt;
use std::hash::{Hash, Hasher as MapHasher};
use std::str::FromStr;

use sha2::Digest as _;

/// A digest algorithm registered by the OCI image specification and supported here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Hex digits of the longest hash.
const MOST_DIGITS: usize = 128;

impl Algorithm {
    /// The algorithms supported here, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the binary digest, in bytes.
    pub const fn hash_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The name of some bytes: an algorithm and the hash those bytes have under it.
///
/// A value that exists is well formed: a supported algorithm and exactly its number of lower-case hex
/// digits. It is also safe as a file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

/// Of the first 16 bytes: nobody can find many digests that agree there, and maps key their hashes besides.
/// All 64 would be four fifths of what a look-up costs.
impl Hash for Digest {
    fn hash<H: MapHasher>(&self, state: &mut H) {
        self.bytes[..16].hash(state);
    }
}

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon, or nothing before it.
    #[error("a digest is `sha256:` or `sha512:` and lower-case hex digits")]
    Form,
    /// The algorithm is not one of [`Algorithm::ALL`].
    #[error("the digest algorithm is not supported; sha256 and sha512 are")]
    Algorithm,
    /// The number of hex digits does not fit the algorithm.
    #[error("the digest has the wrong length for its algorithm")]
    Length,
    /// A character is not a lower-case hex digit.
    #[error("the digest has a character that is not a lower-case hex digit")]
    Hex,
}

impl Digest {
    /// The digest of `bytes` under `algorithm`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The SHA-256 digest of `bytes`, the default of the ecosystem.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The binary hash: 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.hash_len()]
    }

    /// The hex digits after the colon.
    pub fn hex(&self) -> String {
        let mut digits = [0; MOST_DIGITS];
        self.write_hex(&mut digits).to_owned()
    }

    /// Writes it behind a text, as [`Display`](fmt::Display) does, at a third of what that costs.
    pub fn append_to(&self, text: &mut String) {
        text.push_str(self.algorithm.name());
        text.push(':');
        text.push_str(self.write_hex(&mut [0; MOST_DIGITS]));
    }

    /// The hex digits, in the room that is lent.
    fn write_hex<'a>(&self, room: &'a mut [u8; MOST_DIGITS]) -> &'a str {
        let bytes = self.as_bytes();
        for (pair, byte) in room.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        std::str::from_utf8(&room[..bytes.len() * 2]).expect("hex digits are ASCII")
    }

    /// The digest with this binary hash; `None` if it has not the algorithm's length.
    pub fn from_bytes(algorithm: Algorithm, hash: &[u8]) -> Option<Self> {
        (hash.len() == algorithm.hash_len()).then(|| Self::from_hash(algorithm, hash))
    }

    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..algorithm.hash_len()].copy_from_slice(hash);
        Self { algorithm, bytes }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Form)?;
        if name.is_empty() {
            return Err(DigestError::Form);
        }
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or(DigestError::Algorithm)?;
        if hex.len() != algorithm.hash_len() * 2 {
            return Err(DigestError::Length);
        }
        let mut bytes = [0; 64];
        let mut wrong = 0;
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
            wrong |= high | low;
            *byte = high << 4 | low & 15;
        }
        if wrong & NO_DIGIT != 0 {
            return Err(DigestError::Hex);
        }
        Ok(Self { algorithm, bytes })
    }
}

/// The bit that no digit's value has.
const NO_DIGIT: u8 = 16;

/// The value of each byte as a hex digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name())?;
        f.write_str(":")?;
        f.write_str(self.write_hex(&mut [0; MOST_DIGITS]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An incremental hash: feed it the bytes in order, then ask for the digest.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher that has seen no byte.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything seen.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::from_hash(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => Digest::from_hash(Algorithm::Sha512, &state.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The digests of no bytes and of "abc", from FIPS 180-4.
    const EMPTY_256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC_256: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const ABC_512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                           2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    #[test]
    fn known_digests_are_computed() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY_256);
        assert_eq!(Digest::sha256(b"abc").to_string(), ABC_256);
        assert_eq!(Digest::of(Algorithm::Sha512, b"abc").to_string(), ABC_512);
    }

    #[test]
    fn s042_one_algorithm_never_passes_for_another() {
        let short = Digest::sha256(b"abc");
        let long = Digest::of(Algorithm::Sha512, b"abc");
        assert_eq!(short.as_bytes().len(), 32);
        assert_eq!(long.as_bytes().len(), 64);
        let padded = format!("sha512:{}{}", short.hex(), "0".repeat(64));
        assert_ne!(padded.parse(), Ok(short));
        assert_eq!(
            format!("sha512:{}", short.hex()).parse::<Digest>(),
            Err(DigestError::Length)
        );
        assert_eq!(
            format!("sha256:{}", long.hex()).parse::<Digest>(),
            Err(DigestError::Length)
        );
    }

    #[test]
    fn s043_what_is_not_a_digest_is_refused() {
        let hex = "a".repeat(64);
        for (text, expected) in [
            (String::new(), DigestError::Form),
            (hex.clone(), DigestError::Form),
            (format!(":{hex}"), DigestError::Form),
            (format!("SHA256:{hex}"), DigestError::Algorithm),
            (format!("Sha256:{hex}"), DigestError::Algorithm),
            (format!(" sha256:{hex}"), DigestError::Algorithm),
            (format!("md5:{}", "a".repeat(32)), DigestError::Algorithm),
            (format!("sha384:{}", "a".repeat(96)), DigestError::Algorithm),
            (format!("sha256+b64u:{}", "a".repeat(43)), DigestError::Algorithm),
            (format!("blake3:{hex}"), DigestError::Algorithm),
            (format!("../sha256:{hex}"), DigestError::Algorithm),
            ("sha256:".to_owned(), DigestError::Length),
            (format!("sha256:{}", "a".repeat(63)), DigestError::Length),
            (format!("sha256:{}", "a".repeat(65)), DigestError::Length),
            (format!("sha256:{hex}/"), DigestError::Length),
            (format!("sha256:{}", "A".repeat(64)), DigestError::Hex),
            (format!("sha256:{}g", "a".repeat(63)), DigestError::Hex),
            (format!("sha256:{}:", "a".repeat(63)), DigestError::Hex),
            (format!("sha256:../{}", "a".repeat(61)), DigestError::Hex),
            (format!("sha256:{}%2f", "a".repeat(61)), DigestError::Hex),
            (format!("sha256:{}\u{e9}", "a".repeat(62)), DigestError::Hex),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(content: Vec<u8>) {
            for algorithm in Algorithm::ALL {
                let digest = Digest::of(algorithm, &content);
                prop_assert_eq!(digest.to_string().parse(), Ok(digest));
                prop_assert_eq!(digest.algorithm(), algorithm);
            }
        }

        #[test]
        fn how_content_is_cut_does_not_matter(content: Vec<u8>, cut: prop::sample::Index) {
            for algorithm in Algorithm::ALL {
                let (head, tail) = content.split_at(cut.index(content.len() + 1));
                let mut hasher = Hasher::new(algorithm);
                hasher.update(head);
                hasher.update(tail);
                prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &content));
            }
        }

        #[test]
        fn text_that_reads_as_a_digest_prints_the_same(text in "(sha256|sha512|SHA256):?[0-9a-fA-F]{62,66}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
