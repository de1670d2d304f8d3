//! The harness of the end-to-end tests: the real binary as a real process on a real directory.
//!
//! Nothing here sleeps or polls where it can wait: a server is ready when it says so on its stdout.

pub mod copied;
pub mod load;
pub mod plain_consumer;
pub mod scenarios;

use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

/// Path of a file below the repository's root.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The `touchline` binary: what `TOUCHLINE_BIN` names (`cargo xtask test` does), else built once per
/// test program, so that it is never an old one.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("TOUCHLINE_BIN") {
            return PathBuf::from(path);
        }
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--workspace", "--bin", "touchline", "--message-format", "json"])
            .current_dir(repository("."))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "touchline does not build");
        let messages = String::from_utf8_lossy(&built.stdout).into_owned();
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .find(|path| path.file_name().is_some_and(|name| name == "touchline"));
        executable.expect("cargo names the executable")
    })
}

/// What kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// `touchline dev`: everything in one process, without a broker.
    #[default]
    Dev,
    /// `touchline serve`: some roles over Kafka.
    Serve,
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Which command.
    pub kind: Kind,
    /// Further arguments of the command.
    pub arguments: Vec<String>,
    /// Environment variables to set.
    pub environment: Vec<(String, String)>,
    /// Largest file it may write, in KiB: what a full disk looks like.
    pub file_kib_max: Option<u64>,
    /// File to which its stderr is added; the test's own otherwise.
    pub stderr: Option<PathBuf>,
}

impl Start {
    /// `touchline dev` with further arguments.
    pub fn with(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(), ..Self::default() }
    }
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    /// `127.0.0.1:port` of HTTP.
    pub http: String,
    /// `127.0.0.1:port` of gRPC.
    pub grpc: String,
}

impl Server {
    /// Starts a server on `data_dir` with free ports; returns when it says that it is ready, or
    /// `None` when it ended before that.
    pub fn start(data_dir: &Path, start: &Start) -> Option<Self> {
        Self::try_start(data_dir, start).ok()
    }

    /// As [`Server::start`]; says how it ended before it was ready.
    pub fn try_start(data_dir: &Path, start: &Start) -> Result<Self, ExitStatus> {
        let mut command = match start.file_kib_max {
            None => Command::new(binary()),
            Some(kib) => {
                let mut shell = Command::new("bash");
                shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"")).arg(binary());
                shell
            }
        };
        let mut said = start
            .stderr
            .as_ref()
            .map(|path| File::options().create(true).append(true).open(path).expect("a file for stderr"));
        if start.file_kib_max.is_some() && said.is_some() {
            // What it says must not count towards its disk.
            command.stderr(Stdio::piped());
        } else if let Some(file) = said.take() {
            command.stderr(file);
        }
        let kind = match start.kind {
            Kind::Dev => "dev",
            Kind::Serve => "serve",
        };
        let mut child = command
            .args([kind, "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(&start.arguments)
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        if let (Some(mut file), Some(mut stderr)) = (said, child.stderr.take()) {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut file));
        }
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let (mut http, mut grpc) = (None, None);
        while http.is_none() || grpc.is_none() {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("stdout is text") == 0 {
                return Err(child.wait().expect("a child"));
            }
            let mut words = line.split_whitespace();
            match words.next() {
                Some("http") => http = words.next().map(|word| word.trim_start_matches("http://").to_owned()),
                Some("grpc") => grpc = words.next().map(str::to_owned),
                _ => {}
            }
        }
        // Whatever else it prints is read away, so that it never blocks on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let (http, grpc) = (http.expect("said above"), grpc.expect("said above"));
        Ok(Self { child, http, grpc })
    }

    /// Runs a command of the command line against this server; stdout as JSON lines.
    ///
    /// # Panics
    /// When the command fails.
    pub fn json(&self, tenant: &str, arguments: &[&str]) -> Vec<Value> {
        let (status, stdout, stderr) = self.run(tenant, arguments);
        assert!(status.success(), "touchline {arguments:?}: {stderr}");
        stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// Runs a command with `--json`; exit status, stdout, stderr.
    pub fn run(&self, tenant: &str, arguments: &[&str]) -> (ExitStatus, String, String) {
        let ran = Command::new(binary())
            .args(["--server", &self.grpc, "--http", &self.http, "--tenant", tenant, "--json"])
            .args(arguments)
            .output()
            .expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (ran.status, text(ran.stdout), text(ran.stderr))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// How the process has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Sends a signal, e.g. `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} could not be sent");
    }

    /// What `/readyz` says; an error is its reason.
    pub fn ready(&self) -> Result<(), String> {
        match get(&format!("http://{}/readyz", self.http)) {
            Some((200, ..)) => Ok(()),
            Some((_, _, reason)) => Err(reason),
            None => Err("no answer".to_owned()),
        }
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child")
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().expect("a child")
    }

    /// Waits until everything in the log is applied and published.
    pub fn settle(&self) {
        wait_for("partitions to come to rest", || {
            let status = &self.json("demo", &["status"])[0];
            let partitions = status["partitions"].as_array().expect("partitions");
            partitions.iter().all(|partition| partition["progress"]["offset"] == partition["end_offset"])
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a POST; status and body, or `None` when nobody answered.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.send(body).ok()?;
    let status = response.status().as_u16();
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text).ok()?;
    Some((status, text))
}

/// Sends a GET without following redirects; status, `location` and body.
pub fn get(url: &str) -> Option<(u16, String, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let mut response = agent.get(url).call().ok()?;
    let location = response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, location) = (response.status().as_u16(), location.to_owned());
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text).ok()?;
    Some((status, location, text))
}

/// Looks at a condition until it holds.
///
/// # Panics
/// After a minute.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up_at = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < give_up_at, "waited a minute for {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// Numbers that are the same for the same seed: tests must be repeatable.
pub struct Seeded(u64);

impl Seeded {
    /// From `TOUCHLINE_SEED`, else `default`; the seed is printed, so that a failure can be repeated.
    pub fn from_env(default: u64) -> Self {
        let seed = std::env::var("TOUCHLINE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
        eprintln!("TOUCHLINE_SEED={seed}");
        Self(seed)
    }

    /// The next number below `bound` (splitmix64).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
