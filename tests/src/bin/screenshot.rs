//! Makes the picture of the README: a recorded `.html` in a browser, with a search and a function under the pointer.
//!
//! ```text
//! cargo run -p stacksonde-tests --bin screenshot -- profile.html docs/flamegraph.png vfs_
//! ```
#![allow(clippy::panic, reason = "what it cannot do it says")]

use serde_json::json;
use stacksonde_tests::browser::{Browser, program};
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [page, picture, search] = arguments.as_slice() else {
        eprintln!("usage: screenshot PAGE.html PICTURE.png SEARCH");
        std::process::exit(2);
    };
    let page = std::fs::canonicalize(page).unwrap_or_else(|error| panic!("{page}: {error}"));
    let program =
        program().unwrap_or_else(|| panic!("there is no chromium-headless-shell or chromium in PATH"));
    let mut browser = Browser::start(&program);
    let size = json!({ "width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", size);
    browser.open_file(&page);
    browser.key("/");
    browser.write(search);
    // Over the heaviest frame that matches.
    let place = browser.value(
        "((node) => [(shown.tree.start[node] + shown.tree.total[node] / 2) / shown.tree.total[0], shown.tree.depth[node]])([...shown.tree.total.keys()].filter((node) => node > 0 && shown.search.matches[shown.tree.name[node]]).sort((a, b) => shown.tree.total[b] - shown.tree.total[a])[0])",
    );
    let (x, row) = (place[0].as_f64().unwrap_or(0.5), place[1].as_f64().unwrap_or(0.0));
    let top = browser.value("graph.getBoundingClientRect().top").as_f64().unwrap_or(0.0);
    browser.hover(x * 1280.0, top + 19.0 * (row + 0.5));
    browser.value("1");
    let bytes = browser.screenshot();
    std::fs::write(Path::new(picture), bytes).unwrap_or_else(|error| panic!("{picture}: {error}"));
}
