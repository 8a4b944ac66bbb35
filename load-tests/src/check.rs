//! `check` and `scenarios`: what a scenario would do, without doing it.

use std::error::Error;
use std::fmt::Write as _;

use crate::plan::Plan;
use crate::scenario::{self, Asked, Overrides, Scenario, show_size, show_span};

/// What to look at.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    asked: Asked,
    /// Print the whole plan: every device and every choice, a line each
    #[arg(long)]
    plan: bool,
}

/// Reads a scenario; what it would do goes to `out`, what is to be said about it to `err`.
///
/// # Errors
///
/// It cannot be found, or has mistakes.
pub fn check(
    args: &CheckArgs,
    out: &mut dyn FnMut(&str),
    err: &mut dyn FnMut(&str),
) -> Result<(), Box<dyn Error>> {
    let scenario = args.asked.find(err)?.scenario;
    let plan = Plan::of(&scenario);
    if args.plan {
        plan.tell(&scenario, out);
    } else {
        out(&summary(&scenario, &plan));
    }
    Ok(())
}

/// The shipped scenarios, a line each.
pub fn scenarios() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for (name, source) in scenario::shipped() {
        let scenario = scenario::read(source, &Overrides::default())?;
        let devices: u64 = scenario.kinds.iter().map(|kind| u64::from(kind.count)).sum();
        // The first sentence says what it shows.
        let about = scenario.about.split_inclusive('.').next().unwrap_or_default();
        let _ = writeln!(text, "{name:<16} {devices:>6} devices  {}", flowing(about));
    }
    Ok(text)
}

fn summary(scenario: &Scenario, plan: &Plan) -> String {
    let mut text = match flowing(&scenario.about) {
        about if about.is_empty() => format!("{}\n", scenario.name),
        about => format!("{}: {about}\n", scenario.name),
    };
    let mut line = |told: String| {
        text.push_str(&told);
        text.push('\n');
    };
    line(format!(
        "\n{} devices, arriving {}; seed {}",
        plan.devices.len(),
        scenario.arrival,
        scenario.seed
    ));
    for kind in &scenario.kinds {
        let cohort = kind.cohort.and_then(|place| scenario.cohorts.get(place));
        let cohort = cohort.map_or_else(String::new, |cohort| format!(", in {}", cohort.name));
        line(format!(
            "  {:>7}  {:<16} {}; {}{cohort}",
            kind.count,
            kind.name,
            kind.told(),
            kind.runs
        ));
    }
    if !scenario.images.is_empty() {
        line("\nimages".to_owned());
        for (name, image) in &scenario.images {
            line(format!(
                "  {name}: {}, boots {}",
                show_size(image.size),
                image.boots
            ));
        }
    }
    line("\nevents".to_owned());
    for cohort in scenario
        .cohorts
        .iter()
        .filter(|cohort| !cohort.deployed.is_empty())
    {
        let deployed = scenario::show_images(&cohort.deployed);
        line(format!("  before the start: {} has {deployed}", cohort.name));
    }
    for (number, event) in scenario.events.iter().enumerate() {
        let chosen = event.what.who().map_or_else(String::new, |who| {
            format!(" ({} devices)", plan.chosen(scenario, who, number).len())
        });
        line(format!(
            "  {}. {}: {}{chosen}",
            number + 1,
            event.when,
            scenario.told(&event.what)
        ));
    }
    line(format!("  stop after {}", show_span(scenario.stop_after)));
    line("\nexpectations".to_owned());
    for expectation in &scenario.expect {
        line(format!("  {}: {expectation}", expectation.key()));
    }
    line(format!("\nplan {}", plan.digest()));
    text
}

/// A text in one line, however it was broken in its file.
fn flowing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
