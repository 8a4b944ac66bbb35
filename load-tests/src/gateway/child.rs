//! What this executable does when [`super::process`] has started it: be the gateway, or keep its disk. Both end with
//! the simulator, however that ends, because then the kernel closes the other end of their standard input.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getgid, getuid};

/// Arguments of the hidden `serve-gateway`; the gateway's configuration comes by the environment.
#[derive(Debug, clap::Args)]
pub struct ServeGatewayArgs {
    /// The process that keeps the gateway's disk
    #[arg(long, value_name = "PID")]
    disk_of: Option<u32>,
}

/// Arguments of the hidden `hold-disk`.
#[derive(Debug, clap::Args)]
pub struct HoldDiskArgs {
    /// Where to mount it
    #[arg(long, value_name = "FOLDER")]
    at: PathBuf,
    /// Its size
    #[arg(long, value_name = "BYTES")]
    bytes: u64,
}

/// Is the gateway until SIGTERM, or until the simulator is gone.
pub fn serve_gateway(args: &ServeGatewayArgs) -> ExitCode {
    // Before there is a second thread: a process with several may not change its user namespace.
    if let Some(keeper) = args.disk_of
        && let Err(error) = enter(keeper)
    {
        return failed(&format!("the namespace of the disk cannot be entered: {error}"));
    }
    // A signal at the parent's death (PR_SET_PDEATHSIG) would come when the thread that started us ends, and its process
    // need not. A pipe whose other end only that process has is at its end when the process is gone, killed or not.
    thread::spawn(|| {
        until_alone();
        std::process::exit(ALONE);
    });
    tessera::cli::run(["tessera", "serve"].map(Into::into))
}

/// Mounts a file system of a known size where only those see it who are told to look here, says so, and stays. The kernel
/// forgets it with the last process in it: nothing is ever left mounted.
pub fn hold_disk(args: &HoldDiskArgs) -> ExitCode {
    if let Err(error) = mount_apart(&args.at, args.bytes) {
        return failed(&error);
    }
    let said = writeln!(io::stdout(), "{READY}");
    if said.is_ok() {
        until_alone();
    }
    ExitCode::SUCCESS
}

/// A mount namespace of our own, with a file system at `at`. Whoever may not have one gets it in a user namespace.
fn mount_apart(at: &Path, bytes: u64) -> Result<(), String> {
    let (user, group) = (getuid(), getgid());
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
        unshare(both).map_err(|error| format!("no user and mount namespace: {error}"))?;
        // Everybody stays who they are: the files of the gateway are ours outside, too.
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{user} {user} 1")),
            ("gid_map", format!("{group} {group} 1")),
        ] {
            let path = format!("/proc/self/{file}");
            fs::write(&path, text).map_err(|error| format!("{path} cannot be written: {error}"))?;
        }
    }
    let none: Option<&str> = None;
    // What is mounted here stays here.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|error| format!("the namespace's mounts cannot be made private: {error}"))?;
    let size = format!("size={bytes},mode=0700");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(size.as_str()))
        .map_err(|error| format!("mount of a tmpfs: {error}"))
}

/// Goes where the keeper's disk is to be seen.
fn enter(keeper: u32) -> io::Result<()> {
    let namespaces = PathBuf::from(format!("/proc/{keeper}/ns"));
    let mounts = File::open(namespaces.join("mnt"))?;
    let users = namespaces.join("user");
    if fs::read_link(&users)? != fs::read_link("/proc/self/ns/user")? {
        setns(File::open(users)?, CloneFlags::CLONE_NEWUSER)?;
    }
    setns(mounts, CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

/// Returns when whoever started this process is gone.
fn until_alone() {
    let mut nothing = [0; 64];
    while matches!(io::stdin().read(&mut nothing), Ok(1..)) {}
}

fn failed(why: &str) -> ExitCode {
    // Nobody is left to tell that nobody listens.
    let _ = writeln!(io::stderr(), "{why}");
    ExitCode::FAILURE
}

/// What `hold-disk` says when it is there.
pub const READY: &str = "ready";
/// How a gateway ends that lost its simulator: nobody is there to see it.
const ALONE: i32 = 3;
