//! What is shown while a run goes on, on stderr: stacked figures on a terminal, a line every few seconds elsewhere, or nothing.
//! No colours at all, so that there is nothing for `NO_COLOR` to switch off.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::gateway::{self, Figures};
use crate::measure::Now;
use crate::quantity::{self, Quantity};

/// Shows how a run goes.
#[derive(Debug)]
pub struct Progress {
    face: Face,
    /// What happens next.
    next: Mutex<String>,
}

#[derive(Debug)]
enum Face {
    Quiet,
    Lines,
    Bars(Box<Bars>),
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    connected: ProgressBar,
    converged: ProgressBar,
    traffic: ProgressBar,
    gateway: ProgressBar,
    next: ProgressBar,
}

/// How it goes at one moment.
#[derive(Clone, Debug)]
pub struct Glance {
    /// Since the start of the arrival.
    pub at: Duration,
    /// The fleet.
    pub now: Now,
    /// Artifact bytes received a second.
    pub bytes_per_s: f64,
    /// Handshakes a second.
    pub handshakes_per_s: f64,
    /// CPU of the gateway, cores.
    pub server_cpu: Option<f64>,
    /// The gateway, while it answers.
    pub figures: Option<Figures>,
}

impl Progress {
    /// What suits whoever is there.
    pub fn new(quiet: bool) -> Self {
        let face = if quiet {
            Face::Quiet
        } else if io::stderr().is_terminal() {
            Face::Bars(Box::new(Bars::new()))
        } else {
            Face::Lines
        };
        Self {
            face,
            next: Mutex::default(),
        }
    }

    /// One line.
    pub fn say(&self, line: &str) {
        match &self.face {
            Face::Quiet => {}
            Face::Lines => write(line),
            Face::Bars(bars) => {
                // A terminal that is gone has nobody behind it.
                let _ = bars.all.println(line);
            }
        }
    }

    /// How far the set-up is.
    pub fn set_up(&self, progress: gateway::Progress<'_>) {
        match progress {
            gateway::Progress::Artifacts { image, bytes } => {
                self.say(&format!(
                    "set-up: {image}, {}",
                    Quantity::Bytes.in_words(bytes as f64)
                ));
            }
            gateway::Progress::Certificates { of } => {
                self.say(&format!("set-up: {} certificates", quantity::count(of as u64)));
            }
            gateway::Progress::Devices { done, of } => self.say(&format!(
                "set-up: {} of {} devices",
                quantity::count(done as u64),
                quantity::count(of as u64)
            )),
        }
    }

    /// Something happened that the scenario asks for.
    pub fn event(&self, at_s: f64, what: &str) {
        self.say(&format!("{at_s:8.1} s  {what}"));
    }

    /// What is waited for from here on.
    pub fn next(&self, what: &str) {
        what.clone_into(&mut self.next.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How it goes; to be told once a second.
    pub fn glance(&self, glance: &Glance) {
        match &self.face {
            Face::Quiet => {}
            Face::Lines => {
                if glance.at.as_secs().is_multiple_of(SECONDS_BETWEEN_LINES) {
                    let lines = self.lines(glance);
                    write(&format!(
                        "{:8.1} s  {}",
                        glance.at.as_secs_f64(),
                        lines.join("; ")
                    ));
                }
            }
            Face::Bars(bars) => bars.show(glance, &self.lines(glance)),
        }
    }

    /// Takes the figures off the terminal.
    pub fn end(&self) {
        if let Face::Bars(bars) = &self.face {
            let _ = bars.all.clear();
        }
    }

    fn lines(&self, glance: &Glance) -> [String; 5] {
        let Now {
            good,
            connected,
            observing,
            downloading,
            converged,
            wanted,
            ..
        } = &glance.now;
        let count = |number: &u64| quantity::count(*number);
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        [
            format!(
                "connected {} of {}, observing {}",
                count(connected),
                count(good),
                count(observing)
            ),
            format!(
                "converged {} of {}, downloading {}",
                count(converged),
                count(wanted),
                count(downloading)
            ),
            format!(
                "{}/s, {} handshakes/s",
                Quantity::Bytes.in_words(glance.bytes_per_s),
                quantity::figure(glance.handshakes_per_s)
            ),
            match &glance.figures {
                Some(figures) => format!(
                    "gateway {} cores, {}, {} sessions",
                    glance.server_cpu.map_or_else(|| "–".to_owned(), quantity::figure),
                    Quantity::Bytes.in_words(figures.resident_bytes as f64),
                    count(&figures.sessions)
                ),
                None => "gateway does not answer".to_owned(),
            },
            format!("next: {next}"),
        ]
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let bar = || {
            let style = ProgressStyle::with_template("[{bar:30}] {wide_msg}");
            let style = style.expect("the template is a constant").progress_chars("=> ");
            all.add(ProgressBar::new(0).with_style(style))
        };
        let text = || {
            let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
            all.add(ProgressBar::new(0).with_style(style))
        };
        let (connected, converged) = (bar(), bar());
        let (traffic, gateway, next) = (text(), text(), text());
        Self {
            all,
            connected,
            converged,
            traffic,
            gateway,
            next,
        }
    }

    fn show(&self, glance: &Glance, lines: &[String; 5]) {
        let Now {
            good,
            connected,
            converged,
            wanted,
            ..
        } = glance.now;
        self.connected.set_length(good);
        self.connected.set_position(connected);
        // A bar of nothing would be drawn full.
        self.converged.set_length(wanted.max(1));
        self.converged.set_position(converged);
        let bars = [
            &self.connected,
            &self.converged,
            &self.traffic,
            &self.gateway,
            &self.next,
        ];
        for (bar, line) in bars.into_iter().zip(lines) {
            bar.set_message(line.clone());
        }
    }
}

fn write(line: &str) {
    // Nobody is left to tell that nobody listens.
    let _ = writeln!(io::stderr(), "{line}");
}

const SECONDS_BETWEEN_LINES: u64 = 5;
const DRAWS_PER_SECOND: u8 = 5;
