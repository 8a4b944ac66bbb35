//! The folder of a run: its own from the moment it is made, and taken away again where nothing came of the run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::facts;

/// The folder that a result is left in.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether it was not there before.
    is_new: bool,
}

/// Why there is no folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It cannot be made.
    #[error("the folder {} for the result cannot be made", path.display())]
    NotMade {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something in it.
    #[error("{} is there already: a result is not written over another one; name another folder with --out", path.display())]
    Taken {
        /// What.
        path: PathBuf,
    },
    /// The gateway is told of its folders as text.
    #[error(
        "the folder {} for the result has a path that is no text in UTF-8, as the gateway needs it; name another folder \
         with --out", path.display()
    )]
    NoText {
        /// Which.
        path: PathBuf,
    },
}

impl Folder {
    /// Makes the one that was asked for, or one of its own for this run.
    pub fn make(asked: Option<&Path>, scenario: &str, began_ms: i64) -> Result<Self, FolderError> {
        let time = facts::rfc3339(began_ms).replace([':', '-'], "");
        let named = Path::new(RESULTS).join(format!("{scenario}-{time}"));
        let path = asked.unwrap_or(&named);
        let failed = |source| FolderError::NotMade {
            path: path.to_owned(),
            source,
        };
        if std::path::absolute(path).map_err(failed)?.to_str().is_none() {
            return Err(FolderError::NoText {
                path: path.to_owned(),
            });
        }
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(failed)?;
        }
        match asked {
            Some(path) => Self::this(path),
            None => Self::first_free(path),
        }
    }

    fn this(path: &Path) -> Result<Self, FolderError> {
        let is_new = match fs::create_dir(path) {
            Ok(()) => true,
            Err(_) if path.is_dir() => false,
            Err(source) => {
                return Err(FolderError::NotMade {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        for taken in ["result.json", "report.html", "gateway.log", GATEWAY] {
            let taken = path.join(taken);
            if taken.exists() {
                return Err(FolderError::Taken { path: taken });
            }
        }
        Ok(Self {
            path: path.to_owned(),
            is_new,
        })
    }

    /// Runs that begin in the same second have a number each.
    fn first_free(path: &Path) -> Result<Self, FolderError> {
        let mut next = path.to_owned();
        for number in 2..=SAME_SECOND {
            match fs::create_dir(&next) {
                Ok(()) => {
                    return Ok(Self {
                        path: next,
                        is_new: true,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let mut name = path.as_os_str().to_owned();
                    name.push(format!("-{number}"));
                    next = name.into();
                }
                Err(source) => return Err(FolderError::NotMade { path: next, source }),
            }
        }
        Err(FolderError::Taken { path: next })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes that of the gateway: of two runs that were given the same folder one has it.
    pub fn for_gateway(&self) -> Result<PathBuf, FolderError> {
        let path = self.path.join(GATEWAY);
        match fs::create_dir(&path) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(FolderError::Taken { path }),
            Err(source) => Err(FolderError::NotMade { path, source }),
        }
    }

    /// Of a gateway that did as it should only its log is kept.
    pub fn tidy(&self) {
        let gateway = self.path.join(GATEWAY);
        // What stays behind is in nobody's way; of somebody else's gateway there is nothing.
        let _ = fs::rename(gateway.join("gateway.log"), self.path.join("gateway.log"));
        let _ = fs::remove_dir_all(gateway);
    }

    /// Nothing came of the run.
    pub fn leave(&self) {
        // What stays behind is in the way of the next run, which says so.
        let _ = fs::remove_dir_all(self.path.join(GATEWAY));
        if self.is_new {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

const GATEWAY: &str = "gateway";
/// Where results go.
const RESULTS: &str = "tessera-fleet-results";
/// Runs of one scenario that can begin in one second.
const SAME_SECOND: u32 = 100;

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn of_runs_of_the_same_second_each_has_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("smoke-20260101T000000Z");
        let made = [(); 3].map(|()| Folder::first_free(&path).unwrap().path);
        let names = made.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        let name = "smoke-20260101T000000Z";
        assert_eq!(names, [name.to_owned(), format!("{name}-2"), format!("{name}-3")]);
    }

    #[test]
    fn a_folder_that_was_used_is_not_used_again_and_an_empty_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let make = || Folder::make(Some(&out), "smoke", 0);
        for taken in ["result.json", "report.html", "gateway.log"] {
            make().unwrap();
            fs::write(out.join(taken), "").unwrap();
            let refused = make().unwrap_err().to_string();
            assert!(refused.contains(taken), "{refused}");
            fs::remove_file(out.join(taken)).unwrap();
        }
        let (first, second) = (make().unwrap(), make().unwrap());
        first.for_gateway().unwrap();
        assert!(matches!(second.for_gateway(), Err(FolderError::Taken { .. })));
    }

    #[test]
    fn nothing_is_left_of_a_run_of_which_nothing_came() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let make = || Folder::make(Some(&out), "smoke", 0).unwrap();
        let made = make();
        fs::write(made.for_gateway().unwrap().join("gateway.log"), "it failed").unwrap();
        made.leave();
        assert!(!out.exists());
        fs::create_dir(&out).unwrap();
        make().leave();
        assert!(out.exists(), "somebody has made it");
    }

    #[test]
    fn a_path_that_is_no_text_is_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join(OsStr::from_bytes(b"\xff"));
        let refused = Folder::make(Some(&out), "smoke", 0).unwrap_err().to_string();
        assert!(
            refused.contains("UTF-8") && refused.contains("--out"),
            "{refused}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
