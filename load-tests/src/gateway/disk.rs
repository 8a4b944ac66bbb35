//! A file system of a known size for the gateway's data, so that it can be full: a tmpfs in a mount namespace that a process
//! of ours keeps ([`super::child::hold_disk`]). The gateway enters that namespace when it starts; its data outlives it, as it
//! does a machine's processes, and is gone with the run.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use thiserror::Error;

use super::child::READY;

/// A disk, mounted as long as this lives.
#[derive(Debug)]
pub struct Disk {
    keeper: Child,
    at: PathBuf,
}

/// Why there is no disk, or why it cannot be filled.
#[derive(Debug, Error)]
pub enum DiskError {
    /// It cannot be mounted.
    #[error(
        "a disk of {bytes} bytes for the gateway cannot be mounted: {why}; it needs root, CAP_SYS_ADMIN (in a container: \
         --cap-add SYS_ADMIN), or user namespaces for everybody (kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    NotMounted {
        /// Its size.
        bytes: u64,
        /// What was said.
        why: String,
    },
    /// It would be more than there is.
    #[error(
        "a disk of {bytes} bytes for the gateway is in this machine's memory, of which {available} bytes are free: accepted is \
         half of that, {} bytes", available / 2
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// Free memory.
        available: u64,
    },
    /// The process that keeps it cannot be started, or its folder not made.
    #[error("the gateway's disk cannot be prepared at {}", at.display())]
    NotPrepared {
        /// Where.
        at: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written, or not emptied.
    #[error("{} cannot be {what}", file.display())]
    Filler {
        /// The file that fills it.
        file: PathBuf,
        /// `filled`, `emptied`.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Disk {
    /// Mounts one at a folder, by `program`, which is this executable.
    pub fn mount(program: &Path, at: &Path, bytes: u64) -> Result<Self, DiskError> {
        let not_prepared = |source| DiskError::NotPrepared {
            at: at.to_owned(),
            source,
        };
        // Where the kernel does not say what is free, the mount is tried.
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        fits(bytes, &memory)?;
        fs::create_dir_all(at).map_err(not_prepared)?;
        let mut keeper = Command::new(program)
            .args(["hold-disk", "--bytes", &bytes.to_string(), "--at"])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // The terminal's Ctrl-C is for the simulator, whose end is this process's end.
            .process_group(0)
            .spawn()
            .map_err(not_prepared)?;
        let mut said = String::new();
        let stdout = keeper.stdout.take().map(BufReader::new);
        let heard = stdout.map_or(Ok(0), |mut stdout| stdout.read_line(&mut said));
        // From here on it is ended when this is dropped.
        let mut disk = Self {
            keeper,
            at: at.to_owned(),
        };
        if heard.is_ok() && said.trim_end() == READY {
            return Ok(disk);
        }
        let mut why = String::new();
        if let Some(mut stderr) = disk.keeper.stderr.take() {
            // What cannot be read has nothing to say.
            let _ = stderr.read_to_string(&mut why);
        }
        Err(DiskError::NotMounted {
            bytes,
            why: why.trim_end().to_owned(),
        })
    }

    /// Where the gateway's data is, for whoever is in the disk's namespace.
    pub fn data_dir(&self) -> PathBuf {
        self.at.join("data")
    }

    /// The process in whose namespace it is.
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    /// Fills it to the last byte; returns how many it took.
    pub fn fill(&self) -> Result<u64, DiskError> {
        let file = self.filler();
        let failed = |source| DiskError::Filler {
            file: file.clone(),
            what: "filled",
            source,
        };
        let opened = File::options().create(true).append(true).open(&file);
        let mut filler = opened.map_err(failed)?;
        let mut filled = 0;
        // The last write takes what is left, the one after it nothing.
        loop {
            match filler.write(&PIECE) {
                Ok(0) => return Ok(filled),
                Ok(written) => filled += written as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(filled),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Takes away what filled it. Nothing happens if it was not filled.
    pub fn empty(&self) -> Result<(), DiskError> {
        let file = self.filler();
        match fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DiskError::Filler {
                file,
                what: "emptied",
                source,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Copies the gateway's data to a folder that is not there yet.
    pub fn copy_data(&self, to: &Path) -> io::Result<()> {
        copy(&self.seen("data"), to)
    }

    fn filler(&self) -> PathBuf {
        self.seen("filler")
    }

    /// The disk as its keeper sees it: nobody else has to be there, not even the gateway.
    fn seen(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        let below = self.at.strip_prefix("/").unwrap_or(&self.at);
        root.join(below).join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The kernel takes the mount away with it. What cannot be killed has ended.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A disk that is filled is memory: a machine that has none left ends the gateway, or the simulator.
fn fits(bytes: u64, meminfo: &str) -> Result<(), DiskError> {
    let mut lines = meminfo.lines();
    let free = lines.find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"));
    let Some(kib) = free.and_then(|kib| kib.parse::<u64>().ok()) else {
        return Ok(());
    };
    let available = kib << 10;
    if bytes > available / 2 {
        return Err(DiskError::TooLarge { bytes, available });
    }
    Ok(())
}

/// A folder, and whatever is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Written at a time.
static PIECE: [u8; 1 << 16] = [0; 1 << 16];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_takes_at_most_half_of_the_memory_that_is_free() {
        let memory = "MemTotal:        4000000 kB\nMemFree:           10 kB\nMemAvailable:    2048 kB\n";
        fits(1 << 20, memory).unwrap();
        let refused = fits((1 << 20) + 1, memory).unwrap_err().to_string();
        assert!(
            refused.contains("1048577") && refused.contains("1048576"),
            "{refused}"
        );
        fits(u64::MAX, "").unwrap();
    }
}
