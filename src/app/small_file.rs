//! Files that are read again while the gateway serves.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a file, 1 MiB of them at most. A pipe would keep its reader waiting, and a device never ends.
///
/// # Errors
/// It cannot be read, is no file, or is larger.
pub fn read_small_file(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: opening a pipe waits for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {LIMIT} bytes"),
        ));
    }
    Ok(bytes)
}

/// A chain of ten certificates with the largest keys is 40 KiB.
const LIMIT: u64 = 1 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_is_read_whole_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.pem");
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        assert_eq!(read_small_file(&path).unwrap().len(), 1 << 20);
        let link = folder.path().join("link.pem");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read_small_file(&link).unwrap().len(), 1 << 20);
        fs::write(&path, vec![7; (1 << 20) + 1]).unwrap();
        let refused = read_small_file(&path).unwrap_err().to_string();
        assert!(refused.contains("larger than 1048576 bytes"), "{refused}");
    }

    #[test]
    fn what_never_ends_and_what_never_begins_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [Path::new("/dev/zero"), &pipe, folder.path()] {
            let refused = read_small_file(path).unwrap_err().to_string();
            assert!(refused.contains("not a regular file"), "{path:?}: {refused}");
        }
    }
}
