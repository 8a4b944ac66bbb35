//! A file of devices, sent by a browser.

use std::time::Duration;

use super::{Api, Browser, Page};

const IMPORT: &str = "/projects/default/devices/import";

#[tokio::test]
async fn good_rows_are_done_and_each_bad_one_is_told_with_its_line() {
    let api = Api::start().await;
    api.fleet().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(IMPORT).await.expect(200);
    let file = "name,cohort,tags,enabled,identity,secret\n\
                new-1,lamps,north;floor:2,true,,\n\
                <script>alert(1)</script>,lamps,,,,\n\
                new-2,nowhere,,,,\n\
                new-3,,,perhaps,,\n\
                new-4,,,,lamp-1-id@default,s\n\
                \u{202e}drawkcab,,,,,\n\
                lamp-2,lifts,,,,\n\
                new-5,,,false,new-5@factory,kept in its flash\n";
    let page = browser
        .import(&[], ("devices.csv", file.as_bytes()))
        .await
        .expect(200);
    assert_eq!(tiles(&page), ["2", "0", "0", "6"], "{}", page.text());
    page.says("devices.csv: 8 rows.");
    let rows = page.rows_of_table();
    let lines: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(lines, ["3", "4", "5", "6", "7", "8"]);
    for (row, said) in [
        (0, "name: "),
        (1, "there is no cohort \"nowhere\""),
        (2, "enabled: "),
        (3, "lamp-1-id@default"),
        (4, "⟨U+202E⟩drawkcab"),
        (5, "cohort"),
    ] {
        let told = rows[row].join(" ");
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(rows[0][2].contains("accepted: 1 to 63"), "{:?}", rows[0]);
    assert!(!page.html.contains("<script>alert"), "{}", page.html);
    assert!(!page.html.contains('\u{202e}'));
    assert_eq!(api.device_names("search=new").await, ["new-1", "new-5"]);
    assert_eq!(api.device_names("tag=floor:2&cohort=lamps").await, ["new-1"]);
    let disabled = api.get("devices/new-5").await.expect(200);
    assert_eq!(disabled["enabled"], false);

    // The secret that was made is in what was answered, and is the device's.
    page.says("Secrets were made for 1 device.");
    let access = api.access("new-1-id@default").await;
    let secret = String::from_utf8(access.secret.as_bytes().to_vec()).unwrap();
    assert!(!page.html.contains(&secret));
    let lines = page.links("Download all that was answered")[0].clone();
    let answered = browser.get(&lines).await.expect(200);
    assert!(answered.html.contains(&secret), "{}", answered.html);
    assert!(!answered.html.contains("kept in its flash"));
    let disposition = answered.headers["content-disposition"].to_str().unwrap();
    assert!(disposition.contains("attachment"), "{disposition}");
    // And for nobody else.
    let mut other = Browser::signed_in(&api, "admin").await;
    for address in [&lines, &page.address] {
        other.get(address).await.expect(404).says("for who sent the file");
    }

    // The same again changes nothing but what was refused before.
    let page = browser
        .import(&[], ("devices.csv", file.as_bytes()))
        .await
        .expect(200);
    assert_eq!(tiles(&page), ["0", "0", "2", "6"], "{}", page.text());
    let update = [("update", "1")];
    let page = browser
        .import(&update, ("devices.csv", file.as_bytes()))
        .await
        .expect(200);
    assert_eq!(tiles(&page), ["0", "1", "2", "5"], "{}", page.text());
    assert_eq!(api.device_names("cohort=lifts").await, ["lamp-2", "lift-1"]);
}

#[tokio::test]
async fn what_is_shown_once_is_not_lost_to_somebody_who_sends_many_files() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(IMPORT).await.expect(200);
    let page = browser
        .import(&[], ("devices.csv", b"name\nlamp-1\n"))
        .await
        .expect(200);
    page.says("Secrets were made for 1 device.");

    let mut other = Browser::signed_in(&api, "deploy").await;
    other.get(IMPORT).await.expect(200);
    let mut addresses = Vec::new();
    for number in 1..=9 {
        let file = format!("name\nother-{number}\n");
        let page = other.import(&[], ("devices.csv", file.as_bytes())).await;
        addresses.push(page.expect(200).address);
    }
    let lines = page.links("Download all that was answered")[0].clone();
    let answered = browser.get(&lines).await.expect(200);
    assert!(answered.html.contains("\"secret\""), "{}", answered.html);
    other.get(&addresses[0]).await.expect(404);
    other.get(&addresses[8]).await.expect(200);
}

/// Whatever is sent before it is known who may.
#[tokio::test]
async fn nothing_is_kept_of_a_form_by_whoever_may_not_import_or_without_its_token() {
    let api = Api::start().await;
    let file = ("devices.csv", "name\nlamp-1\n".as_bytes());
    let mut reader = Browser::signed_in(&api, "read").await;
    reader.get("/projects/default").await.expect(200);
    reader.ask_with_file(IMPORT, &[], file).await.expect(403);
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(IMPORT).await.expect(200);
    let page = browser.ask_with_file(IMPORT, &[("colour", "red")], file).await;
    assert!(page.expect(422).wrong("file").contains("no such field"));
    let long = "x".repeat(100_000);
    let page = browser.ask_with_file(IMPORT, &[("update", &long)], file).await;
    assert!(page.expect(422).wrong("file").contains("too long"));
    browser.csrf = String::new();
    browser.ask_with_file(IMPORT, &[], file).await.expect(403);
    assert_eq!(api.device_names("").await, [""; 0]);
}

#[tokio::test]
async fn of_very_many_reasons_the_last_are_left_out_and_no_secret_is() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(IMPORT).await.expect(200);
    // Three mistakes a row.
    let long = "x".repeat(100);
    let mut file = "name,tags,enabled,secret\n".to_owned();
    for row in 0..19_000 {
        file.push_str(&format!("lamp-{row},{long},perhaps,{long}\n"));
    }
    file.push_str("last,,,\n");
    let page = browser
        .import(&[], ("devices.csv", file.as_bytes()))
        .await
        .expect(200);
    assert_eq!(tiles(&page), ["1", "0", "0", "19 000"], "{}", page.text());
    page.says("but for the last");
    let lines = page.links("Download all that was answered")[0].clone();
    let answered = browser.get(&lines).await.expect(200).html;
    assert!(answered.len() < 9 << 20, "{}", answered.len());
    let secret = answered.lines().find(|line| line.contains("\"last\"")).unwrap();
    assert!(secret.contains("\"secret\""), "{secret}");
}

/// The secrets that are made are shown once, to whoever sent the file.
#[tokio::test]
async fn a_browser_that_goes_away_does_not_end_an_import() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(IMPORT).await.expect(200);
    let rows: String = (0..5000).map(|row| format!("lamp-{row}\n")).collect();
    let file = format!("name\n{rows}");
    let devices = || api.control.view().default_project().devices;
    let until = async |enough: u64| {
        while devices() < enough {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        page = browser.ask_with_file(IMPORT, &[], ("devices.csv", file.as_bytes())) => {
            panic!("it was done before anybody went away: {}", page.text());
        }
        () = until(1) => {}
    }
    assert!(devices() < 5000, "it goes on");
    let all = tokio::time::timeout(Duration::from_secs(120), until(5000));
    all.await.expect("the rest is taken in as well");
}

#[tokio::test]
async fn a_file_has_as_many_devices_as_the_page_says_beside_its_header() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(IMPORT).await.expect(200).says("Up to 20 000 devices");
    // No row can be one, so that none takes its time.
    let full = format!("name\r\n{}\r\n", "no name\r\n".repeat(20_000));
    let page = browser
        .import(&[], ("devices.csv", full.as_bytes()))
        .await
        .expect(200);
    page.says("20 000 rows");
    let one = b"name\nno name".as_slice();
    let page = browser.import(&[], ("devices.csv", one)).await.expect(200);
    page.says("1 row.");
}

#[tokio::test]
async fn a_file_that_is_none_is_refused_and_what_was_chosen_stays() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(IMPORT).await.expect(200);
    let many = format!("name\n{}", "lamp\n".repeat(20_001));
    let many_lines = "{\"name\": \"lamp\"}\n".repeat(20_001);
    for (name, file, said) in [
        ("", "", "no file was chosen"),
        ("devices.xlsx", "PK", "accepted: .csv, .ndjson or .jsonl"),
        ("devices.csv", "", "names its columns"),
        ("devices.csv", "name,colour\nx,red\n", "colour"),
        ("devices.csv", "cohort\nlamps\n", "name"),
        (
            "devices.csv",
            many.as_str(),
            "has 20 001 rows; accepted here: 20 000",
        ),
        ("devices.ndjson", many_lines.as_str(), "accepted here: 20 000"),
    ] {
        let chosen = [("update", "1"), ("allow-back", "1")];
        let page = browser.import(&chosen, (name, file.as_bytes())).await.expect(422);
        let wrong = page.wrong("file");
        assert!(wrong.contains(said), "{name}: {said}: {wrong}");
        for name in ["update", "allow-back"] {
            let inputs = page.root.all("input");
            let input = inputs.iter().find(|input| input.attribute("name") == Some(name));
            assert!(
                input.unwrap().attribute("checked").is_some(),
                "{name} stays chosen"
            );
        }
    }
    let large = vec![b'x'; 9 << 20];
    let page = browser.import(&[], ("devices.csv", &large)).await.expect(422);
    assert!(page.wrong("file").contains("8 MiB"), "{}", page.wrong("file"));
    assert_eq!(api.device_names("").await, Vec::<String>::new());

    // A form of another session is taken for nobody's.
    browser.csrf = "0".repeat(64);
    let page = browser
        .import(&[], ("devices.csv", b"name\nx\n"))
        .await
        .expect(403);
    page.says("not one of this session's");
    assert_eq!(api.device_names("").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_list_exports_can_be_imported() {
    let api = Api::start().await;
    api.fleet().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let list = browser
        .get("/projects/default/devices?cohort=lamps")
        .await
        .expect(200);
    for (format, name) in [("CSV", "devices.csv"), ("NDJSON", "devices.ndjson")] {
        let file = browser.get(&list.links(format)[0]).await.expect(200);
        let disposition = file.headers["content-disposition"].to_str().unwrap();
        assert!(disposition.contains(name), "{disposition}");
        let page = browser
            .import(&[], (name, file.html.as_bytes()))
            .await
            .expect(200);
        assert_eq!(tiles(&page), ["0", "0", "2", "0"], "{format}: {}", page.text());
    }
}

impl Browser<'_> {
    /// Sends a file, and follows the redirect.
    async fn import(&mut self, fields: &[(&str, &str)], file: (&str, &[u8])) -> Page {
        let page = self.ask_with_file(IMPORT, fields, file).await;
        match page.redirect() {
            Some(to) => self.get(&to).await,
            None => page,
        }
    }
}

impl Page {
    /// The cells of the body's rows of its table.
    fn rows_of_table(&self) -> Vec<Vec<String>> {
        let bodies = self.root.all("tbody");
        let rows = bodies.iter().flat_map(|body| body.all("tr"));
        let cells = |row: &super::Element| {
            let cells = row.descendants().into_iter();
            cells
                .filter(|cell| ["th", "td"].contains(&cell.name()))
                .map(super::Element::text)
                .collect()
        };
        rows.map(cells).collect()
    }
}

/// Created, changed, so already, refused.
fn tiles(page: &Page) -> Vec<String> {
    page.root.all("dd").iter().map(|tile| tile.text()).collect()
}
