//! What pages and lists cost with a large fleet on record: every page of the console and every list of the API, by every filter.
//!
//! 1. [`super::fleet`]: a fleet is made in a folder, or found there, and connects; nothing of it goes over a network but what
//!    is measured.
//! 2. Every address is asked for over HTTP, at its first page and deep in the list, beside `/livez`, which costs what there is to be
//!    paid for an answer: that is the floor.
//! 3. All of it three times: before the fleet is counted, at rest, and during a rollout to most of the fleet.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tessera::admin::{self, AdminState, Console, Guard, Reached, Readiness};
use tessera::clock;
use tessera::control::{Control, Options};
use tessera::store::Store;
use tessera::telemetry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::fleet::{self, Fleet};

/// How large a fleet, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct ListsArgs {
    /// Devices on record
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    devices: usize,
    /// How many of them are connected; without it, all
    #[arg(long, value_name = "N")]
    connected: Option<usize>,
    /// The data folder, which is kept: a fleet that is in it already is taken as it is. Without it, one that goes with the program
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Measures, and returns what there is to read.
///
/// # Errors
/// When the fleet cannot be made, or a page is not answered as it should be.
pub fn lists(args: &ListsArgs, talk: &mut dyn FnMut(&str)) -> Result<String, Box<dyn Error>> {
    let kept = args.folder.clone();
    let folder = kept
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("tessera-lists-{}", std::process::id())));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(args, &folder, talk));
    runtime.shutdown_timeout(Duration::from_secs(5));
    if kept.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    measured
}

async fn measure(
    args: &ListsArgs,
    folder: &std::path::Path,
    talk: &mut dyn FnMut(&str),
) -> Result<String, Box<dyn Error>> {
    let begun = clock::now();
    let store = Store::open(folder).await?;
    let options = Options {
        bootstrap_key: Some(KEY.to_owned()),
    };
    let control = Control::start(store, options).await?.control;
    if fleet::is_missing(&control) {
        fleet::make(&control, args.devices, talk).await?;
        talk(&format!(
            "the fleet was made in {:.0} s\n",
            begun.elapsed().as_secs_f64()
        ));
    }
    // As the next start finds it: nobody is connected yet, and the counter has just begun.
    control.close().await;
    drop(control);
    let gateway = Gateway::start(folder).await?;
    let begun = clock::now();
    gateway.counted().await?;
    let counted = begun.elapsed();
    talk(&format!("counted in {:.1} s\n", counted.as_secs_f64()));
    let addresses = addresses(&gateway.control, args.devices);
    let mut table = Table::default();
    let gateway = match counted < UNCOUNTED_MIN {
        // It would be counted before anybody has asked.
        true => gateway,
        false => table.measure_uncounted(gateway, folder, &addresses).await?,
    };
    talk(&table.slowest("uncounted"));
    gateway.counted().await?;
    let Gateway { control, server } = gateway;
    let mut counts = control.counts();

    let connecting = clock::now();
    let connected = args.connected.unwrap_or(args.devices).min(args.devices);
    let fleet = Fleet::connect(&control, args.devices, connected).await?;
    talk(&format!(
        "{connected} connected in {:.0} s\n",
        connecting.elapsed().as_secs_f64()
    ));
    for _ in 0..2 {
        counts.changed().await?;
    }
    table.measure(&server, "at rest", &addresses).await?;
    talk(&table.slowest("at rest"));

    let deployed = fleet.deploy(&control).await?;
    let asked = clock::now();
    let project = control.view().default_project().id;
    loop {
        let figures = control.figures(project);
        let progress = figures.cohorts.get(&deployed.cohort).and_then(|of| of.progress);
        if progress.is_some_and(|(of, _)| of == deployed.id) {
            break;
        }
        counts.changed().await?;
    }
    let shown = asked.elapsed();
    let over = Arc::new(AtomicBool::new(false));
    let rollout = tokio::spawn(fleet.roll_out(control.clone(), deployed, Arc::clone(&over)));
    table.measure(&server, "in a rollout", &addresses).await?;
    over.store(true, Ordering::Relaxed);
    let reported = rollout.await?;
    let resident = resident_kib().unwrap_or(0);
    server.stop().await;
    control.close().await;

    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "Milliseconds for an answer, {ROUNDS} of each, or {ROUNDS_UNCOUNTED}: half of them, and the slowest. {} devices on record, {connected} connected; \
         {reported} reports a second during the rollout.\nThe fleet is counted {:.1} s after a start. A new deployment to {} devices is \
         in the figures after {:.2} s. \
         {resident} KiB resident.\n",
        args.devices,
        counted.as_secs_f64(),
        control
            .view()
            .default_project()
            .cohort(fleet::huge(&control))
            .map_or(0, |cohort| cohort.devices),
        shown.as_secs_f64(),
    );
    out.push_str(&table.text());
    Ok(out)
}

/// What is measured.
struct Gateway {
    control: Control,
    server: Server,
}

impl Gateway {
    async fn start(folder: &std::path::Path) -> Result<Self, Box<dyn Error>> {
        let store = Store::open(folder).await?;
        let control = Control::start(store, Options::default()).await?.control;
        let server = Server::start(control.clone()).await?;
        Ok(Self { control, server })
    }

    async fn stop(self) {
        self.server.stop().await;
        self.control.close().await;
    }

    /// Waits until the fleet is counted, and that is published.
    async fn counted(&self) -> Result<(), Box<dyn Error>> {
        let mut counts = self.control.counts();
        while self
            .control
            .figures(self.control.view().default_project().id)
            .counted_ms
            == 0
        {
            counts.changed().await?;
        }
        Ok(())
    }
}

/// The gateway's side of HTTP, and a client that is signed in.
struct Server {
    url: String,
    cookie: String,
    agent: ureq::Agent,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(control: Control) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let console = Console::default();
        let path = console.sign_in_path(&control).ok_or("no key administers")?;
        let readiness = Readiness::default();
        readiness.set(true);
        let state = AdminState {
            devices_port: Some(5684),
            control,
            metrics: telemetry::install_metrics(),
            metrics_auth: false,
            max_artifact_bytes: 1 << 30,
            readiness,
            console,
            guard: Guard::default(),
            reached: Reached::PlainHere,
        };
        let (stop, mut stopped) = watch::channel(false);
        let shutdown = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let served = tokio::spawn(admin::serve(listener, admin::router(state), 64, None, shutdown));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .into();
        let signed_in = {
            let (agent, url) = (agent.clone(), format!("{url}{path}"));
            tokio::task::spawn_blocking(move || agent.get(&url).call()).await??
        };
        let cookie = signed_in.headers().get("set-cookie").ok_or("no cookie")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default().to_owned();
        Ok(Self {
            url,
            cookie,
            agent,
            stop,
            served,
        })
    }

    /// How long an answer takes, and what it is.
    async fn ask(&self, path: &str) -> Result<(Duration, String), Box<dyn Error>> {
        let (agent, cookie) = (self.agent.clone(), self.cookie.clone());
        let url = format!("{}{path}", self.url);
        let asked = tokio::task::spawn_blocking(move || {
            let begun = clock::now();
            let mut answer = agent
                .get(&url)
                .header("authorization", &format!("Bearer {KEY}"))
                .header("cookie", &cookie)
                .call()?;
            let text = answer.body_mut().with_config().limit(1 << 26).read_to_string()?;
            let took = clock::now().duration_since(begun);
            Ok::<_, ureq::Error>((took, answer.status().as_u16(), text))
        });
        let (took, status, text) = asked.await??;
        if status != 200 {
            return Err(format!("{path} is answered with {status}: {text}").into());
        }
        Ok((took, text))
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.served.await;
    }
}

/// What is asked for: a word for it, and where it is.
type Address = (String, String);

/// Every page, and every list with every filter and some together, at the first page and deep in it.
fn addresses(control: &Control, devices: usize) -> Vec<Address> {
    let view = control.view();
    let project = view.default_project();
    let huge = fleet::huge(control);
    let small = project
        .cohorts
        .keys()
        .copied()
        .find(|&id| id != huge)
        .unwrap_or(huge);
    let active = project
        .cohort(huge)
        .and_then(|cohort| cohort.active())
        .map_or_else(String::new, |active| active.id.to_string());
    let mut all: Vec<Address> = vec![(FLOOR.to_owned(), "/livez".to_owned())];
    let mut add = |word: &str, path: String| all.push((word.to_owned(), path));

    let api = "/v1/projects/default";
    for list in [
        "cohorts",
        "packages",
        "packages/main/artifacts",
        "keys",
        "device-cas",
        "audit",
        "sessions",
        "sessions/failures",
        "figures",
        "figures/history",
    ] {
        add(&format!("API {list}"), format!("{api}/{list}"));
    }
    add(
        "API deployments of a cohort",
        format!("{api}/cohorts/{huge}/deployments"),
    );
    if !active.is_empty() {
        add("API progress", format!("{api}/deployments/{active}/progress"));
        add(
            "API progress history",
            format!("{api}/deployments/{active}/progress/history"),
        );
    }
    add(
        "API device",
        format!("{api}/devices/{}", fleet::name(devices / 2)),
    );
    add(
        "API timeline",
        format!("{api}/devices/{}/events", fleet::name(devices / 2)),
    );

    let console = "/projects/default";
    for (word, page) in [
        ("overview", String::new()),
        ("cohorts", "/cohorts".to_owned()),
        ("cohorts, searched", "/cohorts?search=site-99".to_owned()),
        ("cohort", format!("/cohorts/{huge}")),
        ("cohort, progress", format!("/cohorts/{huge}/progress")),
        ("cohort, devices", format!("/cohorts/{huge}/devices")),
        ("cohort, add devices", format!("/cohorts/{huge}/devices/add")),
        ("cohort, settings", format!("/cohorts/{huge}/settings")),
        ("deploy", format!("/cohorts/{huge}/deploy")),
        ("packages", "/packages".to_owned()),
        ("package", "/packages/main".to_owned()),
        ("devices", "/devices".to_owned()),
        ("new device", "/devices/new".to_owned()),
        ("import", "/devices/import".to_owned()),
        ("device", format!("/devices/{}", fleet::name(devices / 2))),
        ("live traffic", "/traffic".to_owned()),
        ("audit", "/audit".to_owned()),
        ("settings", "/settings".to_owned()),
    ] {
        add(&format!("page {word}"), format!("{console}{page}"));
    }
    if !active.is_empty() {
        add("page deployment", format!("{console}/deployments/{active}"));
        add(
            "page deployment, failed",
            format!("{console}/deployments/{active}?state=failed"),
        );
    }

    // The filters of devices, by themselves and together.
    let cohorts = [String::new(), huge.to_string(), small.to_string()];
    let tags = ["", "half", "rare"];
    let searches = ["", "lamp", "pump", "lamp-0999"];
    let known = [
        "",
        "online=true",
        "online=false",
        "state=failed",
        "state=pending",
        "version=main@2.0",
        "online=false&state=failed",
    ];
    for cohort in &cohorts {
        for tag in tags {
            for search in searches {
                for known in known {
                    let given = |name: &str, value: &str| match value {
                        "" => String::new(),
                        value => format!("&{name}={value}"),
                    };
                    let which = if *cohort == cohorts[1] { "huge" } else { "small" };
                    let word = [
                        given("cohort", if cohort.is_empty() { "" } else { which }),
                        given("tag", tag),
                        given("search", search),
                        known.to_owned(),
                    ];
                    let word = word.join("&").replace("&&", "&");
                    let query = format!(
                        "{}{}{}&{known}",
                        given("cohort", cohort),
                        given("tag", tag),
                        given("search", search)
                    );
                    let query = query.trim_matches('&').replace("&&", "&");
                    let word = word.trim_matches('&');
                    add(
                        &format!("API devices {word}"),
                        format!("{api}/devices?limit=100&{query}")
                            .trim_end_matches('&')
                            .to_owned(),
                    );
                    let deep = match search {
                        "" => fleet::deep_id(control),
                        _ => format!(".{}", fleet::name(devices / 10 * 9)),
                    };
                    add(
                        &format!("API devices {word}, deep"),
                        format!("{api}/devices?limit=100&pageToken={deep}&{query}")
                            .trim_end_matches('&')
                            .to_owned(),
                    );
                    if tag.is_empty() || search.is_empty() {
                        add(
                            &format!("page devices {word}"),
                            format!("{console}/devices?{query}"),
                        );
                    }
                }
            }
        }
    }
    all
}

/// What was measured, by what was asked for and when.
#[derive(Default)]
struct Table {
    phases: Vec<&'static str>,
    rows: Vec<String>,
    cells: BTreeMap<String, Vec<Cell>>,
}

struct Cell {
    half: f64,
    worst: f64,
    bytes: usize,
    rows: usize,
}

impl Table {
    /// Before the fleet is counted. A gateway that has counted it meanwhile is started again.
    async fn measure_uncounted(
        &mut self,
        mut gateway: Gateway,
        folder: &std::path::Path,
        addresses: &[Address],
    ) -> Result<Gateway, Box<dyn Error>> {
        self.phases.push("uncounted");
        for (word, path) in addresses {
            let mut asked = Vec::new();
            for _ in 0..ROUNDS_UNCOUNTED {
                if gateway.control.is_counted() {
                    gateway.stop().await;
                    gateway = Gateway::start(folder).await?;
                }
                asked.push(gateway.server.ask(path).await?);
            }
            self.put_down(word, asked);
        }
        Ok(gateway)
    }

    async fn measure(
        &mut self,
        server: &Server,
        phase: &'static str,
        addresses: &[Address],
    ) -> Result<(), Box<dyn Error>> {
        self.phases.push(phase);
        for (word, path) in addresses {
            let mut asked = Vec::new();
            for _ in 0..ROUNDS {
                asked.push(server.ask(path).await?);
            }
            self.put_down(word, asked);
        }
        Ok(())
    }

    fn put_down(&mut self, word: &str, asked: Vec<(Duration, String)>) {
        let mut times: Vec<_> = asked
            .iter()
            .map(|(took, _)| took.as_secs_f64() * 1000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        let last = asked.last().map_or("", |(_, text)| text);
        let cell = Cell {
            half: times[times.len() / 2],
            worst: times[times.len() - 1],
            bytes: last.len(),
            rows: last.matches("<tr").count() + last.matches("\"createdAt\"").count(),
        };
        if !self.cells.contains_key(word) {
            self.rows.push(word.to_owned());
        }
        self.cells.entry(word.to_owned()).or_default().push(cell);
    }

    /// The slowest of the phase that has ended, for who waits for the rest.
    fn slowest(&self, phase: &str) -> String {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter_map(|word| Some((self.cells[word].last()?.worst, word)))
            .collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut out = format!("{phase}: {} asked for\n", rows.len());
        for (worst, word) in rows.into_iter().take(SLOWEST) {
            let _ = writeln!(out, "{worst:>9.1} ms  {word}");
        }
        out
    }

    /// The slowest first, and the floor.
    fn text(&self) -> String {
        let slowest = |word: &String| {
            let cells = self.cells[word].iter();
            cells.map(|cell| cell.worst).fold(0.0, f64::max)
        };
        let floor = self.cells[FLOOR]
            .iter()
            .map(|cell| cell.half)
            .fold(f64::INFINITY, f64::min);
        let mut rows = self.rows.clone();
        rows.sort_by(|a, b| slowest(b).total_cmp(&slowest(a)));
        let mut out = String::new();
        let heads: Vec<String> = self.phases.iter().map(|phase| format!("{phase:>16}")).collect();
        let _ = writeln!(
            out,
            "{:<64}{}  {:>7} {:>6} {:>5}",
            "",
            heads.join(""),
            "floors",
            "KiB",
            "rows"
        );
        for word in rows {
            let cells = &self.cells[&word];
            let _ = write!(out, "{word:<64}");
            for cell in cells {
                let _ = write!(out, " {:>7.1} {:>7.1}", cell.half, cell.worst);
            }
            let most = cells.iter().map(|cell| cell.half).fold(0.0, f64::max);
            let _ = writeln!(
                out,
                "  {:>7.1} {:>6} {:>5}",
                most / floor,
                cells.iter().map(|cell| cell.bytes).max().unwrap_or(0) / 1024,
                cells.iter().map(|cell| cell.rows).max().unwrap_or(0),
            );
        }
        out
    }
}

fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The floor's name.
const FLOOR: &str = "livez (the floor)";
/// How often each address is asked for.
const ROUNDS: usize = 5;
/// How many are shown when a phase has ended.
const SLOWEST: usize = 30;
/// A fleet that is counted sooner is not measured before it is.
const UNCOUNTED_MIN: Duration = Duration::from_secs(1);
/// The same, before the fleet is counted, which takes a start for every so many.
const ROUNDS_UNCOUNTED: usize = 2;
/// Administers.
const KEY: &str = "tessera-lists-bench-0123456789abcdef";
