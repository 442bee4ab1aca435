//! Comparing bytes with bytes: nothing here trusts what a client says about its own pull.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256, Sha512};

use super::process::{Result, command, run};

/// Read at a time.
const PIECE: usize = 1 << 20;

/// `sha256:<hex>` of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// That many words of noise, the same in every run (Marsaglia's xorshift64): nothing can compress them.
pub(crate) fn noise(words: usize) -> impl Iterator<Item = [u8; 8]> {
    let mut state = 0x5ea_3a11_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(words)
}

/// Checks that two files hold the same bytes.
pub(crate) fn same_bytes(expected: &Path, found: &Path) -> Result {
    let mut left = open(expected)?;
    let mut right = open(found)?;
    let (mut a, mut b) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
    let mut offset = 0;
    loop {
        a.clear();
        b.clear();
        left.by_ref().take(PIECE as u64).read_to_end(&mut a)?;
        right.by_ref().take(PIECE as u64).read_to_end(&mut b)?;
        if a != b {
            let at = a.iter().zip(&b).take_while(|(a, b)| a == b).count() + offset;
            return Err(format!(
                "{} and {} differ at byte {at}",
                expected.display(),
                found.display()
            )
            .into());
        }
        if a.is_empty() {
            return Ok(());
        }
        offset += a.len();
    }
}

/// Checks that every file below `expected` is below `found` with the same bytes, and no other is.
pub(crate) fn same_tree(expected: &Path, found: &Path) -> Result {
    for entry in fs::read_dir(expected)? {
        let entry = entry?;
        run(command("diff")
            .arg("-r")
            .arg(entry.path())
            .arg(found.join(entry.file_name())))?;
    }
    Ok(())
}

/// Checks that every file below `shelf` hashes to its name, and gives how many there are. The last
/// directory but one names the algorithm: `<shelf>/sha256/ab/abcd…`.
pub(crate) fn hashes_to_names(shelf: &Path) -> Result<usize> {
    let mut count = 0;
    for algorithm in ["sha256", "sha512"] {
        let mut directories = vec![shelf.join(algorithm)];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten() {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let hash = if algorithm == "sha256" {
                    hash::<Sha256>(&path)
                } else {
                    hash::<Sha512>(&path)
                }?;
                if name.as_deref() != Some(hash.as_str()) {
                    return Err(format!("{} hashes to {hash}, which is not its name", path.display()).into());
                }
                count += 1;
            }
        }
    }
    Ok(count)
}

fn hash<H: sha2::Digest>(path: &Path) -> Result<String> {
    let (mut file, mut hasher, mut piece) = (open(path)?, H::new(), vec![0; PIECE]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&piece[..count]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
