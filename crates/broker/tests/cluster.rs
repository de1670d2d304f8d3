//! The harness before real brokers: what it promises about starting, ending and what stays behind.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test; what it measures is shown with --show-output")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use touchline_broker::{Action, Cluster, EXTERNAL, Options, Rule, Security, api, available_or_skip, skip};

/// Set for the process that `nothing_outlives_a_killed_process` kills.
const ORPHANS: &str = "TOUCHLINE_BROKER_TEST_ORPHANS";

/// The harness is tested on brokers of its own.
fn own_brokers() -> bool {
    if std::env::var_os(EXTERNAL).is_some() {
        skip("these tests kill brokers of their own; hint: unset TOUCHLINE_TEST_KAFKA");
        return false;
    }
    available_or_skip()
}

fn start_own(options: &Options) -> Option<Cluster> {
    own_brokers().then(|| Cluster::start(options).unwrap_or_else(|error| panic!("{error}")))
}

/// Runs `TopicCommand` and gives what it prints. `None`: it fails.
fn topics(cluster: &Cluster, bootstrap: &str, arguments: &[&str]) -> Option<String> {
    let jars = cluster.jars().unwrap();
    let mut command = jars.java_with(&["-Xmx128m", "-XX:TieredStopAtLevel=1"], "org.apache.kafka.tools.TopicCommand");
    let output = command.args(["--bootstrap-server", bootstrap]).args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for a condition of the shell, at most 20 seconds.
#[track_caller]
fn wait_until(condition: &str) {
    let script = format!("until {condition}; do sleep 0.02; done");
    let status = Command::new("timeout").args(["20", "sh", "-c", &script]).status().unwrap();
    assert!(status.success(), "never became true: {condition}");
}

/// Resident memory of a process in MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// CPU time of a process in ms. Linux counts it in hundredths of a second.
fn cpu_ms(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let times = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

fn process_state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn one_broker_is_killed_restarted_paused_stopped_and_leaves_nothing() {
    let started = Instant::now();
    let Some(cluster) = start_own(&Options::default()) else { return };
    let took = started.elapsed();
    let pid = cluster.pid(1).unwrap();
    println!("one broker: ready after {} ms, {} MiB resident", took.as_millis(), resident_mib(pid));
    println!("one broker: {} ms of CPU until then", cpu_ms(pid));

    let bootstrap = cluster.bootstrap();
    let create = ["--create", "--topic", "kept", "--partitions", "3"];
    assert!(topics(&cluster, &bootstrap, &create).is_some(), "{}", cluster.log(1).unwrap().display());
    cluster.kill(1).unwrap();
    assert_eq!(process_state(pid), None);
    assert!(cluster.pause(1).is_err(), "it does not run");
    let started = Instant::now();
    cluster.restart(1).unwrap();
    println!("after kill -9: ready after {} ms", started.elapsed().as_millis());
    assert_eq!(cluster.bootstrap(), bootstrap);
    assert_eq!(topics(&cluster, &bootstrap, &["--list"]).unwrap().trim(), "kept");

    let pid = cluster.pid(1).unwrap();
    cluster.pause(1).unwrap();
    wait_until(&format!("grep -q 'State:.T' /proc/{pid}/status"));
    cluster.resume(1).unwrap();
    wait_until(&format!("! grep -q 'State:.T' /proc/{pid}/status"));
    assert!(cluster.ended(1).unwrap().is_none());

    cluster.stop(1).unwrap();
    assert_eq!(process_state(pid), None);
    let log = std::fs::read_to_string(cluster.log(1).unwrap()).unwrap();
    assert!(log.contains("shut down completed"), "a clean stop says so");
    cluster.restart(1).unwrap();
    cluster.pause(1).unwrap();
    let (pid, directory) = (cluster.pid(1).unwrap(), cluster.directory().unwrap().to_path_buf());
    drop(cluster);
    assert_eq!(process_state(pid), None, "also one that is paused");
    assert!(!directory.exists());
}

#[test]
fn three_brokers_go_on_without_one() {
    let started = Instant::now();
    let Some(cluster) = start_own(&Options { brokers: 3, ..Options::default() }) else { return };
    let took = started.elapsed();
    let resident: u64 = (1..=3).map(|id| resident_mib(cluster.pid(id).unwrap())).sum();
    println!("three brokers: ready after {} ms, {resident} MiB resident together", took.as_millis());
    cluster.kill(2).unwrap();
    let create = ["--create", "--topic", "t", "--partitions", "1", "--replication-factor", "2"];
    assert!(topics(&cluster, &cluster.bootstrap(), &create).is_some());
    cluster.restart(2).unwrap();
    assert!(cluster.kill(4).unwrap_err().to_string().contains("numbered from 1 to 3"));
    assert!(cluster.kill(0).is_err());
}

#[test]
fn a_secured_cluster_takes_its_user_and_no_other() {
    let options = Options { security: Security::SaslScramTls, ..Options::default() };
    let Some(cluster) = start_own(&options) else { return };
    let settings = cluster.client_settings();
    let value = |name: &str| settings.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap();
    let client = |password: &str, limits: &str| {
        let login = "org.apache.kafka.common.security.scram.ScramLoginModule required";
        let properties = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n\
             ssl.truststore.location={}\nsasl.jaas.config={login} username=\"{}\" password=\"{password}\";\n\
             {limits}",
            value("ssl.ca.location"),
            value("sasl.username"),
        );
        let file = cluster.directory().unwrap().join("client.properties");
        std::fs::write(&file, properties).unwrap();
        file.display().to_string()
    };
    let list = |file: &str| topics(&cluster, &cluster.bootstrap(), &["--list", "--command-config", file]);
    assert!(list(&client(&value("sasl.password"), "")).is_some(), "{}", cluster.log(1).unwrap().display());
    let limits = "request.timeout.ms=8000\ndefault.api.timeout.ms=10000\n";
    assert!(list(&client("another", limits)).is_none(), "a wrong password");
}

#[test]
fn clients_of_the_proxy_stay_behind_it() {
    let Some(cluster) = start_own(&Options::default()) else { return };
    let proxy = cluster.proxy().unwrap();
    let late = proxy.add(Rule::nth(api::METADATA, 1, Action::Delay(1)));
    let create = ["--create", "--topic", "through", "--partitions", "1"];
    assert!(topics(&cluster, &proxy.bootstrap(), &create).is_some());
    let create_topics = 19;
    // The tool asks the address that the broker advertises, not only the one it was given.
    assert_eq!((proxy.done(late), proxy.seen(create_topics)), (1, 1), "{}", cluster.log(1).unwrap().display());
    assert_eq!(topics(&cluster, &cluster.bootstrap(), &["--list"]).unwrap().trim(), "through");
}

#[test]
fn a_kept_directory_is_used_again() {
    let kept = tempfile::tempdir().unwrap();
    let options = Options { directory: Some(kept.path().to_path_buf()), ..Options::default() };
    let Some(first) = start_own(&options) else { return };
    assert!(topics(&first, &first.bootstrap(), &["--create", "--topic", "kept"]).is_some());
    drop(first);
    let second = start_own(&options).unwrap();
    assert_eq!(topics(&second, &second.bootstrap(), &["--list"]).unwrap().trim(), "kept");
}

/// Only a helper: what the next test starts and kills.
#[test]
fn orphans() {
    let Some(directory) = std::env::var_os(ORPHANS) else { return };
    let directory = Some(directory).filter(|kept| !kept.is_empty()).map(PathBuf::from);
    let cluster = start_own(&Options { directory, ..Options::default() }).unwrap();
    println!("\nORPHAN {} {}", cluster.pid(1).unwrap(), cluster.directory().unwrap().display());
    loop {
        std::thread::park();
    }
}

/// Starts a cluster in a process that is then killed, and waits until the broker is gone. Gives its directory.
fn outlive(kept: &str) -> PathBuf {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "orphans", "--nocapture"])
        .env(ORPHANS, kept)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("ORPHAN")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let (pid, directory) = (words[1], PathBuf::from(words[2]));
    assert!(directory.is_dir() && process_state(pid.parse().unwrap()).is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    // Gone, or dead and waiting for init.
    wait_until(&format!("! grep -q 'State:.[^Z]' /proc/{pid}/status 2>/dev/null"));
    directory
}

#[test]
fn nothing_outlives_a_killed_process() {
    if !own_brokers() {
        return;
    }
    let temporary = outlive("");
    wait_until(&format!("[ ! -e '{}' ]", temporary.display()));
    // A broker whose directory is gone ends by itself after a while; this one has to be killed.
    let kept = tempfile::tempdir().unwrap();
    let directory = outlive(&kept.path().display().to_string());
    assert!(directory.join("broker-1").is_dir(), "what is to be kept is kept");
}
