//! `tessera package`.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use data_encoding::BASE64;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{Client, ServerArgs, package_version, segment};
use super::failure::Failure;
use super::output::{Column, ago, bytes, confirm_by_typing, field, say};

/// Verbs of `tessera package`.
#[derive(Debug, Subcommand)]
pub enum PackageCommand {
    /// Create a package
    Create {
        /// Its name, as devices have it compiled in
        name: String,
        /// What it is
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Upload a version of a package, which is created where it is missing
    Upload {
        /// What the file is, like main@1.4.0
        #[arg(value_name = "PACKAGE@VERSION", value_parser = package_version)]
        artifact: (String, String),
        /// The file; not standard input, as it is read twice
        file: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete a version that no deployment names, or a package that has no versions
    Delete {
        /// The package, like main, or the version, like main@1.4.0
        #[arg(value_name = "PACKAGE[@VERSION]")]
        named: String,
        /// Do not ask; without a terminal, it has to be said
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List packages, or the versions of one
    List {
        /// The package
        package: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs a verb.
pub fn run(command: PackageCommand) -> Result<(), Failure> {
    match command {
        PackageCommand::Create {
            name,
            description,
            server,
        } => {
            let client = Client::new(&server)?;
            let mut body = json!({ "name": name });
            if let Some(description) = description {
                body["description"] = description.into();
            }
            server.output.one(&client.post("packages", &body)?, PACKAGE);
            Ok(())
        }
        PackageCommand::Upload {
            artifact: (package, version),
            file,
            server,
        } => {
            let client = Client::new(&server)?;
            let artifact = upload(&client, &package, &version, &file)?;
            server.output.one(&artifact, ARTIFACT);
            Ok(())
        }
        PackageCommand::Delete { named, yes, server } => {
            let client = Client::new(&server)?;
            let path = match named.split_once('@') {
                None => format!("packages/{}", segment(&named)),
                Some((package, version)) => {
                    format!("packages/{}/artifacts/{}", segment(package), segment(version))
                }
            };
            if !yes {
                let what = format!("{named} is deleted");
                confirm_by_typing(&what, ("delete", "delete"), "nothing was deleted")?;
            }
            client.delete(&path)?;
            say(&format!("{named} is deleted"));
            Ok(())
        }
        PackageCommand::List {
            package: None,
            server,
        } => {
            let client = Client::new(&server)?;
            let none = "there is no package yet: tessera package upload PACKAGE@VERSION FILE";
            server.output.pages(client.pages("packages"), PACKAGE, none)
        }
        PackageCommand::List {
            package: Some(package),
            server,
        } => {
            let path = format!("packages/{}/artifacts", segment(&package));
            let client = Client::new(&server)?;
            let none = format!("{package} has no version yet: tessera package upload {package}@VERSION FILE");
            server.output.pages(client.pages(&path), ARTIFACT, &none)
        }
    }
}

fn upload(client: &Client, package: &str, version: &str, path: &Path) -> Result<Value, Failure> {
    if path == Path::new("-") {
        return Err(Failure::Usage(
            "standard input cannot be uploaded: it is read once, and a version twice, first for its digest; accepted: the path of \
             a file (./- of one that is called so)"
                .to_owned(),
        ));
    }
    let unreadable = |source| Failure::File {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    if length == 0 {
        return Err(Failure::Usage(format!(
            "{} is empty: there is nothing to upload",
            path.display()
        )));
    }
    let digest = digest(&mut file).map_err(unreadable)?;
    let digest = format!("sha-256=:{}:", BASE64.encode(&digest));
    let to = format!("packages/{}/artifacts/{}", segment(package), segment(version));
    let mut put = || {
        file.rewind().map_err(unreadable)?;
        let bar = progress(length);
        // Of a file that still grows, as much as was announced; the digest tells the rest.
        let answer = client.put(&to, &digest, length, bar.wrap_read((&file).take(length)));
        bar.finish_and_clear();
        answer
    };
    // A version or a size that is refused is refused before the package is looked for: a package made here is one
    // that the artifact has a place in.
    match put() {
        Err(Failure::Refused(problem)) if problem.status == 404 => {}
        answer => return answer,
    }
    match client.post("packages", &json!({ "name": package })) {
        Ok(_) => say(&format!("created package {package}")),
        // Somebody else was faster: it is there, which is all that was wanted.
        Err(Failure::Refused(problem)) if problem.status == 409 => {}
        Err(failure) => return Err(failure),
    }
    put()
}

fn digest(file: &mut impl Read) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// A bar on standard error; it draws nothing where that is no terminal.
fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is well formed");
    ProgressBar::new(length).with_style(style)
}

const PACKAGE: &[Column] = &[
    ("NAME", |package| field(package, "/name")),
    ("DESCRIPTION", |package| field(package, "/description")),
    ("CREATED", |package| ago(package, "/createdAt")),
    ("ID", |package| field(package, "/id")),
];

const ARTIFACT: &[Column] = &[
    ("PACKAGE", |artifact| field(artifact, "/package")),
    ("VERSION", |artifact| field(artifact, "/version")),
    ("SIZE", |artifact| bytes(artifact["size"].as_u64().unwrap_or(0))),
    ("TYPE", |artifact| field(artifact, "/type")),
    ("IMAGE", |artifact| field(artifact, "/imageVersion")),
    ("CREATED", |artifact| ago(artifact, "/createdAt")),
    ("SHA-256", |artifact| field(artifact, "/sha256")),
];
