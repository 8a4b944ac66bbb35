//! Certificates made by `openssl` as an operator's or an SDK's scripts make them, when a test asks for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A CA and what it issued, in a folder of its own.
pub struct Ca {
    folder: TempDir,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Both and the chain above, in one file.
    pub bundle: PathBuf,
}

/// What kind of certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// What `openssl x509 -req` makes of itself.
    Version1,
    /// With these extensions, one a line as in `openssl.cnf`.
    Version3(&'a str),
}

impl Ca {
    /// `openssl req -x509`; `subject` as in `/O=acme/CN=Device CA`.
    pub fn new(subject: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Self { folder };
        ca.make_key("ca");
        ca.openssl(&[
            "req", "-x509", "-new", "-key", "ca.key", "-subj", subject, "-days", "3650", "-out", "ca.pem",
        ]);
        ca
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate for a fresh key. `name` names the files; a certificate that has not begun or is over is `days`
    /// long below zero.
    pub fn issue(&self, name: &str, subject: &str, kind: Kind<'_>, days: i32) -> Issued {
        self.make_key(name);
        let file = |ending: &str| format!("{name}.{ending}");
        let (key, csr, pem, ext) = (file("key"), file("csr"), file("pem"), file("ext"));
        self.openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &csr]);
        let days = days.to_string();
        let mut arguments = vec![
            "x509", "-req", "-in", &csr, "-CA", "ca.pem", "-CAkey", "ca.key", "-days", &days, "-out", &pem,
        ];
        if let Kind::Version3(extensions) = kind {
            std::fs::write(self.folder.path().join(&ext), extensions).unwrap();
            arguments.extend(["-extfile", &ext]);
        }
        self.openssl(&arguments);
        let read = |name: &str| std::fs::read(self.folder.path().join(name)).unwrap();
        let bundle = [read(&pem), read("ca.pem"), read(&key)].concat();
        let bundle_file = self.folder.path().join(file("bundle"));
        std::fs::write(&bundle_file, bundle).unwrap();
        Issued {
            certificate: self.folder.path().join(pem),
            key: self.folder.path().join(key),
            bundle: bundle_file,
        }
    }

    /// Runs `openssl` in the folder.
    pub fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.folder.path())
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => panic!("openssl is needed for this test (tests/run installs it): {error}"),
        };
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {told}");
        output.stdout
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn make_key(&self, name: &str) {
        let key = format!("{name}.key");
        self.openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            &key,
        ]);
    }
}
