use super::html;
use crate::result::RunResult;
use crate::result::sample::{self, Run};

fn parsed(value: serde_json::Value) -> RunResult {
    serde_json::from_value(value).unwrap()
}

fn small() -> RunResult {
    parsed(sample::value(&Run::small()))
}

/// The text below the element of this id.
fn text_of(page: &str, id: &str) -> String {
    let document = document(page);
    let found = document
        .descendants()
        .find(|node| node.attribute("id") == Some(id))
        .unwrap();
    let texts = found.descendants().filter(|node| node.is_text());
    texts.filter_map(|node| node.text()).collect::<Vec<_>>().join(" ")
}

/// Whether the element of this id holds a plot.
fn svgs_in(page: &str, id: &str) -> bool {
    let document = document(page);
    let found = document
        .descendants()
        .find(|node| node.attribute("id") == Some(id));
    found.unwrap().descendants().any(|node| node.has_tag_name("svg"))
}

/// The page as the stricter of HTML's two grammars sees it: every element closed, every character escaped that has to be.
fn document(page: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    roxmltree::Document::parse_with_options(page, options).unwrap()
}

const PLOTS: [&str; 15] = [
    "progress",
    "versions",
    "sessions",
    "handshakes",
    "bytes",
    "datagrams",
    "block-over-time",
    "cpu",
    "memory",
    "handshake",
    "notification",
    "block",
    "update",
    "report",
    "lateness",
];

#[test]
fn what_a_device_costs_is_what_it_adds_divided_by_the_good_ones() {
    let mut result = small();
    result.scenario.devices = 12;
    result.scenario.bad_devices = 2;
    result.server.insert("cpu_s".to_owned(), 0.05);
    result
        .server
        .insert("memory_bytes_before".to_owned(), 1_000_000.0);
    result
        .server
        .insert("memory_bytes_connected".to_owned(), 1_005_120.0);
    let page = html(&result);
    for (name, figure) in [("CPU per device", "5 ms"), ("Memory per device", "512 B")] {
        let (_, after) = page.split_once(name).unwrap();
        assert!(after[..200].contains(figure), "{name}: {}", &after[..200]);
    }
}

#[test]
fn the_page_is_well_formed_and_asks_for_nothing_else() {
    let page = html(&parsed(sample::value(&Run::large())));
    let document = document(&page);
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(
            ![
                "script", "link", "img", "iframe", "object", "embed", "use", "image", "base"
            ]
            .contains(&name),
            "{name}"
        );
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(
                !["src", "href", "srcset", "action", "data", "poster"].contains(&name),
                "{name}={value}"
            );
            assert!(!name.starts_with("on"), "{name}={value}");
            assert!(
                !value.contains("://") && !value.contains("url("),
                "{name}={value}"
            );
        }
        if name == "style" {
            let css = node.text().unwrap();
            assert!(
                !css.contains("@import") && !css.contains("url(") && !css.contains("://"),
                "{css}"
            );
        }
    }
    assert!(page.len() < 2_000_000, "{} bytes are no attachment", page.len());
}

#[test]
fn names_and_texts_are_shown_and_never_obeyed() {
    let mut result = small();
    let evil = "</code><script>alert(1)</script>\u{0}\u{1b}\"'&amp;";
    result.scenario.text = evil.to_owned();
    result.scenario.name = evil.to_owned();
    result.scenario.about = evil.to_owned();
    result.events[0].what = evil.to_owned();
    result.kinds[0].name = evil.to_owned();
    result.verdicts[0].seen = evil.to_owned();
    for sample in &mut result.series {
        sample.versions = [(evil.to_owned(), 99)].into();
    }
    result
        .histograms
        .insert(evil.to_owned(), result.histograms["block"].clone());
    let page = html(&result);
    let document = document(&page);
    assert!(
        document
            .descendants()
            .all(|node| node.tag_name().name() != "script")
    );
    let shown = "</code><script>alert(1)</script>\u{fffd}\u{fffd}\"'&amp;";
    let texts = document
        .descendants()
        .filter(|node| node.is_text() && node.text().is_some_and(|text| text.contains(shown)));
    assert!(texts.count() >= 8);
}

#[test]
fn every_figure_has_a_plot_for_each_width_and_its_numbers() {
    let page = html(&small());
    let document = document(&page);
    for id in PLOTS {
        let id = format!("plot-{id}");
        let figure = document
            .descendants()
            .find(|node| node.attribute("id") == Some(&id))
            .unwrap();
        let svgs = figure.descendants().filter(|node| node.has_tag_name("svg"));
        let classes: Vec<&str> = svgs.filter_map(|svg| svg.attribute("class")).collect();
        let words: Vec<&str> = classes.iter().flat_map(|class| class.split(' ')).collect();
        for width in ["wide", "middle", "narrow"] {
            assert!(words.contains(&width), "{id}: {classes:?}");
        }
        let rows = figure
            .descendants()
            .filter(|node| node.has_tag_name("tr"))
            .count();
        assert!(rows > 5, "{id}: {rows}");
    }
}

#[test]
fn no_colour_is_left_that_a_style_sheet_cannot_change() {
    let page = html(&small());
    let body = page.split_once("<body>").unwrap().1;
    for attribute in ["fill=\"#", "stroke=\"#"] {
        assert!(!body.contains(attribute), "{attribute}");
    }
    let css = page
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let themes: Vec<&str> = css.split("prefers-color-scheme").collect();
    for used in body
        .split("\"var(--")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        for theme in &themes {
            assert!(
                theme.contains(&format!("--{used}:")),
                "--{used} is not in every theme"
            );
        }
    }
}

#[test]
fn what_is_not_there_is_said_to_be_no_data() {
    let mut result = small();
    result.series.clear();
    result.histograms.clear();
    result.events.clear();
    let page = html(&result);
    for id in &PLOTS[..9] {
        assert!(
            text_of(&page, &format!("plot-{id}")).contains("no data: the result has no samples"),
            "{id}"
        );
    }
    for id in &PLOTS[9..] {
        assert!(
            text_of(&page, &format!("plot-{id}")).contains("no data: the result has no such histogram"),
            "{id}"
        );
    }
    for id in PLOTS {
        assert!(!svgs_in(&page, &format!("plot-{id}")), "{id}");
    }
}

#[test]
fn an_empty_and_a_broken_histogram_are_told_apart() {
    let mut result = small();
    if let Some(block) = result.histograms.get_mut("block") {
        block.count = 0;
    }
    if let Some(update) = result.histograms.get_mut("update") {
        update.hdr = "AAAA".to_owned();
    }
    if let Some(handshake) = result.histograms.get_mut("handshake") {
        handshake.hdr = "!".to_owned();
    }
    let page = html(&result);
    assert!(text_of(&page, "plot-block").contains("no data: nothing was measured"));
    assert!(text_of(&page, "plot-update").contains("no plot: the histogram cannot be read"));
    assert!(text_of(&page, "plot-handshake").contains("no plot: the histogram cannot be read"));
}

#[test]
fn whoever_still_waits_and_what_never_came_is_said_beside_the_latency() {
    let page = html(&parsed(sample::value(&Run::large())));
    let notification = text_of(&page, "plot-notification");
    assert!(
        notification.contains("100 that still wait are in it"),
        "{notification}"
    );
    assert!(text_of(&page, "plot-block").contains("3,300 requests that came to nothing"));
    assert!(!text_of(&page, "plot-update").contains("still wait"));
    let page = html(&small());
    let notification = text_of(&page, "plot-notification");
    assert!(
        notification.contains("one that still waits is in it"),
        "{notification}"
    );
}

#[test]
fn kinds_are_beside_each_other_where_two_have_been_measured_and_the_largest_where_many_have() {
    let page = html(&small());
    // Both kinds of the sample have handshakes and blocks; one alone has updates, the other alone notifications.
    for (name, found) in [
        ("handshake", true),
        ("block", true),
        ("update", false),
        ("notification", false),
    ] {
        assert_eq!(
            page.contains(&format!("id=\"plot-kinds-{name}\"")),
            found,
            "{name}"
        );
    }
    let text = text_of(&page, "plot-kinds-block");
    assert!(text.contains("<b>camera</b>") && text.contains("meter"), "{text}");

    let mut result = small();
    let kind = result.kinds[0].clone();
    result.kinds = (0..30)
        .map(|number| crate::result::KindFacts {
            name: format!("kind-{number:02}"),
            devices: number,
            ..kind.clone()
        })
        .collect();
    let text = text_of(&html(&result), "plot-kinds-block");
    assert!(
        text.contains("kind-29") && text.contains("kind-21") && !text.contains("kind-20"),
        "{text}"
    );
    assert!(text.contains("the other 21"), "{text}");
}

#[test]
fn every_id_is_there_once() {
    let mut result = small();
    for name in ["one", "two"] {
        result
            .histograms
            .insert(name.to_owned(), result.histograms["block"].clone());
    }
    let page = html(&result);
    let document = document(&page);
    let mut ids: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.attribute("id"))
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), all), (PLOTS.len() + 4, PLOTS.len() + 4));
}

#[test]
fn the_time_without_an_answer_is_a_gap_and_not_a_zero() {
    let mut result = small();
    for sample in &mut result.series {
        sample.server_sessions = None;
    }
    result.series[4].server_sessions = Some(50);
    result.series[9].server_sessions = Some(60);
    let page = html(&result);
    let document = document(&page);
    let figure = document
        .descendants()
        .find(|node| node.attribute("id") == Some("plot-sessions"))
        .unwrap();
    let drawn = |tag: &str, attribute: &str, ink: &str| {
        let all = figure.descendants().filter(|node| node.has_tag_name(tag));
        all.filter(|node| node.attribute(attribute) == Some(ink)).count()
    };
    // Two values that are alone: dots, in each of two sizes, and no line between them.
    assert_eq!(drawn("circle", "fill", "var(--second)"), 4);
    assert_eq!(drawn("polyline", "stroke", "var(--second)"), 0);
    assert!(drawn("rect", "fill", "var(--gap)") >= 4);
    assert!(text_of(&page, "plot-sessions").contains("the gateway did not answer"));

    for sample in &mut result.series {
        sample.server_memory = None;
    }
    let page = html(&result);
    assert!(text_of(&page, "plot-memory").contains("no data: no sample has a value"));
}

#[test]
fn one_sample_and_huge_and_impossible_numbers_make_a_page() {
    let mut result = small();
    result.series.truncate(1);
    let page = html(&result);
    assert!(text_of(&page, "plot-progress").contains("not connected"));
    assert!(page.contains("<svg"));

    let mut result = small();
    result.scenario.devices = u64::MAX;
    result.took_s = f64::INFINITY;
    for (n, sample) in result.series.iter_mut().enumerate() {
        sample.connected = u64::MAX;
        sample.converged = u64::MAX - n as u64;
        sample.downloading = u64::MAX;
        sample.bytes_per_s = if n % 2 == 0 { f64::MAX } else { f64::NAN };
        sample.own_cpu = f64::NEG_INFINITY;
        sample.block_p50_p99 = Some((0, u64::MAX));
        sample.at_s = if n == 3 { f64::NAN } else { sample.at_s * 1e6 };
        sample.versions = (0..20).map(|v| (format!("main@{v}"), u64::MAX / 2)).collect();
    }
    result.events[1].at_s = f64::NAN;
    result.events[2].at_s = -5.0;
    let page = html(&result);
    document(&page);
    assert!(text_of(&page, "plot-versions").contains("all others"));

    let mut result = small();
    result.scenario.bad_devices = result.scenario.devices;
    let page = html(&result);
    assert!(text_of(&page, "plot-progress").contains("no data: no device has good credentials"));
}

#[test]
fn a_long_run_keeps_its_peaks_and_stays_small() {
    let mut result = small();
    let one = result.series[10].clone();
    result.series = (0..100_000)
        .map(|second| crate::result::Sample {
            at_s: f64::from(second),
            bytes_per_s: if second == 54_321 {
                64.0 * 1024.0 * 1024.0
            } else {
                1024.0
            },
            ..one.clone()
        })
        .collect();
    let page = html(&result);
    assert!(page.len() < 1_500_000, "{}", page.len());
    let document = document(&page);
    let figure = document
        .descendants()
        .find(|node| node.attribute("id") == Some("plot-bytes"))
        .unwrap();
    let line = figure
        .descendants()
        .find(|node| node.attribute("stroke") == Some("var(--first)"))
        .unwrap();
    let heights = line
        .attribute("points")
        .unwrap()
        .split(' ')
        .filter_map(|point| point.split_once(','));
    let heights: Vec<i32> = heights.filter_map(|(_, y)| y.parse().ok()).collect();
    let (least, most) = (heights.iter().min().unwrap(), heights.iter().max().unwrap());
    assert!(most - least > 1_000, "the peak is not drawn: {least} to {most}");
    assert!(heights.len() <= 900, "{}", heights.len());
}
