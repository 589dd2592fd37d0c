//! A real browser, Chromium without a screen, driven through its DevTools protocol: over a pipe, so that it opens
//! no port. <https://chromedevtools.github.io/devtools-protocol/>

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Programs, the smallest first.
const PROGRAMS: [&str; 2] = ["chromium-headless-shell", "chromium"];
/// After this long without an answer the browser counts as hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts calls that draw: before the page's own script, so that it counts what is really drawn.
const COUNT_DRAWING: &str = "
    window.drawn = { rectangles: 0, texts: 0 };
    for (const [method, kind] of [['fillRect', 'rectangles'], ['fillText', 'texts']]) {
        const draw = CanvasRenderingContext2D.prototype[method];
        CanvasRenderingContext2D.prototype[method] = function (...rest) {
            window.drawn[kind]++;
            return draw.apply(this, rest);
        };
    }";

/// The browser with one page, 1000 by 700 pixels. It ends with this value.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last_id: u64,
    /// Messages of the browser between answers.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// The browser's program, if one is installed.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If it does not start or does not speak the protocol.
    pub fn start(program: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The protocol is spoken on descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null 1>&2"]).arg(program);
        command.args(["--headless", "--remote-debugging-pipe", "--no-first-run"]);
        // Pages may draw with WebGL, without a graphics card.
        command.args(["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]);
        command.args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
        ]);
        command.args(["--window-size=1000,700", "--hide-scrollbars", "--mute-audio"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        if crate::skip::root_is_lacking().is_none() {
            command.arg("--no-sandbox");
        }
        let log = std::fs::File::create(profile.path().join("log")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|count| count > 0) {
                message.pop();
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let session = String::new();
        let mut browser =
            Self { child, to, messages, session, last_id: 0, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session =
            browser.call("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Page.setLifecycleEventsEnabled", json!({ "enabled": true }));
        browser.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": COUNT_DRAWING }));
        browser
    }

    /// Calls a method of the protocol.
    ///
    /// # Panics
    ///
    /// If the browser refuses it or does not answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.message(method);
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn message(&self, what: &str) -> Value {
        self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: the browser: {error}"))
    }

    /// Opens an address, waits until it is loaded, and forgets what was told before.
    ///
    /// # Panics
    ///
    /// If there is nothing.
    pub fn open(&mut self, url: &str) {
        // The page before says nothing any more.
        self.load("about:blank");
        self.events.clear();
        self.load(url);
    }

    fn load(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        // Of this document, not of the one before.
        let loaded = |event: &Value| {
            let parameters = &event["params"];
            event["method"] == "Page.lifecycleEvent"
                && parameters["name"] == "load"
                && parameters["loaderId"] == answer["loaderId"]
        };
        while !self.events.iter().any(loaded) {
            let event = self.message(url);
            self.events.push(event);
        }
    }

    /// Opens a file.
    pub fn open_file(&mut self, path: &Path) {
        self.open(&format!("file://{}", path.display()));
    }

    /// The value of an expression in the page, once the page has drawn what it wanted to draw.
    ///
    /// # Panics
    ///
    /// If it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let waited = format!(
            "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve({expression}))))"
        );
        let parameters = json!({ "expression": waited, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The same, as text.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.value(expression);
        value.as_str().map_or_else(|| value.to_string(), String::from)
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    ///
    /// If it does not become so.
    pub fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(&format!("Boolean({expression})")) != true {
            assert!(Instant::now() < end, "{expression} did not become true");
        }
    }

    /// Moves the pointer.
    pub fn hover(&mut self, x: f64, y: f64) {
        self.mouse("mouseMoved", x, y, 0);
    }

    /// Presses and releases the left button.
    pub fn click(&mut self, x: f64, y: f64) {
        self.mouse("mouseMoved", x, y, 0);
        self.mouse("mousePressed", x, y, 1);
        self.mouse("mouseReleased", x, y, 1);
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64, clicks: u32) {
        let button = if clicks > 0 { "left" } else { "none" };
        let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": clicks });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Presses a key, by its name in events: `Enter`, `ArrowDown`, `n`.
    pub fn key(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        self.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "text": text }));
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    /// Types a text where the focus is.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// The page as a picture (PNG).
    ///
    /// # Panics
    ///
    /// If there is none, or it is not in base64.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let digit = |byte: u8| match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("{byte} is not a digit of base64"),
        };
        let text = answer["data"].as_str().unwrap().trim_end_matches('=').as_bytes();
        let bytes = text.chunks(4).flat_map(|digits| {
            let word =
                digits.iter().fold(0, |word, byte| word << 6 | digit(*byte)) << (6 * (4 - digits.len()));
            word.to_be_bytes()[1..digits.len()].to_vec()
        });
        bytes.collect()
    }

    /// Errors and warnings since the page was opened: what it threw, what stands in the console.
    pub fn complaints(&mut self) -> Vec<String> {
        // What was told meanwhile arrives before the answer.
        self.value("1");
        let is = |event: &&Value, method: &str| event["method"] == method;
        let complaints = self.events.iter().filter(|event| {
            is(event, "Runtime.exceptionThrown")
                || is(event, "Runtime.consoleAPICalled")
                || is(event, "Log.entryAdded")
        });
        complaints.map(|event| event["params"].to_string()).collect()
    }

    /// Addresses that were asked for since the page was opened, its own among them.
    pub fn requests(&mut self) -> Vec<String> {
        self.value("1");
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.map(|event| event["params"]["request"]["url"].as_str().unwrap_or("?").to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its pipe, too; this is the end of one that hangs.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}
