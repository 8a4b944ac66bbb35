//! A foreign program that is running, what it says and what it is told.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// A running foreign program; killed when dropped.
pub struct Tool {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// What it reads for as long as it lives.
    pub config: Option<tempfile::NamedTempFile>,
}

impl Tool {
    pub fn spawn(name: &'static str, mut command: Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => panic!("{name} is needed for this test (tests/run installs it): {error}"),
        };
        let (sender, lines) = mpsc::channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        let stdin = child.stdin.take();
        Self {
            name,
            child,
            stdin,
            lines,
            seen: Vec::new(),
            config: None,
        }
    }

    pub fn say(&mut self, line: &str) {
        // In one write: what these programs read at once they put into one record.
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Ends its input, upon which `gnutls-cli` closes the session.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn assert_echo(&mut self) {
        self.say("is there anybody?");
        self.assert_line("is there anybody?");
    }

    /// Whatever its words for a fatal alert.
    pub fn assert_alert(&mut self) {
        self.assert_one_of(&["alert", "-313"]);
    }

    /// What it said so far does not count.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    pub fn assert_line(&mut self, wanted: &str) {
        self.assert_one_of(&[wanted]);
    }

    /// The first line with this in it.
    pub fn line_with(&mut self, wanted: &str) -> String {
        self.assert_one_of(&[wanted])
    }

    fn assert_one_of(&mut self, wanted: &[&str]) -> String {
        let is_it = |line: &String| {
            wanted
                .iter()
                .any(|wanted| line.to_lowercase().contains(&wanted.to_lowercase()))
        };
        let deadline = Instant::now() + PATIENCE;
        if let Some(line) = self.seen.iter().find(|line| is_it(line)) {
            return line.clone();
        }
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let found = is_it(&line);
                    self.seen.push(line.clone());
                    if found {
                        return line;
                    }
                }
                Err(_) => panic!(
                    "{} never said {wanted:?}, but:\n{}",
                    self.name,
                    self.seen.join("\n")
                ),
            }
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stream: impl std::io::Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
}

/// How long anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(15);
