//! Method and path of a request → what is asked for.
//!
//! Decided on the segments as they were sent, never on a joined path: a segment may hold a `/` of its own.

use crate::coap::{Method, Request};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// GET of `.u/desired`: the manifest.
    Desired,
    /// GET of `.u/c/{package}@{version}`: a block of an artifact.
    Artifact {
        /// The package named, as sent.
        package: &'a str,
        /// The version named, as sent.
        version: &'a str,
    },
    /// POST or PUT of `.u/c/{package}`, or of `.u/c` alone: a state report.
    Report {
        /// The package named, as sent.
        package: Option<&'a str>,
    },
    /// DELETE without a path: a keepalive.
    Keepalive,
    /// POST or PUT of `.s/logs`, of `logs` before SDK 0.22: a line of the device's log.
    Log,
    /// Another service of the SDK.
    Neighbour(Neighbour),
    /// The path exists, the method does not.
    WrongMethod,
    /// There is no such path.
    Nothing,
}

/// Services of the SDK that the gateway does not offer, and which it answers so that no device stumbles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// A greeting.
    Hello,
    /// The payload again.
    Echo,
    /// Stream data and the like: accepted and dropped.
    Sink,
    /// LightDB state, which is empty.
    State,
    /// LightDB state, of which there was nothing to delete.
    StateDeleted,
    /// The settings, of which there are none.
    Settings,
    /// Remote calls, of which there are none.
    Calls,
}

/// Looks at method and path.
pub fn target<'a>(request: &Request<'a>) -> Target<'a> {
    let mut segments = [""; MAX_SEGMENTS];
    let mut len = 0;
    for segment in request.path() {
        if len == MAX_SEGMENTS {
            // Stream and state data may lie deep; for both the first segment decides.
            let deep = matches!(segments[0], ".s" | ".d");
            return if deep {
                route(request.method, &segments[..1])
            } else {
                Target::Nothing
            };
        }
        segments[len] = segment;
        len += 1;
    }
    route(request.method, &segments[..len])
}

fn route<'a>(method: Method, path: &[&'a str]) -> Target<'a> {
    match (path, method) {
        ([], Method::Delete) => Target::Keepalive,
        ([".u", "desired"], Method::Get) => Target::Desired,
        ([".u", "c", name], Method::Get) => match name.split_once('@') {
            Some((package, version)) => Target::Artifact { package, version },
            None => Target::WrongMethod,
        },
        ([".u", "c", name], Method::Post | Method::Put) => {
            if name.contains('@') {
                Target::WrongMethod
            } else {
                Target::Report { package: Some(name) }
            }
        }
        ([".u", "c"], Method::Post | Method::Put) => Target::Report { package: None },
        (["hello"], Method::Get) => Target::Neighbour(Neighbour::Hello),
        (["echo"], Method::Post) => Target::Neighbour(Neighbour::Echo),
        (["logs"] | [".s", "logs"], Method::Post | Method::Put) => Target::Log,
        ([".s", ..] | [".d", ..] | [".c", "status"] | [".rpc", "status"], Method::Post | Method::Put) => {
            Target::Neighbour(Neighbour::Sink)
        }
        ([".d", ..], Method::Get) => Target::Neighbour(Neighbour::State),
        ([".d", ..], Method::Delete) => Target::Neighbour(Neighbour::StateDeleted),
        ([".c"], Method::Get) => Target::Neighbour(Neighbour::Settings),
        ([".rpc"], Method::Get) => Target::Neighbour(Neighbour::Calls),
        (
            []
            | [".u", "desired"]
            | [".u", "c"]
            | [".u", "c", _]
            | ["hello" | "echo" | "logs" | ".c" | ".rpc"]
            | [".c" | ".rpc", "status"]
            | [".s", ..],
            _,
        ) => Target::WrongMethod,
        _ => Target::Nothing,
    }
}

/// The SDK's longest path has 63 characters. What is deeper can only be a path of stream or state data.
const MAX_SEGMENTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_contract_leads_somewhere() {
        let cases: &[(Method, &[&str], Target<'_>)] = &[
            (Method::Get, &[".u", "desired"], Target::Desired),
            (
                Method::Get,
                &[".u", "c", "main@1.0.0+b@2"],
                Target::Artifact {
                    package: "main",
                    version: "1.0.0+b@2",
                },
            ),
            (
                Method::Post,
                &[".u", "c", "main"],
                Target::Report {
                    package: Some("main"),
                },
            ),
            (
                Method::Put,
                &[".u", "c", "main"],
                Target::Report {
                    package: Some("main"),
                },
            ),
            (Method::Post, &[".u", "c"], Target::Report { package: None }),
            (Method::Delete, &[], Target::Keepalive),
            (Method::Get, &["hello"], Target::Neighbour(Neighbour::Hello)),
            (Method::Post, &[".s", "logs"], Target::Log),
            (Method::Put, &[".s", "logs"], Target::Log),
            (Method::Post, &["logs"], Target::Log),
            (Method::Put, &["logs"], Target::Log),
            (
                Method::Post,
                &[".s", "logs", "more"],
                Target::Neighbour(Neighbour::Sink),
            ),
            (
                Method::Post,
                &[".s", "temperature"],
                Target::Neighbour(Neighbour::Sink),
            ),
            (Method::Post, &[".s"], Target::Neighbour(Neighbour::Sink)),
            (
                Method::Get,
                &[".d", "a", "b"],
                Target::Neighbour(Neighbour::State),
            ),
            (
                Method::Delete,
                &[".d", "a"],
                Target::Neighbour(Neighbour::StateDeleted),
            ),
            (Method::Get, &[".c"], Target::Neighbour(Neighbour::Settings)),
            (
                Method::Post,
                &[".c", "status"],
                Target::Neighbour(Neighbour::Sink),
            ),
            (Method::Get, &[".rpc"], Target::Neighbour(Neighbour::Calls)),
        ];
        for (method, path, expected) in cases {
            assert_eq!(route(*method, path), *expected, "{method:?} {path:?}");
        }
    }

    #[test]
    fn a_known_path_with_another_method_is_told_from_an_unknown_path() {
        for (method, path) in [
            (Method::Get, &[][..]),
            (Method::Delete, &[".u", "desired"]),
            (Method::Get, &[".u", "c", "main"]),
            (Method::Post, &[".u", "c", "main@1.0.0"]),
            (Method::Delete, &[".u", "c", "main"]),
            (Method::Get, &["echo"]),
            (Method::Get, &["logs"]),
            (Method::Get, &[".s", "logs"]),
        ] {
            assert_eq!(route(method, path), Target::WrongMethod, "{method:?} {path:?}");
        }
        for path in [
            &["nowhere"][..],
            &[".u"],
            &[".u", "desired", "suit"],
            &[".u/desired"],
            &["v1", "csr"],
        ] {
            assert_eq!(route(Method::Get, path), Target::Nothing, "{path:?}");
        }
    }
}
