//! The figures that have a run's time from left to right.

use super::figure::{Figure, Look, Plot, Room};
use super::ink;
use super::lines::{Line, Lines};
use super::stacked::Stacked;
use super::timeline::Run;
use crate::quantity::Quantity;
use crate::result::{RunResult, Sample};
use tessera::picture::Ink;

/// All of them, in the order of the report.
pub fn figures(result: &RunResult) -> (Figure, Vec<Figure>) {
    let run = Run::of(result);
    let rest = vec![
        run.versions(),
        run.sessions(),
        run.handshakes(),
        run.bytes(),
        run.datagrams(),
        run.blocks(),
        run.cpu(),
        run.memory(),
    ];
    (run.progress(), rest)
}

impl Run<'_> {
    fn progress(&self) -> Figure {
        let kinds = [
            (ink::OFF, "not connected"),
            (ink::CONNECTED, "connected"),
            (ink::OBSERVING, "observing"),
            (ink::DOWNLOADING, "downloading"),
            (ink::CONVERGED, "converged"),
        ];
        let shares = |sample: &Sample| {
            let connected = sample.connected.min(self.good);
            let converged = sample.converged.min(connected);
            let downloading = sample.downloading.min(connected - converged);
            let observing = sample
                .observing
                .min(connected)
                .saturating_sub(converged + downloading);
            let idle = connected - converged - downloading - observing;
            [self.good - connected, idle, observing, downloading, converged].map(|n| n as f64)
        };
        let mut figure = self.stacked(
            "progress",
            "Progress",
            Room::Whole,
            &kinds.map(|(ink, name)| (ink, name.to_owned())),
            &|sample| shares(sample).to_vec(),
            Stacked::Devices,
        );
        figure.about = "Every good device once, by the last that is true of it: it has a session, its registration has been \
                        answered, it is in a download, it runs what its cohort has deployed. Samples do not say which of the \
                        converged have no session: as many as can be are taken to have one. Numbers above the plot are \
                        events, listed below."
            .to_owned();
        figure
    }

    fn versions(&self) -> Figure {
        // By when they were first seen, which is how old they are, and how many ran them at the most.
        let mut seen: Vec<(&str, u64)> = Vec::new();
        for sample in &self.samples {
            for (version, devices) in sample.versions.iter().filter(|(_, devices)| **devices > 0) {
                match seen.iter_mut().find(|(name, _)| name == version) {
                    Some((_, most)) => *most = (*most).max(*devices),
                    None => seen.push((version, *devices)),
                }
            }
        }
        let others = seen.len() > ink::NTH.len();
        let mut by_size: Vec<u64> = seen.iter().map(|(_, most)| *most).collect();
        by_size.sort_unstable_by(|a, b| b.cmp(a));
        let least = if others { by_size[ink::NTH.len() - 2] } else { 0 };
        let room = if others {
            ink::NTH.len() - 1
        } else {
            ink::NTH.len()
        };
        let large = seen.iter().filter(|(_, most)| *most >= least);
        let names: Vec<&str> = large.map(|(name, _)| *name).take(room).collect();
        // Stacks are drawn from the top: the oldest version is above.
        let mut kinds: Vec<(Ink, String)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (ink::NTH[n], (*name).to_owned()))
            .collect();
        if others {
            kinds.insert(0, (ink::NTH[ink::NTH.len() - 1], "all others".to_owned()));
        }
        let shares = |sample: &Sample| {
            let of = |name: &&str| sample.versions.get(*name).copied().unwrap_or(0) as f64;
            let named: Vec<f64> = names.iter().map(of).collect();
            let all: f64 = sample.versions.values().map(|devices| *devices as f64).sum();
            let rest = others.then(|| (all - named.iter().sum::<f64>()).max(0.0));
            let parts: Vec<f64> = rest.into_iter().chain(named).collect();
            let whole = if all > 0.0 { all } else { 1.0 };
            parts.into_iter().map(|part| 100.0 * part / whole).collect()
        };
        let mut figure = self.stacked(
            "versions",
            "Versions",
            Room::Half,
            &kinds,
            &shares,
            Stacked::Shares,
        );
        figure.about = "What the good devices run.".to_owned();
        if kinds.is_empty() && !self.samples.is_empty() {
            figure.plot = Plot::None("no data: no sample names a version".to_owned());
        }
        figure
    }

    fn sessions(&self) -> Figure {
        self.lines(&Lines {
            id: "sessions",
            title: "Sessions",
            about: "The gateway keeps sessions of devices that went away without a word, until it misses them, and those of \
                    bad devices, if it ever lets them in.",
            per_s: false,
            quantity: Quantity::Count,
            unit: "sessions",
            logarithmic: false,
            lines: &[
                Line {
                    ink: ink::FIRST,
                    look: Look::Line,
                    name: "as the good devices see them",
                    of: &|sample| Some(sample.connected as f64),
                },
                Line {
                    ink: ink::SECOND,
                    look: Look::Dashes,
                    name: "as the gateway counts them",
                    of: &|sample| sample.server_sessions.map(|sessions| sessions as f64),
                },
            ],
        })
    }

    fn handshakes(&self) -> Figure {
        self.lines(&Lines {
            id: "handshakes",
            title: "Handshakes",
            about: "Done, as the devices see them.",
            per_s: true,
            quantity: Quantity::Plain,
            unit: "handshakes",
            logarithmic: false,
            lines: &[Line {
                ink: ink::FIRST,
                look: Look::Line,
                name: "handshakes done",
                of: &|sample| Some(sample.handshakes_per_s),
            }],
        })
    }

    fn bytes(&self) -> Figure {
        self.lines(&Lines {
            id: "bytes",
            title: "Artifact bytes",
            about: "Received by the devices, without what carries them.",
            per_s: true,
            quantity: Quantity::Bytes,
            unit: "",
            logarithmic: false,
            lines: &[Line {
                ink: ink::FIRST,
                look: Look::Line,
                name: "artifact bytes received",
                of: &|sample| Some(sample.bytes_per_s),
            }],
        })
    }

    fn datagrams(&self) -> Figure {
        self.lines(&Lines {
            id: "datagrams",
            title: "Datagrams",
            about: "",
            per_s: true,
            quantity: Quantity::Plain,
            unit: "datagrams",
            logarithmic: false,
            lines: &[
                Line {
                    ink: ink::FIRST,
                    look: Look::Line,
                    name: "sent by devices",
                    of: &|sample| Some(sample.datagrams_out_per_s),
                },
                Line {
                    ink: ink::SECOND,
                    look: Look::Dashes,
                    name: "received by devices",
                    of: &|sample| Some(sample.datagrams_in_per_s),
                },
            ],
        })
    }

    fn blocks(&self) -> Figure {
        self.lines(&Lines {
            id: "block-over-time",
            title: "Block latency",
            about: "From a block's first request to its answer, of those answered since the sample before.",
            per_s: false,
            quantity: Quantity::Micros,
            unit: "",
            logarithmic: true,
            lines: &[
                Line {
                    ink: ink::FIRST,
                    look: Look::Line,
                    name: "median",
                    of: &|sample| sample.block_p50_p99.map(|(p50, _)| p50 as f64),
                },
                Line {
                    ink: ink::SECOND,
                    look: Look::Dashes,
                    name: "99th percentile",
                    of: &|sample| sample.block_p50_p99.map(|(_, p99)| p99 as f64),
                },
            ],
        })
    }

    fn cpu(&self) -> Figure {
        self.lines(&Lines {
            id: "cpu",
            title: "CPU",
            about: "",
            per_s: false,
            quantity: Quantity::Plain,
            unit: "cores",
            logarithmic: false,
            lines: &[
                Line {
                    ink: ink::FIRST,
                    look: Look::Line,
                    name: "gateway",
                    of: &|sample| sample.server_cpu,
                },
                Line {
                    ink: ink::SECOND,
                    look: Look::Dashes,
                    name: "simulator",
                    of: &|sample| Some(sample.own_cpu),
                },
            ],
        })
    }

    fn memory(&self) -> Figure {
        self.lines(&Lines {
            id: "memory",
            title: "Memory of the gateway",
            about: "",
            per_s: false,
            quantity: Quantity::Bytes,
            unit: "",
            logarithmic: false,
            lines: &[Line {
                ink: ink::FIRST,
                look: Look::Line,
                name: "resident",
                of: &|sample| sample.server_memory.map(|bytes| bytes as f64),
            }],
        })
    }
}
