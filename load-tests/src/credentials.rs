//! Who the devices are: a CSV file of identities and secrets.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tessera::virtual_device::{Identity, Psk};
use thiserror::Error;

/// What a device proves itself with.
#[derive(Debug)]
pub struct Credentials {
    /// The PSK identity.
    pub identity: Identity,
    /// The secret.
    pub psk: Psk,
}

/// Why a file names no fleet.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not `identity,secret`.
    #[error("{}, line {line}: {what}; accepted: identity,secret", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// There is no device in it.
    #[error("{} names no device", .0.display())]
    Empty(PathBuf),
}

/// Reads a file. Empty lines, lines that begin with `#` and a heading `identity,secret` are left out.
pub fn read(path: &Path) -> Result<Vec<Credentials>, CredentialsError> {
    let text = fs::read_to_string(path).map_err(|source| CredentialsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let lines = text.lines().map(str::trim).enumerate();
    let fleet: Result<Vec<Credentials>, CredentialsError> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#') && *line != "identity,secret")
        .map(|(at, line)| {
            parse(line).map_err(|what| CredentialsError::Line {
                path: path.to_owned(),
                line: at + 1,
                what,
            })
        })
        .collect();
    let fleet = fleet?;
    if fleet.is_empty() {
        Err(CredentialsError::Empty(path.to_owned()))
    } else {
        Ok(fleet)
    }
}

fn parse(line: &str) -> Result<Credentials, String> {
    // An identity may hold a comma, a secret of the gateway's making does not.
    let (identity, secret) = line.rsplit_once(',').ok_or("there is no comma")?;
    let identity = Identity::new(identity.as_bytes()).map_err(|error| error.to_string())?;
    let psk = Psk::new(secret.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Credentials { identity, psk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_identity_and_a_secret() {
        assert_eq!(
            parse("d1-id@default,s3cret").unwrap().identity.as_bytes(),
            b"d1-id@default"
        );
        for (line, what) in [("d1", "comma"), (",secret", "at least one byte"), ("d1,", "byte")] {
            assert!(parse(line).unwrap_err().contains(what), "{line}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.csv");
        fs::write(&path, "identity,secret\n# a comment\n\nd1,s\nd2\n").unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("line 5: there is no comma")
        );
        fs::write(&path, "identity,secret\n").unwrap();
        assert!(matches!(read(&path), Err(CredentialsError::Empty(_))));
    }
}
