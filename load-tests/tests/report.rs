//! The report as its reader sees it: in Chromium, light and dark, wide and narrow. Every entry of every legend must be found
//! in its plot, in its colour.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/sample.rs"]
mod sample;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sample::Run;
use serde::Deserialize;
use serde_json::Value;

/// Of a sample: progress, eight more over time, six latencies, two of them by kind.
const PLOTS: usize = 17;

#[test]
fn every_plot_shows_what_its_legend_names_light_and_dark_wide_and_narrow() {
    let page = page("large", &sample::value(&Run::large()));
    for (scheme, width) in [
        (Scheme::Light, 1440),
        (Scheme::Dark, 1440),
        (Scheme::Light, 800),
        (Scheme::Light, 390),
        (Scheme::Dark, 390),
    ] {
        let seen = Seen::of(&page, scheme, width);
        assert_eq!(seen.layout.plots.len(), PLOTS, "{scheme:?} {width}");
        assert_eq!(seen.missing(), Vec::<String>::new(), "{scheme:?} {width}");
        assert_eq!(
            seen.layout.across, width,
            "the page is wider than the window, {scheme:?}"
        );
        let paper = seen.picture.at(1, 1);
        let dark = paper.iter().map(|channel| u32::from(*channel)).sum::<u32>() < 3 * 128;
        assert_eq!(dark, scheme == Scheme::Dark, "{paper:?}");
    }
}

#[test]
fn a_report_without_samples_has_no_plots_to_find() {
    let mut value = sample::value(&Run::small());
    value["series"] = Value::Array(Vec::new());
    let seen = Seen::of(&page("empty", &value), Scheme::Light, 1440);
    // The latencies are of histograms, which are there.
    let mut drawn: Vec<&str> = seen.layout.plots.iter().map(|plot| plot.id.as_str()).collect();
    drawn.sort_unstable();
    assert_eq!(
        drawn,
        [
            "plot-block",
            "plot-handshake",
            "plot-kinds-block",
            "plot-kinds-handshake",
            "plot-lateness",
            "plot-notification",
            "plot-report",
            "plot-update"
        ]
    );
}

#[test]
fn axes_alone_are_no_plot() {
    let page = page("axes", &sample::value(&Run::small()));
    let text = fs::read_to_string(&page).unwrap();
    let axes: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("<polygon") && !line.starts_with("<polyline"))
        .collect();
    fs::write(&page, axes.join("\n")).unwrap();
    let seen = Seen::of(&page, Scheme::Light, 1440);
    assert_eq!(seen.layout.plots.len(), PLOTS);
    assert!(seen.missing().len() >= PLOTS, "{:?}", seen.missing());
}

#[test]
fn the_page_lies_beside_the_result_and_compare_prints_ratios() {
    let folder = folder("commands");
    let a = written(&folder, "a.json", &sample::value(&Run::small()));
    let slower = Run {
        slower: 2.0,
        ..Run::small()
    };
    let b = written(&folder, "b.json", &sample::value(&slower));
    let said = fleet(&["report", a.to_str().unwrap()]);
    assert!(said.status.success(), "{said:?}");
    assert_eq!(
        String::from_utf8_lossy(&said.stdout).trim(),
        folder.join("a.html").to_str().unwrap()
    );
    assert!(
        fs::read_to_string(folder.join("a.html"))
            .unwrap()
            .contains("deploy-10k")
    );

    let said = fleet(&["compare", a.to_str().unwrap(), b.to_str().unwrap()]);
    assert!(said.status.success(), "{said:?}");
    let table = String::from_utf8(said.stdout).unwrap();
    let median = table
        .lines()
        .find(|line| line.trim_start().starts_with("update, p50"))
        .unwrap();
    assert!(
        median.contains("2×") || median.contains("1.9") || median.contains("2.0"),
        "{median}"
    );
}

#[test]
fn a_file_that_is_no_result_is_refused_with_what_is_wrong() {
    let folder = folder("refused");
    let mut value = sample::value(&Run::small());
    value["series"][2]["own_cpu"] = Value::Null;
    let broken = written(&folder, "broken.json", &value);
    let said = fleet(&["report", broken.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(2));
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        error.contains("series[2].own_cpu") && error.contains("line 1 column"),
        "{error}"
    );

    let missing = folder.join("nowhere.json");
    let said = fleet(&["compare", missing.to_str().unwrap(), broken.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(2));
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        error.contains("nowhere.json cannot be read: No such file"),
        "{error}"
    );

    let good = written(&folder, "good.json", &sample::value(&Run::small()));
    let said = fleet(&["report", good.to_str().unwrap(), "-o", good.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("would replace the result"));
}

fn fleet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tessera-fleet"))
        .args(args)
        .output()
        .unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn written(folder: &Path, name: &str, value: &Value) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, value.to_string()).unwrap();
    path
}

/// The page that the program makes of a result.
fn page(name: &str, value: &Value) -> PathBuf {
    let folder = folder(name);
    let result = written(&folder, "result.json", value);
    let page = folder.join("result.html");
    let said = fleet(&["report", result.to_str().unwrap(), "-o", page.to_str().unwrap()]);
    assert!(said.status.success(), "{said:?}");
    page
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Dark,
    Light,
}

/// A page, as it is laid out and as it is painted.
struct Seen {
    layout: Layout,
    picture: Picture,
}

/// What [`PROBE`] tells.
#[derive(Debug, Deserialize)]
struct Layout {
    across: u32,
    down: u32,
    plots: Vec<PlotBox>,
}

/// A plot that is shown.
#[derive(Debug, Deserialize)]
struct PlotBox {
    id: String,
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
    keys: Vec<Key>,
}

/// An entry of its legend.
#[derive(Debug, Deserialize)]
struct Key {
    name: String,
    /// `rgb(31, 102, 173)`
    color: String,
}

impl Seen {
    fn of(page: &Path, scheme: Scheme, width: u32) -> Seen {
        let text = fs::read_to_string(page)
            .unwrap()
            .replace("</body>", &format!("{PROBE}</body>"));
        let probed = page.with_extension("probe.html");
        // In a frame: a window is never narrower than 500 pixels, unless it is for a picture.
        let framed = text.replace('&', "&amp;").replace('"', "&quot;");
        let style = format!("width:{width}px;height:20000px;border:0");
        fs::write(
            &probed,
            format!("<!DOCTYPE html><body><iframe style=\"{style}\" srcdoc=\"{framed}\"></iframe></body>"),
        )
        .unwrap();
        let dom = chromium(&["--dump-dom"], &probed, scheme, 1600, 1000);
        let dom = String::from_utf8(dom.stdout).unwrap();
        let layout = dom
            .split_once("LAYOUT-BEGIN")
            .unwrap()
            .1
            .split_once("LAYOUT-END")
            .unwrap()
            .0;
        let layout: Layout = serde_json::from_str(layout).unwrap();
        let png = page.with_extension(format!("{width}.{scheme:?}.png").to_lowercase());
        let _ = fs::remove_file(&png);
        chromium(
            &[&format!("--screenshot={}", png.display())],
            page,
            scheme,
            width,
            layout.down,
        );
        Seen {
            layout,
            picture: Picture::read(&png),
        }
    }

    /// What legends name and plots do not show.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for plot in &self.layout.plots {
            assert!(!plot.keys.is_empty(), "{} has no legend", plot.id);
            for key in &plot.keys {
                let wanted = rgb(&key.color);
                let found = self.picture.count(plot, wanted);
                if found < PIXELS_MIN {
                    missing.push(format!(
                        "{}: {} ({}), {found} pixels",
                        plot.id, key.name, key.color
                    ));
                }
            }
        }
        missing
    }
}

struct Picture {
    width: u32,
    height: u32,
    channels: usize,
    bytes: Vec<u8>,
}

impl Picture {
    fn read(path: &Path) -> Picture {
        let file =
            File::open(path).unwrap_or_else(|error| panic!("no picture at {}: {error}", path.display()));
        let mut reader = png::Decoder::new(BufReader::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!(info.bit_depth, png::BitDepth::Eight);
        Picture {
            width: info.width,
            height: info.height,
            channels: info.color_type.samples(),
            bytes,
        }
    }

    fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y as usize * self.width as usize + x as usize) * self.channels;
        self.bytes[at..at + 3].try_into().unwrap()
    }

    /// Pixels of about this colour: edges are smoothed.
    fn count(&self, within: &PlotBox, wanted: [u8; 3]) -> usize {
        assert!(
            within.right <= self.width && within.bottom <= self.height,
            "{within:?}"
        );
        let near = |found: [u8; 3]| found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 20);
        let rows = within.top..within.bottom;
        let pixels = rows.flat_map(|y| (within.left..within.right).map(move |x| (x, y)));
        pixels.filter(|(x, y)| near(self.at(*x, *y))).count()
    }
}

fn rgb(text: &str) -> [u8; 3] {
    let numbers = text.trim_start_matches("rgb(").trim_end_matches(')').split(", ");
    let channels: Vec<u8> = numbers.map(|number| number.parse().unwrap()).collect();
    channels.try_into().unwrap()
}

/// Chromium without a window, with nothing kept from run to run and nothing fetched.
fn chromium(what: &[&str], page: &Path, scheme: Scheme, width: u32, height: u32) -> Output {
    let profile = tempfile::tempdir().unwrap();
    // Blink's PreferredColorScheme: dark is 0, light is 1.
    let scheme = match scheme {
        Scheme::Dark => 0,
        Scheme::Light => 1,
    };
    let output = Command::new("timeout")
        .args([
            "120",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .args([
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ])
        .arg("--force-device-scale-factor=1")
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},{height}"))
        .args(what)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "chromium (Debian: chromium) did not open {}: {}",
        page.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Pixels of a key's colour that a plot shows at the least; a dashed line across a narrow plot has some hundreds, of which
/// smoothing leaves few in the pure colour.
const PIXELS_MIN: usize = 25;

/// Tells where the plots are. It is put into a copy of the page: the page itself has no script.
const PROBE: &str = r#"<script>
const shown = [...document.querySelectorAll("figure.plot svg")].filter(svg => svg.getBoundingClientRect().width > 0);
const plots = shown.map(svg => {
  const box = svg.getBoundingClientRect(), figure = svg.closest("figure");
  const keys = [...figure.querySelectorAll(".keys li")].map(li => ({
    name: li.textContent, color: getComputedStyle(li.querySelector("i")).color }));
  return { id: figure.id, left: Math.floor(box.left), top: Math.floor(box.top), right: Math.floor(box.right),
    bottom: Math.floor(box.bottom), keys };
});
const root = document.documentElement;
parent.document.body.append("LAYOUT" + "-BEGIN" + JSON.stringify({ across: root.scrollWidth, down: Math.ceil(root.getBoundingClientRect().height), plots }) + "LAYOUT" + "-END");
</script>"#;
