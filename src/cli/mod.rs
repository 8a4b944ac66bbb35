//! The command line: a noun, then a verb. One file per noun; the server and its client are the same binary.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 failure, 2 usage, 3 not found,
//! 4 not allowed, 5 conflict, 6 rollout failed.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};

mod audit;
mod ca;
mod client;
mod cohort;
mod completions;
mod config;
mod demo;
mod deploy;
mod deployment;
mod device;
mod failure;
mod interrupts;
mod key;
mod output;
mod package;
mod rollout;
mod serve;
mod session;
mod settings;
mod timeline;

use failure::Failure;
use output::{Output, say};

/// Runs the command line and returns the process's exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(mut error) => {
            plain_usage(&mut error, &args);
            // Help and version go to standard output and are no failure; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_text());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Has the message show what has to be given. By itself it also shows what the environment gives, as if that had to be.
fn plain_usage(error: &mut clap::Error, args: &[OsString]) {
    if error.get(ContextKind::Usage).is_none() {
        return;
    }
    let mut command = Cli::command();
    command.build();
    let mut named = &mut command;
    for word in args.iter().skip(1) {
        if named.find_subcommand(word).is_none() {
            break;
        }
        named = named
            .find_subcommand_mut(word)
            .expect("it was found a moment ago");
    }
    let usage = named.render_usage();
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
}

/// Tessera: an OTA gateway for fleets of constrained devices.
#[derive(Debug, Parser)]
#[command(name = "tessera", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve devices and operators until SIGTERM
    Serve(serve::ServeArgs),
    /// Watch a simulated fleet update itself
    Demo(demo::DemoArgs),
    /// Check the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Packages and their artifacts
    #[command(subcommand)]
    Package(package::PackageCommand),
    /// Cohorts: devices that should run the same set of packages
    #[command(subcommand)]
    Cohort(cohort::CohortCommand),
    /// Devices
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// The CAs that are believed about devices with certificates
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Who is connected, and who could not connect
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Deploy a set of package versions to a cohort
    Deploy(deploy::DeployArgs),
    /// Who did what, when, and what it changed
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Deployments, and how far they have come
    #[command(subcommand)]
    Deployment(deployment::DeploymentCommand),
    /// API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Print what makes a shell complete the words of this program
    Completions(completions::CompletionsArgs),
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Config(command) => config::run(command),
            Self::Package(command) => package::run(command),
            Self::Cohort(command) => cohort::run(command),
            Self::Device(command) => device::run(command),
            Self::Ca(command) => ca::run(command),
            Self::Session(command) => session::run(command),
            Self::Deploy(args) => deploy::run(args),
            Self::Audit(command) => audit::run(command),
            Self::Deployment(command) => deployment::run(command),
            Self::Key(command) => key::run(command),
            Self::Completions(args) => completions::run(&args),
        }
    }
}

const AFTER_HELP: &str = "\
To begin: tessera demo, or tessera serve and then, with the key that it prints, from another terminal:
  export TESSERA_URL=http://127.0.0.1:8080 TESSERA_API_KEY=…
  tessera cohort create lamps
  tessera device create lamp-1 --cohort lamps
  tessera package upload main@1.0.0 FILE
  tessera deploy lamps --package main@1.0.0 --wait

Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 not allowed, 5 conflict, 6 rollout failed.";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, plain_usage};

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_readme_shows_is_understood() {
        for line in [
            "serve",
            "serve --config tessera.toml --coaps-listen 127.0.0.1:5684,[::1]:5684 --log-filter debug",
            "demo --devices 200 --once",
            "config check --config config/tessera.toml",
            "config check --data-dir /var/lib/tessera --set coaps.max_sessions=5",
            "package create main --description application",
            "package upload main@1.4.0 build/zephyr.signed.bin",
            "package list main -o json",
            "cohort create lamps",
            "cohort list --output ndjson",
            "cohort history lamps --url http://127.0.0.1:1",
            "device create lamp-1 --cohort lamps --tag north --tag x=1",
            "device assign lamp-1 lamp-2 --cohort lamps",
            "device assign lamp-1 --no-cohort",
            "device assign --tag north --from-cohort lamps --cohort posts --redeploy --yes",
            "device assign --from-no-cohort --cohort lamps --dry-run",
            "device import fleet.csv --update",
            "device import - --format ndjson -o ndjson",
            "device export --tag north --format ndjson",
            "device tag lamp-1 lamp-2 --add north --remove south",
            "device enable lamp-1",
            "device disable --tag stolen --yes",
            "device credential add lamp-1 --identity lamp-1-2027",
            "device credential remove lamp-1 lamp-1-id@default",
            "device credential remove lamp-1 00ff --yes",
            "device credential list lamp-1",
            "device create lamp-1 --cohort lamps --without-credential",
            "device create lamp-1 --certificate lamp-1.pem",
            "device credential add lamp-1 --public-key-sha256 00ff",
            "ca add factory.pem --zero-touch --cohort lamps",
            "ca list -o ndjson",
            "ca remove factory --yes",
            "device delete lamp-1 --yes",
            "device list --no-cohort --offline --search lamp-",
            "device list --cohort lamps --state failed --version main@1.4.0",
            "cohort delete lamps --yes",
            "package delete main@1.4.0 --yes",
            "key revoke ci -y",
            "device list --cohort lamps",
            "device show lamp-1 --api-key-file key",
            "deploy lamps --name first --package main@1.4.0 --package assets@7 --dry-run",
            "deploy lamps -p main@1.4.0 --wait --timeout 30m --fail-if failed>2% --fail-if pending>=5",
            "deployment watch lamps -o ndjson --timeout 1h30m",
            "deployment watch dep_7 --fail-if failed>2%",
            "deployment show dep_7 -o json",
            "deployment list lamps",
            "completions bash",
            "session list -o json",
            "session failures --reason wrongKey --identity lamp-1-id@default",
            "audit list --actor ci --action deployment.create --since 2026-01-31T00:00:00Z -n 5",
            "audit list --subject main@1.4.0 --until 2026-01-31T00:00:00Z -o ndjson",
            "key create --role deploy",
            "key list",
            "key revoke key_1",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error_that_names_it() {
        for (line, named) in [
            ("package upload main file.bin", "PACKAGE@VERSION"),
            ("deploy lamps", "--package"),
            ("deploy lamps --package main", "main@1.4.0"),
            ("device assign lamp-1", "--cohort"),
            ("device assign lamp-1 --cohort lamps --no-cohort", "--no-cohort"),
            ("device assign --cohort lamps", "NAMES"),
            ("device assign lamp-1 --tag north --cohort lamps", "--tag"),
            ("device tag lamp-1", "--add"),
            ("ca add factory.pem --cohort lamps", "--zero-touch"),
            (
                "device credential add lamp-1 --identity x --certificate y",
                "--certificate",
            ),
            ("device import", "FILE"),
            ("device export --format xml", "ndjson"),
            ("audit list -n 0", "1000"),
            ("key create", "--role"),
            ("key create --role root", "deploy"),
            ("device list -o yaml", "ndjson"),
            ("config check --set coaps.max_sessions", "SECTION.KEY=VALUE"),
            ("rollout", "rollout"),
            ("deploy lamps -p main@1 --wait --dry-run", "--dry-run"),
            ("deploy lamps -p main@1 --wait --timeout 30", "1h30m"),
            (
                "deploy lamps -p main@1 --wait --fail-if broken>2%",
                "downloading, downloaded",
            ),
            ("deployment watch", "ID|COHORT"),
            ("deployment watch lamps --fail-if failed=2", ">, >=, <, <="),
            ("completions tcsh", "fish"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(named), "{line}: {error}");
        }
    }

    /// Who reads the help types what it says.
    #[test]
    fn what_the_help_says_to_begin_with_is_understood() {
        let lines: Vec<&str> = super::AFTER_HELP
            .lines()
            .filter_map(|line| line.strip_prefix("  tessera "))
            .collect();
        assert_eq!(lines.len(), 4);
        for line in lines {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    /// Who reads a page of the console pastes what it says.
    #[test]
    fn what_the_console_shows_is_understood() {
        let console = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/console");
        let mut folders = vec![console];
        let mut shown = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                for (before, after) in [(">", '<'), ("`", '`')] {
                    let before = format!("{before}tessera ");
                    let commands = text.split(before.as_str()).skip(1);
                    shown.extend(commands.filter_map(|rest| Some(rest.split_once(after)?.0.to_owned())));
                }
            }
        }
        assert!(shown.len() >= 5, "{shown:?}");
        for line in shown {
            parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn a_usage_line_shows_what_has_to_be_given_and_nothing_else() {
        let line = "tessera deploy lamps --url http://127.0.0.1:1";
        let args: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        let mut error = Cli::try_parse_from(&args).unwrap_err();
        plain_usage(&mut error, &args);
        let said = error.to_string();
        let usage = "Usage: tessera deploy [OPTIONS] --package <PACKAGE@VERSION> <COHORT>";
        assert!(said.contains(usage), "{said}");
    }

    #[test]
    fn help_and_version_are_no_failure() {
        for line in ["--help", "--version", "package --help", "deploy --help"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("tessera").chain(line.split_whitespace()))
    }
}
